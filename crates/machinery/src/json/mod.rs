//! The JSON tree that the pipeline works on: small, ordered by key, quick to make and to write.

mod map;
mod parse;
mod serde_bridge;
mod value;

pub use map::Map;
pub use parse::ParseError;
pub use serde_bridge::{DecodeError, from_value, to_value};
pub use value::Value;

/// Strings of the tree. Up to 24 bytes stand inline, which covers nearly all field names and many values.
pub type Str = compact_str::CompactString;
