//! Answers.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use machinery::Value;
use tokio::sync::mpsc;

/// The body of all answers.
pub type Body = BoxBody<Bytes, std::convert::Infallible>;

fn answer(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

/// Plain text.
pub fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    answer(status, "text/plain; charset=utf-8", Full::new(text.into()).boxed())
}

/// Text of another kind.
pub fn typed(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    answer(status, kind, Full::new(text.into()).boxed())
}

/// A tree.
pub fn json(tree: &Value) -> Response<Body> {
    answer(StatusCode::OK, "application/json", Full::new(Bytes::from(tree.to_bytes())).boxed())
}

/// Text that comes bit by bit.
pub fn streamed(chunks: mpsc::Receiver<Bytes>) -> Response<Body> {
    answer(StatusCode::OK, "text/plain", Chunks(chunks).boxed())
}

/// A body that a channel feeds.
struct Chunks(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Chunks {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|c| Ok(Frame::data(c))))
    }
}

/// The switch to another protocol.
pub fn switching(headers: &[(&'static str, String)]) -> Response<Body> {
    let mut builder = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header(header::CONNECTION, "Upgrade");
    for (name, value) in headers {
        builder = builder.header(*name, value);
    }
    builder.body(Full::default().boxed()).unwrap_or_else(|_| plain(StatusCode::BAD_REQUEST, "bad upgrade"))
}
