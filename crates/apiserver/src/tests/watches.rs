//! Watches: order, selectors, bookmarks, and the end of the ring.

use client::{PatchKind, WatchEvent};
use futures_util::{FutureExt, StreamExt};
use machinery::object::ObjectExt;

use super::{Ask, Cluster, cluster, config_map};
use crate::cache::RING_EVENTS_MAX;

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
