//! A body that is sent over a WebSocket, one message per piece: what clients in browsers read logs with.
//!
//! The protocols are upstream's: `binary.k8s.io` (the default) and `base64.binary.k8s.io`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use client::{Shutdown, stopped};
use futures_util::{SinkExt, Stream, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use machinery::ApiError;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::http::respond::Answer;

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";

/// What a client asked for.
pub(super) struct Handshake {
    accept: HeaderValue,
    protocol: Option<&'static str>,
}

/// Reads a client's handshake. `None` when it asks for no WebSocket.
pub(super) fn handshake(headers: &HeaderMap) -> Result<Option<Handshake>, ApiError> {
    let websocket = headers.get(UPGRADE).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if !websocket || !super::upstream::is_upgrade(headers) {
        return Ok(None);
    }
    let bad = |text: &str| ApiError::BadRequest(text.to_owned());
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| bad("the header Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let accept = HeaderValue::from_str(&accept).map_err(|_| bad("the header Sec-WebSocket-Key is malformed"))?;
    let asked: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(',').map(str::trim))
        .collect();
    let protocol = [BINARY, BASE64].into_iter().find(|known| asked.contains(known));
    if protocol.is_none() && !asked.is_empty() {
        return Err(bad("none of the WebSocket's protocols is known: binary.k8s.io, base64.binary.k8s.io"));
    }
    Ok(Some(Handshake { accept, protocol }))
}

/// Agrees to the upgrade and sends the pieces until they end, the client leaves or the server stops.
pub(super) fn answer(
    handshake: Handshake,
    client: OnUpgrade,
    pieces: impl Stream<Item = Bytes> + Send + 'static,
    shutdown: Shutdown,
) -> Answer {
    let base64 = handshake.protocol == Some(BASE64);
    tokio::spawn(async move {
        match client.await {
            Ok(io) => carry(TokioIo::new(io), pieces, base64, shutdown).await,
            Err(error) => tracing::debug!(%error, "an upgrade failed"),
        }
    });
    let mut answer = Response::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, handshake.accept);
    if let Some(protocol) = handshake.protocol {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    }
    answer
}

async fn carry(
    io: TokioIo<hyper::upgrade::Upgraded>,
    pieces: impl Stream<Item = Bytes> + Send,
    base64: bool,
    shutdown: Shutdown,
) {
    let (mut sink, mut source) = WebSocketStream::from_raw_socket(io, Role::Server, None).await.split();
    let write = async {
        let mut pieces = std::pin::pin!(pieces);
        while let Some(piece) = pieces.next().await {
            let message = if base64 { Message::text(STANDARD.encode(&piece)) } else { Message::binary(piece) };
            if sink.send(message).await.is_err() {
                return;
            }
        }
        let _ = sink.send(Message::Close(None)).await;
        let _ = sink.close().await;
    };
    // What the client says is not asked for; that it leaves is.
    let read = async { while let Some(Ok(_)) = source.next().await {} };
    tokio::select! {
        () = write => {}
        () = read => {}
        () = stopped(shutdown) => {}
    }
}
