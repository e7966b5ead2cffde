//! Bytes to tree.
//!
//! Errors are worded as Go's `encoding/json` words them, since clients and their users know those. Broken UTF-8 becomes
//! U+FFFD, as there. The last of equal keys wins; [`Value::parse_with`] also tells which stood twice.

use std::borrow::Cow;

use super::{Map, Str, Value};

/// Deepest nesting of lists and objects. DIVERGES: upstream takes 10,000 levels, since Go's stacks grow; ours do not, and
/// no real object comes near this.
pub const DEPTH_MAX: usize = 256;

/// Why bytes are no JSON document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ParseError {
    /// What is wrong, worded as Go's decoder words it.
    pub message: String,
    /// Where, in bytes.
    pub offset: usize,
}

/// What to tell beside the tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct ParseOptions {
    /// Tell the paths of keys that stand twice in one object.
    pub duplicates: bool,
    /// The document was written by [`Value::write`]: its managed fields may stay as they are ([`Value::Raw`]).
    pub own: bool,
}

/// A document that was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The tree.
    pub tree: Value,
    /// Paths of keys that stood twice, such as `spec.containers[0].name`, when asked for.
    pub duplicates: Vec<String>,
}

impl Value {
    /// Reads one JSON document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_with(bytes, ParseOptions::default()).map(|parsed| parsed.tree)
    }

    /// Reads a document that [`Value::write`] has written.
    pub fn parse_own(bytes: &[u8]) -> Result<Self, ParseError> {
        Self::parse_with(bytes, ParseOptions { own: true, ..ParseOptions::default() }).map(|parsed| parsed.tree)
    }

    /// Reads one JSON document.
    pub fn parse_with(bytes: &[u8], options: ParseOptions) -> Result<Parsed, ParseError> {
        // Checking is many times quicker than replacing, and nearly all bytes are what they should be.
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(bytes),
        };
        let mut parser = Parser {
            text: &text,
            bytes: text.as_bytes(),
            at: 0,
            depth: 0,
            keys: Vec::new(),
            nodes: Vec::new(),
            duplicates: Vec::new(),
            wants_duplicates: options.duplicates,
            own: options.own,
        };
        let tree = parser.document().map_err(|e| *e)?;
        Ok(Parsed { tree, duplicates: parser.duplicates })
    }
}

/// Boxed, so that a result is no larger than its value: results are moved once per value.
type Failure = Box<ParseError>;

/// A key as it stands in the document, or, where it holds escapes, as it reads.
enum Key<'a> {
    Plain(&'a str),
    Escaped(Str),
}

impl Key<'_> {
    fn as_str(&self) -> &str {
        match self {
            Self::Plain(text) => text,
            Self::Escaped(text) => text,
        }
    }

    fn into_str(self) -> Str {
        match self {
            Self::Plain(text) => Str::from(text),
            Self::Escaped(text) => text,
        }
    }
}

/// A value that was read. Strings become values of their own only at their last place: they are many, and moving one costs
/// more than reading it.
enum Node<'a> {
    Plain(&'a str),
    Value(Value),
}

impl Node<'_> {
    fn into_value(self) -> Value {
        match self {
            Self::Plain(text) => Value::String(Str::from(text)),
            Self::Value(value) => value,
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    depth: usize,
    /// Keys and values of the objects and lists that are being read, the innermost last: so each is allocated once, at its size.
    keys: Vec<Key<'a>>,
    nodes: Vec<Node<'a>>,
    duplicates: Vec<String>,
    wants_duplicates: bool,
    own: bool,
}

/// The length of the plain run that bytes start with: up to a quote, a backslash or a control character. Eight bytes are
/// looked at in one step: a byte's high bit becomes set in `found` where it ends the run, and the lowest such bit is right.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, rest) = bytes.as_chunks::<8>();
    for (i, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = control | is_zero(word ^ (ONES * 0x22)) | is_zero(word ^ (ONES * 0x5c));
        if found != 0 {
            return i * 8 + found.trailing_zeros() as usize / 8;
        }
    }
    let in_rest = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\');
    bytes.len() - rest.len() + in_rest.unwrap_or(rest.len())
}

impl<'a> Parser<'a> {
    fn document(&mut self) -> Result<Value, Failure> {
        self.value()?;
        self.skip_space();
        if self.at < self.bytes.len() {
            return Err(self.unexpected("after top-level value"));
        }
        Ok(self.nodes.pop().map_or(Value::Null, Node::into_value))
    }

    fn error(&self, message: String) -> Failure {
        Box::new(ParseError { message, offset: self.at.min(self.bytes.len()) })
    }

    /// The byte here does not belong here.
    #[cold]
    fn unexpected(&self, context: &str) -> Failure {
        match self.bytes.get(self.at) {
            None => self.error("unexpected end of JSON input".to_owned()),
            Some(byte) => self.error(format!("invalid character {} {context}", quoted(*byte))),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    /// Reads a value, and leaves it on top of the nodes.
    fn value(&mut self) -> Result<(), Failure> {
        self.skip_space();
        let value = match self.peek() {
            Some(b'"') => {
                let run = self.open_string();
                if self.closes_string() {
                    self.nodes.push(Node::Plain(run));
                    return Ok(());
                }
                Value::String(self.escaped_string(run)?)
            }
            Some(b'{') => return self.nested(Self::object),
            Some(b'[') => return self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            _ => return Err(self.unexpected("looking for beginning of value")),
        };
        self.nodes.push(Node::Value(value));
        Ok(())
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        if self.depth == DEPTH_MAX {
            return Err(self.error("exceeded max depth".to_owned()));
        }
        self.depth += 1;
        self.at += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn literal(&mut self, literal: &str, value: Value) -> Result<Value, Failure> {
        for wanted in literal.bytes() {
            if self.peek() != Some(wanted) {
                return Err(self.unexpected(&format!("in literal {literal} (expecting '{}')", char::from(wanted))));
            }
            self.at += 1;
        }
        Ok(value)
    }

    fn object(&mut self) -> Result<(), Failure> {
        let (keys, nodes) = (self.keys.len(), self.nodes.len());
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.nodes.push(Node::Value(Value::object()));
            return Ok(());
        }
        loop {
            self.skip_space();
            self.key()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return Err(self.unexpected("after object key"));
            }
            self.at += 1;
            let inner = self.duplicates.len();
            if !(self.own && self.raw_fields(keys)) {
                self.value()?;
            }
            if self.duplicates.len() > inner {
                self.prefix_with_key(inner);
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    let map = self.finish_object(keys, nodes);
                    self.nodes.push(Node::Value(Value::Object(map)));
                    return Ok(());
                }
                _ => return Err(self.unexpected("after object key:value pair")),
            }
        }
    }

    /// Takes `fieldsV1` of managed fields as it stands, if the key that was read last is that.
    fn raw_fields(&mut self, keys: usize) -> bool {
        let is = |at: usize, name: &str| matches!(self.keys.get(at), Some(Key::Plain(key)) if *key == name);
        let (Some(last), Some(outer)) = (self.keys.len().checked_sub(1), keys.checked_sub(1)) else { return false };
        if !is(last, "fieldsV1") || !is(outer, "managedFields") || self.peek() != Some(b'{') {
            return false;
        }
        let Some(length) = object_length(&self.bytes[self.at..]) else { return false };
        let text = &self.text[self.at..self.at + length];
        self.at += length;
        self.nodes.push(Node::Value(Value::Raw(text.into())));
        true
    }

    /// Reads a key, and leaves it on top of the keys.
    #[inline]
    fn key(&mut self) -> Result<(), Failure> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("looking for beginning of object key string"));
        }
        let run = self.open_string();
        if self.closes_string() {
            self.keys.push(Key::Plain(run));
            return Ok(());
        }
        let key = self.escaped_string(run)?;
        self.keys.push(Key::Escaped(key));
        Ok(())
    }

    /// The object of the keys and nodes from there on.
    fn finish_object(&mut self, keys: usize, nodes: usize) -> Map {
        let is_sorted = self.keys[keys..].is_sorted_by(|a, b| a.as_str() < b.as_str());
        let entries = self.keys.drain(keys..).zip(self.nodes.drain(nodes..));
        let entries = entries.map(|(key, node)| (key.into_str(), node.into_value())).collect();
        if is_sorted {
            return Map::from_sorted(entries);
        }
        let (map, doubled) = Map::from_unsorted(entries);
        if self.wants_duplicates {
            self.duplicates.extend(doubled.iter().map(ToString::to_string));
        }
        map
    }

    fn array(&mut self) -> Result<(), Failure> {
        let start = self.nodes.len();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            self.nodes.push(Node::Value(Value::Array(Vec::new())));
            return Ok(());
        }
        loop {
            let (inner, item) = (self.duplicates.len(), self.nodes.len() - start);
            self.value()?;
            if self.duplicates.len() > inner {
                self.prefix_duplicates(inner, &format!("[{item}]"));
            }
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    let items = self.nodes.drain(start..).map(Node::into_value).collect();
                    self.nodes.push(Node::Value(Value::Array(items)));
                    return Ok(());
                }
                _ => return Err(self.unexpected("after array element")),
            }
        }
    }

    /// Names the key that was read last in front of the duplicates found below it.
    #[cold]
    fn prefix_with_key(&mut self, from: usize) {
        let key = self.keys.last().map(|key| key.as_str().to_owned());
        self.prefix_duplicates(from, &key.unwrap_or_default());
    }

    fn prefix_duplicates(&mut self, from: usize, place: &str) {
        for path in &mut self.duplicates[from..] {
            let dot = if path.starts_with('[') { "" } else { "." };
            *path = format!("{place}{dot}{path}");
        }
    }

    fn number(&mut self) -> Result<Value, Failure> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        if negative {
            self.at += 1;
        }
        let mut whole: Option<i64> = Some(0);
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => {
                while let Some(digit @ b'0'..=b'9') = self.peek() {
                    let digit = i64::from(digit - b'0');
                    whole = whole.and_then(|w| w.checked_mul(10)?.checked_sub(digit));
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected("in numeric literal")),
        }
        let is_whole = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        if is_whole {
            // Summed up below zero, as there is one number more.
            let whole = if negative { whole } else { whole.and_then(i64::checked_neg) };
            if let Some(whole) = whole {
                return Ok(Value::Integer(whole));
            }
        }
        self.fraction()?;
        let text = &self.text[start..self.at];
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => Err(self.error(format!("json: cannot unmarshal number {text} into Go value of type float64"))),
        }
    }

    fn fraction(&mut self) -> Result<(), Failure> {
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    fn digits(&mut self, context: &str) -> Result<(), Failure> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.unexpected(context)) } else { Ok(()) }
    }

    /// The run of plain bytes from here.
    #[inline]
    fn run(&mut self) -> &'a str {
        let start = self.at;
        self.at += plain_length(&self.bytes[start..]);
        &self.text[start..self.at]
    }

    /// The plain run that a string begins with.
    #[inline]
    fn open_string(&mut self) -> &'a str {
        self.at += 1;
        self.run()
    }

    /// Whether the string ends here.
    #[inline]
    fn closes_string(&mut self) -> bool {
        let closes = self.peek() == Some(b'"');
        self.at += usize::from(closes);
        closes
    }

    /// The rest of a string that begins with `run`.
    #[cold]
    fn escaped_string(&mut self, run: &str) -> Result<Str, Failure> {
        let mut text = Str::from(run);
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                _ => return Err(self.unexpected("in string literal")),
            }
            text.push_str(self.run());
        }
    }

    fn escape(&mut self) -> Result<char, Failure> {
        let plain = match self.peek() {
            Some(c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode_escape();
            }
            _ => return Err(self.unexpected("in string escape code")),
        };
        self.at += 1;
        Ok(plain)
    }

    /// A surrogate without its other half is U+FFFD, as in Go.
    fn unicode_escape(&mut self) -> Result<char, Failure> {
        let high = self.hex()?;
        if (0xD800..0xDC00).contains(&high) && self.bytes[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            let low = self.hex()?;
            if (0xDC00..0xE000).contains(&low) {
                let both = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = before;
        }
        Ok(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u32, Failure> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|b| char::from(b).to_digit(16));
            let Some(digit) = digit else { return Err(self.unexpected("in \\u hexadecimal character escape")) };
            number = number * 16 + digit;
            self.at += 1;
        }
        Ok(number)
    }
}

/// How long the object is that bytes start with; nothing when it does not end.
pub(crate) fn object_length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => {
                at += 1;
                loop {
                    at += plain_length(bytes.get(at..)?);
                    match bytes.get(at)? {
                        b'"' => break,
                        _ => at += 2,
                    }
                }
            }
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
}

/// A byte as Go shows it in an error.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => r#"'"'"#.to_owned(),
        b'\\' => r"'\\'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..0xa0 => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_are_worded_as_gos() {
        let cases = [
            ("", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{", "unexpected end of JSON input"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            (r#"{"a" 1}"#, "invalid character '1' after object key"),
            (r#"{"a":1 "b"}"#, "invalid character '\"' after object key:value pair"),
            (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("1 2", "invalid character '2' after top-level value"),
            ("01", "invalid character '1' after top-level value"),
            ("tru", "unexpected end of JSON input"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("-", "unexpected end of JSON input"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("1e999", "json: cannot unmarshal number 1e999 into Go value of type float64"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            (r#""\x""#, "invalid character 'x' in string escape code"),
            (r#""\u12x4""#, "invalid character 'x' in \\u hexadecimal character escape"),
        ];
        for (text, wanted) in cases {
            assert_eq!(Value::parse(text.as_bytes()).unwrap_err().message, wanted, "{text}");
        }
        let deep = "[".repeat(DEPTH_MAX + 1);
        assert_eq!(Value::parse(deep.as_bytes()).unwrap_err().message, "exceeded max depth");
        let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
        assert!(Value::parse(deep.as_bytes()).is_ok());
    }

    #[test]
    fn values_read() {
        let text = r#" { "b" : [ 1 , -2.5e1, 9223372036854775807, -9223372036854775808, 9223372036854775808, -0 ],
            "a":"x\u00e9\ud83d\ude00\ud800\"\\\/\b\f\n\r\t", "c":{}, "d":[], "e":null, "f":true, "g":false } "#;
        let tree = Value::parse(text.as_bytes()).unwrap();
        let numbers = tree.get("b").and_then(Value::as_array).unwrap();
        assert_eq!(numbers[..4], [1.into(), Value::Float(-25.0), i64::MAX.into(), i64::MIN.into()]);
        assert_eq!(numbers[4..], [Value::Float(9_223_372_036_854_775_808.0), 0.into()]);
        assert_eq!(tree.str_at(&["a"]), Some("xé😀\u{fffd}\"\\/\u{8}\u{c}\n\r\t"));
        assert_eq!(Value::parse(b"\"a\xffb\"").unwrap().as_str(), Some("a\u{fffd}b"));
    }

    #[test]
    fn doubled_keys_are_told_with_their_paths() {
        let text = br#"{"a":1,"s":{"c":[{"n":1},{"n":1,"n":2,"m":{"k":1,"k":2}}]},"a":2}"#;
        let parsed = Value::parse_with(text, ParseOptions { duplicates: true, ..ParseOptions::default() }).unwrap();
        assert_eq!(parsed.duplicates, ["s.c[1].m.k", "s.c[1].n", "a"]);
        assert_eq!(parsed.tree.get("a"), Some(&2.into()));
    }

    #[test]
    fn the_deepest_document_needs_little_of_the_stack() {
        const STACK_BYTES: usize = 1024 * 1024;
        let work = || {
            let schema = r#"{"properties":{"a":"#.repeat(DEPTH_MAX / 2 - 1) + "{}" + &"}}".repeat(DEPTH_MAX / 2 - 1);
            for text in [schema, "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX)] {
                let mut tree = Value::parse(text.as_bytes()).unwrap();
                assert_eq!(tree.clone().to_bytes(), text.as_bytes());
                assert_eq!(crate::json::to_value(&tree).unwrap(), tree);
                let _: Value = crate::json::from_value(&tree).unwrap();
                let ty =
                    crate::schema::lookup("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
                        .unwrap();
                assert_eq!(crate::schema::check(&mut tree, ty).is_ok(), text.starts_with('{'));
            }
        };
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap();
        thread.join().unwrap();
    }

    fn trees() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e300..1e300f64).prop_map(Value::from),
            ".{0,30}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((".{0,30}", inner), 0..6).prop_map(|e| Value::Object(e.into_iter().collect())),
            ]
        })
    }

    /// Floats that are whole read back as integers; the rest is the same.
    fn same(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|((k, a), (l, b))| k == l && same(a, b))
            }
            (Value::Float(_), _) => a.as_f64() == b.as_f64(),
            _ => a == b,
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Value::parse(&bytes);
        }

        #[test]
        fn json_like_text_is_read_as_serde_json_reads_it(text in r#"[\[\]{}:,"a0-9e.\\ -]{0,24}"#) {
            let theirs = serde_json::from_str::<serde_json::Value>(&text);
            let ours = Value::parse(text.as_bytes());
            prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}", text);
        }

        #[test]
        fn trees_survive_writing_and_reading(tree in trees()) {
            let bytes = tree.to_bytes();
            let back = Value::parse(&bytes).unwrap();
            prop_assert!(same(&tree, &back), "{}", tree);
            prop_assert_eq!(back.to_bytes(), bytes.clone());
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        }

        #[test]
        fn trees_survive_serde(tree in trees()) {
            let typed: serde_json::Value = crate::json::from_value(&tree).unwrap();
            let back = crate::json::to_value(&typed).unwrap();
            prop_assert!(same(&tree, &back), "{}", tree);
        }
    }
}
