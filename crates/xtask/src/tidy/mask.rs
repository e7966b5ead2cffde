//! Rust text with its strings, characters and comments blanked out, so that checks on words see code only.

/// Two views of a file, each as long as the file itself and with the same line breaks.
pub struct Masked {
    /// Code alone.
    pub code: String,
    /// Comments alone.
    pub comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Masked {
    /// Both views of `text`.
    pub fn new(text: &str) -> Self {
        let kinds = kinds(text.as_bytes());
        Self { code: keep(text, &kinds, Kind::Code), comments: keep(text, &kinds, Kind::Comment) }
    }
}

fn keep(text: &str, kinds: &[Kind], kind: Kind) -> String {
    let bytes = text.bytes().zip(kinds).map(|(byte, k)| match byte {
        b'\n' => '\n',
        // What is not ASCII is no word that a check looks for.
        _ if *k == kind && byte.is_ascii() => char::from(byte),
        _ => ' ',
    });
    bytes.collect()
}

/// What each byte belongs to.
fn kinds(bytes: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::with_capacity(bytes.len());
    while kinds.len() < bytes.len() {
        let at = kinds.len();
        let (kind, length) = token(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        kinds.resize((at + length).min(bytes.len()), kind);
    }
    kinds
}

/// The kind and length of what `rest` starts with.
fn token(rest: &[u8], before: Option<u8>) -> (Kind, usize) {
    match rest {
        [b'/', b'/', ..] => (Kind::Comment, position(rest, b'\n')),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Literal, string(rest)),
        [b'r', b'"' | b'#', ..] if !before.is_some_and(is_word) || before == Some(b'b') || before == Some(b'c') => {
            match raw_string(rest) {
                Some(length) => (Kind::Literal, length),
                // A raw identifier.
                None => (Kind::Code, 1),
            }
        }
        [b'\'', b'\\', _, tail @ ..] => (Kind::Literal, 3 + position(tail, b'\'') + 1),
        [b'\'', tail @ ..] => match character(tail) {
            Some(length) => (Kind::Literal, 1 + length),
            // A lifetime.
            None => (Kind::Code, 1),
        },
        _ => (Kind::Code, 1),
    }
}

/// The length of `x'`, when `tail` starts with one character and a closing quote.
fn character(tail: &[u8]) -> Option<usize> {
    let length = match tail.first()? {
        0..0x80 => 1,
        0..0xe0 => 2,
        0..0xf0 => 3,
        _ => 4,
    };
    (tail.get(length) == Some(&b'\'')).then_some(length + 1)
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    loop {
        let step = match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            [] => return at,
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = rest.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    let body = 2 + hashes;
    let length = rest[body..].windows(end.len()).position(|window| window == end);
    Some(length.map_or(rest.len(), |length| body + length + end.len()))
}

fn position(bytes: &[u8], byte: u8) -> usize {
    bytes.iter().position(|b| *b == byte).unwrap_or(bytes.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_code() {
        let cases = [
            ("a // b\nc", "a c", "// b"),
            ("a /* b /* c */ d */ e", "a e", "/* b /* c */ d */"),
            (r#"f("// \" x") + 1"#, "f( ) + 1", ""),
            (r##"r#"a " b"# + x"##, "+ x", ""),
            ("'a' 'b 'static '\\'' '\"' x", "'b 'static x", ""),
            ("br\"x\" y r#type", "b y r#type", ""),
            ("'ä' x", "x", ""),
        ];
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        for (text, code, comments) in cases {
            let masked = Masked::new(text);
            assert_eq!(
                (squeeze(&masked.code).as_str(), squeeze(&masked.comments).as_str()),
                (code, comments),
                "{text}"
            );
            assert_eq!((masked.code.len(), masked.comments.len()), (text.len(), text.len()));
        }
    }

    #[test]
    fn what_is_never_closed_ends_with_the_file() {
        for text in ["\"a", "/* a", "r#\"a", "'\\", "\"\\", "'", "//"] {
            assert_eq!(Masked::new(text).code.len(), text.len(), "{text}");
        }
    }
}
