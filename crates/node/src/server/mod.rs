//! The node's HTTPS API: logs, exec, attach, port-forward, statistics. Only the API server may use it.

mod logs;
mod respond;
mod stats;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::agent::Agent;
use respond::{Body, json, plain};

/// How long a client may take for the TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Serves until the agent stops.
pub(crate) async fn serve(agent: Arc<Agent>, listener: TcpListener) {
    let acceptor = match tls(&agent) {
        Ok(config) => TlsAcceptor::from(Arc::new(config)),
        Err(error) => {
            tracing::error!(error, "the node's HTTPS API is off");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(connection(agent.clone(), acceptor.clone(), socket));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn tls(agent: &Agent) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in &agent.options.client_ca {
        roots.add(authority.clone()).map_err(|e| e.to_string())?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().map_err(|e| e.to_string())?;
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|e| e.to_string())?.with_client_cert_verifier(verifier);
    let mut config = builder.with_cert_resolver(agent.options.tls.clone());
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Without a certificate.
    Anonymous,
    /// With a certificate of somebody who has no business here.
    Other,
    /// The API server, or an administrator.
    Allowed,
}

fn caller(certificate: Option<&[u8]>) -> Caller {
    let Some(bytes) = certificate else { return Caller::Anonymous };
    let Ok((_, parsed)) = X509Certificate::from_der(bytes) else { return Caller::Anonymous };
    let subject = parsed.subject();
    let name = subject.iter_common_name().any(|n| n.as_str() == Ok("kube-apiserver-kubelet-client"));
    let group = subject.iter_organization().any(|o| o.as_str() == Ok("system:masters"));
    if name || group { Caller::Allowed } else { Caller::Other }
}

async fn connection(agent: Arc<Agent>, acceptor: TlsAcceptor, socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(socket)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let caller = caller(certificates.and_then(|c| c.first()).map(AsRef::as_ref));
    let service = service_fn(move |request| {
        let agent = agent.clone();
        async move { Ok::<_, Infallible>(handle(agent, caller, request).await) }
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.with_upgrades().await {
        tracing::debug!(%error, "connection ended");
    }
}

/// A request's path and query, taken apart.
struct Call {
    path: Vec<String>,
    query: Vec<(String, String)>,
}

impl Call {
    fn new(request: &Request<Incoming>) -> Self {
        let path = request.uri().path().split('/').filter(|p| !p.is_empty()).map(decode).collect();
        let pairs = request.uri().query().unwrap_or_default().split('&').filter(|p| !p.is_empty());
        let pair = |p: &str| {
            let (name, value) = p.split_once('=').unwrap_or((p, ""));
            (decode(&name.replace('+', " ")), decode(&value.replace('+', " ")))
        };
        Self { path, query: pairs.map(pair).collect() }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    fn all(&self, name: &str) -> Vec<String> {
        self.query.iter().filter(|(k, _)| k == name).map(|(_, v)| v.clone()).collect()
    }

    /// Whether one of these is `1` or `true`: the node's own names and the API's are both known.
    fn flag(&self, names: &[&str]) -> bool {
        names.iter().any(|n| matches!(self.get(n), Some("1" | "true")))
    }
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

async fn handle(agent: Arc<Agent>, caller: Caller, request: Request<Incoming>) -> Response<Body> {
    let call = Call::new(&request);
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if path == ["healthz"] {
        return plain(StatusCode::OK, "ok");
    }
    match caller {
        Caller::Anonymous => return plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Caller::Other => return plain(StatusCode::FORBIDDEN, "Forbidden"),
        Caller::Allowed => {}
    }
    let streams = matches!(*request.method(), Method::GET | Method::POST);
    match path.as_slice() {
        ["pods"] => json(&stats::pods(&agent)),
        ["stats", "summary"] => json(&stats::summary(&agent).await),
        ["metrics", "resource"] | ["metrics"] => plain(StatusCode::OK, stats::metrics(&agent).await),
        ["configz"] => json(&stats::configz(&agent)),
        ["containerLogs", namespace, pod, container] => logs::serve(&agent, &call, namespace, pod, container).await,
        ["run", namespace, pod, .., container] => stream::run(&agent, &call, namespace, pod, container).await,
        ["exec", namespace, pod, .., container] if streams => {
            let place = (*namespace, *pod, *container);
            stream::command(agent, &call, place, true, request).await
        }
        ["attach", namespace, pod, .., container] if streams => {
            let place = (*namespace, *pod, *container);
            stream::command(agent, &call, place, false, request).await
        }
        ["portForward", namespace, pod, ..] if streams => stream::forward(agent, namespace, pod, request).await,
        _ => plain(StatusCode::NOT_FOUND, "404 page not found"),
    }
}
