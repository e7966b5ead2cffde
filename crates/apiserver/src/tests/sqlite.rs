//! The pipeline on the store that clusters really have.

use std::sync::Arc;

use client::WatchEvent;
use futures_util::StreamExt;
use machinery::object::ObjectExt;

use super::{Ask, config_map, names, over};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_seen_at_once_and_survive_a_restart() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let directory = tempfile::Builder::new().prefix("skiff-apiserver-").tempdir().unwrap();
    let store = store::sqlite::open(directory.path()).unwrap();
    let cluster = Arc::new(over(store.clone()).await);
    let from = cluster.list(Ask::new("list", "v1", "configmaps")).await.unwrap().resource_version;
    let ask = Ask::new("list", "v1", "configmaps").options(|o| o.resource_version = from.to_string());
    let watch = cluster.watch(ask).await.unwrap();
    let writers = (0..WRITERS).map(|writer| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            for i in 0..EACH {
                let name = format!("w{writer}-{i}");
                let made = cluster.tree(config_map(&name)).await.unwrap();
                let read = cluster.tree(Ask::new("get", "v1", "configmaps").name(&name)).await.unwrap();
                assert_eq!(read, made);
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    let events: Vec<_> = watch.take(WRITERS * EACH).collect().await;
    let revisions: Vec<u64> =
        events.iter().map(|e| if let WatchEvent::Added(e) = e { e.revision } else { 0 }).collect();
    assert!(revisions.is_sorted_by(|a, b| a < b));
    let before = cluster.list(Ask::new("list", "v1", "configmaps")).await.unwrap();
    assert_eq!(before.items.len(), WRITERS * EACH);
    drop(cluster);
    store.close();
    let cluster = over(store::sqlite::open(directory.path()).unwrap()).await;
    let after = cluster.list(Ask::new("list", "v1", "configmaps")).await.unwrap();
    assert_eq!(names(&after), names(&before));
    for (old, new) in before.items.iter().zip(&after.items) {
        assert_eq!((old.tree(), old.bytes()), (new.tree(), new.bytes()), "{}", old.tree().name());
    }
}
