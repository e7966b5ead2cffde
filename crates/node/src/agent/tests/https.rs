//! The node's HTTPS API with real certificates.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;

struct Authority(Issuer<'static, KeyPair>, rustls::pki_types::CertificateDer<'static>);

type Identity = (Vec<rustls::pki_types::CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec!["ca".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self(Issuer::new(params, key), certificate)
    }

    fn identity(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().der().clone();
        (vec![certificate], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }
}

struct Site {
    world: World,
    authority: Authority,
    port: u16,
}

#[derive(Debug)]
struct Fixed(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Fixed {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

impl Site {
    async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("skiff-node-").tempdir().unwrap();
        let world = World { api: Arc::default(), runtime: Arc::default(), directory, stop: watch::Sender::new(false) };
        let authority = Authority::new();
        let (chain, key) = authority.identity("node");
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = NodeOptions {
            tls: Arc::new(Fixed(Arc::new(rustls::sign::CertifiedKey::new(chain, key)))),
            client_ca: vec![authority.1.clone()],
            listen: free,
            ..world.options()
        };
        tokio::spawn(run(options, world.stop.subscribe()));
        world.pod("p", ONE);
        world.until("p", |s| phase(s) == "Running").await;
        Self { world, authority, port: free.port() }
    }

    async fn connect(&self, identity: Option<Identity>) -> TlsStream<tokio::net::TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.1.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap()
    }

    async fn get(&self, identity: Option<Identity>, path: &str) -> String {
        self.ask(identity, &format!("GET {path}"), "").await
    }

    /// `line` is method and path, `header` one more line or nothing.
    async fn ask(&self, identity: Option<Identity>, line: &str, header: &str) -> String {
        let mut stream = self.connect(identity).await;
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    fn server(&self) -> Option<Identity> {
        Some(self.authority.identity("kube-apiserver-kubelet-client"))
    }
}

#[tokio::test]
async fn the_api_server_decides_who_is_let_in() {
    let site = Site::new().await;
    let somebody = || Some(site.authority.identity("somebody"));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (identity, token, path, wanted) in [
        (None, "", "/healthz", "200"),
        (None, "", "/pods", "401"),
        (None, "bad", "/pods", "401"),
        (None, "good", "/metrics/resource", "200"),
        (None, "good", "/pods", "403"),
        (somebody(), "", "/pods", "403"),
        (somebody(), "good", "/metrics", "403"),
        (site.server(), "", "/pods", "200"),
        (site.server(), "", "/nowhere", "404"),
    ] {
        let header = if token.is_empty() { String::new() } else { bearer(token) };
        let answer = site.ask(identity, &format!("GET {path}"), &header).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{path}: {answer}");
    }
    let answer = site.ask(None, "GET /pods", &bearer("good")).await;
    let wanted = "Forbidden (user=alice, verb=get, resource=nodes, subresource(s)=[pods proxy])";
    assert!(answer.ends_with(wanted), "{answer}");
}

#[tokio::test]
async fn statistics_are_told_in_all_forms() {
    let site = Site::new().await;
    let summary = site.get(site.server(), "/stats/summary").await;
    let tree = Value::parse(summary.split("\r\n\r\n").nth(1).unwrap().as_bytes()).unwrap();
    assert_eq!(tree.str_at(&["node", "nodeName"]), Some("node1"));
    let pod = tree.get("pods").and_then(Value::as_array).unwrap()[0].clone();
    assert_eq!(pod.str_at(&["podRef", "name"]), Some("p"));
    assert!(pod.get("ephemeral-storage").is_some() && pod.i64_at(&["memory", "workingSetBytes"]).is_some());
    let system = tree.at(&["node", "systemContainers"]).and_then(Value::as_array).unwrap()[0].clone();
    assert_eq!(system.str_at(&["name"]), Some("pods"));
    assert!(system.i64_at(&["memory", "availableBytes"]).is_some_and(|bytes| bytes > 0), "{system:?}");
    let less = site.get(site.server(), "/stats/summary?only_cpu_and_memory=true").await;
    assert!(less.contains("workingSetBytes") && !less.contains("ephemeral-storage"), "{less}");
    for (path, wanted) in [
        ("/metrics", "kubelet_running_pods 1"),
        ("/metrics", "kubelet_started_pods_total 1"),
        ("/metrics", "kubelet_started_containers_total{container_type=\"container\"} 1"),
        ("/metrics", "kubelet_pod_start_duration_seconds_count 1"),
        ("/metrics", "kubelet_imagemanager_ondisk_pulledrecords 1"),
        ("/metrics", "{pull_policy=\"ifnotpresent\",present_locally=\"true\",pull_required=\"false\"} 1"),
        ("/metrics", "kubelet_imagemanager_image_mustpull_checks_total{result=\"credentialPolicyAllowed\"} 1"),
        ("/metrics/resource", "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} "),
        ("/metrics/cadvisor", "container_memory_failures_total{container=\"a\","),
        ("/runningpods", "\"name\":\"a\""),
        ("/configz", "\"mode\":\"Webhook\""),
        ("/configz", "\"imagePullCredentialsVerificationPolicy\":\"NeverVerifyPreloadedImages\""),
    ] {
        let answer = site.get(site.server(), path).await;
        assert!(answer.contains(wanted), "{path}: {answer}");
    }
    let answer = site.ask(site.server(), "POST /checkpoint/n/p/a", "Content-Length: 0\r\n").await;
    assert!(answer.ends_with("checkpointing of n/p/a failed (the container runtime does not support checkpoints)"));
    assert!(site.ask(site.server(), "DELETE /pods", "").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn logs_are_read() {
    let site = Site::new().await;
    let path = site.world.directory.path().join("a.log");
    std::fs::write(&path, "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stdout F two\n").unwrap();
    site.world.runtime.state.lock().unwrap().containers[0].log_path = path;
    let answer = site.get(site.server(), "/containerLogs/n/p/a?tailLines=1").await;
    assert!(answer.contains("two\n") && !answer.contains("one"), "{answer}");
    let answer = site.get(site.server(), "/containerLogs/n/p/a?previous=true").await;
    assert!(answer.contains(r#"previous terminated container "a" in pod "p" not found"#), "{answer}");
}

#[tokio::test]
async fn a_command_runs_over_websocket() {
    let site = Site::new().await;
    let url = format!("wss://localhost:{}/exec/n/p/a?command=cat&input=1&output=1", site.port);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "v5.channel.k8s.io".parse().unwrap());
    let stream = site.connect(site.server()).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket.send(Message::Binary(Bytes::from_static(b"\x00hello"))).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Binary(Bytes::from_static(b"\x01hello")));
    socket.send(Message::Binary(Bytes::from_static(b"\xff\x00"))).await.unwrap();
    let Message::Binary(last) = socket.next().await.unwrap().unwrap() else { panic!("no status came") };
    assert_eq!(last[0], 3);
    let status = Value::parse(&last[1..]).unwrap();
    assert_eq!(status.str_at(&["message"]), Some("command terminated with non-zero exit code: exit status 3"));
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
}

/// A SYN_STREAM frame.
fn open(compress: &mut flate2::Compress, id: u32, headers: &[(&str, &str)]) -> Bytes {
    let block = crate::streams::spdy_headers::tests::encode(compress, headers);
    let length = (10 + block.len()) as u32;
    let head = [&[0x80, 3, 0, 1, 0][..], &length.to_be_bytes()[1..], &id.to_be_bytes(), &[0; 6]].concat();
    [head, block].concat().into()
}

#[tokio::test]
async fn a_port_is_forwarded_by_spdy_inside_a_websocket() {
    let site = Site::new().await;
    let echo = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = echo.local_addr().unwrap().port().to_string();
    tokio::spawn(async move {
        let (mut socket, _) = echo.accept().await.unwrap();
        let (mut reader, mut writer) = socket.split();
        let _ = tokio::io::copy(&mut reader, &mut writer).await;
    });
    let mut request = format!("wss://localhost:{}/portForward/n/p", site.port).into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io".parse().unwrap());
    let stream = site.connect(site.server()).await;
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let mut compress = flate2::Compress::new(flate2::Compression::default(), true);
    for (id, kind) in [(1, "error"), (3, "data")] {
        let frame = open(&mut compress, id, &[("streamtype", kind), ("port", &port), ("requestid", "0")]);
        socket.send(Message::Binary(frame)).await.unwrap();
    }
    let data = [&[0, 0, 0, 3, 0, 0, 0, 5][..], b"hello"].concat();
    socket.send(Message::Binary(data.clone().into())).await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(&data) {
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => got.extend_from_slice(&bytes),
            other => panic!("{other:?} after {got:?}"),
        }
    }
}

#[tokio::test]
async fn a_command_runs_over_spdy() {
    let site = Site::new().await;
    let mut stream = site.connect(site.server()).await;
    let request = "POST /exec/n/p/a?command=cat&input=1&output=1 HTTP/1.1\r\nHost: localhost\r\n\
        Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
        X-Stream-Protocol-Version: v3.channel.k8s.io\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: spdy/3.1"), "{answer}");
    assert!(answer.contains("x-stream-protocol-version: v4.channel.k8s.io"), "{answer}");
    let mut compress = flate2::Compress::new(flate2::Compression::default(), true);
    for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
        stream.write_all(&open(&mut compress, id, &[("streamtype", kind)])).await.unwrap();
    }
    // `hi` on stdin, and its end.
    stream.write_all(&[0, 0, 0, 3, 1, 0, 0, 2, b'h', b'i']).await.unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let has = |wanted: &[u8]| rest.windows(wanted.len()).any(|w| w == wanted);
    assert!(has(&[0, 0, 0, 5, 0, 0, 0, 2, b'h', b'i']), "{rest:?}");
    assert!(has(b"command terminated with non-zero exit code: exit status 3"), "{rest:?}");
}
