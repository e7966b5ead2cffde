//! HTTP GET, for probes and hooks.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{Target, connect, tls};

/// The longest body that is shown.
const BODY_BYTES_MAX: usize = 10 << 10;

/// Status, `Location`, and the body of a redirect.
type Answer = (StatusCode, Option<String>, String);

/// Redirects within one host that are followed.
const REDIRECTS_MAX: usize = 10;

/// Succeeds with a status of 200 to 399; a text with it is a warning. The error is what the Unhealthy event shows.
pub async fn get(target: &Target, action: &HTTPGetAction, timeout: Duration) -> Result<Option<String>, String> {
    let (host, port) = (target.host(action.host.as_deref())?, target.port(&action.port)?);
    let secure = action.scheme.as_deref() == Some("HTTPS");
    let path = action.path.as_deref().filter(|p| !p.is_empty()).unwrap_or("/");
    let mut path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let scheme = if secure { "https" } else { "http" };
    let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    for _ in 0..=REDIRECTS_MAX {
        let url = format!("{scheme}://{place}{path}");
        let request = request(action, &path, &place)?;
        let answer = tokio::time::timeout(timeout, send(&host, port, secure, request, timeout)).await;
        let (status, location, body) = match answer {
            Err(_) => {
                let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
                return Err(format!("Get {url:?}: {text}"));
            }
            Ok(Err(error)) => return Err(format!("Get {url:?}: {error}")),
            Ok(Ok(answer)) => answer,
        };
        match location.filter(|_| status.is_redirection()) {
            Some(location) => match same_host(&location, &place) {
                Some(next) => path = next,
                // Elsewhere nobody looks: a redirect to another host counts as an answer.
                None => return Ok(Some(format!("Probe terminated redirects, Response body: {body}"))),
            },
            None if (200..400).contains(&status.as_u16()) => return Ok(None),
            None => return Err(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
        }
    }
    Err(format!("Get \"{scheme}://{place}{path}\": stopped after {REDIRECTS_MAX} redirects"))
}

fn request(action: &HTTPGetAction, path: &str, place: &str) -> Result<Request<Empty<Bytes>>, String> {
    let mut builder = Request::get(path);
    let headers = action.http_headers.as_deref().unwrap_or_default();
    let has = |name: &str| headers.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    for (name, value) in [("Host", place), ("User-Agent", "kube-probe/1.36"), ("Accept", "*/*")] {
        if !has(name) {
            builder = builder.header(name, value);
        }
    }
    for header in headers {
        builder = builder.header(&header.name, &header.value);
    }
    builder.header(header::CONNECTION, "close").body(Empty::new()).map_err(|e| e.to_string())
}

async fn send(
    host: &str,
    port: u16,
    secure: bool,
    request: Request<Empty<Bytes>>,
    timeout: Duration,
) -> Result<Answer, String> {
    let stream = connect(host, port, timeout).await?;
    if !secure {
        return exchange(stream, request).await;
    }
    let name = rustls::pki_types::ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(tls::accepting_anyone()?);
    exchange(connector.connect(name, stream).await.map_err(|e| e.to_string())?, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, String> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| e.to_string());
    let answer = answer?;
    let status = answer.status();
    let location = answer.headers().get(header::LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned);
    // Only what a redirect says is shown to somebody.
    let body = match status.is_redirection() {
        true => Limited::new(answer.into_body(), BODY_BYTES_MAX).collect().await.ok().map(|b| b.to_bytes()),
        false => None,
    };
    driver.abort();
    Ok((status, location, String::from_utf8_lossy(&body.unwrap_or_default()).into_owned()))
}

/// The path of a redirect that stays on this host.
fn same_host(location: &str, place: &str) -> Option<String> {
    if location.starts_with('/') && !location.starts_with("//") {
        return Some(location.to_owned());
    }
    let uri: Uri = location.parse().ok()?;
    let same = uri.authority().is_some_and(|a| a.as_str() == place);
    same.then(|| uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string))
}
