//! Addresses and ports of services, and what bootstrap makes.

use client::PatchKind;
use machinery::Value;
use machinery::object::ObjectExt;

use super::{Ask, Cluster, cluster, over};

async fn make(cluster: &Cluster, name: &str, spec: &str) -> Result<Value, machinery::ApiError> {
    let body = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{spec}}}"#);
    cluster.tree(Ask::new("create", "v1", "services").body(&body)).await
}

fn address(service: &Value) -> String {
    service.str_at(&["spec", "clusterIP"]).unwrap_or_default().to_owned()
}

fn node_port(service: &Value) -> Option<i64> {
    service.at(&["spec", "ports"])?.as_array()?.first()?.i64_at(&["nodePort"])
}

#[tokio::test]
async fn the_cluster_begins_with_its_namespaces_and_its_own_service() {
    let first = cluster().await;
    let namespaces = first.list(Ask::new("list", "v1", "namespaces").namespace("")).await.unwrap();
    assert_eq!(super::names(&namespaces), ["default", "kube-node-lease", "kube-public", "kube-system"]);
    let service = first.tree(Ask::new("get", "v1", "services").name("kubernetes")).await.unwrap();
    assert_eq!(address(&service), "10.43.0.1");
    let endpoints = first.tree(Ask::new("get", "v1", "endpoints").name("kubernetes")).await.unwrap();
    assert!(endpoints.to_string().contains("192.0.2.1"));
    let revision = first.pipeline.config.store.revision();
    // A second start finds all right and writes nothing.
    let second = over(first.store.clone()).await;
    assert_eq!(second.pipeline.config.store.revision(), revision);
}

#[tokio::test]
async fn services_get_addresses_and_give_them_back() {
    let cluster = cluster().await;
    let made = make(&cluster, "a", r#"{"ports":[{"port":80}]}"#).await.unwrap();
    assert!(address(&made).starts_with("10.43."), "{made}");
    let headless = make(&cluster, "b", r#"{"clusterIP":"None","ports":[{"port":80}]}"#).await.unwrap();
    assert_eq!(address(&headless), "None");
    let chosen = r#"{"clusterIP":"10.43.9.9","ports":[{"port":80}]}"#;
    make(&cluster, "c", chosen).await.unwrap();
    let error = make(&cluster, "d", chosen).await.unwrap_err().to_string();
    assert!(error.contains("failed to allocate IP 10.43.9.9: provided IP is already allocated"), "{error}");
    let outside = make(&cluster, "d", r#"{"clusterIP":"10.44.0.1","ports":[{"port":80}]}"#).await.unwrap_err();
    assert!(outside.to_string().contains("The range of valid IPs is 10.43.0.0/16"), "{outside}");
    cluster.tree(Ask::new("delete", "v1", "services").name("c")).await.unwrap();
    let dry = format!(r#"{{"metadata":{{"name":"d"}},"spec":{chosen}}}"#);
    let dry = Ask::new("create", "v1", "services").body(&dry).options(|o| o.dry_run = true);
    assert_eq!(address(&cluster.tree(dry).await.unwrap()), "10.43.9.9");
    make(&cluster, "d", chosen).await.unwrap();
    // Who starts anew knows what is taken.
    let again = over(cluster.store.clone()).await;
    assert_eq!(make(&again, "e", chosen).await.unwrap_err().code(), 422);
}

#[tokio::test]
async fn node_ports_are_given_kept_and_given_back() {
    let cluster = cluster().await;
    let made = make(&cluster, "a", r#"{"type":"NodePort","ports":[{"port":80}]}"#).await.unwrap();
    let port = node_port(&made).unwrap();
    assert!((30086..=32767).contains(&port), "{port}");
    let same = format!(r#"{{"type":"NodePort","ports":[{{"port":80,"nodePort":{port}}}]}}"#);
    let error = make(&cluster, "b", &same).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"
        )
    );
    let far = make(&cluster, "b", r#"{"type":"NodePort","ports":[{"port":80,"nodePort":80}]}"#).await.unwrap_err();
    assert!(far.to_string().contains("The range of valid ports is 30000-32767"), "{far}");
    let patch = |json: &str| Ask::new("patch", "v1", "services").name("a").patch(PatchKind::Merge, json);
    let kept = cluster.tree(patch(r#"{"metadata":{"labels":{"x":"y"}}}"#)).await.unwrap();
    assert_eq!(node_port(&kept), Some(port));
    let plain = cluster.tree(patch(r#"{"spec":{"type":"ClusterIP"}}"#)).await.unwrap();
    assert_eq!((node_port(&plain), address(&plain)), (None, address(&made)));
    make(&cluster, "b", &same).await.unwrap();
    assert_eq!(plain.name(), "a");
}
