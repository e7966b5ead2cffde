//! PEM (RFC 7468), read as leniently as upstream's library does: what stands around blocks is skipped.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// One block.
pub(super) struct Block {
    /// `CERTIFICATE`
    pub label: String,
    /// Whether headers stand before the data.
    pub has_headers: bool,
    /// The data.
    pub der: Vec<u8>,
}

/// All well-formed blocks of a text.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let (mut blocks, mut lines) = (Vec::new(), text.lines());
    while let Some(line) = lines.next() {
        let begin = line.trim_end().strip_prefix("-----BEGIN ").and_then(|rest| rest.strip_suffix("-----"));
        let Some(label) = begin else { continue };
        let end = format!("-----END {label}-----");
        let mut rest = lines.clone();
        let body: Vec<&str> = rest.by_ref().map(str::trim).take_while(|line| *line != end).collect();
        // A block without its end is none.
        if body.len() == lines.clone().count() {
            continue;
        }
        let headers = body.iter().take_while(|line| line.contains(':')).count();
        if let Ok(der) = BASE64_STANDARD.decode(body[headers..].concat()) {
            blocks.push(Block { label: label.to_owned(), has_headers: headers > 0, der });
            lines = rest;
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_amid_other_text() {
        let text = "x\n-----BEGIN A B-----\nYWJj\n-----END A B-----\n-----BEGIN C-----\nK: v\n\nYQ==\n-----END C-----\n-----BEGIN D-----\nYQ==";
        let found: Vec<_> = blocks(text).into_iter().map(|b| (b.label, b.has_headers, b.der)).collect();
        let wanted = [("A B".to_owned(), false, b"abc".to_vec()), ("C".to_owned(), true, b"a".to_vec())];
        assert_eq!(found, wanted);
        assert!(blocks("-----BEGIN A-----\n!\n-----END A-----").is_empty());
    }
}
