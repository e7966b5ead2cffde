//! The side that asks.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::wire::{Code, Status, frame, unframe, verdict};

/// How much may be on its way before we have read it, per call and in all.
const WINDOW_BYTES: u32 = 4 << 20;
/// How much longer than the server we wait: its own word about a late call is better than ours.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the socket may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(10);
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
        tokio::time::timeout(limit + PATIENCE, asked)
            .await
            .unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, format!("{method}: no answer for {limit:?}"))))
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
        let socket = self.path.clone();
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(socket = %socket.display(), %error, "the connection to a gRPC server ended");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_socket_is_named() {
        let channel = Channel::new(Path::new("/nowhere/runtime.sock"));
        let answer = channel.call::<()>("x/Y", &(), None).await;
        let error = answer.expect_err("nobody is there");
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.contains("/nowhere/runtime.sock"), "{error}");
    }
}
