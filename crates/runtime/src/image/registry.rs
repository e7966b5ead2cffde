//! Fetches from registries: the OCI distribution protocol over HTTP/1.1, HTTPS except on loopback. What fails for a
//! passing reason is tried again.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::hex;
use crate::api::Credentials;
use crate::sys::plain;

/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 5;
/// The most bytes of a manifest, configuration or token.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// How long a connection, and the beginning of an answer, may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How long a download may stand still.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Waits before what failed for a passing reason is tried again.
const RETRY_WAITS: [Duration; 3] = [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Why a registry did not give what was asked for.
#[derive(Debug, Clone)]
pub struct Failure {
    /// For users.
    pub message: String,
    /// The registry does not have it.
    pub not_found: bool,
    /// It may work a moment later.
    transient: bool,
}

fn fatal(message: impl std::fmt::Display) -> Failure {
    Failure { message: message.to_string(), not_found: false, transient: false }
}

fn transient(message: impl std::fmt::Display) -> Failure {
    Failure { transient: true, ..fatal(message) }
}

type Result<T> = std::result::Result<T, Failure>;

/// Sleeps before the next attempt, or gives the failure back when there is none.
async fn again(waits: &mut std::slice::Iter<'_, Duration>, failure: Failure) -> Result<()> {
    match waits.next().filter(|_| failure.transient) {
        Some(wait) => {
            tracing::debug!(error = failure.message, "asking the registry again");
            tokio::time::sleep(*wait).await;
            Ok(())
        }
        None => Err(failure),
    }
}

/// One repository of one registry.
pub struct Repository {
    host: String,
    name: String,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<String>>,
    tls: OnceLock<Arc<rustls::ClientConfig>>,
}

impl Repository {
    /// The repository of a normalized reference's name.
    pub fn new(host: &str, name: &str, credentials: Option<Credentials>) -> Self {
        let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
        let (host, name) = (host.to_owned(), name.to_owned());
        Self { host, name, credentials, authorization: Mutex::default(), tls: OnceLock::new() }
    }

    fn url(&self, kind: &str, what: &str) -> String {
        let bare = self.host.rsplit_once(':').map_or(self.host.as_str(), |(bare, _)| bare);
        let loopback = bare == "localhost" || bare == "[::1]" || bare.starts_with("127.");
        let scheme = if loopback { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{kind}/{what}", self.host, self.name)
    }

    /// A manifest by tag or digest.
    pub async fn manifest(&self, what: &str) -> Result<Vec<u8>> {
        self.checked_document(&self.url("manifests", what), what).await
    }

    /// A small blob.
    pub async fn document(&self, digest: &str) -> Result<Vec<u8>> {
        self.checked_document(&self.url("blobs", digest), digest).await
    }

    async fn checked_document(&self, url: &str, what: &str) -> Result<Vec<u8>> {
        let mut waits = RETRY_WAITS.iter();
        let bytes = loop {
            let got = match self.get(url).await {
                Ok(response) => limited(response.into_body()).await,
                Err(failure) => Err(failure),
            };
            match got {
                Ok(bytes) => break bytes,
                Err(failure) => again(&mut waits, failure).await?,
            }
        };
        let digest = format!("sha256:{}", super::sha256(&bytes));
        if what.contains(':') && what != digest {
            return Err(fatal(format!("unexpected digest {digest}, expected {what}")));
        }
        Ok(bytes)
    }

    /// Writes a blob to a file and checks its digest.
    pub async fn blob(&self, digest: &str, to: &Path) -> Result<()> {
        let mut waits = RETRY_WAITS.iter();
        while let Err(failure) = self.blob_once(digest, to).await {
            again(&mut waits, failure).await?;
        }
        Ok(())
    }

    async fn blob_once(&self, digest: &str, to: &Path) -> Result<()> {
        let response = self.get(&self.url("blobs", digest)).await?;
        let mut file = tokio::fs::File::create(to).await.map_err(|error| fatal(plain(&error)))?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let mut body = response.into_body();
        loop {
            let frame = tokio::time::timeout(STALL_MAX, body.frame()).await;
            let frame =
                frame.map_err(|_| transient(format!("blob {digest}: no data for {} s", STALL_MAX.as_secs())))?;
            let Some(frame) = frame else { break };
            if let Ok(bytes) = frame.map_err(transient)?.into_data() {
                hash.update(&bytes);
                file.write_all(&bytes).await.map_err(|error| fatal(plain(&error)))?;
            }
        }
        file.flush().await.map_err(|error| fatal(plain(&error)))?;
        let got = format!("sha256:{}", hex(hash.finish().as_ref()));
        if got != digest { Err(fatal(format!("unexpected digest {got}, expected {digest}"))) } else { Ok(()) }
    }

    /// GET, answering the registry's challenge when it asks for who we are.
    async fn get(&self, url: &str) -> Result<Response<Incoming>> {
        let mut known = self.authorization.lock().await.clone();
        for _ in 0..2 {
            let response = self.follow(url, known.as_deref()).await?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::UNAUTHORIZED => {
                    let challenge = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
                    let mut shared = self.authorization.lock().await;
                    // Somebody else may have answered meanwhile.
                    if *shared == known {
                        *shared = Some(self.authorize(challenge.unwrap_or_default()).await?);
                    }
                    known = shared.clone();
                }
                StatusCode::NOT_FOUND => return Err(Failure { not_found: true, ..fatal(format!("{url}: not found")) }),
                StatusCode::FORBIDDEN => return Err(self.denied("insufficient_scope: authorization failed")),
                status => {
                    let message = format!("unexpected status from GET request to {url}: {status}");
                    let passing = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    return Err(if passing { transient(message) } else { fatal(message) });
                }
            }
        }
        Err(self.denied("authorization failed"))
    }

    fn denied(&self, why: &str) -> Failure {
        fatal(format!("pull access denied, repository does not exist or may require authorization: {why}"))
    }

    fn basic(&self) -> Option<String> {
        let credentials = self.credentials.as_ref().filter(|credentials| !credentials.username.is_empty())?;
        let text = format!("{}:{}", credentials.username, credentials.password);
        Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)))
    }

    /// Answers a registry's challenge: with name and password, or with a token that its authority gives.
    async fn authorize(&self, challenge: &str) -> Result<String> {
        let denied = || self.denied("authorization failed: no basic auth credentials");
        let Some(fields) = challenge.strip_prefix("Bearer ") else { return self.basic().ok_or_else(denied) };
        let field = |key: &str| {
            let rest = &fields[fields.find(&format!("{key}=\""))? + key.len() + 2..];
            rest.split('"').next()
        };
        let realm = field("realm").ok_or_else(denied)?;
        let service = field("service").unwrap_or_default();
        let scope = format!("repository:{}:pull", self.name);
        let identity = self.credentials.as_ref().map(|c| c.identity_token.as_str()).filter(|token| !token.is_empty());
        let response = match identity {
            // A refresh token is traded in by OAuth 2.
            Some(token) => {
                let pairs = [
                    ("grant_type", "refresh_token"),
                    ("service", service),
                    ("scope", &scope),
                    ("client_id", "skiff"),
                    ("refresh_token", token),
                ];
                let form = pairs.map(|(key, value)| format!("{key}={}", percent_encoded(value))).join("&");
                let uri: Uri = realm.parse().map_err(fatal)?;
                self.request(&uri, None, Some(form)).await?
            }
            None => {
                let query = format!("service={}&scope={}", percent_encoded(service), percent_encoded(&scope));
                let mark = if realm.contains('?') { '&' } else { '?' };
                self.follow(&format!("{realm}{mark}{query}"), self.basic().as_deref()).await?
            }
        };
        match response.status() {
            StatusCode::OK => {}
            status if status.is_server_error() => return Err(transient(format!("failed to fetch token: {status}"))),
            status => return Err(self.denied(&format!("failed to fetch token: {status}"))),
        }
        let answer: serde_json::Value = serde_json::from_slice(&limited(response.into_body()).await?).map_err(fatal)?;
        let token = answer["token"].as_str().or(answer["access_token"].as_str()).ok_or_else(denied)?;
        Ok(format!("Bearer {token}"))
    }

    /// GET with redirects; credentials never travel to another host.
    async fn follow(&self, url: &str, authorization: Option<&str>) -> Result<Response<Incoming>> {
        let mut uri: Uri = url.parse().map_err(fatal)?;
        let first = uri.authority().cloned();
        for _ in 0..REDIRECTS_MAX {
            let own = uri.authority() == first.as_ref();
            let response = self.request(&uri, authorization.filter(|_| own), None).await?;
            let location = response.headers().get("location").and_then(|value| value.to_str().ok());
            match location.filter(|_| response.status().is_redirection()) {
                Some(location) if location.starts_with('/') => {
                    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
                    let scheme = uri.scheme_str().unwrap_or("https");
                    uri = format!("{scheme}://{host}{location}").parse().map_err(fatal)?;
                }
                Some(location) => uri = location.parse().map_err(fatal)?,
                None => return Ok(response),
            }
        }
        Err(fatal(format!("{url}: too many redirects")))
    }

    /// One request: a POST when there is a form.
    async fn request(
        &self,
        uri: &Uri,
        authorization: Option<&str>,
        form: Option<String>,
    ) -> Result<Response<Incoming>> {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let method = if form.is_some() { Method::POST } else { Method::GET };
        let verb = if form.is_some() { "Post" } else { "Get" };
        let mut builder = Request::builder().method(method).uri(path).header("host", authority);
        builder = builder.header("user-agent", concat!("skiff/", env!("CARGO_PKG_VERSION"))).header("accept", ACCEPTED);
        if form.is_some() {
            builder = builder.header("content-type", "application/x-www-form-urlencoded");
        }
        if let Some(authorization) = authorization {
            builder = builder.header("authorization", authorization);
        }
        let request = builder.body(Full::new(Bytes::from(form.unwrap_or_default()))).map_err(fatal)?;
        let what = |failure: Failure| Failure {
            message: format!("failed to do request: {verb} \"{uri}\": {}", failure.message),
            ..failure
        };
        match tokio::time::timeout(ANSWER_MAX, self.exchange(uri, request)).await {
            Ok(result) => result.map_err(what),
            Err(_) => Err(what(transient("timeout awaiting response headers"))),
        }
    }

    async fn exchange(&self, uri: &Uri, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        let host = uri.host().ok_or_else(|| fatal("no Host in request URL"))?.trim_matches(['[', ']']).to_owned();
        let tls = uri.scheme_str() != Some("http");
        let stream = connect(&host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 })).await?;
        if !tls {
            return send(stream, request).await;
        }
        let name = rustls::pki_types::ServerName::try_from(host).map_err(fatal)?;
        let connector = tokio_rustls::TlsConnector::from(self.tls()?);
        // A certificate that nobody trusts stays so.
        let stream = connector.connect(name, stream).await.map_err(|error| match error.get_ref() {
            Some(_) => fatal(format!("tls: {error}")),
            None => transient(plain(&error)),
        })?;
        send(stream, request).await
    }

    /// Trust as the machine has it now; read once per pull.
    fn tls(&self) -> Result<Arc<rustls::ClientConfig>> {
        if let Some(known) = self.tls.get() {
            return Ok(known.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions().map_err(fatal)?;
        let made = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        Ok(self.tls.get_or_init(|| made).clone())
    }
}

async fn limited(body: Incoming) -> Result<Vec<u8>> {
    let limited = http_body_util::Limited::new(body, DOCUMENT_BYTES_MAX);
    let collected = tokio::time::timeout(STALL_MAX, limited.collect()).await;
    Ok(collected.map_err(|_| transient("no data in time"))?.map_err(transient)?.to_bytes().to_vec())
}

/// Connects to the first address that answers, with Go's wording of failures.
async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses = found.map_err(|_| transient(format!("dial tcp: lookup {host}: no such host")))?;
    let mut failure = transient(format!("dial tcp: lookup {host}: no such host"));
    for address in addresses {
        match tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                let refused = error.kind() == std::io::ErrorKind::ConnectionRefused;
                let message = format!("dial tcp {address}: connect: {}", plain(&error));
                failure = if refused { fatal(message) } else { transient(message) };
            }
            Err(_) => failure = transient(format!("dial tcp {address}: i/o timeout")),
        }
    }
    Err(failure)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(transient)?;
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(transient)
}

fn percent_encoded(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
