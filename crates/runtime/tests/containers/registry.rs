//! Pulls from a registry of a few lines: HTTPS with tokens, shared pulls, failures that pass.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;

use super::*;

/// What a registry holds and how it behaves.
#[derive(Default)]
struct Registry {
    /// Answers by path.
    files: BTreeMap<String, Vec<u8>>,
    /// Paths asked for.
    asked: Mutex<Vec<String>>,
    /// Requests left that fail with 503.
    failures: Mutex<u32>,
    /// Ask for a token, by name and password.
    token: bool,
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn layer(name: &str) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    owned(&mut header);
    tar.append_data(&mut header, name, &b"hello"[..]).unwrap();
    tar.into_inner().unwrap()
}

impl Registry {
    /// Puts in an image of these tar files, packed by `pack`.
    fn add(&mut self, tag: &str, layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) {
        let mut blob = |bytes: Vec<u8>| {
            let digest = format!("sha256:{}", sha256(&bytes));
            let place = format!("{{\"digest\":\"{digest}\",\"size\":{}}}", bytes.len());
            self.files.insert(format!("/v2/team/web/blobs/{digest}"), bytes);
            place
        };
        let ids: Vec<String> = layers.iter().map(|tar| format!("\"sha256:{}\"", sha256(tar))).collect();
        let config = format!(r#"{{"config":{{}},"rootfs":{{"diff_ids":[{}]}}}}"#, ids.join(","));
        let config = blob(config.into_bytes());
        let layers: Vec<String> = layers.iter().map(|tar| blob(pack(tar))).collect();
        let manifest = format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#, layers.join(","));
        self.files.insert(format!("/v2/team/web/manifests/{tag}"), manifest.into_bytes());
    }

    fn count(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }

    fn answer(&self, request: &Request<Incoming>, host: &str) -> (StatusCode, Vec<u8>, String) {
        let path = request.uri().path().to_owned();
        self.asked.lock().unwrap().push(path.clone());
        let authorization = request.headers().get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
        if path == "/token" {
            let known =
                base64::engine::general_purpose::STANDARD.encode("me:secret") == authorization.replace("Basic ", "");
            assert!(request.uri().query().unwrap().contains("scope=repository%3Ateam%2Fweb%3Apull"));
            let status = if known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            return (status, br#"{"token":"let-me-in"}"#.to_vec(), String::new());
        }
        if self.token && authorization != "Bearer let-me-in" {
            let challenge = format!("Bearer realm=\"https://{host}/token\",service=\"tests\"");
            return (StatusCode::UNAUTHORIZED, Vec::new(), challenge);
        }
        let mut failures = self.failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return (StatusCode::SERVICE_UNAVAILABLE, Vec::new(), String::new());
        }
        match self.files.get(&path) {
            Some(bytes) => (StatusCode::OK, bytes.clone(), String::new()),
            None => (StatusCode::NOT_FOUND, Vec::new(), String::new()),
        }
    }
}

/// Serves a registry and returns its host and port.
async fn serve(registry: Arc<Registry>, tls: Option<Arc<rustls::ServerConfig>>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let host = if tls.is_some() { format!("registry.test:{port}") } else { format!("127.0.0.1:{port}") };
    let name = host.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (registry, tls, name) = (registry.clone(), tls.clone(), name.clone());
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                    let (status, bytes, challenge) = registry.answer(&request, &name);
                    let answer = Response::builder().status(status).header("www-authenticate", challenge);
                    async move { answer.body(Full::new(Bytes::from(bytes))) }
                });
                let builder = hyper::server::conn::http1::Builder::new();
                let _ = match tls {
                    None => builder.serve_connection(hyper_util::rt::TokioIo::new(socket), service).await,
                    Some(tls) => {
                        let Ok(stream) = tokio_rustls::TlsAcceptor::from(tls).accept(socket).await else { return };
                        builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service).await
                    }
                };
            });
        }
    });
    host
}

pub async fn zstd() {
    let world = World::new().await;
    let mut registry = Registry::default();
    registry.add("v1", &[layer("page")], |tar| ::zstd::encode_all(tar, 3).unwrap());
    let host = serve(Arc::new(registry), None).await;
    let image = world.runtime.pull_image(&format!("{host}/team/web:v1"), Vec::new()).await.unwrap().image;
    assert!(image.size >= 5);
    let unpacked = std::fs::read_dir(world.directory.path().join("data/images/layers")).unwrap().flatten();
    let mut pages = unpacked.map(|entry| std::fs::read_to_string(entry.path().join("page")));
    assert!(pages.any(|page| page.is_ok_and(|page| page == "hello")));
}

/// HTTPS needs a name and an authority that the machine trusts: both are made up for this process alone, in a mount
/// namespace of its own.
pub async fn token() {
    let made = rcgen::generate_simple_self_signed(vec!["registry.test".to_owned()]).unwrap();
    let world = World::new().await;
    let certificate = world.directory.path().join("ca.pem");
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    if std::env::var_os("TEST_KEY").is_none() {
        // Trust is read from the environment, and names from /etc/hosts: this test runs again with both its own.
        return again_with_own_world(&world, &certificate, &made.signing_key.serialize_pem());
    }
    let (certificate, key) = (std::env::var("SSL_CERT_FILE").unwrap(), std::env::var("TEST_KEY").unwrap());
    use rustls::pki_types::pem::PemObject;
    let certificates = vec![rustls::pki_types::CertificateDer::from_pem_file(certificate).unwrap()];
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
    let mut registry = Registry { token: true, ..Registry::default() };
    registry.add("v1", &[layer("a"), layer("b"), layer("c"), layer("d")], <[u8]>::to_vec);
    let registry = Arc::new(registry);
    let host = serve(registry.clone(), Some(Arc::new(config))).await;
    let name = format!("{host}/team/web:v1");
    let error = world.runtime.pull_image(&name, Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("pull access denied, repository does not exist or may require authorization"), "{error}");
    let wrong = Credentials { username: "me".to_owned(), password: "guess".to_owned(), ..Credentials::default() };
    let right = Credentials { password: "secret".to_owned(), ..wrong.clone() };
    let pulled = world.runtime.pull_image(&name, vec![wrong, right]).await.unwrap();
    assert_eq!((pulled.image.repo_tags, pulled.credentials), (vec![name], Some(1)));
    // One token for all requests of a pull.
    assert_eq!(registry.count("/token"), 3);
}

fn again_with_own_world(world: &World, certificate: &Path, key: &str) {
    let hosts = world.directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost registry.test\n").unwrap();
    let script = format!("mount --bind {} /etc/hosts && exec \"$0\" a_registry_asks_for_a_token", hosts.display());
    let status = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("SSL_CERT_FILE", certificate)
        .env("TEST_KEY", key)
        .status();
    assert!(status.unwrap().success());
}

pub async fn shared() {
    let world = World::new().await;
    let mut registry = Registry::default();
    registry.add("v1", &[layer("a"), layer("b")], <[u8]>::to_vec);
    registry.add("v2", &[layer("a"), layer("c")], <[u8]>::to_vec);
    let registry = Arc::new(registry);
    let host = serve(registry.clone(), None).await;
    let pull = |tag: &str| {
        let (runtime, name) = (world.runtime.clone(), format!("{host}/team/web:{tag}"));
        async move { runtime.pull_image(&name, Vec::new()).await.unwrap().image.id }
    };
    let (one, two, three) = tokio::join!(pull("v1"), pull("v1"), pull("v1"));
    assert!(one == two && two == three);
    assert_eq!((registry.count("/manifests/v1"), registry.count("/blobs/")), (1, 3));
    // The second image brings one layer and its configuration; the other layer is there.
    pull("v2").await;
    assert_eq!(registry.count("/blobs/"), 5);
    pull("v1").await;
    assert_eq!((registry.count("/manifests/v1"), registry.count("/blobs/")), (2, 6));
}

pub async fn retries() {
    let world = World::new().await;
    let mut registry = Registry { failures: Mutex::new(2), ..Registry::default() };
    registry.add("v1", &[layer("a")], <[u8]>::to_vec);
    let registry = Arc::new(registry);
    let host = serve(registry.clone(), None).await;
    world.runtime.pull_image(&format!("{host}/team/web:v1"), Vec::new()).await.unwrap();
    let error = world.runtime.pull_image(&format!("{host}/team/web:none"), Vec::new()).await.unwrap_err().to_string();
    let name = format!("{host}/team/web:none");
    let wanted =
        format!("failed to pull and unpack image {name:?}: failed to resolve reference {name:?}: {name}: not found");
    assert_eq!(error, wanted);
    assert_eq!(registry.count("/manifests/none"), 1, "what is not there is not asked for again");
}

pub async fn layers_in_use() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "exec sleep 1000", |_| ()).await;
    world.runtime.remove_image("busybox:test").await.unwrap();
    assert!(world.runtime.image_status("busybox:test").await.unwrap().is_none());
    let output = world.runtime.exec_sync(&id, ["cat", "/etc/group"].map(str::to_owned).to_vec(), None).await.unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("extra"));
    let layers = world.directory.path().join("data/images/layers");
    assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 1);
    let directory = world.directory.path().to_owned();
    world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    // What no image and no container names goes at the next start.
    open(&directory).await;
    assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 0);
    remove_cgroups(&directory);
}
