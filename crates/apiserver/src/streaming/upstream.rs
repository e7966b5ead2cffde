//! A connection to whatever a request is carried on to: a node agent, a pod, a service.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Shutdown, stopped};
use futures_util::{Stream, StreamExt};
use http::header::{AUTHORIZATION, CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, BodyStream, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use machinery::{ApiError, Value};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::audit::Record;
use crate::http::respond::{self, Answer, ResponseBody};

/// How long a connection may take to be made, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most of an error's body that is read, in bytes.
const ERROR_BYTES_MAX: usize = 64 * 1024;
/// Headers that concern one connection only (RFC 9110), and those that concern this server only.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Where a request is carried on to.
pub(super) struct Upstream {
    pub address: String,
    pub port: u16,
    /// TLS with these credentials; without them plain HTTP.
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

/// Any connection.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Whether a request asks for its connection.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let asks = connection.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"));
    asks && headers.contains_key(UPGRADE)
}

/// Takes the headers out which must not be passed on.
pub(super) fn strip(headers: &mut HeaderMap) {
    for name in OWN_HEADERS {
        headers.remove(name);
    }
    headers.remove(AUTHORIZATION);
    let own: Vec<HeaderName> = headers.keys().filter(|k| k.as_str().starts_with("impersonate-")).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

impl Upstream {
    fn unreachable(&self, error: &dyn std::fmt::Display) -> ApiError {
        let message = format!("error trying to reach service: dial tcp {}:{}: {error}", self.address, self.port);
        ApiError::ServiceUnavailable(message)
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, ApiError> {
        let made = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let stream = TcpStream::connect((self.address.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            let Some(config) = &self.tls else { return Ok(Box::new(stream) as Box<dyn Connection>) };
            let name = ServerName::try_from(self.address.clone()).map_err(std::io::Error::other)?;
            let tls = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await?;
            Ok(Box::new(tls) as Box<dyn Connection>)
        });
        let made: std::io::Result<_> = made.await.map_err(|_| self.unreachable(&"i/o timeout"))?;
        made.map_err(|e| self.unreachable(&e))
    }

    /// Sends a request with another path, and gives the answer, whatever it says.
    pub(super) async fn exchange(
        &self,
        mut request: Request<Incoming>,
        path: &str,
    ) -> Result<Response<Incoming>, ApiError> {
        *request.uri_mut() = path
            .parse::<Uri>()
            .map_err(|e| ApiError::BadRequest(format!("the path {path:?} cannot be carried on: {e}")))?;
        *request.version_mut() = http::Version::HTTP_11;
        let host = if self.address.contains(':') { format!("[{}]", self.address) } else { self.address.clone() };
        if let Ok(host) = HeaderValue::from_str(&format!("{host}:{}", self.port)) {
            request.headers_mut().insert(HOST, host);
        }
        let io = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = http1::handshake(io).await.map_err(|e| self.unreachable(&e))?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(|e| self.unreachable(&e))
    }

    /// Sends a request that is not upgraded; anything but success is an error.
    pub(super) async fn send(
        &self,
        mut request: Request<Incoming>,
        path: &str,
    ) -> Result<Response<Incoming>, ApiError> {
        strip(request.headers_mut());
        let response = self.exchange(request, path).await?;
        if response.status().is_success() { Ok(response) } else { Err(error_of(response).await) }
    }

    /// Carries an upgrade on: once the other side agrees, bytes are copied both ways until both have ended.
    pub(super) async fn carry(
        &self,
        mut request: Request<Incoming>,
        path: &str,
        shutdown: &Shutdown,
    ) -> Result<Answer, ApiError> {
        let client = hyper::upgrade::on(&mut request);
        let record = request.extensions_mut().remove::<Arc<Record>>();
        let wanted = request.headers().get(UPGRADE).cloned();
        strip(request.headers_mut());
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(wanted) = wanted {
            request.headers_mut().insert(UPGRADE, wanted);
        }
        let mut response = self.exchange(request, path).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(error_of(response).await);
        }
        let server = hyper::upgrade::on(&mut response);
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let _held = record;
            let (client, server) = match tokio::try_join!(client, server) {
                Ok(both) => both,
                Err(e) => return tracing::debug!("an upgrade failed: {e}"),
            };
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            tokio::select! {
                copied = tokio::io::copy_bidirectional(&mut client, &mut server) => {
                    if let Err(e) = copied {
                        tracing::debug!("an upgraded connection broke off: {e}");
                    }
                }
                () = stopped(shutdown) => {}
            }
        });
        let (parts, _) = response.into_parts();
        let mut answer = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *answer.headers_mut() = parts.headers;
        Ok(answer)
    }
}

/// What the other side said was wrong: its Status when it sent one, else its text.
async fn error_of(response: Response<Incoming>) -> ApiError {
    let code = response.status().as_u16();
    let body = Limited::new(response.into_body(), ERROR_BYTES_MAX).collect().await;
    let body = body.map(|b| b.to_bytes()).unwrap_or_default();
    let status = Value::parse(&body).ok().filter(|tree| tree.str_at(&["kind"]) == Some("Status"));
    let (reason, message) = match &status {
        Some(status) => (status.str_at(&["reason"]), status.str_at(&["message"]).unwrap_or_default().to_owned()),
        None => (None, String::from_utf8_lossy(&body).trim().to_owned()),
    };
    let reason = reason.unwrap_or(match code {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    });
    // What is no error and no upgrade either is a fault of the other side.
    let code = if code >= 400 { code } else { 500 };
    ApiError::other(code, reason, message)
}

/// A body as it comes, until it ends or the server stops.
pub(super) fn body_until(body: Incoming, shutdown: Shutdown) -> ResponseBody {
    respond::stream(pieces(body).take_until(Box::pin(stopped(shutdown))))
}

/// The data of a body as it comes.
pub(super) fn pieces(body: Incoming) -> impl Stream<Item = Bytes> + Send {
    BodyStream::new(body).filter_map(|frame| {
        let piece = frame.ok().and_then(|frame| frame.into_data().ok());
        std::future::ready(piece)
    })
}
