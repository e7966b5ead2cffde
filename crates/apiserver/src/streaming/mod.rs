//! Requests that are carried on to a node, a pod or a service: logs, exec, attach, port-forward, proxy.
//!
//! The pipeline authorizes them and says where they go. Upgraded connections (WebSocket, SPDY/3.1) are passed on byte by
//! byte: their protocols are the node agent's business.

mod node_paths;
mod options;
mod proxy;
mod upstream;
mod websocket;

use std::sync::Arc;

use client::{Shutdown, User};
use futures_util::StreamExt;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming as RequestBody;
use machinery::{ApiError, Value};

use crate::audit::Record;
use crate::http::info::RequestInfo;
use crate::http::query::Query;
use crate::http::respond::{self, Answer};
use crate::pipeline::{Attributes, Body, ConnectTarget, Incoming, Pipeline};
use upstream::{Upstream, is_upgrade};

/// How upstreams are reached.
#[derive(Clone)]
pub(crate) struct Backends {
    /// Credentials for node agents.
    pub node_client: Option<Arc<rustls::ClientConfig>>,
    /// Ends what was upgraded.
    pub shutdown: Shutdown,
}

/// A request to be carried on.
pub(crate) struct Call<'a> {
    pub user: User,
    pub attributes: Attributes,
    pub info: &'a RequestInfo,
    pub query: &'a Query,
    /// What is recorded of it: held until a stream ends.
    pub record: Option<Arc<Record>>,
    pub request: Request<RequestBody>,
}

impl Backends {
    /// Authorizes a request, carries it on, and answers with what comes back.
    pub(crate) async fn serve(&self, pipeline: &Pipeline, call: Call<'_>) -> Result<Answer, ApiError> {
        let Call { user, attributes, info, query, record, mut request } = call;
        let is_stream = matches!(info.subresource.as_str(), "exec" | "attach" | "portforward");
        if info.subresource == "log" {
            node_paths::check_log(query)?;
        }
        let body = match options::read(info, query) {
            Value::Null => Body::None,
            options => Body::Tree(options),
        };
        if let Some(record) = &record {
            request.extensions_mut().insert(record.clone());
        }
        let incoming = Incoming { user, attributes, body, audit: record, ..Incoming::default() };
        let target = pipeline.connect(incoming).await?;
        if is_stream && !is_upgrade(request.headers()) {
            return Err(ApiError::BadRequest("Upgrade request required".to_owned()));
        }
        match info.subresource.as_str() {
            "log" => self.log(&target, query, request).await,
            "proxy" => proxy::serve(self, &target, info, request).await,
            kind => {
                let path = node_paths::stream(kind, &target, query)?;
                self.node(&target)?.carry(request, &path, &self.shutdown).await
            }
        }
    }

    /// The node agent of a target.
    fn node(&self, target: &ConnectTarget) -> Result<Upstream, ApiError> {
        let config = self.node_client.clone();
        let config = config.ok_or_else(|| ApiError::ServiceUnavailable("node agents cannot be reached".to_owned()))?;
        Ok(Upstream { address: target.address.clone(), port: target.port, tls: Some(config) })
    }

    async fn log(
        &self,
        target: &ConnectTarget,
        query: &Query,
        mut request: Request<RequestBody>,
    ) -> Result<Answer, ApiError> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let message = "the server does not allow this method on the requested resource";
            return Err(ApiError::MethodNotAllowed(message.to_owned()));
        }
        let path = node_paths::log(target, query)?;
        let handshake = websocket::handshake(request.headers())?;
        let record = request.extensions_mut().remove::<Arc<Record>>();
        let client = handshake.is_some().then(|| hyper::upgrade::on(&mut request));
        let response = self.node(target)?.send(request, &path).await?;
        if let (Some(handshake), Some(client)) = (handshake, client) {
            let pieces = upstream::pieces(response.into_body()).inspect(move |_| {
                let _held = &record;
            });
            return Ok(websocket::answer(handshake, client, pieces, self.shutdown.clone()));
        }
        let body = upstream::body_until(response.into_body(), self.shutdown.clone());
        let mut answer = respond::answer(200, "text/plain", body);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        Ok(answer)
    }
}
