//! Custom resources, from their definition to its end.

use std::sync::Arc;
use std::time::Duration;

use client::{PatchKind, WatchEvent};
use futures_util::StreamExt;
use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use store::memory::MemoryStore;

use super::{Ask, Cluster, cluster, names, over};
use crate::openapi::{Document, Documents, decompress};

const DEFINITIONS: &str = "apiextensions.k8s.io/v1";
const V1: &str = "example.com/v1";
const SCHEMA: &str = r#"{"type":"object","description":"Widgets are made here.","properties":{
    "spec":{"type":"object","required":["size"],"properties":{
        "size":{"type":"integer","minimum":1},
        "color":{"type":"string","default":"green"},
        "replicas":{"type":"integer"},
        "parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],
            "items":{"type":"object","required":["name"],"properties":{"name":{"type":"string"},"count":{"type":"integer"}}}}}},
    "status":{"type":"object","properties":{"replicas":{"type":"integer"},"selector":{"type":"string"}}}}}"#;

/// A version of the definition of widgets.
fn version(name: &str, storage: bool) -> String {
    format!(
        r#"{{"name":"{name}","served":true,"storage":{storage},"schema":{{"openAPIV3Schema":{SCHEMA}}},
        "subresources":{{"status":{{}},"scale":{{"specReplicasPath":".spec.replicas",
            "statusReplicasPath":".status.replicas","labelSelectorPath":".status.selector"}}}},
        "selectableFields":[{{"jsonPath":".spec.color"}}],
        "additionalPrinterColumns":[{{"name":"Size","type":"integer","jsonPath":".spec.size"}}]}}"#
    )
}

fn definition(versions: &[String]) -> String {
    format!(
        r#"{{"apiVersion":"{DEFINITIONS}","kind":"CustomResourceDefinition","metadata":{{"name":"widgets.example.com"}},
        "spec":{{"group":"example.com","scope":"Namespaced","versions":[{}],
            "names":{{"plural":"widgets","singular":"widget","kind":"Widget","shortNames":["wd"],"categories":["all"]}}}}}}"#,
        versions.join(",")
    )
}

fn crds(verb: &str) -> Ask {
    Ask::new(verb, DEFINITIONS, "customresourcedefinitions").namespace("")
}

fn widgets(verb: &str) -> Ask {
    Ask::new(verb, V1, "widgets")
}

fn widget(name: &str, spec: &str) -> Ask {
    let body = format!(r#"{{"apiVersion":"{V1}","kind":"Widget","metadata":{{"name":"{name}"}},"spec":{spec}}}"#);
    widgets("create").body(&body)
}

async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap_or_else(|_| panic!("{what}: never"));
}

async fn condition(cluster: &Cluster, name: &str) -> Option<String> {
    let found = cluster.tree(crds("get").name("widgets.example.com")).await.ok()?;
    let conditions = found.at(&["status", "conditions"]).and_then(Value::as_array)?;
    let found = conditions.iter().find(|c| c.str_at(&["type"]) == Some(name))?;
    Some(format!("{} {}", found.str_at(&["status"])?, found.str_at(&["reason"])?))
}

async fn define(cluster: &Cluster, versions: &[String]) {
    cluster.ask(&crds("create").body(&definition(versions))).await.unwrap();
    until("established", async || condition(cluster, "Established").await.is_some_and(|c| c.starts_with("True"))).await;
}

async fn defined() -> Cluster {
    let cluster = cluster().await;
    define(&cluster, &[version("v1", true)]).await;
    cluster
}

fn code(answer: Result<impl Sized, ApiError>) -> u16 {
    answer.err().map_or(200, |error| error.code())
}

#[tokio::test]
async fn objects_are_served_as_soon_as_their_definition_is_established() {
    let cluster = cluster().await;
    assert_eq!(code(cluster.list(widgets("list")).await), 404);
    define(&cluster, &[version("v1", true)]).await;
    let made = cluster.tree(widget("a", r#"{"size":1}"#)).await.unwrap();
    assert_eq!((made.generation(), made.str_at(&["spec", "color"])), (1, Some("green")));
    assert!(made.at(&["metadata", "managedFields"]).is_some() && made.get("status").is_none());
    assert_eq!(names(&cluster.list(widgets("list")).await.unwrap()), ["a"]);
    let green = widgets("list").options(|o| o.field_selector = "spec.color=green".into());
    assert_eq!(names(&cluster.list(green).await.unwrap()), ["a"]);
    let red = widgets("list").options(|o| o.field_selector = "spec.color=red".into());
    assert!(cluster.list(red).await.unwrap().items.is_empty());
    assert_eq!(code(cluster.tree(widget("a", r#"{"size":1}"#)).await), 409);
    assert_eq!(code(cluster.tree(widget("b", r#"{"size":0}"#)).await), 422);
    assert_eq!(code(cluster.list(Ask::new("list", "example.com/v2", "widgets")).await), 404);
    cluster.ask(&widgets("delete").name("a")).await.unwrap();
    assert_eq!(code(cluster.tree(widgets("get").name("a")).await), 404);
}

#[tokio::test]
async fn unknown_fields_are_pruned_told_or_refused() {
    let cluster = defined().await;
    let ask = |mode: &str| {
        widget("a", r#"{"size":1,"seize":2}"#).options(|o| {
            o.field_validation = mode.into();
            o.dry_run = true;
        })
    };
    let error = cluster.ask(&ask("Strict")).await.unwrap_err();
    assert_eq!(error.code(), 400);
    assert!(error.to_string().ends_with(r#"strict decoding error: unknown field "spec.seize""#), "{error}");
    let warned = cluster.ask(&ask("Warn")).await.unwrap();
    assert_eq!(warned.warnings, [r#"unknown field "spec.seize""#]);
    assert!(cluster.ask(&ask("Ignore")).await.unwrap().warnings.is_empty());
    assert_eq!(cluster.tree(ask("Ignore")).await.unwrap().at(&["spec", "seize"]), None);
}

#[tokio::test]
async fn status_and_scale_are_written_through_their_subresources() {
    let cluster = defined().await;
    cluster.ask(&widget("a", r#"{"size":1}"#)).await.unwrap();
    let merge = |body: &str| widgets("patch").name("a").patch(PatchKind::Merge, body);
    let both = r#"{"spec":{"size":2},"status":{"replicas":3,"selector":"a=b"}}"#;
    let changed = cluster.tree(merge(both)).await.unwrap();
    assert_eq!((changed.generation(), changed.get("status")), (2, None));
    let changed = cluster.tree(merge(both).sub("status")).await.unwrap();
    assert_eq!((changed.generation(), changed.i64_at(&["status", "replicas"])), (2, Some(3)));
    assert_eq!(code(cluster.tree(widgets("get").name("a").sub("scale")).await), 500, "there are no replicas yet");
    let scale = widgets("patch").name("a").sub("scale").patch(PatchKind::Merge, r#"{"spec":{"replicas":5}}"#);
    let scale = cluster.tree(scale).await.unwrap();
    assert_eq!((scale.kind(), scale.i64_at(&["spec", "replicas"])), ("Scale", Some(5)));
    assert_eq!(scale.str_at(&["status", "selector"]), Some("a=b"));
    let now = cluster.tree(widgets("get").name("a")).await.unwrap();
    assert_eq!((now.generation(), now.i64_at(&["spec", "replicas"])), (3, Some(5)));
}

#[tokio::test]
async fn patches_apply_but_for_the_strategic_one() {
    let cluster = defined().await;
    cluster.ask(&widget("a", r#"{"size":1}"#)).await.unwrap();
    let patch = |kind, body: &str| widgets("patch").name("a").patch(kind, body);
    let error = cluster.tree(patch(PatchKind::StrategicMerge, r#"{"spec":{"size":2}}"#)).await.unwrap_err();
    assert_eq!(error.code(), 415);
    let json = r#"[{"op":"replace","path":"/spec/size","value":4}]"#;
    assert_eq!(cluster.tree(patch(PatchKind::Json, json)).await.unwrap().i64_at(&["spec", "size"]), Some(4));
    let apply = |manager: &str, size: i64, part: &str| {
        let body = format!(
            r#"{{"apiVersion":"{V1}","kind":"Widget","metadata":{{"name":"b"}},
            "spec":{{"size":{size},"parts":[{{"name":"{part}","count":1}}]}}}}"#
        );
        let manager = manager.to_owned();
        widgets("patch").name("b").patch(PatchKind::Apply, &body).options(|o| o.field_manager = manager)
    };
    cluster.tree(apply("one", 1, "x")).await.unwrap();
    let both = cluster.tree(apply("two", 1, "y")).await.unwrap();
    assert_eq!(both.at(&["spec", "parts"]).and_then(Value::as_array).unwrap().len(), 2);
    let conflict = cluster.tree(apply("two", 2, "y")).await.unwrap_err();
    assert_eq!(conflict.code(), 409);
    let unknown = format!(r#"{{"apiVersion":"{V1}","kind":"Widget","metadata":{{"name":"b"}},"spec":{{"seize":1}}}}"#);
    let unknown =
        widgets("patch").name("b").patch(PatchKind::Apply, &unknown).options(|o| o.field_manager = "x".into());
    let error = cluster.tree(unknown).await.unwrap_err().to_string();
    assert!(error.ends_with("b; example.com/v1, Kind=Widget): .spec.seize: field not declared in schema"), "{error}");
}

#[tokio::test]
async fn versions_differ_in_their_names() {
    let cluster = cluster().await;
    define(&cluster, &[version("v1", true), version("v2", false)]).await;
    cluster.ask(&widget("a", r#"{"size":1}"#)).await.unwrap();
    let v2 = |verb| Ask::new(verb, "example.com/v2", "widgets");
    let found = cluster.tree(v2("get").name("a")).await.unwrap();
    assert_eq!(found.api_version(), "example.com/v2");
    let mut watch = cluster.watch(v2("watch")).await.unwrap();
    let Some(WatchEvent::Added(entry)) = watch.next().await else { panic!("what is there is sent") };
    assert_eq!(entry.tree().api_version(), "example.com/v2");
    let changed = cluster.tree(v2("update").name("a").tree(found)).await.unwrap();
    assert_eq!(changed.api_version(), "example.com/v2");
    let managers = changed.at(&["metadata", "managedFields"]).and_then(Value::as_array).unwrap();
    assert!(managers.iter().all(|m| m.str_at(&["apiVersion"]) == Some(V1)), "nothing was changed: {managers:?}");
    // The other version becomes the stored one; the first is no longer served.
    let mut crd = cluster.tree(crds("get").name("widgets.example.com")).await.unwrap();
    assert_eq!(crd.at(&["status", "storedVersions"]), Some(&Value::from(vec!["v1"])));
    let versions = crd.at(&["spec", "versions"]).and_then(Value::as_array).cloned().unwrap();
    let versions: Vec<Value> = versions
        .into_iter()
        .map(|mut version| {
            let is_v2 = version.str_at(&["name"]) == Some("v2");
            version.set_at(&["storage"], is_v2);
            version.set_at(&["served"], is_v2);
            version
        })
        .collect();
    crd.set_at(&["spec", "versions"], versions);
    let crd = cluster.tree(crds("update").name("widgets.example.com").tree(crd)).await.unwrap();
    assert_eq!(crd.at(&["status", "storedVersions"]), Some(&Value::from(vec!["v1", "v2"])));
    assert_eq!(code(cluster.tree(widgets("get").name("a")).await), 404);
    assert_eq!(cluster.tree(v2("get").name("a")).await.unwrap().i64_at(&["spec", "size"]), Some(1));
    let rest = tokio::time::timeout(Duration::from_secs(20), watch.collect::<Vec<_>>()).await;
    assert!(rest.expect("the watch ends, to begin again with the new definition").len() <= 1);
}

#[tokio::test]
async fn objects_go_before_their_definition() {
    let cluster = defined().await;
    cluster.ask(&widget("a", r#"{"size":1}"#)).await.unwrap();
    let held = r#"{"metadata":{"name":"held","finalizers":["example.com/hold"]},"spec":{"size":1}}"#;
    cluster.ask(&widgets("create").body(held)).await.unwrap();
    let mut watch = cluster
        .watch(widgets("watch").options(|o| o.send_initial_events = Some(false)).options(|o| {
            o.resource_version_match = "NotOlderThan".into();
        }))
        .await
        .unwrap();
    let leaving = cluster.tree(crds("delete").name("widgets.example.com")).await.unwrap();
    assert!(leaving.is_deleting() && leaving.finalizers().contains(&crate::custom::keeper::FINALIZER));
    until("the first goes", async || names(&cluster.list(widgets("list")).await.unwrap()) == ["held"]).await;
    assert_eq!(condition(&cluster, "Terminating").await.as_deref(), Some("True InstanceDeletionInProgress"));
    let refused = cluster.tree(widget("b", r#"{"size":1}"#)).await.unwrap_err();
    assert_eq!(refused.to_string(), "create not allowed while custom resource definition is terminating");
    let release = widgets("patch").name("held").patch(PatchKind::Merge, r#"{"metadata":{"finalizers":null}}"#);
    cluster.ask(&release).await.unwrap();
    until("it goes", async || code(cluster.tree(crds("get").name("widgets.example.com")).await) == 404).await;
    assert_eq!(code(cluster.list(widgets("list")).await), 404);
    let mut deleted = Vec::new();
    while let Some(event) = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("the watch ends") {
        if let WatchEvent::Deleted(entry) = event {
            deleted.push(entry.tree().name().to_owned());
        }
    }
    assert_eq!(deleted, ["a", "held"]);
    // The same name again has nothing of the past.
    define(&cluster, &[version("v1", true)]).await;
    assert!(cluster.list(widgets("list")).await.unwrap().items.is_empty());
    cluster.ask(&widget("a", r#"{"size":1}"#)).await.unwrap();
}

#[tokio::test]
async fn a_restart_finds_all() {
    let store = Arc::new(MemoryStore::default());
    let first = over(store.clone()).await;
    define(&first, &[version("v1", true)]).await;
    first.ask(&widget("a", r#"{"size":1}"#)).await.unwrap();
    let before = first.tree(widgets("get").name("a")).await.unwrap();
    drop(first);
    let again = over(store).await;
    assert_eq!(again.tree(widgets("get").name("a")).await.unwrap(), before);
    assert_eq!(names(&again.list(widgets("list")).await.unwrap()), ["a"]);
    let mut watch = again.watch(widgets("watch")).await.unwrap();
    assert!(matches!(watch.next().await, Some(WatchEvent::Added(_))));
}

#[tokio::test]
async fn a_schema_that_changes_is_felt_by_what_is_stored() {
    let cluster = defined().await;
    cluster.ask(&widget("a", r#"{"size":1,"color":"red","replicas":1}"#)).await.unwrap();
    let mut crd = cluster.tree(crds("get").name("widgets.example.com")).await.unwrap();
    let versions = crd.get_mut("spec").and_then(|s| s.get_mut("versions")).and_then(Value::as_array_mut).unwrap();
    let spec = ["schema", "openAPIV3Schema", "properties", "spec", "properties"];
    versions[0].remove_at(&[&spec[..], &["color"]].concat());
    versions[0].remove_at(&["selectableFields"]);
    versions[0]
        .set_at(&[&spec[..], &["shape"]].concat(), Value::parse(br#"{"type":"string","default":"round"}"#).unwrap());
    cluster.ask(&crds("update").name("widgets.example.com").tree(crd)).await.unwrap();
    let found = cluster.tree(widgets("get").name("a")).await.unwrap();
    let spec = Value::parse(br#"{"replicas":1,"shape":"round","size":1}"#).unwrap();
    assert_eq!(found.get("spec"), Some(&spec));
    assert_eq!(cluster.list(widgets("list")).await.unwrap().items[0].tree().get("spec"), Some(&spec));
}

#[tokio::test]
async fn documents_tell_of_custom_resources() {
    let cluster = cluster().await;
    let documents = Documents::new(cluster.pipeline.clone());
    let before = documents.get(&Document::V2).unwrap().etag;
    let core = documents.hash("api/v1");
    assert!(!documents.has("apis/example.com/v1"));
    define(&cluster, &[version("v1", true)]).await;
    let read = |document: &Document| {
        let served = documents.get(document).expect("it is served");
        (Value::parse(&decompress(&served.gzip)).unwrap(), served.etag)
    };
    let (v2, etag) = read(&Document::V2);
    assert_ne!(etag, before);
    let widget = v2.at(&["definitions", "com.example.v1.Widget"]).unwrap();
    assert_eq!(widget.str_at(&["description"]), Some("Widgets are made here."));
    assert_eq!(widget.i64_at(&["properties", "spec", "properties", "size", "minimum"]), Some(1));
    let kinds = widget.get("x-kubernetes-group-version-kind").and_then(Value::as_array).unwrap();
    assert_eq!(kinds[0].str_at(&["kind"]), Some("Widget"));
    let path = Document::V3("apis/example.com/v1".into());
    let (v3, _) = read(&path);
    let widget = v3.at(&["components", "schemas", "com.example.v1.Widget", "properties"]).unwrap();
    assert!(widget.str_at(&["apiVersion", "description"]).is_some_and(|text| text.starts_with("APIVersion")));
    let patch = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}/status";
    assert!(v3.at(&["paths", patch, "patch"]).is_some());
    let first = documents.hash("apis/example.com/v1");
    assert_eq!(documents.hash("api/v1"), core);
    let describe =
        r#"[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/description","value":"Others."}]"#;
    cluster.ask(&crds("patch").name("widgets.example.com").patch(PatchKind::Json, describe)).await.unwrap();
    assert_ne!(documents.hash("apis/example.com/v1"), first);
    let description = ["components", "schemas", "com.example.v1.Widget", "description"];
    assert_eq!(read(&path).0.str_at(&description), Some("Others."));
    cluster.ask(&crds("delete").name("widgets.example.com")).await.unwrap();
    until("gone", async || !documents.has("apis/example.com/v1")).await;
    assert!(read(&Document::V2).0.at(&["definitions", "com.example.v1.Widget"]).is_none());
}

#[tokio::test]
async fn discovery_tells_of_custom_resources() {
    let cluster = cluster().await;
    define(&cluster, &[version("v1beta1", false), version("v1", true)]).await;
    let rows = cluster.pipeline.rows();
    let group = crate::discovery::group(&rows, "example.com").unwrap();
    assert_eq!(group.str_at(&["preferredVersion", "version"]), Some("v1"));
    let list = crate::discovery::api_resources(&rows, "example.com", "v1beta1").unwrap();
    let list = list.get("resources").and_then(Value::as_array).unwrap();
    let all: Vec<&str> = list.iter().filter_map(|r| r.str_at(&["name"])).collect();
    assert_eq!(all, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(list[0].get("shortNames"), Some(&Value::from(vec!["wd"])));
    let groups = crate::discovery::aggregated(&rows, crate::discovery::Aggregated::V2, false);
    let last = groups.get("items").and_then(Value::as_array).and_then(|items| items.last()).unwrap();
    assert_eq!(last.str_at(&["metadata", "name"]), Some("example.com"));
}
