//! Custom resources as kubectl sees them.

use nix::sys::signal::Signal;
use testkit::Cluster;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.example.com
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Size, type: integer, jsonPath: .spec.size, description: How large it is.}
    - {name: Color, type: string, jsonPath: .spec.color, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget is made of parts.
        properties:
          spec:
            type: object
            description: What is wanted.
            required: [size]
            properties:
              size: {type: integer, minimum: 1, description: How large it is.}
              color: {type: string, enum: [red, green], default: green}
              replicas: {type: integer}
          status:
            type: object
            properties:
              replicas: {type: integer}
"#;

fn widget(name: &str, spec: &str) -> String {
    format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

#[test]
fn a_definition_lives_and_goes_with_its_objects() {
    let mut c = Cluster::with(&["--disable", "node"]);
    c.apply(DEFINITION);
    c.kubectl(&["wait", "--for=condition=Established", "crd/widgets.example.com"]);
    let resources = c.kubectl(&["api-resources", "--api-group=example.com"]);
    assert!(resources.contains("wd") && resources.contains("Widget"), "{resources}");
    c.apply(&widget("a", "size: 3"));
    let table = c.kubectl(&["get", "wd", "-o", "wide"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["NAME", "SIZE", "COLOR"], ["a", "3", "green"]]);
    assert!(c.kubectl(&["get", "all"]).contains("widget.example.com/a"));
    refuses_what_does_not_fit(&c);
    explains(&c);
    c.kubectl(&["patch", "widget", "a", "--type=merge", "-p", r#"{"spec":{"replicas":1}}"#]);
    c.kubectl(&["scale", "widget/a", "--replicas=4"]);
    assert_eq!(c.field("widget/a", ".spec.replicas"), "4");
    c.kubectl(&["create", "quota", "few", "--hard=count/widgets.example.com=2"]);
    c.wait_field("quota/few", r".status.used.count/widgets\.example\.com", "1");
    c.stop_server(Signal::SIGKILL);
    c.start_server();
    c.wait_ready();
    assert_eq!(c.field("widget/a", ".spec.replicas"), "4");
    dependents_go(&c);
    c.wait_field("quota/few", r".status.used.count/widgets\.example\.com", "0");
    c.apply(&widget("b", "size: 1"));
    c.apply(&widget("c", "size: 1"));
    let error = c.try_apply(&widget("d", "size: 1")).unwrap_err();
    assert!(error.contains("exceeded quota: few"), "{error}");
    c.kubectl(&["delete", "crd", "widgets.example.com"]);
    // Not by its name: kubectl remembers for a while which resources there are.
    let error = c.try_kubectl(&["get", "--raw", "/apis/example.com/v1/widgets"]).unwrap_err();
    assert!(error.contains("the server could not find the requested resource"), "{error}");
}

fn refuses_what_does_not_fit(c: &Cluster) {
    let error = c.try_apply(&widget("b", "size: 1, seize: 2")).unwrap_err();
    // The server's words, or those of an old kubectl, which looks itself.
    let told = ["unknown field \"spec.seize\"", "unknown field \"seize\" in com.example.v1.Widget.spec"];
    assert!(told.iter().any(|words| error.contains(words)), "{error}");
    let error = c.try_apply(&widget("b", "size: 0")).unwrap_err();
    assert!(error.contains("should be greater than or equal to 1"), "{error}");
    let error = c.try_apply(&widget("b", "size: 1, color: blue")).unwrap_err();
    assert!(error.contains(r#"Unsupported value: "blue""#), "{error}");
    let file = c.path("widget.yaml");
    std::fs::write(&file, widget("a", "size: 5")).unwrap();
    let file = file.to_str().unwrap();
    let error = c.try_kubectl(&["apply", "--server-side", "--field-manager=other", "-f", file]).unwrap_err();
    assert!(error.contains("conflict with \"kubectl-client-side-apply\""), "{error}");
    c.kubectl(&["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", file]);
    assert_eq!(c.field("widget/a", ".spec.size"), "5");
}

fn explains(c: &Cluster) {
    // kubectl keeps what it read of documents for a while.
    let text = c.wait("the description", || {
        let text = c.try_kubectl(&["explain", "widget.spec"]).ok()?;
        text.contains("What is wanted.").then_some(text)
    });
    assert!(text.contains("size") && text.contains("How large it is.") && text.contains("-required-"), "{text}");
    let whole = c.kubectl(&["explain", "widget"]);
    assert!(whole.contains("A widget is made of parts.") && whole.contains("APIVersion defines"), "{whole}");
}

/// What a widget owns goes with it, and a widget goes with what owns it and with its namespace.
fn dependents_go(c: &Cluster) {
    let uid = c.field("widget/a", ".metadata.uid");
    let owner = format!("ownerReferences: [{{apiVersion: example.com/v1, kind: Widget, name: a, uid: {uid}}}]");
    c.apply(&format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: owned, {owner}}}\n"));
    let owned = format!("metadata: {{name: below, {owner}}}");
    c.apply(&widget("below", "size: 1").replace("metadata: {name: below}", &owned));
    c.kubectl(&["delete", "widget", "a"]);
    for gone in ["configmap/owned", "widget/below"] {
        c.wait(gone, || c.try_kubectl(&["get", gone]).is_err().then_some(()));
    }
    c.kubectl(&["create", "namespace", "short"]);
    c.apply(&widget("a", "size: 1").replace("name: a", "name: a, namespace: short"));
    c.kubectl(&["delete", "namespace", "short", "--timeout", &format!("{}s", testkit::patience().as_secs())]);
    assert_eq!(c.kubectl(&["get", "widgets", "--all-namespaces", "-o", "name"]), "");
}
