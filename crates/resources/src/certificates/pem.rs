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

/// All well-formed blocks of a text, in one pass: a block in which another one begins is none.
pub(super) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(&str, Vec<&str>)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(label) = marker(line, "-----BEGIN ") {
            open = Some((label, Vec::new()));
        } else if let Some(label) = marker(line, "-----END ") {
            blocks
                .extend(open.take().filter(|(begun, _)| *begun == label).and_then(|(label, body)| block(label, &body)));
        } else if let Some((_, body)) = &mut open {
            body.push(line);
        }
    }
    blocks
}

fn marker<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

fn block(label: &str, body: &[&str]) -> Option<Block> {
    let headers = body.iter().take_while(|line| line.contains(':')).count();
    let der = BASE64_STANDARD.decode(body[headers..].concat()).ok()?;
    Some(Block { label: label.to_owned(), has_headers: headers > 0, der })
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
        let broken = "-----BEGIN A-----\n-----BEGIN B-----\nYQ==\n-----END B-----\n-----END A-----";
        assert_eq!(blocks(broken).len(), 1);
    }
}
