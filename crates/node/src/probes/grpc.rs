//! gRPC health checks (grpc.health.v1), by hand over HTTP/2.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::GRPCAction;

use super::{Target, connect};

/// `SERVING` of HealthCheckResponse.
const SERVING: u8 = 1;

/// Asks once. The error is what the Unhealthy event shows.
pub async fn check(target: &Target, action: &GRPCAction, timeout: Duration) -> Result<(), String> {
    let host = target.host(None)?;
    let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port))?;
    let asked = tokio::time::timeout(timeout, ask(&host, port, action.service.as_deref().unwrap_or_default()));
    match asked.await {
        Err(_) => Err(format!("timeout: failed to connect service \"{host}:{port}\" within {}s", timeout.as_secs())),
        Ok(result) => result,
    }
}

async fn ask(host: &str, port: u16, service: &str) -> Result<(), String> {
    let stream = connect(host, port, Duration::from_secs(60)).await?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(message(service)))
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(|e| e.to_string());
    let result = match answer {
        Ok(answer) => answer.into_body().collect().await.map_err(|e| e.to_string()),
        Err(error) => Err(error),
    };
    driver.abort();
    let body = result?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let code = trailers.get("grpc-status").and_then(|s| s.to_str().ok()).unwrap_or("0").to_owned();
    if code != "0" {
        return Err(format!("error: health rpc probe failed with grpc status {code}"));
    }
    let bytes = body.to_bytes();
    // After the five bytes of framing: field 1, varint.
    match bytes.get(5..7) {
        Some([0x08, SERVING]) => Ok(()),
        _ => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
    }
}

/// HealthCheckRequest with gRPC's framing.
fn message(service: &str) -> Bytes {
    let mut body = BytesMut::new();
    if !service.is_empty() {
        body.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            body.put_u8((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        body.put_u8(length as u8);
        body.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + body.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(body.len()).unwrap_or(0));
    framed.put_slice(&body);
    framed.freeze()
}
