//! Answers: headers, Status errors, compression.

use std::collections::BTreeSet;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use machinery::{ApiError, Value};

use super::encode::encode;
use super::negotiate::{Accepted, Format};
use super::protobuf;

/// Why a body broke off.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// Any body.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, BodyError>;
/// Any answer.
pub(crate) type Answer = Response<ResponseBody>;

/// Answers of at least this size are compressed for clients that accept it (upstream: 128 KiB).
pub(crate) const GZIP_BYTES_MIN: usize = 128 * 1024;

/// What of a request matters to its answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wants {
    /// Form of the answer.
    pub accepted: Accepted,
    /// Whether JSON is indented.
    pub pretty: bool,
    /// Whether the client accepts gzip.
    pub gzip: bool,
}

impl Wants {
    /// The same with the form that was negotiated.
    pub(crate) fn with(&self, accepted: Accepted) -> Self {
        Self { accepted, pretty: self.pretty || accepted.pretty, gzip: self.gzip }
    }
}

/// A body of bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ResponseBody {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A body that comes in pieces.
pub(crate) fn stream(pieces: impl Stream<Item = Bytes> + Send + 'static) -> ResponseBody {
    StreamBody::new(pieces.map(|piece| Ok(Frame::data(piece)))).boxed_unsync()
}

/// An answer of one media type.
pub(crate) fn answer(code: u16, media_type: &str, body: ResponseBody) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(value) = HeaderValue::from_str(media_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// Plain text.
pub(crate) fn text(code: u16, text: impl Into<String>) -> Answer {
    let mut response = answer(code, "text/plain; charset=utf-8", full(text.into()));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

/// A tree.
pub(crate) fn value(code: u16, tree: &Value, wants: &Wants) -> Answer {
    if wants.accepted.format == Format::Protobuf {
        if let Some(message) = protobuf::encode(tree) {
            return bytes(code, message.into(), wants);
        }
        let json = Wants { accepted: Accepted { format: Format::Json, ..wants.accepted }, ..wants.clone() };
        return bytes(code, encode(tree, &json).into(), &json);
    }
    bytes(code, encode(tree, wants).into(), wants)
}

/// Bytes in the form that was negotiated, compressed when it is worth it.
pub(crate) fn bytes(code: u16, bytes: Bytes, wants: &Wants) -> Answer {
    let media_type = wants.accepted.format.media_type();
    if !wants.gzip || bytes.len() < GZIP_BYTES_MIN {
        return answer(code, media_type, full(bytes));
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    let done = std::io::Write::write_all(&mut encoder, &bytes).and_then(|()| encoder.finish());
    let mut response = answer(code, media_type, full(done.expect("writing into memory does not fail")));
    mark_gzip(response.headers_mut());
    response
}

/// Says that the body is compressed.
pub(crate) fn mark_gzip(headers: &mut HeaderMap) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
}

/// A `metav1.Status`.
pub(crate) fn error(error: &ApiError, wants: &Wants) -> Answer {
    let mut response = value(error.code(), &error.to_status(), wants);
    if let Some(seconds) = error.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A `metav1.Status` as JSON, for clients of whom nothing is known.
pub(crate) fn plain_error(problem: &ApiError) -> Answer {
    error(problem, &Wants { accepted: Accepted { format: Format::Json, ..Accepted::default() }, ..Wants::default() })
}

/// Adds `Warning` headers (RFC 7234, code 299), as KEP-1693 has them.
pub(crate) fn add_warnings(headers: &mut HeaderMap, warnings: &[String]) {
    /// Upstream cuts off what goes beyond this, in bytes.
    const WARNING_BYTES_MAX: usize = 4 * 1024;
    let mut left = WARNING_BYTES_MAX;
    let mut told = BTreeSet::new();
    for warning in warnings.iter().filter(|warning| told.insert(warning.as_str())) {
        let quoted: String = warning.chars().filter(|c| !c.is_control()).collect();
        let quoted = quoted.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!("299 - \"{quoted}\"");
        let Some(rest) = left.checked_sub(text.len()) else { break };
        left = rest;
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            headers.append("warning", value);
        }
    }
}
