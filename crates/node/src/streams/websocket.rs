//! Remote commands over WebSocket: `v5.channel.k8s.io` and its elders, `base64.channel.k8s.io` among them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use super::remote::{Channel, MESSAGES_MAX, Message, Remote};

/// Subprotocols of remote commands, the best first.
pub const REMOTE_COMMAND: [&str; 7] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "base64.channel.k8s.io",
];
/// Port forwarding: SPDY inside the binary messages (KEP-4006).
pub const PORT_FORWARD: &str = "SPDY/3.1+portforward.k8s.io";
/// The number that says in v5 that a channel closes.
const CLOSE: u8 = 255;

/// Carries a remote command on an upgraded connection. The task ends when either side does.
pub async fn remote(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, protocol: &str) -> Remote {
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let (to_command, incoming) = mpsc::channel(MESSAGES_MAX);
    let (outgoing, from_command) = mpsc::channel(MESSAGES_MAX);
    let (base64, v5) = (protocol.contains("base64"), protocol.starts_with("v5"));
    let status_errors = v5 || protocol.starts_with("v4");
    tokio::spawn(carry(socket, to_command, from_command, base64, v5));
    Remote { incoming, outgoing, status_errors }
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    to_command: mpsc::Sender<Message>,
    mut from_command: mpsc::Receiver<Message>,
    base64: bool,
    v5: bool,
) {
    let (mut sink, mut source) = socket.split();
    let read = async move {
        while let Some(Ok(frame)) = source.next().await {
            let message = match frame {
                Frame::Binary(bytes) => decode(&bytes, base64, v5),
                Frame::Text(text) => decode(text.as_bytes(), base64, v5),
                Frame::Close(_) => return,
                _ => continue,
            };
            if let Some(message) = message
                && to_command.send(message).await.is_err()
            {
                // The command ended; what still comes is dropped.
                continue;
            }
        }
    };
    let write = async move {
        while let Some((channel, bytes)) = from_command.recv().await {
            let Some(bytes) = bytes else { continue };
            if sink.send(encode(channel, &bytes, base64)).await.is_err() {
                return;
            }
        }
        let _ = sink.send(normal_close()).await;
        let _ = sink.close().await;
    };
    tokio::select! {
        () = write => {}
        () = read => {}
    }
}

/// Clients take a close without a code for a broken connection.
fn normal_close() -> Frame {
    Frame::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }))
}

fn decode(bytes: &[u8], base64: bool, v5: bool) -> Option<Message> {
    let (first, rest) = bytes.split_first()?;
    if v5 && *first == CLOSE {
        return Some((Channel::from_number(*rest.first()?)?, None));
    }
    if base64 {
        let channel = Channel::from_number(first.wrapping_sub(b'0'))?;
        return Some((channel, Some(STANDARD.decode(rest).ok()?.into())));
    }
    Some((Channel::from_number(*first)?, Some(Bytes::copy_from_slice(rest))))
}

fn encode(channel: Channel, bytes: &[u8], base64: bool) -> Frame {
    if base64 {
        let text = format!("{}{}", channel.number(), STANDARD.encode(bytes));
        return Frame::Text(text.into());
    }
    let mut frame = BytesMut::with_capacity(1 + bytes.len());
    frame.put_u8(channel.number());
    frame.put_slice(bytes);
    Frame::Binary(frame.freeze())
}

/// The bytes inside binary messages, as one stream of bytes.
pub async fn tunnel(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> tokio::io::DuplexStream {
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    let (near, far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let (mut sink, mut source) = socket.split();
        let (mut reader, mut writer) = tokio::io::split(far);
        let inward = async move {
            while let Some(Ok(frame)) = source.next().await {
                match frame {
                    Frame::Binary(bytes) if writer.write_all(&bytes).await.is_err() => return,
                    Frame::Close(_) => return,
                    _ => {}
                }
            }
        };
        let outward = async move {
            let mut block = vec![0; 32 * 1024];
            while let Ok(count) = reader.read(&mut block).await {
                if count == 0 || sink.send(Frame::Binary(Bytes::copy_from_slice(&block[..count]))).await.is_err() {
                    break;
                }
            }
            let _ = sink.send(normal_close()).await;
        };
        tokio::select! {
            () = inward => {}
            () = outward => {}
        }
    });
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_talks_on_numbered_channels() {
        let (near, far) = tokio::io::duplex(4096);
        let mut remote = remote(near, "v5.channel.k8s.io").await;
        let mut client = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
        client.send(Frame::Binary(Bytes::from_static(b"\x00hello"))).await.unwrap();
        client.send(Frame::Binary(Bytes::from_static(b"\xff\x00"))).await.unwrap();
        assert_eq!(remote.incoming.recv().await, Some((Channel::Stdin, Some(Bytes::from_static(b"hello")))));
        assert_eq!(remote.incoming.recv().await, Some((Channel::Stdin, None)));
        remote.outgoing.send((Channel::Stdout, Some(Bytes::from_static(b"hi")))).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), Frame::Binary(Bytes::from_static(b"\x01hi")));
        drop(remote);
        let Frame::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
        assert_eq!(close.code, CloseCode::Normal);
    }
}
