//! Objects in protobuf (`application/vnd.kubernetes.protobuf`), by the numbers of the schema table.
//!
//! A document is four bytes `k8s\0` and a `runtime.Unknown` with the object's type and its message. Messages are written
//! with the fields that are set; Go writes the empty ones too, which reads back the same.

mod decode;
mod encode;

use crate::json::Value;
use crate::schema::Type;
use crate::wire::{Payload, Reader, Truncated, Writer};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What each document starts with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Why bytes are no object, or an object has no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The bytes do not start as they must.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The bytes are no message.
    #[error("proto: the bytes are no message")]
    Message,
    /// A value is not of the type that the schema says.
    #[error("proto: {field} has a value of a wrong type")]
    Value {
        /// The field.
        field: String,
    },
    /// Messages are nested too deep.
    #[error("proto: exceeded max depth")]
    Depth,
}

impl From<Truncated> for ProtoError {
    fn from(_: Truncated) -> Self {
        Self::Message
    }
}

/// A document taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'b> {
    /// `apps/v1`; may be empty.
    pub api_version: String,
    /// `Deployment`; may be empty.
    pub kind: String,
    /// The object's message.
    pub message: &'b [u8],
}

impl<'b> Document<'b> {
    /// Takes a document apart.
    pub fn read(bytes: &'b [u8]) -> Result<Self, ProtoError> {
        let body = bytes.strip_prefix(&MAGIC).ok_or(ProtoError::Magic)?;
        let mut document = Self { api_version: String::new(), kind: String::new(), message: &[] };
        let mut fields = Reader(body);
        while let Some((field, payload)) = fields.next()? {
            match (field, payload) {
                (1, Payload::Bytes(meta)) => {
                    let mut meta = Reader(meta);
                    while let Some((field, payload)) = meta.next()? {
                        let Payload::Bytes(text) = payload else { continue };
                        let text = String::from_utf8_lossy(text).into_owned();
                        match field {
                            1 => document.api_version = text,
                            2 => document.kind = text,
                            _ => {}
                        }
                    }
                }
                (2, Payload::Bytes(message)) => document.message = message,
                _ => {}
            }
        }
        Ok(document)
    }

    /// The object's tree. It is not yet fitted to its type: [`crate::schema::decode_tree`] does that, as for JSON.
    pub fn decode(&self, ty: &Type) -> Result<Value, ProtoError> {
        let mut tree = decode::message(self.message, ty)?;
        if !self.api_version.is_empty() {
            tree.insert("apiVersion", &self.api_version);
        }
        if !self.kind.is_empty() {
            tree.insert("kind", &self.kind);
        }
        Ok(tree.into())
    }
}

/// Encodes an object of a type, with its apiVersion and kind around it.
pub fn encode(tree: &Value, ty: &Type) -> Result<Vec<u8>, ProtoError> {
    let message = encode::message(tree, ty)?;
    let mut out = Writer(MAGIC.to_vec());
    out.message(1, |meta| {
        meta.bytes(1, tree.str_at(&["apiVersion"]).unwrap_or_default().as_bytes());
        meta.bytes(2, tree.str_at(&["kind"]).unwrap_or_default().as_bytes());
    });
    out.bytes(2, &message);
    out.bytes(3, b"");
    out.bytes(4, b"");
    Ok(out.0)
}

/// The number of the items of every list.
const ITEMS: u32 = 2;

/// Encodes an item as it stands in a list.
pub fn encode_item(tree: &Value, ty: &Type) -> Result<Vec<u8>, ProtoError> {
    let mut out = Writer::default();
    out.bytes(ITEMS, &encode::message(tree, ty)?);
    Ok(out.0)
}

/// The beginning of a list's document, made of the list without its items: `items_bytes` of these follow, as
/// [`encode_item`] makes them.
pub fn begin_list(list: &Value, ty: &Type, items_bytes: usize) -> Result<Vec<u8>, ProtoError> {
    let own = encode::message(list, ty)?;
    let mut out = Writer(MAGIC.to_vec());
    out.message(1, |meta| {
        meta.bytes(1, list.str_at(&["apiVersion"]).unwrap_or_default().as_bytes());
        meta.bytes(2, list.str_at(&["kind"]).unwrap_or_default().as_bytes());
    });
    out.begin(2, own.len() + items_bytes);
    out.0.extend_from_slice(&own);
    Ok(out.0)
}

/// Encodes a watch event around an encoded object, framed by its length as streams of events are.
pub fn encode_watch_event(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut event = Writer::default();
    event.bytes(1, event_type.as_bytes());
    event.message(2, |raw| raw.bytes(1, object));
    let length = u32::try_from(event.0.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), event.0.as_slice()].concat()
}

#[cfg(test)]
mod tests;
