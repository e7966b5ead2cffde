//! The server as clients see it: real TLS on loopback, a real pipeline over a store in memory.

mod audit;
mod harness;
mod node;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use machinery::Value;

use harness::{Client, Cluster, Identity};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str, bytes: usize) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"a":"{}"}}}}"#,
        "x".repeat(bytes)
    )
}

#[tokio::test]
async fn the_form_is_negotiated() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client(Identity::Admin, "http/1.1").await;
    let made =
        client.send(Method::POST, CONFIG_MAPS, &[("content-type", "application/json")], &config_map("a", 3)).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert!(made.headers.contains_key("audit-id"));

    let yaml = client.get(&format!("{CONFIG_MAPS}/a"), &[("accept", "application/yaml")]).await;
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
    let table = client.get(CONFIG_MAPS, &[("accept", TABLE)]).await.tree();
    assert_eq!(table.str_at(&["kind"]), Some("Table"));
    assert!(!table.get("rows").and_then(Value::as_array).unwrap().is_empty());
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let partial = client.get(CONFIG_MAPS, &[("accept", partial)]).await.tree();
    assert_eq!(partial.str_at(&["kind"]), Some("PartialObjectMetadataList"));
    for (path, kind, detail) in [
        (CONFIG_MAPS, "PartialObjectMetadata", "is a list (*core.ConfigMapList)"),
        (&format!("{CONFIG_MAPS}/a"), "PartialObjectMetadataList", "is not a list (*core.ConfigMap)"),
    ] {
        let accept = format!("application/json;as={kind};v=v1;g=meta.k8s.io");
        let misfit = client.get(path, &[("accept", &accept)]).await;
        assert_eq!((misfit.code, misfit.tree().str_at(&["reason"])), (406, Some("NotAcceptable")));
        let message = format!("you requested {kind}, but the requested object {detail}");
        assert_eq!(misfit.tree().str_at(&["message"]), Some(message.as_str()));
    }
    let fallback = "application/vnd.kubernetes.protobuf,application/json";
    for path in [CONFIG_MAPS, &format!("{CONFIG_MAPS}/a"), &format!("{CONFIG_MAPS}?limit=x"), "/apis"] {
        let answer = client.get(path, &[("accept", fallback)]).await;
        assert_eq!(answer.headers["content-type"], "application/vnd.kubernetes.protobuf", "{path}");
        assert!(answer.text.starts_with("k8s\0"), "{path}: {}", answer.text);
    }
    let none = client.get(CONFIG_MAPS, &[("accept", "application/cbor")]).await;
    assert_eq!((none.code, none.tree().str_at(&["reason"])), (406, Some("NotAcceptable")));
    let pretty = client.get(&format!("{CONFIG_MAPS}/a?pretty=true"), &[]).await;
    assert!(pretty.text.starts_with("{\n  \""), "{}", pretty.text);
    let by_yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: b\n";
    let made = client.send(Method::POST, CONFIG_MAPS, &[("content-type", "application/yaml")], by_yaml).await;
    assert_eq!(made.code, 201, "{}", made.text);
    cluster.stop().await;
}

const REVIEW: &str = r#"{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview",
    "spec":{"nonResourceAttributes":{"path":"/","verb":"get"}}}"#;

/// What is answered and not kept has metadata, but no table.
#[tokio::test]
async fn reviews_have_no_tables() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let cases =
        [(table, 406, "Status"), (TABLE, 201, "SelfSubjectAccessReview"), (metadata, 201, "PartialObjectMetadata")];
    for (accept, code, kind) in cases {
        let headers = [("content-type", "application/json"), ("accept", accept)];
        let answer = client.send(Method::POST, path, &headers, REVIEW).await;
        assert_eq!((answer.code, answer.tree().str_at(&["kind"])), (code, Some(kind)), "{accept}");
    }
    cluster.stop().await;
}

#[tokio::test]
async fn bad_requests_get_upstreams_answers() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    let json = [("content-type", "application/json")];
    let large = client.send(Method::POST, CONFIG_MAPS, &json, &config_map("a", 3 * 1024 * 1024)).await;
    assert_eq!(large.code, 413);
    assert_eq!(large.tree().str_at(&["message"]), Some("Request entity too large: limit is 3145728"));
    let protobuf = [("content-type", "application/vnd.kubernetes.protobuf")];
    assert_eq!(client.send(Method::POST, CONFIG_MAPS, &protobuf, "nothing").await.code, 400);
    let other = [("content-type", "text/plain")];
    assert_eq!(client.send(Method::POST, CONFIG_MAPS, &other, "a").await.code, 415);
    assert_eq!(client.send(Method::PATCH, &format!("{CONFIG_MAPS}/a"), &json, "{}").await.code, 415);
    let broken = client.send(Method::POST, CONFIG_MAPS, &json, "{\"kind\":").await;
    assert_eq!((broken.code, broken.tree().str_at(&["reason"])), (400, Some("BadRequest")), "{}", broken.text);
    let wrong = client.send(Method::POST, CONFIG_MAPS, &json, r#"{"apiVersion":"v1","kind":"Pod"}"#).await;
    assert_eq!(wrong.code, 400, "{}", wrong.text);
    let unknown = client.get("/api/v1/namespaces/default/unicorns", &[]).await;
    assert_eq!((unknown.code, unknown.tree().str_at(&["reason"])), (404, Some("NotFound")));
    let nowhere = client.get("/unicorns", &[]).await;
    assert_eq!((nowhere.code, nowhere.text.as_str()), (404, "404 page not found\n"));
    let limit = client.get(&format!("{CONFIG_MAPS}?limit=x"), &[]).await;
    assert_eq!(limit.tree().str_at(&["message"]), Some(r#"strconv.ParseInt: parsing "x": invalid syntax"#));
    let method = client.send(Method::OPTIONS, CONFIG_MAPS, &[], "").await;
    assert!(method.code >= 400, "{}", method.text);
    cluster.stop().await;
}

#[tokio::test]
async fn callers_are_known_by_their_credentials() {
    let cluster = Cluster::start().await;
    let mut anonymous = cluster.client(Identity::None, "h2").await;
    for path in ["/healthz", "/livez", "/readyz", "/version", "/readyz?verbose"] {
        assert_eq!(anonymous.get(path, &[]).await.code, 200, "{path}");
    }
    for path in ["/api", "/apis", "/openapi/v2", "/metrics", CONFIG_MAPS, "/.well-known/openid-configuration"] {
        assert_eq!(anonymous.get(path, &[]).await.code, 403, "{path}");
    }
    let denied = anonymous.get(CONFIG_MAPS, &[]).await.tree();
    assert_eq!(
        denied.str_at(&["message"]),
        Some(
            r#"configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" in API group "" in the namespace "default""#
        )
    );
    let bad = anonymous.get("/version", &[("authorization", "Bearer nonsense")]).await;
    assert_eq!((bad.code, bad.tree().str_at(&["message"])), (401, Some("Unauthorized")));
    let known = anonymous.get(CONFIG_MAPS, &[("authorization", "Bearer let-me-in")]).await;
    assert_eq!(known.code, 403);
    assert!(known.text.contains(r#"User \"bootstrap\""#), "{}", known.text);

    let mut stranger = cluster.client(Identity::Stranger, "h2").await;
    assert_eq!(stranger.get("/version", &[]).await.code, 401);

    let mut admin = cluster.client(Identity::Admin, "h2").await;
    assert_eq!(admin.get("/metrics", &[]).await.code, 200);
    let other = admin.get(CONFIG_MAPS, &[("impersonate-user", "jane")]).await;
    assert!(other.code == 403 && other.text.contains(r#"User \"jane\""#), "{}", other.text);
    let mut user = cluster.client(Identity::User, "h2").await;
    let refused =
        user.get(CONFIG_MAPS, &[("impersonate-user", "admin"), ("impersonate-group", "system:masters")]).await;
    assert!(refused.code == 403 && refused.text.contains("cannot impersonate resource"), "{}", refused.text);
    cluster.stop().await;
}

#[tokio::test]
async fn clients_find_what_is_served() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client(Identity::Admin, "h2").await;
    assert_eq!(client.get("/version", &[]).await.tree().str_at(&["gitVersion"]), Some("v1.36.0+skiff"));
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
        application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
    let found = client.get("/apis", &[("accept", accept)]).await;
    assert_eq!(found.tree().str_at(&["kind"]), Some("APIGroupDiscoveryList"));
    assert!(found.headers["content-type"].to_str().unwrap().contains("as=APIGroupDiscoveryList"));
    let tag = found.headers["etag"].to_str().unwrap().to_owned();
    let again = client.get("/apis", &[("accept", accept), ("if-none-match", &tag)]).await;
    assert_eq!((again.code, again.text.as_str()), (304, ""));
    assert!(!again.headers.contains_key("content-type") && again.headers.contains_key("etag"), "{:?}", again.headers);
    assert_eq!(client.get("/apis", &[]).await.tree().str_at(&["kind"]), Some("APIGroupList"));
    assert_eq!(client.get("/apis/apps", &[]).await.tree().str_at(&["kind"]), Some("APIGroup"));
    assert_eq!(client.get("/apis/apps/v1", &[]).await.tree().str_at(&["groupVersion"]), Some("apps/v1"));
    assert_eq!(client.get("/apis/nothing/v1", &[]).await.code, 404);
    let index = client.get("/openapi/v3", &[]).await.tree();
    let url = index.str_at(&["paths", "apis/apps/v1", "serverRelativeURL"]).unwrap().to_owned();
    let document = client.get(&url, &[("accept-encoding", "gzip")]).await;
    assert_eq!(document.headers["content-encoding"], "gzip");
    let moved = client.get("/openapi/v3/apis/apps/v1?hash=old", &[]).await;
    assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, url.as_str()));
    cluster.stop().await;
}

#[tokio::test]
async fn watches_run_over_both_protocols_and_end_with_the_server() {
    for protocol in ["http/1.1", "h2"] {
        let cluster = Cluster::start().await;
        let mut watcher = cluster.client(Identity::Admin, protocol).await;
        let mut lines = watcher.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
        let mut legacy = cluster.client(Identity::Admin, protocol).await;
        let mut legacy = legacy.watch("/api/v1/watch/namespaces/default/configmaps/seen").await;
        let mut client = cluster.client(Identity::Admin, protocol).await;
        let json = [("content-type", "application/json")];
        for name in ["other", "seen"] {
            assert_eq!(client.send(Method::POST, CONFIG_MAPS, &json, &config_map(name, 1)).await.code, 201);
        }
        for name in ["other", "seen"] {
            let event = lines.next().await.expect("the event comes");
            assert_eq!(event.str_at(&["type"]), Some("ADDED"));
            assert_eq!(event.str_at(&["object", "metadata", "name"]), Some(name));
        }
        assert_eq!(legacy.next().await.unwrap().str_at(&["object", "metadata", "name"]), Some("seen"));
        let began = tokio::time::Instant::now();
        cluster.stop().await;
        assert!(began.elapsed() < Duration::from_secs(30), "{protocol}: stopping took {:?}", began.elapsed());
        assert!(lines.next().await.is_none(), "the watch ends cleanly");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_at_once() {
    let cluster = Cluster::start().await;
    let before = cluster.client(Identity::None, "h2").await.server_certificate;
    cluster.renew();
    let mut client: Client = cluster.client(Identity::None, "h2").await;
    assert_ne!(client.server_certificate, before);
    assert_eq!(client.get("/healthz", &[]).await.code, StatusCode::OK.as_u16());
    cluster.stop().await;
}

const NODE: &str = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#;
const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},
    "spec":{"nodeName":"n1","containers":[{"name":"main","image":"a"},{"name":"side","image":"a"}]}}"#;

/// A cluster with a node, whose agent is a stand-in, and a pod on it.
async fn with_a_pod() -> (Cluster, Client) {
    with_a_pod_in(Cluster::start().await).await
}

async fn with_a_pod_in(cluster: Cluster) -> (Cluster, Client) {
    let mut client = cluster.client(Identity::Admin, "http/1.1").await;
    let json = [("content-type", "application/json")];
    let merge = [("content-type", "application/merge-patch+json")];
    let account = r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default"}}"#;
    client.send(Method::POST, "/api/v1/namespaces/default/serviceaccounts", &json, account).await;
    let made = client.send(Method::POST, "/api/v1/nodes", &json, NODE).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let status = format!(
        r#"{{"status":{{"addresses":[{{"type":"InternalIP","address":"127.0.0.1"}}],
            "daemonEndpoints":{{"kubeletEndpoint":{{"Port":{}}}}}}}}}"#,
        cluster.node_port
    );
    let told = client.send(Method::PATCH, "/api/v1/nodes/n1/status", &merge, &status).await;
    assert_eq!(told.code, 200, "{}", told.text);
    let made = client.send(Method::POST, "/api/v1/namespaces/default/pods", &json, POD).await;
    assert_eq!(made.code, 201, "{}", made.text);
    (cluster, client)
}

#[tokio::test]
async fn requests_are_carried_on_to_the_node() {
    let (cluster, mut client) = with_a_pod().await;
    let pod = "/api/v1/namespaces/default/pods/web";
    let log = client.get(&format!("{pod}/log?container=side&tailLines=2"), &[]).await;
    assert_eq!(log.text, "GET /containerLogs/default/web/side?tailLines=2");
    assert_eq!(log.headers["content-type"], "text/plain");
    let unknown = client.get(&format!("{pod}/log?container=none"), &[]).await;
    assert_eq!(unknown.tree().str_at(&["message"]), Some("container none is not valid for pod web"));
    let refused = client.get(&format!("{pod}/exec?command=sh&stdout=1&container=main"), &[]).await;
    assert_eq!((refused.code, refused.tree().str_at(&["message"])), (400, Some("Upgrade request required")));
    let carried = client.get("/api/v1/nodes/n1/proxy/stats/summary?a=b", &[("authorization", "Basic x")]).await;
    assert_eq!(carried.text, "GET /stats/summary?a=b", "{:?}", carried.headers);
    let moved = client.get("/api/v1/nodes/n1/proxy/redirect", &[]).await;
    assert_eq!((moved.code, &moved.headers["location"]), (302, &"/api/v1/nodes/n1/proxy/there".parse().unwrap()));
    cluster.stop().await;
}

#[tokio::test]
async fn logs_come_over_a_websocket() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (cluster, _client) = with_a_pod().await;
    let path = "/api/v1/namespaces/default/pods/web/log?container=main";
    for (protocol, told) in [
        ("binary.k8s.io", &b"\x82\x23GET /containerLogs/default/web/main\x88\x00"[..]),
        ("base64.binary.k8s.io", b"\x81\x30R0VUIC9jb250YWluZXJMb2dzL2RlZmF1bHQvd2ViL21haW4=\x88\x00"),
    ] {
        let mut tls = cluster.tls().await;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        tls.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tls.read_to_end(&mut answer).await;
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        assert!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains(&format!("sec-websocket-protocol: {protocol}")), "{head}");
        assert_eq!(&answer[end..], told, "{}", String::from_utf8_lossy(&answer[end..]));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn upgraded_connections_are_passed_on_both_ways() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let kept = Arc::new(audit::Kept::default());
    let (cluster, _client) = with_a_pod_in(Cluster::start_with(Some(kept.clone())).await).await;
    let mut tls = cluster.tls().await;
    let path = "/api/v1/namespaces/default/pods/web/exec?command=cat&stdin=1&stdout=1&container=main";
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: v4.channel.k8s.io\r\nAudit-ID: exec\r\nContent-Length: 0\r\n\r\n"
    );
    tls.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("upgrade: spdy/3.1"), "{head}");
    assert!(head.contains("x-path: /exec/default/web/main?command=cat&input=1&output=1"), "{head}");
    assert!(head.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{head}");
    tls.write_all(b"ping").await.unwrap();
    let mut echo = [0; 4];
    tls.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ping");
    let begun = kept.of("exec", 2).await.remove(1);
    let told = (begun.str_at(&["stage"]), begun.i64_at(&["responseStatus", "code"]));
    assert_eq!(told, (Some("ResponseStarted"), Some(101)));
    tls.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tls.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye", "what is sent after our end still arrives");
    assert_eq!(kept.of("exec", 3).await[2].str_at(&["stage"]), Some("ResponseComplete"));
    cluster.stop().await;
}

#[tokio::test]
async fn clients_of_deprecated_versions_are_warned() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client(Identity::Admin, "http/1.1").await;
    let components = client.get("/api/v1/componentstatuses", &[("accept", TABLE)]).await;
    assert_eq!(components.headers["warning"], "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let rows = components.tree().get("rows").and_then(Value::as_array).unwrap().len();
    assert_eq!(rows, 3);
    for query in ["", "?watch=true&timeoutSeconds=1"] {
        let answer = client.get(&format!("/apis/networking.k8s.io/v1beta1/servicecidrs{query}"), &[]).await;
        let wanted = "299 - \"networking.k8s.io/v1beta1 ServiceCIDR is deprecated in v1.34+, unavailable in v1.37+\"";
        assert_eq!(answer.headers["warning"], wanted, "{query}");
    }
    let newest = client.get("/apis/networking.k8s.io/v1/servicecidrs", &[]).await;
    assert!(!newest.headers.contains_key("warning"));
    // Also who is refused is warned, but for those who may not ask.
    let path = "/apis/networking.k8s.io/v1beta1/servicecidrs/none";
    let missing = client.get(path, &[]).await;
    assert_eq!((missing.code, missing.headers.contains_key("warning")), (404, true));
    let mut anonymous = cluster.client(Identity::None, "h2").await;
    let denied = anonymous.get(path, &[]).await;
    assert_eq!((denied.code, denied.headers.contains_key("warning")), (403, false));
    let body = r#"{"metadata":{"name":"UPPER"},"unknown":1}"#;
    let path = format!("{CONFIG_MAPS}?fieldValidation=Warn");
    let refused = client.send(Method::POST, &path, &[("content-type", "application/json")], body).await;
    assert_eq!(
        (refused.code, &refused.headers["warning"]),
        (422, &"299 - \"unknown field \\\"unknown\\\"\"".parse().unwrap())
    );
    cluster.stop().await;
}

/// What flow control tells over the socket. The level has no seats: one request waits, a second one finds its queue full.
#[tokio::test]
async fn requests_without_a_place_are_turned_away() {
    let cluster = Cluster::start().await;
    let mut admin = cluster.client(Identity::Admin, "h2").await;
    let json = [("content-type", "application/json")];
    let base = "/apis/flowcontrol.apiserver.k8s.io/v1";
    let rules = r#"[{"subjects":[{"kind":"User","user":{"name":"jane"}}],
        "nonResourceRules":[{"verbs":["*"],"nonResourceURLs":["/version"]}]}]"#;
    let schema = format!(
        r#"{{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"FlowSchema","metadata":{{"name":"jail"}},
        "spec":{{"matchingPrecedence":50,"priorityLevelConfiguration":{{"name":"jail"}},"rules":{rules}}}}}"#
    );
    let level = r#"{"apiVersion":"flowcontrol.apiserver.k8s.io/v1","kind":"PriorityLevelConfiguration","metadata":{"name":"jail"},
        "spec":{"type":"Limited","limited":{"nominalConcurrencyShares":0,"borrowingLimitPercent":0,"limitResponse":
        {"type":"Queue","queuing":{"queues":1,"handSize":1,"queueLengthLimit":1}}}}}"#;
    let level = admin.send(Method::POST, &format!("{base}/prioritylevelconfigurations"), &json, level).await;
    assert_eq!(level.code, 201, "{}", level.text);
    let level = level.tree().str_at(&["metadata", "uid"]).unwrap().to_owned();
    let schema = admin.send(Method::POST, &format!("{base}/flowschemas"), &json, &schema).await;
    assert_eq!(schema.code, 201, "{}", schema.text);
    let schema = schema.tree().str_at(&["metadata", "uid"]).unwrap().to_owned();

    let mut first = cluster.client(Identity::User, "h2").await;
    let mut second = cluster.client(Identity::User, "h2").await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    // The first one waits a quarter of its time.
    while first.get("/version?timeout=40ms", &[]).await.code != 429 {
        assert!(tokio::time::Instant::now() < deadline, "the schema was not taken over in time");
    }
    let (waited, full) = tokio::join!(first.get("/version?timeout=8s", &[]), async {
        let waits = r#"current_inqueue_requests{priority_level="jail"} 1"#;
        while !admin.get("/metrics", &[]).await.text.contains(waits) {
            assert!(tokio::time::Instant::now() < deadline, "the first request does not wait");
        }
        let page = |name: &str| format!("/debug/api_priority_and_fairness/{name}");
        let levels = admin.get(&page("dump_priority_levels"), &[]).await;
        assert_eq!(levels.headers["content-type"], "text/plain; charset=utf-8");
        let head = "PriorityLevelName, ActiveQueues, IsIdle, IsQuiescing, WaitingRequests, ExecutingRequests, \
            DispatchedRequests, RejectedRequests, TimedoutRequests, CancelledRequests\n";
        assert!(levels.text.starts_with(head), "{}", levels.text);
        let jail = |page: &str| {
            let rows = page.lines().filter(|row| row.starts_with("jail,"));
            rows.map(|row| row.split_whitespace().collect::<String>()).collect::<Vec<_>>().join("\n")
        };
        assert!(jail(&levels.text).starts_with("jail,1,false,false,1,0,0,0,"), "{}", levels.text);
        let queues = admin.get(&page("dump_queues"), &[]).await.text;
        assert_eq!(jail(&queues).replace("0.00000000", "0"), "jail,0,1,0,0,0ss,1,1,0.00300000ss");
        let requests = admin.get(&page("dump_requests?includeRequestDetails=1"), &[]).await.text;
        let waiting = jail(&requests);
        assert!(waiting.starts_with("jail,jail,0,0,,20"), "{requests}");
        assert!(waiting.ends_with("Z,1,0,0s,0001-01-01T00:00:00Z,jane,get,/version,,,,,"), "{requests}");
        assert_eq!(admin.get(&page("dump_nothing"), &[]).await.code, 404);
        assert_eq!(second.get(&page("dump_queues"), &[]).await.code, 403);
        let started = tokio::time::Instant::now();
        let full = second.get("/version?timeout=20s", &[]).await;
        assert!(started.elapsed() < Duration::from_secs(4), "a quarter of its time is five");
        full
    });
    for answer in [waited, full] {
        assert_eq!((answer.code, answer.text.as_str()), (429, "Too many requests, please try again later.\n"));
        assert_eq!(answer.headers["retry-after"], "1");
        assert_eq!(answer.headers["x-kubernetes-pf-flowschema-uid"], schema.as_str());
        assert_eq!(answer.headers["x-kubernetes-pf-prioritylevel-uid"], level.as_str());
    }
    let other = second.get("/healthz", &[]).await;
    assert!(other.code == 200 && other.headers.contains_key("x-kubernetes-pf-flowschema-uid"));
    let metrics = admin.get("/metrics", &[]).await.text;
    let full = r#"rejected_requests_total{flow_schema="jail",priority_level="jail",reason="queue-full"} 1"#;
    assert!(metrics.contains(full), "{metrics}");
    cluster.stop().await;
}
