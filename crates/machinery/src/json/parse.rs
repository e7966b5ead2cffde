//! Bytes to tree.

use super::Value;

/// Why bytes are no JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, worded as Go's decoder words it.
    pub message: String,
    /// Where, in bytes.
    pub offset: usize,
}

impl Value {
    /// Reads one JSON document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        serde_json::from_slice(bytes).map_err(|e| ParseError { message: e.to_string(), offset: 0 })
    }

    /// Writes the tree as compact JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a tree always encodes")
    }
}
