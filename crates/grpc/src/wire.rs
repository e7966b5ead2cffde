//! What both sides share: statuses, and messages with their length in front.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use prost::Message;

/// The largest message that is accepted: the output of a command (twice 16 MiB) with some room.
pub const MESSAGE_BYTES_MAX: usize = 40 << 20;
/// Flag and length before each message.
pub const PREFIX_BYTES: usize = 5;

/// gRPC's status codes that we tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The server does not say more.
    Unknown,
    /// The request makes no sense.
    InvalidArgument,
    /// It took too long.
    DeadlineExceeded,
    /// What it is about is not there.
    NotFound,
    /// The server has no such method.
    Unimplemented,
    /// The server cannot be reached.
    Unavailable,
    /// Any other.
    Other(u32),
}

/// The names of the codes from 0 on.
const NAMES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

impl Code {
    /// By its number.
    pub fn of(number: u32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            12 => Self::Unimplemented,
            14 => Self::Unavailable,
            other => Self::Other(other),
        }
    }

    /// Its number.
    pub fn number(self) -> u32 {
        match self {
            Self::Unknown => 2,
            Self::InvalidArgument => 3,
            Self::DeadlineExceeded => 4,
            Self::NotFound => 5,
            Self::Unimplemented => 12,
            Self::Unavailable => 14,
            Self::Other(number) => number,
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
    /// With this code.
    pub fn new(code: Code, message: impl std::fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// The other side cannot be reached or understood.
    pub fn unavailable(message: impl std::fmt::Display) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// As Go programs print it, upstream's among them: `rpc error: code = Unknown desc = no`.
    pub fn as_go_prints_it(&self) -> String {
        let number = self.code.number();
        let name = usize::try_from(number).ok().and_then(|n| NAMES.get(n));
        let name = name.map_or_else(|| format!("Code({number})"), |name| (*name).to_owned());
        format!("rpc error: code = {name} desc = {}", self.message)
    }
}

/// A message with its prefix.
pub fn frame(message: &impl Message) -> Bytes {
    frame_bytes(&message.encode_to_vec())
}

/// An encoded message with its prefix.
pub fn frame_bytes(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    out.put_u8(0);
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// The next whole message of `input`.
pub fn unframe(input: &mut BytesMut) -> Result<Option<Bytes>, Status> {
    let Some(head) = input.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if head[0] != 0 || length > MESSAGE_BYTES_MAX {
        return Err(Status::unavailable("a message is compressed or too large"));
    }
    if input.len() < PREFIX_BYTES + length {
        return Ok(None);
    }
    input.advance(PREFIX_BYTES);
    Ok(Some(input.split_to(length).freeze()))
}

/// What the headers at the end of an answer say.
pub fn verdict(headers: &HeaderMap) -> Result<(), Status> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    match text("grpc-status").parse::<u32>() {
        Ok(0) => Ok(()),
        Ok(number) => Err(Status::new(Code::of(number), unescape(text("grpc-message")))),
        Err(_) => Err(Status::unavailable("an answer has no status")),
    }
}

/// The headers at the end of an answer.
pub fn trailers(result: &Result<(), Status>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let number = result.as_ref().map_or_else(|status| status.code.number(), |()| 0);
    headers.insert("grpc-status", HeaderValue::from(number));
    if let Err(status) = result
        && let Ok(message) = HeaderValue::from_str(&escape(&status.message))
    {
        headers.insert("grpc-message", message);
    }
    headers
}

/// `A` stays; what is not printable ASCII, and `%`, becomes `%41`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | 0..=0x1f | 0x7f.. => out.push_str(&format!("%{byte:02X}")),
            _ => out.push(char::from(byte)),
        }
    }
    out
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

    #[derive(Clone, PartialEq, Message)]
    struct Text {
        #[prost(string, tag = "1")]
        text: String,
    }

    #[test]
    fn messages_come_whole() {
        let message = Text { text: "v1".to_owned() };
        let bytes = frame(&message);
        let mut input = BytesMut::new();
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(unframe(&mut input), Ok(None), "after {at} bytes");
            input.put_u8(*byte);
        }
        let whole = unframe(&mut input).expect("valid").expect("whole");
        assert_eq!(Text::decode(whole), Ok(message));
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

    #[test]
    fn statuses_are_written_as_they_are_read() {
        for (code, message) in [(Code::Unknown, "é 100% \"no\"\n"), (Code::Other(16), "")] {
            let status = Err(Status::new(code, message));
            assert_eq!(verdict(&trailers(&status)), status);
        }
        assert_eq!(verdict(&trailers(&Ok(()))), Ok(()));
        for (number, text) in [(2, "rpc error: code = Unknown desc = x"), (99, "rpc error: code = Code(99) desc = x")] {
            assert_eq!(Status::new(Code::of(number), "x").as_go_prints_it(), text);
        }
    }
}
