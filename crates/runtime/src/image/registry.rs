//! Fetches from registries: the OCI distribution protocol over HTTP/1.1, HTTPS except on loopback.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::hex;
use crate::api::{Credentials, Result, RuntimeError};

/// Redirects followed for one request.
const REDIRECTS_MAX: usize = 5;
/// The most bytes of a manifest or token.
const DOCUMENT_BYTES_MAX: usize = 8 << 20;
/// How long a registry may take to begin an answer.
const ANSWER_MAX: std::time::Duration = std::time::Duration::from_secs(30);

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// One repository of one registry.
pub struct Repository {
    host: String,
    name: String,
    credentials: Option<Credentials>,
    authorization: Option<String>,
}

fn pull_error(reason: &'static str) -> impl FnOnce(String) -> RuntimeError {
    move |message| RuntimeError::Pull { reason, message }
}

fn unavailable(error: impl std::fmt::Display) -> RuntimeError {
    pull_error("RegistryUnavailable")(error.to_string())
}

fn broken(error: impl std::fmt::Display) -> RuntimeError {
    pull_error("ErrImagePull")(error.to_string())
}

impl Repository {
    /// The repository of a normalized reference's name.
    pub fn new(host: &str, name: &str, credentials: Option<Credentials>) -> Self {
        let host = if host == "docker.io" { "registry-1.docker.io" } else { host };
        Self { host: host.to_owned(), name: name.to_owned(), credentials, authorization: None }
    }

    fn url(&self, kind: &str, what: &str) -> String {
        let bare = self.host.rsplit_once(':').map_or(self.host.as_str(), |(bare, _)| bare);
        let loopback = bare == "localhost" || bare == "[::1]" || bare.starts_with("127.");
        let scheme = if loopback { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{kind}/{what}", self.host, self.name)
    }

    /// A manifest by tag or digest.
    pub async fn manifest(&mut self, what: &str) -> Result<Vec<u8>> {
        let response = self.get(&self.url("manifests", what)).await?;
        let bytes = limited(response.into_body()).await?;
        if what.starts_with("sha256:") && what != format!("sha256:{}", super::sha256(&bytes)) {
            return Err(broken(format!("manifest {what}: digest does not match")));
        }
        Ok(bytes)
    }

    /// Writes a blob to a file and checks its digest.
    pub async fn blob(&mut self, digest: &str, to: &Path) -> Result<()> {
        let response = self.get(&self.url("blobs", digest)).await?;
        let mut file = tokio::fs::File::create(to).await.map_err(broken)?;
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            if let Ok(bytes) = frame.map_err(unavailable)?.into_data() {
                hash.update(&bytes);
                file.write_all(&bytes).await.map_err(broken)?;
            }
        }
        file.flush().await.map_err(broken)?;
        let got = format!("sha256:{}", hex(hash.finish().as_ref()));
        if got != digest { Err(broken(format!("blob {digest}: digest is {got}"))) } else { Ok(()) }
    }

    async fn get(&mut self, url: &str) -> Result<http::Response<Incoming>> {
        for _ in 0..2 {
            let response = follow(url, self.authorization.as_deref()).await?;
            match response.status() {
                StatusCode::OK => return Ok(response),
                StatusCode::UNAUTHORIZED if self.authorization.is_none() => {
                    let challenge = response.headers().get("www-authenticate").and_then(|value| value.to_str().ok());
                    self.authorization = Some(self.authorize(challenge.unwrap_or_default()).await?);
                }
                StatusCode::NOT_FOUND => return Err(broken(format!("{url}: not found"))),
                status => return Err(broken(format!("{url}: {status}"))),
            }
        }
        Err(broken(format!("{url}: 401 Unauthorized")))
    }

    fn basic(&self) -> Option<String> {
        let credentials = self.credentials.as_ref()?;
        let text = format!("{}:{}", credentials.username, credentials.password);
        Some(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text)))
    }

    /// Answers a registry's challenge.
    async fn authorize(&self, challenge: &str) -> Result<String> {
        let denied = || broken(format!("{}/{}: authentication required", self.host, self.name));
        let Some(fields) = challenge.strip_prefix("Bearer ") else { return self.basic().ok_or_else(denied) };
        let field = |key: &str| {
            let rest = &fields[fields.find(&format!("{key}=\""))? + key.len() + 2..];
            rest.split('"').next()
        };
        let realm = field("realm").ok_or_else(denied)?;
        let scope = format!("repository:{}:pull", self.name);
        let url = format!("{realm}?service={}&scope={scope}", field("service").unwrap_or_default());
        let response = follow(&url, self.basic().as_deref()).await?;
        if response.status() != StatusCode::OK {
            return Err(denied());
        }
        let answer: serde_json::Value =
            serde_json::from_slice(&limited(response.into_body()).await?).map_err(broken)?;
        let token = answer["token"].as_str().or(answer["access_token"].as_str()).ok_or_else(denied)?;
        Ok(format!("Bearer {token}"))
    }
}

async fn limited(body: Incoming) -> Result<Vec<u8>> {
    let limited = http_body_util::Limited::new(body, DOCUMENT_BYTES_MAX);
    Ok(limited.collect().await.map_err(unavailable)?.to_bytes().to_vec())
}

/// GET with redirects; credentials never travel to another host.
async fn follow(url: &str, authorization: Option<&str>) -> Result<http::Response<Incoming>> {
    let mut uri: Uri = url.parse().map_err(broken)?;
    let first = uri.authority().cloned();
    for _ in 0..REDIRECTS_MAX {
        let own = uri.authority() == first.as_ref();
        let response = tokio::time::timeout(ANSWER_MAX, request(&uri, authorization.filter(|_| own))).await;
        let response = response.map_err(|_| unavailable(format!("{uri}: no answer in time")))??;
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        match location.filter(|_| response.status().is_redirection()) {
            Some(location) if location.starts_with('/') => {
                let host = uri.authority().map(ToString::to_string).unwrap_or_default();
                let scheme = uri.scheme_str().unwrap_or("https");
                uri = format!("{scheme}://{host}{location}").parse().map_err(broken)?;
            }
            Some(location) => uri = location.parse().map_err(broken)?,
            None => return Ok(response),
        }
    }
    Err(broken(format!("{url}: too many redirects")))
}

async fn request(uri: &Uri, authorization: Option<&str>) -> Result<http::Response<Incoming>> {
    let host = uri.host().ok_or_else(|| broken(format!("{uri}: no host")))?.to_owned();
    let tls = uri.scheme_str() != Some("http");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let fail = |error: &dyn std::fmt::Display| unavailable(format!("{host}:{port}: {error}"));
    let bare = host.trim_matches(['[', ']']).to_owned();
    let stream = TcpStream::connect((bare.as_str(), port)).await.map_err(|error| fail(&error))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
    let mut builder = Request::get(path).header("host", authority).header("accept", ACCEPTED);
    builder = builder.header("user-agent", concat!("skiff/", env!("CARGO_PKG_VERSION")));
    if let Some(authorization) = authorization {
        builder = builder.header("authorization", authorization);
    }
    let request = builder.body(Empty::<bytes::Bytes>::new()).map_err(broken)?;
    if !tls {
        return send(stream, request).await.map_err(|error| fail(&error));
    }
    let name = rustls::pki_types::ServerName::try_from(bare).map_err(broken)?;
    let connector = tokio_rustls::TlsConnector::from(tls_configuration()?);
    let stream = connector.connect(name, stream).await.map_err(|error| fail(&error))?;
    send(stream, request).await.map_err(|error| fail(&error))
}

async fn send(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<bytes::Bytes>>,
) -> hyper::Result<http::Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    sender.send_request(request).await
}

fn tls_configuration() -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(broken)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
