//! The side that answers.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::ready;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use http::{HeaderMap, Request, Response, header};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use crate::wire::{Code, MESSAGE_BYTES_MAX, PREFIX_BYTES, Status, frame_bytes, trailers, unframe};

/// Connections at one time; further ones wait.
const CONNECTIONS_MAX: usize = 256;

/// The answers to one call, encoded: messages, and an error at the end if it failed.
pub type Replies = BoxStream<'static, Result<Bytes, Status>>;
type Answer = Response<StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>>;

/// One answer.
pub fn reply<A: Message + 'static>(answer: impl Future<Output = Result<A, Status>> + Send + 'static) -> Replies {
    stream::once(answer.map(|answer| answer.map(|message| Bytes::from(message.encode_to_vec())))).boxed()
}

/// A request's message.
pub fn decode<Q: Message + Default>(request: Bytes) -> Result<Q, Status> {
    Q::decode(request).map_err(|error| Status::new(Code::InvalidArgument, error))
}

/// Answers whoever connects, for ever; all connections end with it. `call` gets the method (`package.Service/Method`) and the
/// request, or nothing in it when the method is to be refused: `None` says that there is no such method.
pub async fn serve<F>(listener: UnixListener, call: F)
where
    F: Fn(&str, Bytes) -> Option<Replies> + Send + Sync + 'static,
{
    let call = Arc::new(call);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        let socket = match listener.accept().await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let call = call.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(request, call.clone()));
            let served = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await;
            if let Err(error) = served {
                tracing::debug!(%error, "a gRPC connection ended");
            }
        });
    }
}

async fn answer<F>(request: Request<Incoming>, call: Arc<F>) -> Result<Answer, Infallible>
where
    F: Fn(&str, Bytes) -> Option<Replies> + Send + Sync + 'static,
{
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let replies = match message(request.into_body()).await {
        Ok(message) => call(&method, message)
            .unwrap_or_else(|| failure(Status::new(Code::Unimplemented, format!("unknown method {method}")))),
        Err(status) => failure(status),
    };
    let mut answer = Response::new(StreamBody::new(frames(replies)));
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/grpc"));
    Ok(answer)
}

fn failure(status: Status) -> Replies {
    stream::once(ready(Err(status))).boxed()
}

/// The one message of a request.
async fn message(body: Incoming) -> Result<Bytes, Status> {
    let whole = Limited::new(body, MESSAGE_BYTES_MAX + PREFIX_BYTES).collect().await;
    let whole = whole.map_err(|error| Status::new(Code::InvalidArgument, error))?.to_bytes();
    unframe(&mut BytesMut::from(whole))?.ok_or_else(|| Status::new(Code::InvalidArgument, "no message came"))
}

/// The messages with their prefixes, and the verdict after the last or in the place of the first error.
fn frames(replies: Replies) -> BoxStream<'static, Result<Frame<Bytes>, Infallible>> {
    let last = |result: &Result<(), Status>| -> Frame<Bytes> { Frame::trailers(trailers(result) as HeaderMap) };
    stream::unfold(Some(replies), move |open| async move {
        let mut replies = open?;
        Some(match replies.next().await {
            Some(Ok(message)) => (Ok(Frame::data(frame_bytes(&message))), Some(replies)),
            Some(Err(status)) => (Ok(last(&Err(status))), None),
            None => (Ok(last(&Ok(()))), None),
        })
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Channel;

    #[derive(Clone, PartialEq, Message)]
    struct Number {
        #[prost(uint32, tag = "1")]
        number: u32,
    }

    fn call(method: &str, request: Bytes) -> Option<Replies> {
        let asked: Number = decode(request).ok()?;
        match method {
            "t.T/Double" => Some(reply(ready(Ok(Number { number: asked.number * 2 })))),
            "t.T/Fail" => Some(reply(ready(Err::<Number, _>(Status::new(Code::NotFound, "no 100%"))))),
            "t.T/Count" => {
                let numbers = stream::iter(0..asked.number);
                Some(numbers.map(|number| Ok(Bytes::from(Number { number }.encode_to_vec()))).boxed())
            }
            _ => None,
        }
    }

    #[tokio::test]
    async fn calls_are_answered() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s.sock");
        let server = tokio::spawn(serve(UnixListener::bind(&path).expect("a socket"), call));
        let channel = Channel::new(&path);
        let ask = |method: &'static str| channel.call::<Number>(method, &Number { number: 21 }, None);
        assert_eq!(ask("t.T/Double").await, Ok(Number { number: 42 }));
        assert_eq!(ask("t.T/Fail").await, Err(Status::new(Code::NotFound, "no 100%")));
        assert_eq!(ask("t.T/Other").await.expect_err("unknown").code, Code::Unimplemented);
        let mut answers = channel.start::<Number>("t.T/Count", &Number { number: 3 }, None).await.expect("it counts");
        for wanted in 0..3 {
            assert_eq!(answers.next().await, Ok(Some(Number { number: wanted })));
        }
        assert_eq!(answers.next().await, Ok(None));
        server.abort();
        let _ = server.await;
        assert!(ask("t.T/Double").await.is_err(), "connections end with the server");
    }
}
