//! Flow control with configurations as they are stored.

use client::{PatchKind, User};
use futures_util::FutureExt;
use machinery::Value;

use super::*;
use crate::tests::{Ask, Cluster, cluster, config};

/// Who, which verb, on `group/resource/subresource` (`-` is the core group) in which namespace, or on which path.
type Case<'a> = (&'a str, &'a [&'a str], &'a str, &'a str, &'a str);

fn digest<'a>(user: &'a User, verb: &'a str, what: &'a str, namespace: &'a str) -> Digest<'a> {
    let mut parts = what.split('/');
    let mut part = || parts.next().unwrap_or_default();
    let is_path = what.starts_with('/');
    let (group, resource, subresource) = if is_path { ("", "", "") } else { (part(), part(), part()) };
    let group = if group == "-" { "" } else { group };
    let path = if is_path { what } else { "" };
    Digest {
        user,
        verb,
        group,
        version: "v1",
        resource,
        subresource,
        namespace,
        name: "",
        path,
        list: ListWork::default(),
    }
}

/// Flow control with these objects on top of those that every cluster has.
fn flow(seats: u32, levels: &[&str], schemas: &[&str]) -> Flow {
    let mut flow = Flow::with_seats(seats);
    let parse = |texts: &[&str]| -> Vec<Value> { texts.iter().map(|t| Value::parse(t.as_bytes()).unwrap()).collect() };
    let all = resources::bootstrap::wanted().iter().map(|wanted| &wanted.object);
    let (mut every_level, mut every_schema) = (parse(levels), parse(schemas));
    every_level.extend(all.clone().filter(|o| o.str_at(&["kind"]) == Some("PriorityLevelConfiguration")).cloned());
    every_schema.extend(all.filter(|o| o.str_at(&["kind"]) == Some("FlowSchema")).cloned());
    let (levels, schemas): (Vec<_>, Vec<_>) = (every_level.iter().collect(), every_schema.iter().collect());
    let (snapshot, _) = flow.book.get_mut().unwrap().digest(&levels, &schemas);
    flow.snapshot.store(Arc::new(snapshot));
    flow
}

fn schema(name: &str, precedence: i64, level: &str, rule: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","uid":"u-{name}"}},"spec":{{"matchingPrecedence":{precedence},
        "priorityLevelConfiguration":{{"name":"{level}"}},"distinguisherMethod":{{"type":"ByUser"}},"rules":[{rule}]}}}}"#
    )
}

fn level(name: &str, shares: u32, response: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","uid":"u-{name}"}},"spec":{{"type":"Limited",
        "limited":{{"nominalConcurrencyShares":{shares},"lendablePercent":0,"borrowingLimitPercent":0,"limitResponse":{response}}}}}}}"#
    )
}

const EVERYTHING: &str = r#"{"subjects":[{"kind":"Group","group":{"name":"system:authenticated"}}],
    "resourceRules":[{"verbs":["*"],"apiGroups":["*"],"resources":["*"],"namespaces":["*"],"clusterScope":true}]}"#;

#[test]
fn upstreams_own_set_sorts_requests_as_upstream_does() {
    let flow = flow(600, &[], &[]);
    const KNOWN: &[&str] = &["system:authenticated"];
    const NODE: &[&str] = &["system:nodes", "system:authenticated"];
    const ACCOUNT: &[&str] = &["system:serviceaccounts", "system:authenticated"];
    let cases: &[(Case<'_>, &str)] = &[
        (("admin", &["system:masters", "system:authenticated"], "list", "-/pods", "a"), "exempt"),
        (("system:anonymous", &["system:unauthenticated"], "get", "/readyz", ""), "probes"),
        (("system:anonymous", &["system:unauthenticated"], "get", "/livez/etcd", ""), "probes"),
        (("jane", KNOWN, "post", "/livez", ""), "global-default"),
        (
            ("system:kube-scheduler", KNOWN, "update", "coordination.k8s.io/leases", "kube-system"),
            "system-leader-election",
        ),
        (("system:kube-scheduler", KNOWN, "delete", "coordination.k8s.io/leases", "kube-system"), "kube-scheduler"),
        (
            ("system:serviceaccount:kube-system:x", ACCOUNT, "get", "coordination.k8s.io/leases", "a"),
            "system-leader-election",
        ),
        (("system:node:n", NODE, "update", "-/nodes/status", ""), "system-node-high"),
        (("system:node:n", NODE, "update", "-/nodes/proxy", ""), "system-nodes"),
        (("system:node:n", NODE, "update", "coordination.k8s.io/leases", "kube-node-lease"), "system-node-high"),
        (("system:node:n", NODE, "list", "-/pods", ""), "system-nodes"),
        (("system:kube-controller-manager", KNOWN, "list", "-/pods", ""), "kube-controller-manager"),
        (("system:serviceaccount:kube-system:x", ACCOUNT, "list", "-/pods", ""), "kube-system-service-accounts"),
        (("system:serviceaccount:kube-systems:x", ACCOUNT, "list", "-/pods", ""), "service-accounts"),
        (("jane", KNOWN, "list", "apps/deployments", "a"), "global-default"),
        (("jane", KNOWN, "get", "/version", ""), "global-default"),
        (("nobody", &[], "get", "/version", ""), "catch-all"),
    ];
    for ((user, groups, verb, what, namespace), wanted) in cases {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        let user = User { name: (*user).to_owned(), groups, ..User::default() };
        let found = flow.classify(&digest(&user, verb, what, namespace));
        assert_eq!(found.name, *wanted, "{} {verb} {what}", user.name);
    }
}

#[test]
fn precedence_then_name_decides_and_schemas_without_level_are_left_out() {
    let level = level("mine", 10, r#"{"type":"Reject"}"#);
    let schemas = [("b", 500, "mine"), ("a", 500, "mine"), ("z", 400, "gone")]
        .map(|(name, precedence, level)| schema(name, precedence, level, EVERYTHING));
    let flow = flow(600, &[&level], &schemas.each_ref().map(String::as_str));
    let user = User::component("jane", &[]);
    assert_eq!(flow.classify(&digest(&user, "get", "apps/deployments", "a")).name, "a");
    // What no schema matches is caught, also when others come after the last one.
    let nothing = r#"{"subjects":[{"kind":"User","user":{"name":"x"}}],"nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["*"]}]}"#;
    let last = schema("zzz", 10_000, "mine", nothing);
    let caught = self::flow(600, &[&level], &[&last]);
    assert_eq!(caught.classify(&digest(&User::default(), "get", "apps/deployments", "a")).name, "catch-all");
    let only = Flow::new();
    assert_eq!(only.classify(&digest(&user, "get", "apps/deployments", "a")).name, "catch-all");
}

#[tokio::test(start_paused = true)]
async fn a_noisy_user_does_not_starve_others_of_its_level() {
    let queue = r#"{"type":"Queue","queuing":{"queues":64,"handSize":4,"queueLengthLimit":50}}"#;
    let flow = flow(600, &[&level("mine", 1, queue)], &[&schema("mine", 500, "mine", EVERYTHING)]);
    let kinds = Kinds::new(Vec::new(), None);
    let (noisy, quiet) = (User::component("noisy", &[]), User::component("quiet", &[]));
    let enter = |user| {
        let digest = digest(user, "get", "apps/deployments", "a");
        let (flow, kinds) = (&flow, &kinds);
        async move { flow.enter(&digest, kinds, WAIT_MAX).await }
    };
    let mut held = Vec::new();
    while let Some(place) = enter(&noisy).now_or_never() {
        held.push(place.unwrap());
    }
    assert!((1..10).contains(&held.len()), "{}", held.len());
    let mut waiting: Vec<_> = (0..200).map(|_| Box::pin(enter(&noisy))).collect();
    let full = waiting.iter_mut().filter_map(|w| w.as_mut().now_or_never()).filter(Result::is_err).count();
    assert_eq!(full, 0, "four queues hold fifty each");
    assert!(enter(&noisy).await.is_err());
    let mut mine = Box::pin(enter(&quiet));
    assert!(mine.as_mut().now_or_never().is_none());
    // The noisy one's next requests come first at most once per queue of its hand.
    for _ in 0..6 {
        held.pop();
        if let Some(place) = mine.as_mut().now_or_never() {
            return assert!(place.is_ok());
        }
        let mut ready = waiting.iter_mut().enumerate();
        let (at, place) = ready.find_map(|(at, one)| Some((at, one.as_mut().now_or_never()?))).unwrap();
        drop(waiting.remove(at));
        held.push(place.unwrap());
    }
    panic!("the quiet one still waits");
}

#[tokio::test]
async fn the_objects_are_told_whether_their_levels_exist_and_changes_count_at_once() {
    let cluster = cluster().await;
    let ask = |verb: &str, plural: &str| Ask::new(verb, "flowcontrol.apiserver.k8s.io/v1", plural).namespace("");
    let condition = async |name: &str| {
        let object = cluster.tree(ask("get", "flowschemas").name(name)).await.unwrap();
        let conditions = object.at(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
        conditions.first().map(|c| format!("{} {}", c.str_at(&["status"]).unwrap(), c.str_at(&["reason"]).unwrap()))
    };
    assert_eq!(condition("catch-all").await.as_deref(), Some("False Found"));
    let mine = schema("mine", 500, "mine", EVERYTHING);
    cluster.tree(ask("create", "flowschemas").body(&mine)).await.unwrap();
    wait(async || condition("mine").await.as_deref() == Some("True NotFound")).await;
    let jail = r#"{"type":"Queue","queuing":{"queues":1,"handSize":1,"queueLengthLimit":1}}"#;
    cluster.tree(ask("create", "prioritylevelconfigurations").body(&level("mine", 0, jail))).await.unwrap();
    wait(async || condition("mine").await.as_deref() == Some("False Found")).await;

    // A level without seats lets nobody through.
    let jane = Ask::new("get", "v1", "namespaces").namespace("").name("default").user("jane", &[]);
    let mut first = Box::pin(cluster.ask(&jane));
    assert!(first.as_mut().now_or_never().is_none());
    let full = cluster.ask(&jane).await.unwrap_err();
    assert_eq!((full.code(), full.to_string().as_str()), (429, TURNED_AWAY));
    let patch = r#"{"spec":{"limited":{"nominalConcurrencyShares":50}}}"#;
    let patch = ask("patch", "prioritylevelconfigurations").name("mine").patch(PatchKind::Merge, patch);
    cluster.tree(patch).await.unwrap();
    first.await.unwrap();
}

async fn wait(mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "it did not come true in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn lists_take_seats_by_what_they_hold_and_watches_only_while_they_begin() {
    let cluster = cluster().await;
    let text = "x".repeat(50_000);
    for i in 0..12 {
        let body = format!(r#"{{"metadata":{{"name":"m{i}"}},"data":{{"k":"{text}"}}}}"#);
        cluster.tree(Ask::new("create", "v1", "configmaps").body(&body)).await.unwrap();
    }
    let user = User::component("jane", &[]);
    let seats = |verb, change: fn(&mut Digest<'_>)| {
        let mut digest = digest(&user, verb, "-/configmaps", "default");
        change(&mut digest);
        work::seats(&digest, 8, &cluster.pipeline.kinds)
    };
    assert_eq!(seats("get", |_| ()), 1);
    assert!((6..=7).contains(&seats("list", |_| ())), "{}", seats("list", |_| ()));
    assert_eq!(seats("list", |d| d.list.limit = 2), 2);
    assert_eq!(seats("list", |d| d.name = "m1"), 1);
    assert_eq!(seats("list", |d| d.resource = "secrets"), 1);
    assert_eq!(seats("watch", |_| ()), 1);
    assert!(seats("watch", |d| d.list.initial = true) >= 6);

    let level = |cluster: &Cluster| cluster.pipeline.flow.classify(&digest(&user, "get", "/version", "")).level.clone();
    let watch = Ask::new("watch", "v1", "configmaps").user("jane", &[]);
    let watch = cluster.pipeline.watch(watch.0).await.unwrap();
    assert_eq!(level(&cluster).load(), (0, 0));
    drop(watch);
}

#[tokio::test(start_paused = true)]
async fn levels_lend_what_they_do_not_use_to_those_that_want_more() {
    let pipeline =
        crate::pipeline::Pipeline::new(config(Arc::new(store::memory::MemoryStore::default()))).await.unwrap();
    let user = User::component("jane", &[]);
    let digest = digest(&user, "get", "/version", "");
    let level = pipeline.flow.classify(&digest).level.clone();
    assert_eq!(level.name, "global-default");
    let before = level.limit();
    let mut held = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..400 {
        let mut one = Box::pin(pipeline.enter(&digest, WAIT_MOST));
        match one.as_mut().now_or_never() {
            Some(place) => held.extend(place.ok()),
            None => waiting.push(one),
        }
    }
    assert!(held.len() >= 49 && held.len() < 200, "{}", held.len());
    tokio::time::sleep(Duration::from_secs(12)).await;
    assert!(level.limit() > before + 50, "{} {before}", level.limit());
    let places = waiting.iter_mut().filter_map(|w| w.as_mut().now_or_never()).count();
    assert!(places > 50, "{places}");
    assert!(
        pipeline
            .flow
            .metrics()
            .contains("apiserver_flowcontrol_current_limit_seats{priority_level=\"global-default\"}")
    );
}
