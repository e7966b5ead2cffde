//! A session of kube's own client, as controllers in Rust have it: typed and dynamic handles, watchers with both ways of
//! their first list, apply, subresources, streams, errors.

use std::collections::BTreeSet;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube::api::{
    Api, AttachParams, DeleteParams, DynamicObject, EvictParams, ListParams, LogParams, Patch, PatchParams, PostParams,
    VersionMatch, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{GroupVersionKind, Resource};
use kube::discovery::{Discovery, verbs};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::runtime::watcher::{Event, watcher};
use kube::runtime::{WatchStreamExt, watcher as watching};
use kube::{Client, Config, ResourceExt};
use serde_json::{Value, json};
use testkit::Cluster;
use tokio::io::AsyncReadExt;

const IMAGE: &str = "localhost/skiff/hello:v1";

#[test]
fn kubes_client_has_its_session() {
    let c = Cluster::start();
    let kubeconfig = std::fs::read_to_string(c.path("data/kubeconfig")).unwrap();
    c.inside(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            tokio::time::timeout(testkit::patience(), session(&kubeconfig)).await.expect("it ends in time")
        });
    });
}

async fn session(kubeconfig: &str) {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let version = client.apiserver_version().await.unwrap();
    assert_eq!((version.major.as_str(), version.minor.as_str()), ("1", "36"));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &object(json!({"metadata": {"name": "rs"}}))).await.unwrap();
    discovery(&client).await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "rs");
    errors(&maps).await;
    lists(&maps).await;
    for config in [watching::Config::default(), watching::Config::default().streaming_lists()] {
        watchers(&maps, config.labels("kind=watched")).await;
    }
    low_level_watch(&maps).await;
    patches(&maps).await;
    dynamic(&client).await;
    workloads(&client).await;
    namespaces.delete("rs", &DeleteParams::background()).await.unwrap();
    await_condition(namespaces, "rs", |found: Option<&Namespace>| found.is_none()).await.unwrap();
}

/// A typed object of its JSON.
fn object<K: serde::de::DeserializeOwned>(json: Value) -> K {
    serde_json::from_value(json).unwrap()
}

fn map(name: &str, label: &str, data: Value) -> ConfigMap {
    object(json!({"metadata": {"name": name, "labels": {"kind": label}}, "data": data}))
}

async fn discovery(client: &Client) {
    for found in [
        Discovery::new(client.clone()).run().await.unwrap(),
        Discovery::new(client.clone()).run_aggregated().await.unwrap(),
    ] {
        let deployment = GroupVersionKind::gvk("apps", "v1", "Deployment");
        let (resource, capabilities) = found.resolve_gvk(&deployment).unwrap();
        assert_eq!(resource.plural, "deployments");
        assert!(capabilities.supports_operation(verbs::WATCH));
        let subresources: Vec<&str> = capabilities.subresources.iter().map(|(r, _)| r.plural.as_str()).collect();
        assert!(subresources.iter().any(|s| s.ends_with("scale")), "{subresources:?}");
        assert_eq!(found.get("autoscaling").unwrap().preferred_version_or_latest(), "v2");
    }
}

/// The code, reason and text of a refusal.
fn status<T: std::fmt::Debug>(result: Result<T, kube::Error>) -> (u16, String, String) {
    match result {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone(), status.message.clone()),
        other => panic!("not refused: {other:?}"),
    }
}

fn told(code: u16, reason: &str, message: &str) -> (u16, String, String) {
    (code, reason.to_owned(), message.to_owned())
}

async fn errors(maps: &Api<ConfigMap>) {
    let post = PostParams::default();
    let first = maps.create(&post, &map("first", "x", json!({"a": "1"}))).await.unwrap();
    let again = status(maps.create(&post, &map("first", "x", json!({}))).await);
    assert_eq!(again, told(409, "AlreadyExists", "configmaps \"first\" already exists"));
    assert_eq!(status(maps.get("none").await), told(404, "NotFound", "configmaps \"none\" not found"));
    assert!(maps.get_opt("none").await.unwrap().is_none());
    let Err(kube::Error::Api(bad)) = maps.create(&post, &map("Not A Name", "x", json!({}))).await else { panic!() };
    let cause = &bad.details.as_ref().unwrap().causes[0];
    assert_eq!((bad.code, bad.reason.as_str(), cause.field.as_str()), (422, "Invalid", "metadata.name"));
    maps.patch("first", &PatchParams::default(), &Patch::Merge(json!({"data": {"b": "2"}}))).await.unwrap();
    let stale = status(maps.replace("first", &post, &first).await);
    assert_eq!((stale.0, stale.1.as_str()), (409, "Conflict"));
    let dry = PostParams { dry_run: true, ..post };
    maps.create(&dry, &map("dry", "x", json!({}))).await.unwrap();
    assert!(maps.get_opt("dry").await.unwrap().is_none());
}

async fn lists(maps: &Api<ConfigMap>) {
    for number in 0..7 {
        maps.create(&PostParams::default(), &map(&format!("page-{number}"), "page", json!({}))).await.unwrap();
    }
    let page = ListParams::default().labels("kind=page").limit(3);
    let (mut names, mut token) = (Vec::new(), None::<String>);
    loop {
        let params = token.as_deref().map_or(page.clone(), |token| page.clone().continue_token(token));
        let list = maps.list_metadata(&params).await.unwrap();
        names.extend(list.iter().map(ResourceExt::name_any));
        token = list.metadata.continue_.clone().filter(|token| !token.is_empty());
        if token.is_none() {
            break;
        }
    }
    assert_eq!(names, (0..7).map(|n| format!("page-{n}")).collect::<Vec<_>>());
    let cached = ListParams::default().match_any().fields("metadata.name=page-3");
    assert_eq!(maps.list(&cached).await.unwrap().items.len(), 1);
    let version = maps.list(&page).await.unwrap().metadata.resource_version.unwrap();
    let exact = ListParams::default().labels("kind=page").at(&version).matching(VersionMatch::Exact);
    assert_eq!(maps.list(&exact).await.unwrap().items.len(), 7);
    maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("kind=page")).await.unwrap();
    assert!(maps.list(&ListParams::default().labels("kind=page")).await.unwrap().items.is_empty());
    // The older state is still there for who names it.
    assert_eq!(maps.list(&exact).await.unwrap().items.len(), 7);
}

/// A watcher's first list, then changes in their order, those of selectors as additions and deletions.
async fn watchers(maps: &Api<ConfigMap>, config: watching::Config) {
    let post = PostParams::default();
    for name in ["w-1", "w-2"] {
        maps.create(&post, &map(name, "watched", json!({"n": "1"}))).await.unwrap();
    }
    let mut events = watcher(maps.clone(), config).default_backoff().boxed();
    let mut first = BTreeSet::new();
    loop {
        match events.next().await.unwrap().unwrap() {
            Event::Init => {}
            Event::InitApply(map) => drop(first.insert(map.name_any())),
            Event::InitDone => break,
            other => panic!("before the end of the first list: {other:?}"),
        }
    }
    assert_eq!(first, BTreeSet::from(["w-1".to_owned(), "w-2".to_owned()]));
    let label = |value: &str| Patch::Merge(json!({"metadata": {"labels": {"kind": value}}}));
    let own = PatchParams::default();
    maps.create(&post, &map("w-3", "watched", json!({}))).await.unwrap();
    maps.patch("w-1", &own, &Patch::Merge(json!({"data": {"n": "2"}}))).await.unwrap();
    maps.patch("w-2", &own, &label("other")).await.unwrap();
    maps.patch("w-2", &own, &label("watched")).await.unwrap();
    for name in ["w-1", "w-2", "w-3"] {
        maps.delete(name, &DeleteParams::default()).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.len() < 7 {
        seen.push(match events.next().await.unwrap().unwrap() {
            Event::Apply(map) => format!("+{}", map.name_any()),
            Event::Delete(map) => format!("-{}", map.name_any()),
            other => panic!("after the first list: {other:?}"),
        });
    }
    assert_eq!(seen, ["+w-3", "+w-1", "-w-2", "+w-2", "-w-1", "-w-2", "-w-3"]);
}

/// The events themselves: the bookmark that ends the first list, and the error of a version that is too new to be.
async fn low_level_watch(maps: &Api<ConfigMap>) {
    maps.create(&PostParams::default(), &map("raw", "raw", json!({}))).await.unwrap();
    let params = WatchParams::default().labels("kind=raw").timeout(testkit::slowness()).initial_events();
    let events: Vec<WatchEvent<ConfigMap>> = maps.watch(&params, "").await.unwrap().try_collect().await.unwrap();
    let [WatchEvent::Added(raw), WatchEvent::Bookmark(mark), ..] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(raw.name_any(), "raw");
    assert_eq!(mark.metadata.annotations["k8s.io/initial-events-end"], "true");
    let metadata = maps
        .watch_metadata(&WatchParams::default().labels("kind=raw").timeout(testkit::slowness()), "0")
        .await
        .unwrap();
    let added = metadata.boxed().try_next().await.unwrap();
    assert!(matches!(added, Some(WatchEvent::Added(m)) if m.name_any() == "raw"));
    let gone = maps
        .watch(&WatchParams::default().timeout(5 * testkit::slowness()), "1")
        .await
        .unwrap()
        .boxed()
        .try_next()
        .await;
    match gone {
        Ok(Some(WatchEvent::Error(status))) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        Ok(Some(WatchEvent::Added(_))) => {}
        other => panic!("{other:?}"),
    }
}

async fn patches(maps: &Api<ConfigMap>) {
    let wanted = |value: &str| {
        let metadata = json!({"name": "applied"});
        Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": value}}))
    };
    let one = PatchParams::apply("one");
    maps.patch("applied", &one, &wanted("v")).await.unwrap();
    let two = status(maps.patch("applied", &PatchParams::apply("two"), &wanted("other")).await);
    assert_eq!(two, told(409, "Conflict", "Apply failed with 1 conflict: conflict with \"one\": .data.k"));
    let forced = maps.patch("applied", &PatchParams::apply("two").force(), &wanted("other")).await.unwrap();
    assert_eq!(forced.data.as_ref().unwrap()["k"], "other");
    let managers: Vec<&str> = forced.managed_fields().iter().filter_map(|m| m.manager.as_deref()).collect();
    assert_eq!(managers, ["two"]);
    let empty = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap"}));
    assert_eq!(maps.patch("applied", &PatchParams::apply("two"), &empty).await.unwrap().data, None);
    let strict = PatchParams::apply("two").validation_strict();
    let unknown = Patch::Apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "bogus": 1}));
    let refused = status(maps.patch("applied", &strict, &unknown).await);
    let message = "failed to create typed patch object (/; /v1, Kind=ConfigMap): .bogus: field not declared in schema";
    assert_eq!(refused, told(500, "", message));
    let dry = maps.patch("applied", &one.clone().dry_run(), &wanted("dry")).await.unwrap();
    assert_eq!((dry.data.unwrap()["k"].as_str(), maps.get("applied").await.unwrap().data), ("dry", None));
}

async fn dynamic(client: &Client) {
    let found = Discovery::new(client.clone()).filter(&["batch"]).run().await.unwrap();
    let (resource, _) = found.resolve_gvk(&GroupVersionKind::gvk("batch", "v1", "CronJob")).unwrap();
    let jobs: Api<DynamicObject> = Api::namespaced_with(client.clone(), "rs", &resource);
    let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": IMAGE}]});
    let spec = json!({"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": pod}}}});
    let job = DynamicObject::new("yearly", &resource).data(json!({"spec": spec}));
    let made = jobs.create(&PostParams::default(), &job).await.unwrap();
    assert_eq!(made.data.pointer("/spec/concurrencyPolicy"), Some(&json!("Allow")));
    let deleted = jobs.delete("yearly", &DeleteParams::foreground()).await.unwrap();
    assert!(deleted.is_left() || deleted.is_right());
}

async fn workloads(client: &Client) {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "rs");
    let pods: Api<Pod> = Api::namespaced(client.clone(), "rs");
    let labels = json!({"app": "hello"});
    let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "hello", "image": IMAGE}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    let hello = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "hello"}, "spec": spec});
    deployments.patch("hello", &PatchParams::apply("session"), &Patch::Apply(hello)).await.unwrap();
    await_condition(deployments.clone(), "hello", conditions::is_deployment_completed()).await.unwrap();
    let scale = deployments.get_scale("hello").await.unwrap();
    assert_eq!(scale.status.unwrap().selector.as_deref(), Some("app=hello"));
    let doubled = Patch::Merge(json!({"spec": {"replicas": 2}}));
    deployments.patch_scale("hello", &PatchParams::default(), &doubled).await.unwrap();
    assert_eq!(deployments.get_scale("hello").await.unwrap().spec.unwrap().replicas, Some(2));
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "hello", "env": [{"name": "A"}]}]}}}});
    let dry = PatchParams { dry_run: true, ..PatchParams::default() };
    let changed = deployments.patch("hello", &dry, &Patch::Strategic(image)).await.unwrap();
    let container = &changed.spec.unwrap().template.spec.unwrap().containers[0];
    assert_eq!((container.image.as_deref(), container.env.as_ref().map(Vec::len)), (Some(IMAGE), Some(1)));
    let status = deployments.get_status("hello").await.unwrap();
    // Made, and scaled: neither the controller's notes nor a dry run count.
    assert_eq!(status.meta().generation, Some(2));

    let list = pods.list(&ListParams::default().labels("app=hello")).await.unwrap();
    let pod = list.iter().find(|pod| conditions::is_pod_running().matches_object(Some(pod))).unwrap().name_any();
    pods.logs(&pod, &LogParams { tail_lines: Some(5), ..LogParams::default() }).await.unwrap();
    let mut process = pods.exec(&pod, ["/skiff", "--version"], &AttachParams::default().stderr(false)).await.unwrap();
    let mut said = String::new();
    process.stdout().unwrap().read_to_string(&mut said).await.unwrap();
    let ended = process.take_status().unwrap().await.unwrap();
    process.join().await.unwrap();
    assert!(said.starts_with("skiff "), "{said}");
    assert_eq!(ended.status.as_deref(), Some("Success"));
    pods.evict(&pod, &EvictParams::default()).await.unwrap();
    let evicted = await_condition(pods.clone(), &pod, |pod: Option<&Pod>| {
        pod.is_none_or(|pod| pod.meta().deletion_timestamp.is_some())
    });
    evicted.await.unwrap();
}
