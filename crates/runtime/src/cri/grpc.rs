//! gRPC over a Unix socket, as much of it as CRI needs: one request, then one answer or a stream of them.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// The largest message that is accepted: the output of a command (twice 16 MiB) with some room.
const MESSAGE_BYTES_MAX: usize = 40 << 20;
/// How much may be on its way before we have read it, per call and in all.
const WINDOW_BYTES: u32 = 4 << 20;
/// How much longer than the server we wait: its own word about a late call is better than ours.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the socket may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Flag and length before each message.
const PREFIX_BYTES: usize = 5;

/// gRPC's status codes that we tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    Unimplemented,
    Unavailable,
    Other(u32),
}

impl Code {
    fn of(number: u32) -> Self {
        match number {
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            12 => Self::Unimplemented,
            14 => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    /// The kind.
    pub code: Code,
    /// For people.
    pub message: String,
}

impl Status {
    fn unavailable(message: impl std::fmt::Display) -> Self {
        Self { code: Code::Unavailable, message: message.to_string() }
    }
}

/// A server behind a socket. It is connected to when it is needed, and again after it was lost.
pub struct Channel {
    path: PathBuf,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl Channel {
    /// For the socket at `path`; nothing is connected yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), connection: Mutex::default() }
    }

    /// One request, one answer. `limit` bounds the wait; without it the call may take any time.
    pub async fn call<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Option<Duration>,
    ) -> Result<A, Status> {
        let asked = async {
            let mut answers = self.start::<A>(method, request, limit).await?;
            let answer = answers.next().await?;
            while answers.next().await?.is_some() {}
            answer.ok_or_else(|| Status::unavailable(format!("{method}: no answer came")))
        };
        let Some(limit) = limit else { return asked.await };
        tokio::time::timeout(limit + PATIENCE, asked).await.unwrap_or_else(|_| {
            Err(Status { code: Code::DeadlineExceeded, message: format!("{method}: no answer for {limit:?}") })
        })
    }

    /// One request, any number of answers.
    pub async fn start<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Option<Duration>,
    ) -> Result<Answers<A>, Status> {
        let mut wanted = Request::post(format!("http://localhost/{method}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers");
        if let Some(limit) = limit {
            wanted = wanted.header("grpc-timeout", format!("{}m", limit.as_millis().min(99_999_999)));
        }
        let wanted = wanted.body(Full::new(frame(request))).map_err(Status::unavailable)?;
        let mut connection = self.connection().await?;
        let answer = connection.send_request(wanted).await.map_err(Status::unavailable)?;
        let (head, body) = answer.into_parts();
        if head.status != http::StatusCode::OK {
            return Err(Status::unavailable(format!("{method}: HTTP status {}", head.status)));
        }
        // A call that fails at once has its status in the place of the headers.
        if head.headers.contains_key("grpc-status") {
            verdict(&head.headers)?;
        }
        Ok(Answers { body, input: BytesMut::new(), kind: PhantomData })
    }

    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        let mut known = self.connection.lock().await;
        if let Some(open) = known.as_ref().filter(|c| !c.is_closed()) {
            return Ok(open.clone());
        }
        let lost = |error: &dyn std::fmt::Display| Status::unavailable(format!("{}: {error}", self.path.display()));
        let connected = tokio::time::timeout(CONNECT_MAX, UnixStream::connect(&self.path)).await;
        let socket = connected.map_err(|late| lost(&late))?.map_err(|error| lost(&error))?;
        let (sender, driver) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| lost(&error))?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "the connection to the container runtime ended");
            }
        });
        Ok(known.insert(sender).clone())
    }
}

/// The answers of one call.
pub struct Answers<A> {
    body: Incoming,
    input: BytesMut,
    kind: PhantomData<fn() -> A>,
}

impl<A: Message + Default> Answers<A> {
    /// The next one; `None` after the last.
    pub async fn next(&mut self) -> Result<Option<A>, Status> {
        loop {
            if let Some(message) = unframe(&mut self.input)? {
                return A::decode(message).map(Some).map_err(Status::unavailable);
            }
            let frame = match self.body.frame().await {
                Some(frame) => frame.map_err(Status::unavailable)?,
                None => return Ok(None),
            };
            match frame.into_data() {
                Ok(data) => self.input.extend_from_slice(&data),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return verdict(&trailers).map(|()| None);
                    }
                }
            }
        }
    }
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut out).expect("the buffer grows");
    out.freeze()
}

/// The next whole message of `input`.
fn unframe(input: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some(head) = input.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || length > MESSAGE_BYTES_MAX {
        return Err(Status::unavailable("an answer of the container runtime is compressed or too large"));
    }
    if input.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    input.advance(PREFIX_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}

fn verdict(headers: &HeaderMap) -> Result<(), Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse::<u32>() {
        Ok(0) => Ok(()),
        Ok(number) => Err(Status { code: Code::of(number), message: unescape(text("grpc-message")) }),
        Err(_) => Err(Status::unavailable("an answer of the container runtime has no status")),
    }
}

/// `%41` is `A`; what is no such escape stays.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let hex = tail.get(..2).filter(|_| *first == b'%').and_then(|h| std::str::from_utf8(h).ok());
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri::proto::{VersionRequest, VersionResponse};

    #[test]
    fn messages_come_whole() {
        let message = VersionRequest { version: "v1".to_owned() };
        let bytes = frame(&message);
        let mut input = BytesMut::new();
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(unframe(&mut input), Ok(None), "after {at} bytes");
            input.put_u8(*byte);
        }
        let whole = unframe(&mut input).expect("valid").expect("whole");
        assert_eq!(VersionRequest::decode(whole), Ok(message));
        assert!(input.is_empty());
        for bad in [&[1, 0, 0, 0, 0][..], &[0, 255, 255, 255, 255]] {
            assert!(unframe(&mut BytesMut::from(bad)).is_err());
        }
    }

    #[test]
    fn statuses_are_read() {
        let of = |status: &str, message: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", status.parse().expect("ascii"));
            headers.insert("grpc-message", message.parse().expect("ascii"));
            verdict(&headers)
        };
        assert_eq!(of("0", ""), Ok(()));
        let error = of("5", "no %22x%22 100%").expect_err("it failed");
        assert_eq!((error.code, error.message.as_str()), (Code::NotFound, "no \"x\" 100%"));
        assert!(of("x", "").is_err() && verdict(&HeaderMap::new()).is_err());
    }

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let channel = Channel::new(Path::new("/nowhere/runtime.sock"));
        let answer = channel.call::<VersionResponse>("x/Y", &VersionRequest::default(), None).await;
        let error = answer.expect_err("nobody is there");
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.contains("/nowhere/runtime.sock"), "{error}");
    }
}
