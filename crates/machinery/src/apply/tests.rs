//! Stories of several managers on one object.

use super::*;
use crate::schema::Schema;

fn deployments() -> FieldManagement {
    let Some(Schema::Struct(ty, _)) = Schema::builtin("io.k8s.api.apps.v1.Deployment") else { panic!("built in") };
    FieldManagement::new(ty, "apps/v1", "").resetting(&[&["status"]])
}

fn parse(text: &str) -> Value {
    Value::parse(text.as_bytes()).unwrap()
}

fn deployment(spec: &str) -> Value {
    parse(&format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web","namespace":"default"}},"spec":{spec}}}"#
    ))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

fn stored(mut object: Value) -> Value {
    object.set_at(&["metadata", "uid"], "u");
    object
}

fn fields_of(object: &Value, manager: &str) -> Option<Value> {
    let list = object.at(&["metadata", "managedFields"])?.as_array()?;
    list.iter().find(|e| e.str_at(&["manager"]) == Some(manager))?.get("fieldsV1").map(Value::unfolded)
}

const POD: &str = r#"{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"v1","ports":[{"containerPort":80}]}]}}"#;

#[test]
fn an_apply_owns_what_it_names() {
    let config =
        deployment(&format!(r#"{{"replicas":2,"selector":{{"matchLabels":{{"app":"web"}}}},"template":{POD}}}"#));
    let new = deployments().apply(None, &config, "me", false, at(0), None).unwrap();
    let wanted = parse(
        r#"{"f:spec":{"f:replicas":{},"f:selector":{},"f:template":{"f:metadata":{"f:labels":{"f:app":{}}},
        "f:spec":{"f:containers":{"k:{\"name\":\"web\"}":{".":{},"f:name":{},"f:image":{},"f:ports":
        {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}}}}}}"#,
    );
    assert_eq!(fields_of(&new, "me"), Some(wanted));
    let entry = &new.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap()[0];
    assert_eq!(entry.str_at(&["operation"]), Some("Apply"));
    assert_eq!(entry.str_at(&["time"]), Some("2023-11-14T22:13:20Z"));
    // The same again changes nothing, not even the time.
    let live = stored(new);
    let again = deployments().apply(Some(&live), &config, "me", false, at(9), None).unwrap();
    assert_eq!(again, live);
}

#[test]
fn another_spelling_is_no_change() {
    let config = |cpu: &str| {
        let container = format!(r#"{{"name":"c","resources":{{"limits":{{"cpu":{cpu}}}}}}}"#);
        deployment(&format!(r#"{{"paused":false,"template":{{"spec":{{"containers":[{container}]}}}}}}"#))
    };
    let live = stored(deployments().apply(None, &config("1"), "me", false, at(0), None).unwrap());
    let again = deployments().apply(Some(&live), &config("\"1000m\""), "me", false, at(5), None).unwrap();
    assert_eq!(again, live);
    assert!(fields_of(&live, "me").unwrap().at(&["f:spec", "f:paused"]).is_some());
    assert_eq!(live.at(&["spec", "paused"]), None);
}

#[test]
fn a_field_of_another_is_a_conflict_unless_forced() {
    let live = stored(deployments().apply(None, &deployment(r#"{"replicas":2}"#), "me", false, at(0), None).unwrap());
    let error =
        deployments().apply(Some(&live), &deployment(r#"{"replicas":3}"#), "you", false, at(1), None).unwrap_err();
    assert_eq!(error.to_string(), r#"Apply failed with 1 conflict: conflict with "me": .spec.replicas"#);
    assert_eq!((error.code(), error.reason()), (409, "Conflict"));
    let forced = deployments().apply(Some(&live), &deployment(r#"{"replicas":3}"#), "you", true, at(1), None).unwrap();
    assert_eq!(forced.i64_at(&["spec", "replicas"]), Some(3));
    assert_eq!(fields_of(&forced, "me"), None);
    // The same value is no conflict: both own it.
    let both = deployments().apply(Some(&live), &deployment(r#"{"replicas":2}"#), "you", false, at(1), None).unwrap();
    assert!(fields_of(&both, "me").is_some() && fields_of(&both, "you").is_some());
}

#[test]
fn what_an_applier_no_longer_names_goes_unless_another_owns_it() {
    let first = deployment(&format!(r#"{{"replicas":2,"paused":true,"template":{POD}}}"#));
    let live = stored(deployments().apply(None, &first, "me", false, at(0), None).unwrap());
    let live = deployments().apply(Some(&live), &deployment(r#"{"replicas":2}"#), "you", false, at(1), None).unwrap();
    let second = deployment(&format!(r#"{{"template":{POD}}}"#));
    let new = deployments().apply(Some(&live), &second, "me", false, at(2), None).unwrap();
    assert_eq!(new.i64_at(&["spec", "replicas"]), Some(2));
    assert_eq!(new.at(&["spec", "paused"]), None);
    let third = deployments().apply(Some(&new), &deployment("{}"), "me", false, at(3), None).unwrap();
    assert_eq!(third.at(&["spec"]), Some(&parse(r#"{"replicas":2}"#)));
}

#[test]
fn a_field_that_is_emptied_stays_when_it_is_named() {
    let live = stored(deployments().apply(None, &deployment(r#"{"replicas":2}"#), "me", false, at(0), None).unwrap());
    let once = deployments().apply(Some(&live), &deployment("{}"), "me", false, at(1), None).unwrap();
    assert_eq!(once.at(&["spec"]), Some(&Value::object()));
    let twice = deployments().apply(Some(&once), &deployment("{}"), "me", false, at(2), None).unwrap();
    assert_eq!(twice, once);
}

#[test]
fn naming_an_empty_field_again_takes_nothing_out_of_it() {
    // Of a template that nobody manages.
    let other = r#"{"manager":"you","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{}}}"#;
    let live = parse(&format!(
        r#"{{"apiVersion":"apps/v1","metadata":{{"name":"d","uid":"u","managedFields":[{other}]}},"spec":{{"template":{POD}}}}}"#
    ));
    let once = deployments().apply(Some(&live), &deployment("{}"), "me", false, at(1), None).unwrap();
    let twice = deployments().apply(Some(&once), &deployment("{}"), "me", false, at(2), None).unwrap();
    assert_eq!(twice, once);
    assert_eq!(twice.at(&["spec"]), live.at(&["spec"]));
}

#[test]
fn an_update_takes_what_it_changes() {
    let live = stored(
        deployments().apply(None, &deployment(r#"{"replicas":2,"paused":true}"#), "me", false, at(0), None).unwrap(),
    );
    let mut new = live.clone();
    new.set_at(&["spec", "replicas"], 5);
    new.set_at(&["status", "replicas"], 5);
    deployments().update(Some(&live), &mut new, "kubectl-scale", at(1), None);
    assert_eq!(fields_of(&new, "kubectl-scale"), Some(parse(r#"{"f:spec":{"f:replicas":{}}}"#)));
    assert_eq!(fields_of(&new, "me"), Some(parse(r#"{"f:spec":{"f:paused":{}}}"#)));
    let error =
        deployments().apply(Some(&new), &deployment(r#"{"replicas":2}"#), "me", false, at(2), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"Apply failed with 1 conflict: conflict with "kubectl-scale" using apps/v1: .spec.replicas"#
    );
    // An update that changes nothing leaves the managers as they are.
    let mut same = new.clone();
    deployments().update(Some(&new), &mut same, "other", at(3), None);
    assert_eq!(same, new);
    // An empty list forgets them.
    same.set_at(&["metadata", "managedFields"], Vec::<Value>::new());
    deployments().update(Some(&new), &mut same, "other", at(3), None);
    assert_eq!(same.at(&["metadata", "managedFields"]), None);
}

#[test]
fn elements_of_lists_are_owned_one_by_one() {
    let config = |names: &[&str]| {
        let containers: Vec<String> = names.iter().map(|n| format!(r#"{{"name":"{n}","image":"i"}}"#)).collect();
        deployment(&format!(r#"{{"template":{{"spec":{{"containers":[{}]}}}}}}"#, containers.join(",")))
    };
    let names = |object: &Value| -> Vec<String> {
        let list = object.at(&["spec", "template", "spec", "containers"]).and_then(Value::as_array).unwrap();
        list.iter().map(|c| c.str_at(&["name"]).unwrap().to_owned()).collect()
    };
    let live = stored(deployments().apply(None, &config(&["a", "b"]), "me", false, at(0), None).unwrap());
    let live = deployments().apply(Some(&live), &config(&["c"]), "you", false, at(1), None).unwrap();
    assert_eq!(names(&live), ["a", "b", "c"]);
    let live = deployments().apply(Some(&live), &config(&["b"]), "me", false, at(2), None).unwrap();
    assert_eq!(names(&live), ["b", "c"]);
    let live = deployments().apply(Some(&live), &config(&["d", "b"]), "me", false, at(3), None).unwrap();
    assert_eq!(names(&live), ["d", "b", "c"]);
    let error = deployments().apply(Some(&live), &config(&["x", "x"]), "me", false, at(4), None).unwrap_err();
    assert!(error.to_string().ends_with(r#".spec.template.spec.containers: duplicate entries for key [name="x"]"#));
}

#[test]
fn configurations_are_checked() {
    let error = deployments().apply(None, &deployment(r#"{"foo":1}"#), "me", false, at(0), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): .spec.foo: field not declared in schema"
    );
    let mut config = deployment("{}");
    config.set_at(&["apiVersion"], "apps/v1beta1");
    let error = deployments().apply(None, &config, "me", false, at(0), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Incorrect version specified in apply patch. Specified patch version: apps/v1beta1, expected: apps/v1"
    );
}

#[test]
fn an_object_of_nobody_gets_a_manager_at_its_first_apply() {
    let live = stored(deployment(r#"{"replicas":1,"paused":true}"#));
    let new = deployments().apply(Some(&live), &deployment(r#"{"replicas":1}"#), "me", false, at(0), None).unwrap();
    assert_eq!(fields_of(&new, "before-first-apply"), Some(parse(r#"{"f:spec":{"f:paused":{},"f:replicas":{}}}"#)));
}

#[test]
fn many_updaters_are_joined() {
    let mut live = stored(deployment(r#"{"template":{"metadata":{"labels":{}}}}"#));
    live = deployments().apply(Some(&live), &deployment("{}"), "me", false, at(0), None).unwrap();
    for i in 0..15 {
        let mut new = live.clone();
        new.set_at(&["spec", "template", "metadata", "labels", &format!("l{i}")], "x");
        deployments().update(Some(&live), &mut new, &format!("u{i:02}"), at(i), None);
        live = new;
    }
    let list = live.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap();
    assert_eq!(list.iter().filter(|e| e.str_at(&["operation"]) == Some("Update")).count(), UPDATE_MANAGERS_MAX);
    assert!(fields_of(&live, "ancient-changes").is_some());
}

#[test]
fn fields_v1_reads_back() {
    let text = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}},"f:finalizers":{"v:\"x\"":{}}},"f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}}}}"#;
    let set = FieldSet::from_fields_v1(&parse(text));
    assert_eq!(set.to_fields_v1(), parse(text));
    assert_eq!(
        set.paths(),
        [
            ".metadata.finalizers[=\"x\"]",
            ".metadata.labels",
            ".metadata.labels.a",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].port"
        ]
    );
    assert!(set.difference(&set).is_empty());
    assert_eq!(set.intersection(&set), set);
}

fn pods(subresource: &str) -> FieldManagement {
    let Some(Schema::Struct(ty, _)) = Schema::builtin("io.k8s.api.core.v1.Pod") else { panic!("built in") };
    let reset: &[&str] = if subresource == "status" { &["spec"] } else { &["status"] };
    FieldManagement::new(ty, "v1", subresource).resetting(&[reset])
}

#[test]
fn the_first_manager_owns_what_it_sets() {
    let mut pod = parse(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"default","generateName":"p-",
        "labels":{"run":"p"},"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"n","uid":"u"}]},"spec":{"containers":[
        {"name":"c","image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"imagePullPolicy":"Always",
        "resources":{"limits":{"cpu":"1"}},"env":[{"name":"B","value":"x"},{"name":"A"},{"name":"D"},{"name":"D"}]},
        {"name":"b","image":"i"}],
        "securityContext":{},"tolerations":[{"key":"a"}],"volumes":[{"name":"v","emptyDir":{}}]},"status":{"phase":"Running"}}"#,
    );
    pods("").update(None, &mut pod, "kubectl-run", at(0), None);
    let wanted = parse(
        r#"{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:run":{}},
        "f:ownerReferences":{".":{},"k:{\"uid\":\"u\"}":{}}},
        "f:spec":{"f:containers":{
        "k:{\"name\":\"b\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{}},
        "k:{\"name\":\"c\"}":{".":{},"f:env":{".":{},"k:{\"name\":\"A\"}":{".":{},"f:name":{}},
        "k:{\"name\":\"B\"}":{".":{},"f:name":{},"f:value":{}},"k:{\"name\":\"D\"}":{}},"f:image":{},"f:imagePullPolicy":{},
        "f:name":{},"f:ports":{".":{},"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{},"f:protocol":{}}},
        "f:resources":{".":{},"f:limits":{".":{},"f:cpu":{}}}}},
        "f:securityContext":{},"f:tolerations":{},"f:volumes":{".":{},"k:{\"name\":\"v\"}":{".":{},"f:emptyDir":{},"f:name":{}}}}}"#,
    );
    assert_eq!(fields_of(&pod, "kubectl-run"), Some(wanted));
    // It is written in order, and compact.
    let entry = &pod.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap()[0];
    assert_eq!(entry.get("fieldsV1").unwrap().to_string(), fields_of(&pod, "kubectl-run").unwrap().to_string());
}

#[test]
fn a_status_is_owned_through_its_subresource() {
    let mut live = parse(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i"}]}}"#,
    );
    pods("").update(None, &mut live, "kubectl", at(0), None);
    live = stored(live);
    let mut new = live.clone();
    new.set_at(
        &["status"],
        parse(r#"{"phase":"Pending","conditions":[{"type":"Ready","status":"False"}],"podIPs":[{"ip":"::1"}]}"#),
    );
    pods("status").update(Some(&live), &mut new, "kubelet", at(1), None);
    let wanted = parse(
        r#"{"f:status":{"f:conditions":{".":{},"k:{\"type\":\"Ready\"}":{".":{},"f:lastProbeTime":{},"f:lastTransitionTime":{},
        "f:status":{},"f:type":{}}},"f:phase":{},"f:podIPs":{".":{},"k:{\"ip\":\"::1\"}":{".":{},"f:ip":{}}}}}"#,
    );
    assert_eq!(fields_of(&new, "kubelet"), Some(wanted.clone()));
    let list = new.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap();
    assert_eq!(list[1].str_at(&["subresource"]), Some("status"));
    // What is owned already changes only the time, and what is taken away is owned no more.
    let mut next = new.clone();
    next.set_at(&["status", "phase"], "Running");
    next.remove_at(&["status", "podIPs"]);
    pods("status").update(Some(&new), &mut next, "kubelet", at(2), None);
    let mut less = wanted;
    less.remove_at(&["f:status", "f:podIPs"]);
    assert_eq!(fields_of(&next, "kubelet"), Some(less));
    let list = next.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap();
    assert_eq!(list[0].str_at(&["time"]), Some("2023-11-14T22:13:20Z"));
    assert_eq!(list[1].str_at(&["time"]), Some("2023-11-14T22:13:22Z"));
    // Another takes what it changes.
    let mut taken = next.clone();
    taken.set_at(&["status", "phase"], "Failed");
    pods("status").update(Some(&next), &mut taken, "controller", at(3), None);
    assert_eq!(fields_of(&taken, "controller"), Some(parse(r#"{"f:status":{"f:phase":{}}}"#)));
    assert_eq!(fields_of(&taken, "kubelet").unwrap().at(&["f:status", "f:phase"]), None);
}

#[test]
fn managed_fields_given_at_creation_lose_to_the_creator() {
    let mut pod = parse(
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","managedFields":[{"manager":"m","operation":"Update",
        "apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:hostname":{},"f:nodeName":{}}}}]},
        "spec":{"hostname":"h"}}"#,
    );
    pods("").update(None, &mut pod, "me", at(0), None);
    assert_eq!(fields_of(&pod, "m"), Some(parse(r#"{"f:spec":{"f:nodeName":{}}}"#)));
    assert_eq!(fields_of(&pod, "me"), Some(parse(r#"{"f:spec":{"f:hostname":{}}}"#)));
    // An empty list at creation is none, and the creator is tracked.
    pod.set_at(&["metadata", "managedFields"], Vec::<Value>::new());
    pods("").update(None, &mut pod, "me", at(0), None);
    assert_eq!(fields_of(&pod, "me"), Some(parse(r#"{"f:spec":{"f:hostname":{}}}"#)));
}

#[test]
fn all_that_a_custom_object_sets_is_owned() {
    let schema = parse(
        r#"{"type":"object","properties":{"spec":{"type":"object","properties":{"replicas":{"type":"integer"},"text":{"type":"string"},
        "list":{"type":"array","items":{"type":"string"}},"set":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
        "left":{"type":"object","properties":{"out":{"type":"integer"}}},
        "template":{"type":"object","x-kubernetes-embedded-resource":true,"properties":{"spec":{"type":"object"}}}}}}}"#,
    );
    let kind = crate::gvk::GroupVersionKind::new("example.com", "v1", "Foo");
    let ty = crate::schema::custom::object_type(kind, "com.example.v1.Foo", Some(&schema));
    let fields = FieldManagement::new(TypeRef::Owned(ty.into()), "example.com/v1", "");
    let mut object = parse(
        r#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a","labels":{"x":"y"}},
        "spec":{"replicas":0,"text":"","list":[],"set":["a"],"template":{"kind":"Pod","apiVersion":"v1"}}}"#,
    );
    fields.update(None, &mut object, "me", at(0), None);
    let wanted = parse(
        r#"{"f:metadata":{"f:labels":{".":{},"f:x":{}}},"f:spec":{".":{},"f:list":{},"f:replicas":{},
        "f:set":{".":{},"v:\"a\"":{}},"f:template":{".":{},"f:apiVersion":{},"f:kind":{}},"f:text":{}}}"#,
    );
    assert_eq!(fields_of(&object, "me"), Some(wanted));
    let config =
        parse(r#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a"},"spec":{"replicas":"many"}}"#);
    let error = fields.apply(Some(&object), &config, "other", false, at(1), None).unwrap_err().to_string();
    let wanted = "failed to create typed patch object (/a; example.com/v1, Kind=Foo): .spec.replicas: expected numeric \
        (int or float), got string";
    assert_eq!(error, wanted);
}
