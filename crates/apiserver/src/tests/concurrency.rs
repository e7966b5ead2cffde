//! Many at once.

use std::collections::HashSet;
use std::sync::Arc;

use client::PatchKind;
use machinery::Value;
use machinery::object::ObjectExt;

use super::{Ask, cluster, config_map};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_read_at_once() {
    let cluster = Arc::new(cluster().await);
    let writers = (0..8).map(|writer| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            for i in 0..50 {
                let name = format!("w{writer}-{i}");
                cluster.tree(config_map(&name)).await.unwrap();
                cluster.tree(Ask::new("get", "v1", "configmaps").name(&name)).await.unwrap();
                let all = cluster.list(Ask::new("list", "v1", "configmaps")).await.unwrap();
                assert!(super::names(&all).contains(&name));
            }
        })
    });
    for writer in futures_util::future::join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(cluster.list(Ask::new("list", "v1", "configmaps")).await.unwrap().items.len(), 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_made_at_once_share_no_address_and_no_port() {
    let cluster = Arc::new(cluster().await);
    let makers = (0..64).map(|i| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let body =
                format!(r#"{{"metadata":{{"name":"s{i}"}},"spec":{{"type":"NodePort","ports":[{{"port":80}}]}}}}"#);
            cluster.tree(Ask::new("create", "v1", "services").body(&body)).await.unwrap()
        })
    });
    let mut seen = HashSet::new();
    for made in futures_util::future::join_all(makers).await {
        let made = made.unwrap();
        assert!(seen.insert(made.str_at(&["spec", "clusterIP"]).unwrap().to_owned()));
        let port = made.at(&["spec", "ports"]).and_then(Value::as_array).unwrap()[0].i64_at(&["nodePort"]);
        assert!(seen.insert(port.unwrap().to_string()));
    }
    // One address is wanted by many: one gets it.
    let makers = (0..16).map(|i| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            let body = format!(
                r#"{{"metadata":{{"name":"t{i}"}},"spec":{{"clusterIP":"10.43.200.1","ports":[{{"port":80}}]}}}}"#
            );
            cluster.tree(Ask::new("create", "v1", "services").body(&body)).await.is_ok()
        })
    });
    let made = futures_util::future::join_all(makers).await;
    assert_eq!(made.into_iter().filter(|m| *m.as_ref().unwrap()).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_creates_wins_and_no_update_is_lost() {
    let cluster = Arc::new(cluster().await);
    let makers = (0..16).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.tree(config_map("one")).await.is_ok() })
    });
    let made = futures_util::future::join_all(makers).await;
    assert_eq!(made.into_iter().filter(|m| *m.as_ref().unwrap()).count(), 1);
    let patchers = (0..4).map(|i| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            for round in 0..10 {
                let patch = format!(r#"{{"data":{{"p{i}-{round}":"x"}}}}"#);
                let ask = Ask::new("patch", "v1", "configmaps").name("one").patch(PatchKind::Merge, &patch);
                while cluster.tree(ask.clone()).await.is_err_and(|e| e.is_conflict()) {}
            }
        })
    });
    for patcher in futures_util::future::join_all(patchers).await {
        patcher.unwrap();
    }
    let read = cluster.tree(Ask::new("get", "v1", "configmaps").name("one")).await.unwrap();
    assert_eq!(read.get("data").and_then(Value::as_object).unwrap().len(), 41);
    assert_eq!(read.name(), "one");
}
