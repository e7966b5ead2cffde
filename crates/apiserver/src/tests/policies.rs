//! Admission policies.

use client::PatchKind;
use machinery::object::ObjectExt;
use machinery::{ApiError, Value};

use super::{Ask, Cluster, cluster, config_map};

const API: &str = "admissionregistration.k8s.io/v1";

async fn make(cluster: &Cluster, plural: &str, name: &str, spec: &str) -> Result<Value, ApiError> {
    let body = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{spec}}}"#);
    cluster.tree(Ask::new("create", API, plural).namespace("").body(&body)).await
}

/// A policy about writes of config maps.
async fn policy(cluster: &Cluster, name: &str, more: &str) -> Result<Value, ApiError> {
    let spec = format!(
        r#"{{"matchConstraints":{{"resourceRules":[{{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE","UPDATE","DELETE"],
            "resources":["configmaps"]}}]}},{more}}}"#
    );
    make(cluster, "validatingadmissionpolicies", name, &spec).await
}

async fn bind(cluster: &Cluster, policy: &str, more: &str) {
    let spec = format!(r#"{{"policyName":"{policy}"{more}}}"#);
    make(cluster, "validatingadmissionpolicybindings", &format!("{policy}-binding"), &spec).await.unwrap();
}

const DENY: &str = r#","validationActions":["Deny"]"#;

#[tokio::test]
async fn a_policy_refuses_what_its_expressions_refuse() {
    let cluster = cluster().await;
    let spec = r#""variables":[{"name":"keys","expression":"has(object.data) ? object.data.size() : 0"}],
        "matchConditions":[{"name":"not-delete","expression":"request.operation != 'DELETE'"}],
        "validations":[{"expression":"object.metadata.name != 'bad'","message":"a bad name"},
            {"expression":"variables.keys < 2","messageExpression":"'has ' + string(variables.keys) + ' keys'","reason":"Forbidden"},
            {"expression":"object.metadata.name != 'third'"},
            {"expression":"!has(object.metadata.labels) || object.metadata.labels.nothing == 'x'"}]"#;
    policy(&cluster, "p", spec).await.unwrap();
    cluster.tree(config_map("bad")).await.unwrap();
    cluster.ask(&Ask::new("delete", "v1", "configmaps").name("bad")).await.unwrap();
    bind(&cluster, "p", DENY).await;
    cluster.tree(config_map("good")).await.unwrap();
    let refused = cluster.tree(config_map("bad")).await.unwrap_err();
    let text = "ValidatingAdmissionPolicy 'p' with binding 'p-binding' denied request: a bad name";
    assert_eq!(refused.to_string(), format!("configmaps \"bad\" is forbidden: {text}"));
    assert_eq!((refused.code(), refused.reason()), (422, "Invalid"));
    let details = refused.to_status().get("details").cloned().unwrap();
    assert_eq!(
        details.to_string(),
        format!(r#"{{"causes":[{{"message":"{text}"}}],"kind":"configmaps","name":"bad"}}"#)
    );
    let body = r#"{"metadata":{"name":"big"},"data":{"a":"1","b":"2"}}"#;
    let refused = cluster.tree(Ask::new("create", "v1", "configmaps").body(body)).await.unwrap_err();
    assert!(refused.to_string().ends_with("denied request: has 2 keys"), "{refused}");
    assert_eq!(refused.code(), 403);
    let refused = cluster.tree(config_map("third")).await.unwrap_err().to_string();
    assert!(refused.ends_with("denied request: failed expression: object.metadata.name != 'third'"), "{refused}");
    let labels = r#"{"metadata":{"labels":{"a":"b"}}}"#;
    let change = Ask::new("patch", "v1", "configmaps").name("good").patch(PatchKind::Merge, labels);
    let refused = cluster.tree(change.clone()).await.unwrap_err().to_string();
    let wanted = "denied request: expression '!has(object.metadata.labels) || object.metadata.labels.nothing == 'x'' resulted in \
                  error: no such key: nothing";
    assert!(refused.ends_with(wanted), "{refused}");
    // What it does not match, and what goes, is let through.
    cluster.tree(Ask::new("create", "v1", "secrets").body(r#"{"metadata":{"name":"bad"}}"#)).await.unwrap();
    cluster.ask(&Ask::new("delete", "v1", "configmaps").name("good")).await.unwrap();
    let unbind = Ask::new("delete", API, "validatingadmissionpolicybindings").namespace("").name("p-binding");
    cluster.ask(&unbind).await.unwrap();
    cluster.tree(config_map("bad")).await.unwrap();
}

#[tokio::test]
async fn bindings_choose_what_happens_and_where() {
    let cluster = cluster().await;
    let spec = r#""failurePolicy":"Ignore","validations":[{"expression":"request.userInfo.username != 'mallory'","message":"go away"},
        {"expression":"object.nothing == 1"}]"#;
    policy(&cluster, "p", spec).await.unwrap();
    let selected = r#","validationActions":["Warn","Audit"],"matchResources":{"objectSelector":{"matchLabels":{"guarded":"yes"}},
        "namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"In","values":["default"]}]}}"#;
    bind(&cluster, "p", selected).await;
    let map = |name: &str, label: &str| {
        let body = format!(r#"{{"metadata":{{"name":"{name}","labels":{{"guarded":"{label}"}}}}}}"#);
        Ask::new("create", "v1", "configmaps").body(&body).user("mallory", &["system:masters"])
    };
    let served = cluster.ask(&map("a", "yes")).await.unwrap();
    let warning = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p-binding': go away";
    assert_eq!(served.warnings, [warning]);
    assert!(cluster.ask(&map("b", "no")).await.unwrap().warnings.is_empty());
    assert!(cluster.ask(&map("c", "yes").namespace("kube-system")).await.unwrap().warnings.is_empty());
}

#[tokio::test]
async fn parameters_are_found_by_name_and_by_label() {
    let cluster = cluster().await;
    let spec = r#""paramKind":{"apiVersion":"v1","kind":"Secret"},
        "validations":[{"expression":"params == null || object.metadata.name != params.metadata.labels.banned",
            "messageExpression":"'not ' + params.metadata.labels.banned"}]"#;
    policy(&cluster, "p", spec).await.unwrap();
    let reference = r#","validationActions":["Deny"],"paramRef":{"selector":{"matchLabels":{"list":"names"}},"parameterNotFoundAction":"Deny"}"#;
    bind(&cluster, "p", reference).await;
    let refused = cluster.tree(config_map("x")).await.unwrap_err().to_string();
    let wanted = "denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert!(refused.ends_with(wanted), "{refused}");
    for name in ["x", "y"] {
        let body = format!(r#"{{"metadata":{{"name":"ban-{name}","labels":{{"list":"names","banned":"{name}"}}}}}}"#);
        cluster.tree(Ask::new("create", "v1", "secrets").body(&body)).await.unwrap();
    }
    for (name, message) in [("x", "not x"), ("y", "not y")] {
        let refused = cluster.tree(config_map(name)).await.unwrap_err().to_string();
        assert!(refused.ends_with(message), "{refused}");
    }
    cluster.tree(config_map("z")).await.unwrap();
    let spec = r#""paramKind":{"apiVersion":"example.com/v1","kind":"Nothing"},"validations":[{"expression":"true"}]"#;
    policy(&cluster, "q", spec).await.unwrap();
    bind(&cluster, "q", DENY).await;
    let refused = cluster.tree(config_map("w")).await.unwrap_err().to_string();
    let wanted = "ValidatingAdmissionPolicy 'q' denied request: failed to configure policy: failed to find resource referenced by \
                  paramKind: 'example.com/v1, Kind=Nothing'";
    assert!(refused.ends_with(wanted), "{refused}");
}

#[tokio::test]
async fn policies_see_the_version_that_they_name() {
    let cluster = cluster().await;
    let rule = |version: &str, policy: &str| {
        format!(
            r#"{{"matchConstraints":{{"matchPolicy":"{policy}","resourceRules":[{{"apiGroups":["autoscaling"],"apiVersions":["{version}"],
            "operations":["*"],"resources":["*"]}}]}},"validations":[{{"expression":"false",
            "messageExpression":"request.kind.version + ' of ' + request.requestKind.version + ' ' + object.apiVersion"}}]}}"#
        )
    };
    make(&cluster, "validatingadmissionpolicies", "p", &rule("v1", "Equivalent")).await.unwrap();
    bind(&cluster, "p", DENY).await;
    let body = r#"{"metadata":{"name":"h"},"spec":{"maxReplicas":2,"scaleTargetRef":{"kind":"Deployment","name":"d","apiVersion":"apps/v1"}}}"#;
    let scaler = |version: &str| Ask::new("create", version, "horizontalpodautoscalers").body(body);
    let refused = cluster.tree(scaler("autoscaling/v2")).await.unwrap_err().to_string();
    assert!(refused.ends_with("v1 of v2 autoscaling/v1"), "{refused}");
    let exact = r#"{"spec":{"matchConstraints":{"matchPolicy":"Exact"}}}"#;
    let change = Ask::new("patch", API, "validatingadmissionpolicies").namespace("").name("p");
    cluster.tree(change.patch(PatchKind::Merge, exact)).await.unwrap();
    cluster.tree(scaler("autoscaling/v2")).await.unwrap();
}

#[tokio::test]
async fn expressions_that_do_not_compile_are_refused() {
    let cluster = cluster().await;
    for (spec, wanted) in [
        (
            r#""validations":[{"expression":"object.spec +"}]"#,
            "spec.validations[0].expression: Invalid value: \"object.spec +\": compilation failed: ERROR: <input>:1:14: Syntax error: ",
        ),
        (
            r#""validations":[{"expression":"nothing"}]"#,
            "spec.validations[0].expression: Invalid value: \"nothing\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'nothing' (in container '')\n | nothing\n | ^",
        ),
        (
            r#""validations":[{"expression":"1 + 1"}]"#,
            "spec.validations[0].expression: Invalid value: \"1 + 1\": must evaluate to bool",
        ),
        (
            r#""validations":[{"expression":"true","messageExpression":"authorizer.path('/').check('get').reason()"}]"#,
            "spec.validations[0].messageExpression: Invalid value: ",
        ),
        (
            r#""variables":[{"name":"a","expression":"1"},{"name":"b","expression":"variables.a + 'x'"}],"validations":[{"expression":"true"}]"#,
            "spec.variables[1].expression: Invalid value: \"variables.a + 'x'\": compilation failed: ERROR: <input>:1:13: found no matching overload for '_+_' applied to '(int, string)'",
        ),
        (
            r#""matchConditions":[{"name":"a","expression":"params.x"}],"validations":[{"expression":"true"}]"#,
            "spec.matchConditions[0].expression: Invalid value: \"params.x\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'",
        ),
        (
            r#""auditAnnotations":[{"key":"k","valueExpression":"1"}]"#,
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type]",
        ),
    ] {
        let refused = policy(&cluster, "p", spec).await.unwrap_err();
        assert_eq!(refused.code(), 422);
        assert!(refused.to_string().contains(wanted), "{refused}");
    }
}

#[tokio::test]
async fn authorization_decides_what_an_expression_asks_it() {
    let cluster = cluster().await;
    let spec = r#""validations":[{"expression":"authorizer.requestResource.check('delete').allowed()","message":"no right to delete"}]"#;
    policy(&cluster, "p", spec).await.unwrap();
    bind(&cluster, "p", DENY).await;
    cluster.tree(config_map("a")).await.unwrap();
}

/// A policy that changes config maps.
async fn mutation(cluster: &Cluster, name: &str, more: &str) {
    let spec = format!(
        r#"{{"reinvocationPolicy":"IfNeeded","matchConstraints":{{"resourceRules":[{{"apiGroups":["","apps"],"apiVersions":["v1"],
            "operations":["CREATE","UPDATE"],"resources":["configmaps","deployments"]}}]}},{more}}}"#
    );
    make(cluster, "mutatingadmissionpolicies", name, &spec).await.unwrap();
    let spec = format!(r#"{{"policyName":"{name}"}}"#);
    make(cluster, "mutatingadmissionpolicybindings", name, &spec).await.unwrap();
}

#[tokio::test]
async fn policies_change_objects() {
    let cluster = cluster().await;
    let apply = r#""matchConditions":[{"name":"once","expression":"!has(object.metadata.labels)"}],
        "mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":
        "Object{metadata: Object.metadata{labels: {'made': 'yes'}}}"}}]"#;
    mutation(&cluster, "a", apply).await;
    let patch = r#""mutations":[{"patchType":"JSONPatch","jsonPatch":{"expression":
        "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/b'), value: 'c'}, JSONPatch{op: 'add', path: '/data/n', value: object.metadata.name}]"}}]"#;
    mutation(&cluster, "b", patch).await;
    let made = cluster.tree(config_map("x")).await.unwrap();
    assert_eq!(made.at(&["data"]).unwrap().to_string(), r#"{"k":"v","n":"x"}"#);
    assert_eq!(made.at(&["metadata", "labels"]).unwrap().to_string(), r#"{"example.com/b":"c","made":"yes"}"#);
    let refused =
        cluster.tree(Ask::new("create", "v1", "configmaps").body(r#"{"metadata":{"name":"y"}}"#)).await.unwrap_err();
    let wanted = "configmaps \"y\" is forbidden: policy 'b' with binding 'b' denied request: JSON Patch: ";
    assert!(refused.to_string().starts_with(wanted), "{refused}");
    assert_eq!(refused.code(), 422);
}

#[tokio::test]
async fn sidecars_are_merged_and_atomic_fields_refused() {
    let cluster = cluster().await;
    let deployment = |name: &str| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},"template":{{"metadata":{{"labels":{{"a":"b"}}}},
                "spec":{{"containers":[{{"name":"c","image":"i:1"}}]}}}}}}}}"#
        );
        Ask::new("create", "apps/v1", "deployments").body(&body)
    };
    let sidecar = r#""matchConditions":[{"name":"d","expression":"request.kind.kind == 'Deployment' && object.metadata.name == 'd'"}],
        "mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":
        "Object{spec: Object.spec{replicas: 3, template: Object.spec.template{spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'side', image: 'j:2'}]}}}}"}}]"#;
    mutation(&cluster, "sidecar", sidecar).await;
    let made = cluster.tree(deployment("d")).await.unwrap();
    assert_eq!(made.i64_at(&["spec", "replicas"]), Some(3));
    let containers = made.at(&["spec", "template", "spec", "containers"]).and_then(Value::as_array).unwrap();
    assert_eq!(containers.iter().map(Value::name_of).collect::<Vec<_>>(), ["c", "side"]);
    let atomic = r#""matchConditions":[{"name":"e","expression":"object.metadata.name == 'e'"}],
        "mutations":[{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":
        "Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: {'x': 'y'}}}}"}}]"#;
    mutation(&cluster, "atomic", atomic).await;
    let refused = cluster.tree(deployment("e")).await.unwrap_err().to_string();
    assert!(
        refused.contains("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector"),
        "{refused}"
    );
    assert_eq!(made.name(), "d");
}

/// Names of containers.
trait NameOf {
    fn name_of(&self) -> &str;
}

impl NameOf for Value {
    fn name_of(&self) -> &str {
        self.str_at(&["name"]).unwrap_or_default()
    }
}

#[tokio::test]
async fn types_are_checked_beside_the_policy() {
    let cluster = cluster().await;
    let spec = r#"{"matchConstraints":{"resourceRules":[{"apiGroups":["apps"],"apiVersions":["v1"],"operations":["CREATE"],
        "resources":["deployments","replicasets"]}]},"validations":[{"expression":"object.spec.replicas > 1"},
        {"expression":"object.spec.replicas > '1'","messageExpression":"string(object.spec.nope)"}]}"#;
    make(&cluster, "validatingadmissionpolicies", "p", spec).await.unwrap();
    let get = || Ask::new("get", API, "validatingadmissionpolicies").namespace("").name("p");
    let mut status = Value::Null;
    for _ in 0..1000 {
        status = cluster.tree(get()).await.unwrap().get("status").cloned().unwrap_or_default();
        if status.i64_at(&["observedGeneration"]) == Some(1) {
            break;
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let warnings = status.at(&["typeChecking", "expressionWarnings"]).and_then(Value::as_array).unwrap();
    let line = "ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n";
    let wanted = format!("apps/v1, Kind=Deployment: {line}\napps/v1, Kind=ReplicaSet: {line}");
    assert_eq!(warnings[0].str_at(&["warning"]), Some(wanted.as_str()));
    assert_eq!(warnings[0].str_at(&["fieldRef"]), Some("spec.validations[1].expression"));
    assert_eq!(warnings[1].str_at(&["fieldRef"]), Some("spec.validations[1].messageExpression"));
    assert_eq!(warnings.len(), 2);
}

#[tokio::test]
async fn commands_in_pods_are_judged() {
    let cluster = cluster().await;
    cluster.tree(Ask::new("create", "v1", "nodes").namespace("").body(r#"{"metadata":{"name":"n"}}"#)).await.unwrap();
    let body = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i:1"}]}}"#;
    cluster.tree(Ask::new("create", "v1", "pods").body(body)).await.unwrap();
    let spec = r#"{"matchConstraints":{"resourceRules":[{"apiGroups":[""],"apiVersions":["v1"],"operations":["CONNECT"],
        "resources":["pods/exec"]}]},"validations":[{"expression":"object.command[0] != 'sh'","message":"no shells"}]}"#;
    make(&cluster, "validatingadmissionpolicies", "p", spec).await.unwrap();
    bind(&cluster, "p", DENY).await;
    let exec = |command: &str| {
        let options = format!(r#"{{"kind":"PodExecOptions","apiVersion":"v1","command":["{command}"]}}"#);
        let ask = Ask::new("get", "v1", "pods").name("p").sub("exec").tree(Value::parse(options.as_bytes()).unwrap());
        cluster.pipeline.connect(ask.0)
    };
    assert_eq!(exec("ls").await.unwrap().node_name, "n");
    let refused = exec("sh").await.unwrap_err().to_string();
    assert!(
        refused.starts_with("pods \"p\" is forbidden: ValidatingAdmissionPolicy 'p'") && refused.ends_with("no shells"),
        "{refused}"
    );
}
