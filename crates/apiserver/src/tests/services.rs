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
    let text = "failed to allocate IP 10.44.0.1: the provided network does not match the current range";
    assert!(outside.to_string().contains(text), "{outside}");
    let network = make(&cluster, "d", r#"{"clusterIP":"10.43.0.0","ports":[{"port":80}]}"#).await.unwrap_err();
    assert!(network.to_string().contains("The range of valid IPs is 10.43.0.0/16"), "{network}");
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

fn objects(verb: &str, plural: &str) -> Ask {
    Ask::new(verb, "networking.k8s.io/v1", plural).namespace("")
}

async fn named(cluster: &Cluster) -> Vec<String> {
    super::names(&cluster.list(objects("list", "ipaddresses")).await.unwrap())
}

#[tokio::test]
async fn every_address_of_a_service_has_an_object() {
    let cluster = cluster().await;
    assert_eq!(named(&cluster).await, ["10.43.0.1"]);
    let chosen = r#"{"clusterIP":"10.43.9.9","ports":[{"port":80}]}"#;
    make(&cluster, "a", chosen).await.unwrap();
    let object = cluster.tree(objects("get", "ipaddresses").name("10.43.9.9")).await.unwrap();
    assert_eq!(object.str_at(&["metadata", "labels", "ipaddress.kubernetes.io/ip-family"]), Some("IPv4"));
    let managed = object.str_at(&["metadata", "labels", "ipaddress.kubernetes.io/managed-by"]);
    assert_eq!(managed, Some("ipallocator.k8s.io"));
    let parent = object.at(&["spec", "parentRef"]).unwrap().to_string();
    assert_eq!(parent, r#"{"name":"a","namespace":"default","resource":"services"}"#);

    // What comes to nothing leaves nothing behind.
    let dry = r#"{"metadata":{"name":"b"},"spec":{"clusterIP":"10.43.9.8","ports":[{"port":80}]}}"#;
    cluster.tree(Ask::new("create", "v1", "services").body(dry).options(|o| o.dry_run = true)).await.unwrap();
    let again = make(&cluster, "a", r#"{"ports":[{"port":80}]}"#).await.unwrap_err();
    assert_eq!((again.code(), named(&cluster).await.len()), (409, 2));

    // An address that an object of somebody else names is taken.
    let other = r#"{"metadata":{"name":"10.43.9.10"},"spec":{"parentRef":{"group":"gateway.networking.k8s.io","resource":"gateways","namespace":"x","name":"g"}}}"#;
    cluster.tree(objects("create", "ipaddresses").body(other)).await.unwrap();
    let taken = make(&cluster, "b", r#"{"clusterIP":"10.43.9.10","ports":[{"port":80}]}"#).await.unwrap_err();
    assert!(taken.to_string().contains("provided IP is already allocated"), "{taken}");

    let external = r#"{"spec":{"type":"ExternalName","externalName":"x.y","clusterIP":null,"clusterIPs":null}}"#;
    let external = Ask::new("patch", "v1", "services").name("a").patch(PatchKind::Merge, external);
    cluster.tree(external).await.unwrap();
    assert_eq!(named(&cluster).await, ["10.43.0.1", "10.43.9.10"]);
    make(&cluster, "b", chosen).await.unwrap();
    cluster.tree(Ask::new("delete", "v1", "services").name("b")).await.unwrap();
    assert_eq!(named(&cluster).await, ["10.43.0.1", "10.43.9.10"]);
}

#[tokio::test]
async fn ranges_are_service_cidrs_and_more_of_them_widen_what_there_is() {
    let cluster = cluster().await;
    let default = cluster.tree(objects("get", "servicecidrs").name("kubernetes")).await.unwrap();
    assert_eq!(default.at(&["spec", "cidrs"]).unwrap().to_string(), r#"["10.43.0.0/16"]"#);
    let conditions = default.at(&["status", "conditions"]).and_then(Value::as_array).unwrap();
    assert_eq!((conditions[0].str_at(&["type"]), conditions[0].str_at(&["status"])), (Some("Ready"), Some("True")));

    let chosen = r#"{"clusterIP":"10.99.0.2","ports":[{"port":80}]}"#;
    assert_eq!(make(&cluster, "a", chosen).await.unwrap_err().code(), 422);
    let more = r#"{"metadata":{"name":"more","finalizers":["x/y"]},"spec":{"cidrs":["10.99.0.0/29","fd00::/112"]}}"#;
    cluster.tree(objects("create", "servicecidrs").body(more)).await.unwrap();
    make(&cluster, "a", chosen).await.unwrap();
    // One that is said to be unready, or is on its way out, gives nothing more.
    let unready = r#"{"status":{"conditions":[{"type":"Ready","status":"False","reason":"x","message":"","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}"#;
    let patch = objects("patch", "servicecidrs").name("kubernetes").sub("status").patch(PatchKind::Merge, unready);
    cluster.tree(patch).await.unwrap();
    for name in ["b", "c", "d", "e", "f"] {
        assert!(address(&make(&cluster, name, r#"{"ports":[{"port":80}]}"#).await.unwrap()).starts_with("10.99.0."));
    }
    let full = make(&cluster, "g", r#"{"ports":[{"port":80}]}"#).await.unwrap_err();
    assert!(full.to_string().contains("failed to allocate a serviceIP: range is full"), "{full}");
    cluster.tree(Ask::new("delete", "v1", "services").name("b")).await.unwrap();
    cluster.tree(objects("delete", "servicecidrs").name("more")).await.unwrap();
    assert_eq!(make(&cluster, "g", r#"{"ports":[{"port":80}]}"#).await.unwrap_err().code(), 422);
}

#[tokio::test]
async fn objects_that_are_missing_or_leaked_are_put_right() {
    let cluster = cluster().await;
    make(&cluster, "a", r#"{"clusterIP":"10.43.9.9","ports":[{"port":80}]}"#).await.unwrap();
    cluster.ask(&objects("delete", "ipaddresses").name("10.43.9.9")).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while named(&cluster).await.len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "the object was not made again");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let leaked = r#"{"metadata":{"name":"10.43.9.8","labels":{"ipaddress.kubernetes.io/managed-by":"ipallocator.k8s.io"}},
        "spec":{"parentRef":{"resource":"services","namespace":"default","name":"gone"}}}"#;
    cluster.tree(objects("create", "ipaddresses").body(leaked)).await.unwrap();
    let again = over(cluster.store.clone()).await;
    assert_eq!(named(&again).await, ["10.43.0.1", "10.43.9.9"]);
    loop {
        let events = again.list(Ask::new("list", "v1", "events")).await.unwrap();
        let reasons: Vec<String> =
            events.items.iter().filter_map(|e| e.tree().str_at(&["reason"]).map(str::to_owned)).collect();
        if ["ClusterIPNotAllocated", "IPAddressNotAllocated"].iter().all(|r| reasons.iter().any(|known| known == r)) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{reasons:?}");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn endpoints_go_with_their_service() {
    let cluster = cluster().await;
    make(&cluster, "a", r#"{"ports":[{"port":80}]}"#).await.unwrap();
    let endpoints = r#"{"metadata":{"name":"a"},"subsets":[{"addresses":[{"ip":"192.0.2.7"}],"ports":[{"port":80}]}]}"#;
    cluster.tree(Ask::new("create", "v1", "endpoints").body(endpoints)).await.unwrap();
    cluster.tree(Ask::new("delete", "v1", "services").name("a")).await.unwrap();
    assert_eq!(cluster.tree(Ask::new("get", "v1", "endpoints").name("a")).await.unwrap_err().code(), 404);
}
