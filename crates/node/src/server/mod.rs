//! The node's HTTPS API: pods, logs, exec, attach, port-forward, statistics, metrics. The API server uses it, and whoever has
//! the right to a subresource of the node (upstream: kubelet authentication and authorization).

mod access;
mod files;
mod lists;
mod logs;
mod metrics;
mod respond;
mod stream;
mod summary;
mod used;

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

use access::{Access, Refusal};
use client::User;
use respond::{Body, json, plain};
use summary::Paces;

use crate::agent::Agent;

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
    let server = Arc::new(Server { agent, access: Access::default(), paces: Paces::default() });
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                tokio::spawn(connection(server.clone(), acceptor.clone(), socket));
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

/// What requests share.
struct Server {
    agent: Arc<Agent>,
    access: Access,
    paces: Paces,
}

async fn connection(server: Arc<Server>, acceptor: TlsAcceptor, socket: TcpStream) {
    let _ = socket.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(socket)).await else { return };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(|c| c.first()).and_then(|c| access::of_certificate(c));
    let certificate = Arc::new(certificate);
    let service = service_fn(move |request| {
        let (server, certificate) = (server.clone(), certificate.clone());
        async move { Ok::<_, Infallible>(handle(&server, certificate.as_ref().as_ref(), request).await) }
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

async fn handle(server: &Server, certificate: Option<&User>, request: Request<Incoming>) -> Response<Body> {
    let call = Call::new(&request);
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    // DIVERGES: whether the node lives may be asked by anyone; upstream has an open port of its own for that.
    if path == ["healthz"] {
        return plain(StatusCode::OK, "ok");
    }
    let asked = (request.method(), path.as_slice());
    match server.access.check(&server.agent, certificate, request.headers(), asked).await {
        Ok(()) => {}
        Err(Refusal::Unauthorized) => return plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
        Err(Refusal::Forbidden(text)) => return plain(StatusCode::FORBIDDEN, text),
        Err(Refusal::Failed(text)) => {
            tracing::warn!(error = text, "the API server cannot say who may use the node");
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
        }
    }
    let agent = server.agent.clone();
    let reads = *request.method() == Method::GET;
    let streams = reads || *request.method() == Method::POST;
    match path.as_slice() {
        ["healthz", ..] | ["pods" | "runningpods" | "configz" | "stats" | "metrics" | "logs" | "containerLogs", ..]
            if !reads =>
        {
            plain(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
        }
        ["healthz", "ping" | "syncloop" | "log"] => plain(StatusCode::OK, "ok"),
        ["pods"] => json(&lists::pods(&agent)),
        ["runningpods"] => json(&lists::running(&used::pods(&agent).await)),
        ["configz"] => json(&lists::configz(&agent)),
        ["stats", "summary"] => {
            json(&summary::summary(&agent, &server.paces, call.flag(&["only_cpu_and_memory"])).await)
        }
        ["metrics"] => metrics_text(metrics::own(&agent).await),
        ["metrics", "resource"] => metrics_text(metrics::resource(&agent).await),
        ["metrics", "cadvisor"] => metrics_text(metrics::cadvisor(&agent).await),
        ["metrics", "probes"] => metrics_text(metrics::probes(&agent.probe_counts)),
        ["logs", below @ ..] => files::serve(below).await,
        ["containerLogs", namespace, pod, container] => logs::serve(&agent, &call, namespace, pod, container).await,
        ["checkpoint", place @ ..] if !reads => {
            let text = "the container runtime does not support checkpoints";
            let text = format!("checkpointing of {} failed ({text})", place.join("/"));
            plain(StatusCode::INTERNAL_SERVER_ERROR, text)
        }
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

fn metrics_text(text: String) -> Response<Body> {
    respond::typed(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text)
}
