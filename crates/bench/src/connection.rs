//! A client of the API over TLS and HTTP/2, as lean as it gets, so that little of what is measured is its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use crate::load::Load;

/// How to connect, from a kubeconfig.
#[derive(Clone)]
pub struct Target {
    authority: String,
    tls: Arc<rustls::ClientConfig>,
}

impl Target {
    /// Reads a kubeconfig with embedded certificates.
    pub fn read(kubeconfig: &Path) -> Result<Self> {
        let config: Value = serde_saphyr::from_str(&std::fs::read_to_string(kubeconfig)?)?;
        let pem = |place: &str| -> Result<Vec<u8>> {
            let text = config.pointer(place).and_then(Value::as_str).with_context(|| format!("no {place}"))?;
            Ok(STANDARD.decode(text)?)
        };
        let mut roots = rustls::RootCertStore::empty();
        let authority = pem("/clusters/0/cluster/certificate-authority-data")?;
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&pem("/users/0/user/client-certificate-data")?)
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&pem("/users/0/user/client-key-data")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let server = config.pointer("/clusters/0/cluster/server").and_then(Value::as_str).context("no server")?;
        let authority = server.strip_prefix("https://").context("not https")?.to_owned();
        Ok(Self { authority, tls: Arc::new(tls) })
    }

    /// Makes a connection. Clones share it.
    pub async fn connect(&self) -> Result<Connection> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(self.open().await?))
            .await?;
        tokio::spawn(connection);
        Ok(Connection { sender, authority: self.authority.clone() })
    }

    /// Makes a connection for a load of requests.
    pub async fn load(&self) -> Result<Load> {
        Ok(Load::new(self.open().await?, self.authority.clone().leak()))
    }

    async fn open(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.authority).await?;
        stream.set_nodelay(true)?;
        let host = self.authority.rsplit_once(':').map_or(self.authority.as_str(), |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())?;
        Ok(tokio_rustls::TlsConnector::from(self.tls.clone()).connect(name, stream).await?)
    }
}

/// A connection to the API server.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Connection {
    /// Sends a request, and gives the answer as it begins.
    pub async fn open(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).header("content-type", kind);
        self.send(request.header("accept", "application/json"), path, body).await
    }

    /// Sends a request with its headers.
    async fn send(&self, request: http::request::Builder, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = request.uri(format!("https://{}{path}", self.authority)).body(Full::new(body))?;
        let answer = self.sender.clone().send_request(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.into_body().collect().await?.to_bytes();
        Err(anyhow!("{path}: {status}: {}", String::from_utf8_lossy(&text)))
    }

    async fn whole(&self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes> {
        let answer = self.open(method, path, kind, body).await?;
        Ok(answer.into_body().collect().await?.to_bytes())
    }

    /// GET, whole.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        self.whole(Method::GET, path, "application/json", Bytes::new()).await
    }

    /// GET in a form, of which nothing is kept. Gives the time until the first bytes came, and how many came.
    pub async fn skim(&self, path: &str, accept: &str) -> Result<(Duration, usize)> {
        let begun = Instant::now();
        let request = Request::builder().method(Method::GET).header("accept", accept);
        let mut body = self.send(request, path, Bytes::new()).await?.into_body();
        let (mut first, mut size) = (None, 0);
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            first.get_or_insert_with(|| begun.elapsed());
            size += bytes.len();
        }
        Ok((first.context("nothing came")?, size))
    }

    /// GET, parsed.
    pub async fn read(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_slice(&self.get(path).await?)?)
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: Bytes) -> Result<Bytes> {
        self.whole(Method::POST, path, "application/json", body).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str, body: Bytes) -> Result<Bytes> {
        self.whole(Method::DELETE, path, "application/json", body).await
    }

    /// Begins a watch.
    pub async fn watch(&self, path: &str) -> Result<Watching> {
        Ok(Watching(self.open(Method::GET, path, "application/json", Bytes::new()).await?.into_body()))
    }
}

/// A watch that has begun.
pub struct Watching(Incoming);

impl Watching {
    /// Calls `event` for each event until it returns true.
    pub async fn follow(self, mut event: impl FnMut(&[u8]) -> Result<bool>) -> Result<()> {
        let mut body = self.0;
        let mut rest: Vec<u8> = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            rest.extend_from_slice(&bytes);
            let mut begin = 0;
            while let Some(length) = rest[begin..].iter().position(|b| *b == b'\n') {
                if event(&rest[begin..begin + length])? {
                    return Ok(());
                }
                begin += length + 1;
            }
            rest.drain(..begin);
        }
        bail!("the watch ended")
    }
}
