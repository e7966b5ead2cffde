//! The JSON tree that the pipeline works on: small, ordered by key, quick to make and to write.

mod decode;
mod encode;
mod map;
mod parse;
mod serde_bridge;
mod value;
mod write;

pub use decode::{DecodeError, from_value};
pub use encode::to_value;
pub use map::Map;
pub(crate) use parse::object_length;
pub use parse::{DEPTH_MAX, ParseError, ParseOptions, Parsed};
pub use value::Value;
pub(crate) use write::{write_string, write_text};

/// Strings of the tree. Up to 24 bytes stand inline, which covers nearly all field names and many values.
pub type Str = compact_str::CompactString;
