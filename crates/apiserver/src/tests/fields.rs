//! Who owns what is told of every write.

use client::{Backend, PatchKind, User};
use machinery::Value;
use machinery::object::ObjectExt;

use super::{Ask, Cluster, cluster, pod};

/// The managers of an object with their subresources, and what one of them owns.
fn managers(object: &Value) -> Vec<(String, String)> {
    let list = object.at(&["metadata", "managedFields"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |entry: &Value, name: &str| entry.str_at(&[name]).unwrap_or_default().to_owned();
    let mut all: Vec<_> = list.iter().map(|e| (text(e, "manager"), text(e, "subresource"))).collect();
    all.sort();
    all
}

fn owned(object: &Value, manager: &str) -> String {
    let list = object.at(&["metadata", "managedFields"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let entry = list.iter().find(|entry| entry.str_at(&["manager"]) == Some(manager));
    entry.and_then(|entry| entry.get("fieldsV1")).map(ToString::to_string).unwrap_or_default()
}

fn by(mut ask: Ask, agent: &str) -> Ask {
    agent.clone_into(&mut ask.0.agent);
    ask
}

fn named(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(name, part)| ((*name).to_owned(), (*part).to_owned())).collect()
}

#[tokio::test]
async fn every_write_is_tracked_under_its_clients_name() {
    let cluster = cluster().await;
    let made = cluster.tree(by(pod("p"), "kubectl")).await.unwrap();
    assert_eq!(managers(&made), named(&[("kubectl", "")]));
    // What admission sets belongs to nobody.
    assert!(made.at(&["spec", "serviceAccountName"]).is_some());
    let fields = owned(&made, "kubectl");
    assert!(fields.contains("f:imagePullPolicy") && !fields.contains("f:serviceAccountName"), "{fields}");

    let status = |phase: &str| {
        let body = format!(r#"{{"status":{{"phase":"{phase}"}}}}"#);
        by(Ask::new("patch", "v1", "pods").name("p").sub("status").patch(PatchKind::Merge, &body), "kubelet")
    };
    let told = cluster.tree(status("Running")).await.unwrap();
    assert_eq!(managers(&told), named(&[("kubectl", ""), ("kubelet", "status")]));
    assert_eq!(owned(&told, "kubelet"), r#"{"f:status":{"f:phase":{}}}"#);
    // The same again is no write.
    let again = cluster.tree(status("Running")).await.unwrap();
    assert_eq!(again, told);

    // A binding is not tracked.
    let binding = r#"{"metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}"#;
    let bind = Ask::new("create", "v1", "pods").name("p").sub("binding").body(binding);
    cluster.tree(by(bind, "kube-scheduler")).await.unwrap();
    let bound = cluster.tree(Ask::new("get", "v1", "pods").name("p")).await.unwrap();
    assert_eq!(bound.str_at(&["spec", "nodeName"]), Some("n"));
    assert_eq!(bound.at(&["metadata", "managedFields"]), told.at(&["metadata", "managedFields"]));

    // An empty list forgets all, and then nobody is tracked.
    let forget = r#"{"metadata":{"managedFields":[{}],"labels":{"a":"b"}}}"#;
    let ask = Ask::new("patch", "v1", "pods").name("p").patch(PatchKind::Merge, forget);
    assert_eq!(managers(&cluster.tree(ask).await.unwrap()), []);
    assert_eq!(managers(&cluster.tree(status("Failed")).await.unwrap()), []);
}

/// A deployment `x` of one replica, made by helm.
async fn install(cluster: &Cluster) {
    let template = r#""selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}"#;
    let body = format!(r#"{{"metadata":{{"name":"x"}},"spec":{{"replicas":1,{template}}}}}"#);
    cluster.tree(by(Ask::new("create", "apps/v1", "deployments").body(&body), "helm")).await.unwrap();
}

#[tokio::test]
async fn scale_takes_the_replicas() {
    let cluster = cluster().await;
    install(&cluster).await;
    let scale = Ask::new("patch", "apps/v1", "deployments").name("x").sub("scale");
    cluster.tree(by(scale.patch(PatchKind::Merge, r#"{"spec":{"replicas":3}}"#), "autoscaler")).await.unwrap();
    let scaled = cluster.tree(Ask::new("get", "apps/v1", "deployments").name("x")).await.unwrap();
    assert_eq!(managers(&scaled), named(&[("autoscaler", "scale"), ("helm", "")]));
    assert_eq!(owned(&scaled, "autoscaler"), r#"{"f:spec":{"f:replicas":{}}}"#);
    assert!(!owned(&scaled, "helm").contains("f:replicas"));
}

#[tokio::test]
async fn who_owns_a_field_owns_it_when_an_apply_empties_it() {
    let cluster = cluster().await;
    let made = Ask::new("create", "v1", "configmaps").body(r#"{"metadata":{"name":"x"},"data":{"a":"1"}}"#);
    cluster.tree(by(made, "maker")).await.unwrap();
    let apply = |more: &str| {
        let config = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"x"{more}}}"#);
        let ask = Ask::new("patch", "v1", "configmaps").name("x").patch(PatchKind::Apply, &config);
        ask.options(|options| (options.field_manager, options.force) = ("applier".to_owned(), true))
    };
    let finalizers = r#","finalizers":["x.y/a","x.y/b"]"#;
    cluster.tree(apply(&format!(r#"{finalizers}}},"data":{{"a":"2"}}"#))).await.unwrap();
    let emptied = cluster.tree(apply(&format!("{finalizers}}}"))).await.unwrap();
    assert_eq!(emptied.at(&["data"]), None);
    assert_eq!(owned(&emptied, "maker"), r#"{"f:data":{}}"#);
    // Another order alone is no change.
    let again = cluster.tree(apply(r#","finalizers":["x.y/b","x.y/a"]}"#)).await.unwrap();
    assert_eq!(again, emptied);
}

#[tokio::test]
async fn a_scale_is_applied() {
    let cluster = cluster().await;
    install(&cluster).await;
    let apply = |kind: &str, more: &str| {
        let config = format!(r#"{{"apiVersion":"autoscaling/v1","kind":"{kind}"{more}}}"#);
        let ask = Ask::new("patch", "apps/v1", "deployments").name("x").sub("scale");
        ask.patch(PatchKind::Apply, &config).options(|options| options.field_manager = "applier".to_owned())
    };
    let three = r#","metadata":{"name":"x"},"spec":{"replicas":3}"#;
    let refused = [
        (apply("Scale", three), 409, "conflict with \"helm\" using apps/v1: .spec.replicas"),
        (apply("Deployment", three), 400, "Specified patch kind: Deployment, expected: Scale"),
        (apply("Scale", r#","spec":{"nothing":3}"#), 500, ".spec.nothing: field not declared in schema"),
        (apply("Scale", r#","spec":{"replicas":-3}"#), 422, "spec.replicas: Invalid value: -3"),
        (apply("Scale", r#","metadata":{"uid":"u"}"#), 409, "UID in precondition: u"),
        (apply("Scale", r#","metadata":{"resourceVersion":"1"}"#), 409, "the object has been modified"),
        (apply("Scale", r#","metadata":{"name":"y"}"#), 400, "does not match the name on the URL (x)"),
        (apply("Scale", r#","spec":{"replicas":3}"#).name("y"), 404, "deployments.apps \"y\" not found"),
    ];
    for (ask, code, message) in refused {
        let error = cluster.tree(ask).await.unwrap_err();
        assert!(error.code() == code && error.to_string().contains(message), "{code} {error}");
    }
    let scale = cluster.tree(apply("Scale", three).options(|options| options.force = true)).await.unwrap();
    assert_eq!((scale.kind(), scale.i64_at(&["spec", "replicas"])), ("Scale", Some(3)));
    let get = || Ask::new("get", "apps/v1", "deployments").name("x");
    let scaled = cluster.tree(get()).await.unwrap();
    assert_eq!(managers(&scaled), named(&[("applier", "scale"), ("helm", "")]));
    assert_eq!(owned(&scaled, "applier"), r#"{"f:spec":{"f:replicas":{}}}"#);
    assert!(!owned(&scaled, "helm").contains("f:replicas"));
    // The same again changes nothing; what is no longer said is gone, and a Scale without replicas has none.
    cluster.tree(apply("Scale", three)).await.unwrap();
    assert_eq!(cluster.tree(get()).await.unwrap(), scaled);
    let none = cluster.tree(apply("Scale", "")).await.unwrap();
    assert_eq!(none.i64_at(&["spec", "replicas"]), Some(0));
    assert_eq!(managers(&cluster.tree(get()).await.unwrap()), named(&[("helm", "")]));
}

#[tokio::test]
async fn versions_are_compared_each_in_its_own() {
    let cluster = cluster().await;
    let body = r#"{"metadata":{"name":"x"},"spec":{"maxReplicas":3,"scaleTargetRef":{"apiVersion":"x/v1","kind":"D","name":"d"},"targetCPUUtilizationPercentage":50}}"#;
    cluster.tree(by(Ask::new("create", "autoscaling/v1", "horizontalpodautoscalers").body(body), "old")).await.unwrap();
    let patch = r#"{"spec":{"maxReplicas":4,"metrics":[]}}"#;
    let ask = Ask::new("patch", "autoscaling/v2", "horizontalpodautoscalers").name("x").patch(PatchKind::Merge, patch);
    let made = cluster.tree(by(ask, "new")).await.unwrap();
    let left = owned(&made, "old");
    assert!(!left.contains("f:maxReplicas") && left.contains("f:scaleTargetRef"), "{left}");
    assert!(owned(&made, "new").contains("f:maxReplicas"));
    // Who applies in one version conflicts with whom owns the field in another one.
    let applied = |replicas: u32, metrics: &str| {
        let config = format!(
            r#"{{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler","metadata":{{"name":"y"}},
            "spec":{{"maxReplicas":{replicas},"scaleTargetRef":{{"apiVersion":"x/v1","kind":"D","name":"d"}}{metrics}}}}}"#
        );
        let ask = Ask::new("patch", "autoscaling/v2", "horizontalpodautoscalers").name("y");
        ask.patch(PatchKind::Apply, &config).options(|options| options.field_manager = "applier".to_owned())
    };
    let body = body.replace(r#""name":"x""#, r#""name":"y""#);
    let made = Ask::new("create", "autoscaling/v1", "horizontalpodautoscalers").body(&body);
    cluster.tree(by(made, "old")).await.unwrap();
    let cpu = r#","metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":70}}}]"#;
    let refused = cluster.tree(applied(3, cpu)).await.unwrap_err().to_string();
    let wanted = "Apply failed with 1 conflict: conflict with \"old\" using autoscaling/v1: .spec.targetCPUUtilizationPercentage";
    assert_eq!(refused, wanted);
    let taken = cluster.tree(applied(3, cpu).options(|options| options.force = true)).await.unwrap();
    let left = owned(&taken, "old");
    assert!(left.contains("f:maxReplicas") && !left.contains("f:targetCPU"), "{left}");
}

#[tokio::test]
async fn components_in_the_process_have_upstreams_names_and_no_managed_fields_in_their_types() {
    let cluster: Cluster = cluster().await;
    let user = User::component("system:serviceaccount:kube-system:job-controller", &["system:masters"]);
    let mut object = Value::parse(br#"{"metadata":{"name":"x"},"data":{"a":"b"}}"#).unwrap();
    let request = |action| client::Request {
        action,
        resource: machinery::GroupVersionResource::new("", "v1", "configmaps"),
        namespace: Some("default".to_owned()),
        name: Some("x".to_owned()),
        subresource: None,
        options: client::Options::default(),
    };
    cluster.pipeline.call(&user, request(client::Action::Create(object.clone()))).await.unwrap();
    let made = cluster.tree(Ask::new("get", "v1", "configmaps").name("x")).await.unwrap();
    assert_eq!(managers(&made), named(&[("kube-controller-manager", "")]));
    assert_eq!(owned(&made, "kube-controller-manager"), r#"{"f:data":{".":{},"f:a":{}}}"#);
    let typed: Value = machinery::json::from_value(&made).unwrap();
    assert_eq!(typed.at(&["metadata", "managedFields"]), None);
    // An update without them keeps them.
    object.set_at(&["data", "c"], "d");
    cluster.pipeline.call(&user, request(client::Action::Update(object))).await.unwrap();
    let made = cluster.tree(Ask::new("get", "v1", "configmaps").name("x")).await.unwrap();
    assert_eq!(owned(&made, "kube-controller-manager"), r#"{"f:data":{".":{},"f:a":{},"f:c":{}}}"#);
}

/// Patches may make an object larger than any request.
#[tokio::test]
async fn what_is_too_large_gives_up_its_managed_fields_first() {
    let cluster = cluster().await;
    let ask = |name: &str, labels: usize| {
        let labels: Vec<String> = (0..labels).map(|n| format!(r#""{}{n:05}":"""#, "l".repeat(55))).collect();
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"template":{{"metadata":{{"labels":{{{}}}}},"spec":{{"containers":[{{"name":"c","image":"i"}}]}}}}}}"#,
            labels.join(",")
        );
        by(Ask::new("create", "v1", "podtemplates").body(&body), "me")
    };
    let tracked = |made: &Value| made.at(&["metadata", "managedFields"]).is_some();
    assert!(tracked(&cluster.tree(ask("small", 10)).await.unwrap()));
    assert!(!tracked(&cluster.tree(ask("large", 30_000)).await.unwrap()));
    let refused = cluster.tree(ask("larger", 60_000)).await.unwrap_err();
    assert_eq!((refused.code(), refused.to_string().as_str()), (413, "Request entity too large: limit is 3145728"));
}
