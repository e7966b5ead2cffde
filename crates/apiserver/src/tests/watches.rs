//! Watches: order, selectors, bookmarks, and the end of the ring.

use client::{PatchKind, WatchEvent};
use futures_util::{FutureExt, StreamExt};
use machinery::object::ObjectExt;

use super::{Ask, Cluster, cluster, config_map};
use crate::cache::ring::RING_EVENTS_MAX;

fn told(event: &WatchEvent) -> String {
    match event {
        WatchEvent::Added(e) => format!("+{}", e.tree().name()),
        WatchEvent::Modified(e) => format!("~{}", e.tree().name()),
        WatchEvent::Deleted(e) => format!("-{}", e.tree().name()),
        WatchEvent::Bookmark { initial_end, .. } => format!("bookmark {initial_end}"),
        WatchEvent::Error(e) => e.to_string(),
    }
}

async fn label(cluster: &Cluster, name: &str, value: &str) {
    let patch = format!(r#"{{"metadata":{{"labels":{{"l":"{value}"}}}}}}"#);
    cluster.tree(Ask::new("patch", "v1", "configmaps").name(name).patch(PatchKind::Merge, &patch)).await.unwrap();
}

fn list() -> Ask {
    Ask::new("list", "v1", "configmaps")
}

#[tokio::test]
async fn selectors_turn_changes_into_additions_and_deletions() {
    let cluster = cluster().await;
    let watch = cluster.watch(list().options(|o| o.label_selector = "l=1".into())).await.unwrap();
    cluster.tree(config_map("a")).await.unwrap();
    label(&cluster, "a", "1").await;
    cluster
        .tree(Ask::new("patch", "v1", "configmaps").name("a").patch(PatchKind::Merge, r#"{"data":{"x":"y"}}"#))
        .await
        .unwrap();
    label(&cluster, "a", "2").await;
    label(&cluster, "a", "1").await;
    cluster.tree(Ask::new("delete", "v1", "configmaps").name("a")).await.unwrap();
    let events: Vec<_> = watch.take(5).collect().await;
    assert_eq!(events.iter().map(told).collect::<Vec<_>>(), ["+a", "~a", "-a", "+a", "-a"]);
    let revisions: Vec<u64> = events
        .iter()
        .map(|e| match e {
            WatchEvent::Added(e) | WatchEvent::Modified(e) | WatchEvent::Deleted(e) => {
                assert_eq!(e.tree().resource_version(), e.revision.to_string());
                e.revision
            }
            _ => 0,
        })
        .collect();
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
}

#[tokio::test]
async fn a_name_and_another_field_are_both_asked_for() {
    let cluster = cluster().await;
    cluster.tree(super::pod("p")).await.unwrap();
    // Over HTTP the name is read from the selector too.
    let ask = Ask::new("list", "v1", "pods").name("p");
    let ask = ask.options(|o| o.field_selector = "metadata.name=p,status.phase=Running".into());
    let mut running = cluster.watch(ask).await.unwrap();
    assert!(running.next().now_or_never().is_none(), "it is pending");
    let status = r#"{"status":{"phase":"Running"}}"#;
    let patch = Ask::new("patch", "v1", "pods").name("p").sub("status").patch(PatchKind::Merge, status);
    cluster.tree(patch).await.unwrap();
    assert_eq!(told(&running.next().await.unwrap()), "+p");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let cluster = cluster().await;
    cluster.tree(config_map("a")).await.unwrap();
    let ask = list().options(|o| {
        o.send_initial_events = Some(true);
        o.allow_watch_bookmarks = true;
        o.resource_version_match = "NotOlderThan".into();
    });
    let mut watch = cluster.watch(ask).await.unwrap();
    assert_eq!(told(&watch.next().await.unwrap()), "+a");
    assert_eq!(told(&watch.next().await.unwrap()), "bookmark true");
    cluster.tree(config_map("b")).await.unwrap();
    assert_eq!(told(&watch.next().await.unwrap()), "+b");
    let plain = cluster.watch(list().options(|o| o.send_initial_events = Some(true))).await;
    assert_eq!(plain.err().unwrap().code(), 422);
    // Without bookmarks the end of the initial events is not told.
    let ask = list().options(|o| {
        o.send_initial_events = Some(true);
        o.resource_version_match = "NotOlderThan".into();
    });
    let watch = cluster.watch(ask).await.unwrap();
    cluster.tree(config_map("c")).await.unwrap();
    assert_eq!(watch.take(3).map(|e| told(&e)).collect::<Vec<_>>().await, ["+a", "+b", "+c"]);
}

#[tokio::test(start_paused = true)]
async fn revisions_to_come_are_waited_for() {
    let cluster = cluster().await;
    let now = cluster.store.revision();
    let at = |o: &mut client::Options, wanted: &str| {
        (o.resource_version, o.resource_version_match) = ((now + 1).to_string(), wanted.into());
    };
    for wanted in ["", "NotOlderThan", "Exact"] {
        let error = cluster.list(list().options(|o| at(o, wanted))).await.unwrap_err();
        assert_eq!(error, machinery::ApiError::TooLargeResourceVersion { wanted: now + 1, current: now });
    }
    let error = cluster.tree(Ask::new("get", "v1", "configmaps").name("a").options(|o| at(o, ""))).await.unwrap_err();
    assert_eq!(error.retry_after_seconds(), Some(1));
    // A watch from a later revision just waits, and does not see what comes before.
    let mut watch = cluster.watch(list().options(|o| at(o, ""))).await.unwrap();
    let ask = list().options(|o| {
        at(o, "NotOlderThan");
        o.send_initial_events = Some(true);
    });
    let refused = cluster.watch(ask).await.unwrap().next().await.unwrap();
    assert_eq!(told(&refused), format!("Timeout: Too large resource version: {}, current: {now}", now + 1));
    for name in ["early", "late"] {
        cluster.tree(config_map(name)).await.unwrap();
    }
    assert_eq!(told(&watch.next().await.unwrap()), "+late");
    assert_eq!(cluster.list(list().options(|o| at(o, "Exact"))).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn fields_namespaces_and_names_are_followed_apart() {
    let cluster = cluster().await;
    let on = |name: &str, node: &str| {
        let body = format!(
            r#"{{"metadata":{{"name":"{name}"}},"spec":{{"nodeName":"{node}","containers":[{{"name":"c","image":"i:1"}}]}}}}"#
        );
        Ask::new("create", "v1", "pods").body(&body)
    };
    cluster.tree(on("before", "n1")).await.unwrap();
    let pods = |selector: &str| {
        let selector = selector.to_owned();
        Ask::new("list", "v1", "pods").namespace("").options(|o| o.field_selector = selector)
    };
    let from = cluster.list(pods("")).await.unwrap().resource_version;
    cluster.tree(on("between", "n1")).await.unwrap();
    let since = |ask: Ask| ask.options(|o| o.resource_version = from.to_string());
    let asks = [
        pods("spec.nodeName=n1"),
        since(pods("spec.nodeName=n1")),
        since(pods("spec.nodeName=n2")),
        since(pods("spec.nodeName=")),
        since(pods("").namespace("default")),
        since(pods("metadata.name=bound").namespace("default")),
        since(pods("")),
    ];
    let mut watches = Vec::new();
    for ask in asks {
        watches.push(cluster.watch(ask).await.unwrap());
    }
    cluster.tree(super::pod("bound")).await.unwrap();
    let binding = r#"{"metadata":{"name":"bound"},"target":{"kind":"Node","name":"n2"}}"#;
    cluster.tree(Ask::new("create", "v1", "bindings").body(binding)).await.unwrap();
    cluster.tree(on("after", "n1")).await.unwrap();
    let gone = Ask::new("delete", "v1", "pods").name("before").delete(|o| o.grace_period_seconds = Some(0));
    cluster.tree(gone).await.unwrap();
    let expected: [&[&str]; 7] = [
        &["+before", "+between", "+after", "-before"],
        &["+between", "+after", "-before"],
        &["+bound"],
        &["+bound", "-bound"],
        &["+between", "+bound", "~bound", "+after", "-before"],
        &["+bound", "~bound"],
        &["+between", "+bound", "~bound", "+after", "-before"],
    ];
    for (mut watch, expected) in watches.into_iter().zip(expected) {
        let mut seen = Vec::new();
        while let Some(Some(event)) = watch.next().now_or_never() {
            seen.push(told(&event));
        }
        assert_eq!(seen, expected);
    }
    for (selector, expected) in
        [("spec.nodeName=n1", &["after", "between"][..]), ("spec.nodeName=n2", &["bound"]), ("spec.nodeName=", &[])]
    {
        assert_eq!(super::names(&cluster.list(pods(selector)).await.unwrap()), expected, "{selector}");
        let both = format!("{selector},metadata.name=between");
        let expected: &[&str] = if selector.ends_with("n1") { &["between"] } else { &[] };
        assert_eq!(super::names(&cluster.list(pods(&both)).await.unwrap()), expected, "{both}");
    }
    let first = cluster.list(pods("spec.nodeName=n1").options(|o| o.limit = 1)).await.unwrap();
    assert_eq!((super::names(&first), first.remaining), (vec!["after".to_owned()], None));
    let rest = pods("spec.nodeName=n1").options(|o| (o.limit, o.continue_token) = (1, first.continue_token));
    let rest = cluster.list(rest).await.unwrap();
    assert_eq!((super::names(&rest), rest.continue_token.as_str()), (vec!["between".to_owned()], ""));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_every_minute_and_watches_end() {
    let cluster = cluster().await;
    let from = cluster.list(list()).await.unwrap().resource_version;
    let ask = list().options(|o| {
        o.resource_version = from.to_string();
        o.allow_watch_bookmarks = true;
        o.timeout_seconds = Some(150);
    });
    let watch = cluster.watch(ask).await.unwrap();
    // A change of another resource moves the bookmark.
    cluster.tree(Ask::new("create", "v1", "secrets").body(r#"{"metadata":{"name":"s"}}"#)).await.unwrap();
    let events: Vec<_> = watch.collect().await;
    assert!(events.len() >= 2, "{events:?}");
    assert!(events.iter().all(|e| matches!(e, WatchEvent::Bookmark { revision, .. } if *revision > from)));
}

#[tokio::test]
async fn who_falls_out_of_the_ring_starts_anew() {
    let cluster = cluster().await;
    let from = cluster.list(list()).await.unwrap().resource_version;
    let ask = list().options(|o| o.resource_version = from.to_string());
    let mut slow = cluster.watch(ask.clone()).await.unwrap();
    cluster.tree(config_map("a")).await.unwrap();
    for i in 0..=RING_EVENTS_MAX {
        label(&cluster, "a", &i.to_string()).await;
    }
    let error = cluster.watch(ask).await.unwrap().next().await.unwrap();
    assert!(told(&error).starts_with(&format!("too old resource version: {from} (")), "{error:?}");
    let WatchEvent::Error(error) = slow.next().await.unwrap() else { panic!("no error came") };
    assert_eq!((error.code(), error.reason()), (410, "Expired"));
    assert!(slow.next().await.is_none());
}

#[tokio::test]
async fn pages_of_a_compacted_revision_are_gone_and_offer_to_go_on() {
    let cluster = cluster().await;
    for name in ["a", "b", "c"] {
        cluster.tree(config_map(name)).await.unwrap();
    }
    let page = cluster.list(list().options(|o| o.limit = 1)).await.unwrap();
    cluster.tree(config_map("d")).await.unwrap();
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let next = |token: String| list().options(|o| o.continue_token = token);
    let error = cluster.list(next(page.continue_token)).await.unwrap_err();
    assert_eq!(error.code(), 410);
    let machinery::ApiError::Expired { continue_token: Some(token), .. } = error else { panic!("{error}") };
    assert_eq!(super::names(&cluster.list(next(token)).await.unwrap()), ["b", "c", "d"]);
    let old = list().options(|o| (o.resource_version, o.resource_version_match) = ("1".into(), "Exact".into()));
    assert_eq!(cluster.list(old).await.unwrap_err().code(), 410);
}

#[tokio::test]
async fn a_hundred_watchers_see_the_same() {
    let cluster = cluster().await;
    let from = cluster.list(list()).await.unwrap().resource_version;
    let mut watches = Vec::new();
    for _ in 0..100 {
        watches.push(cluster.watch(list().options(|o| o.resource_version = from.to_string())).await.unwrap());
    }
    for i in 0..20 {
        cluster.tree(config_map(&format!("c{i}"))).await.unwrap();
    }
    for watch in watches {
        let events: Vec<_> = watch.take(20).collect().await;
        let expected: Vec<_> = (0..20).map(|i| format!("+c{i}")).collect();
        assert_eq!(events.iter().map(told).collect::<Vec<_>>(), expected);
    }
    let quiet = cluster.watch(list().options(|o| o.resource_version = "99999".into())).await.unwrap();
    assert!(quiet.into_future().now_or_never().is_none());
}
