//! Field errors of validation, with upstream's wording (`apimachinery/pkg/util/validation/field`).

use std::fmt;

/// A path to a field: `spec.containers[0].name`, `metadata.labels[app]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// A path that starts at a field.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// A field below this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// An element of a list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// A key of a map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// `FieldValueRequired`
    Required,
    /// `FieldValueInvalid`
    Invalid,
    /// `FieldValueNotSupported`
    NotSupported,
    /// `FieldValueDuplicate`
    Duplicate,
    /// `FieldValueForbidden`
    Forbidden,
    /// `FieldValueNotFound`
    NotFound,
    /// `FieldValueTooLong`
    TooLong,
    /// `FieldValueTooMany`
    TooMany,
    /// `FieldValueTypeInvalid`
    TypeInvalid,
    /// `InternalError`
    Internal,
}

impl FieldErrorKind {
    /// The `reason` of a Status cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::NotFound => "FieldValueNotFound",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

/// One field error. `Display` gives `path: body`, as upstream prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// What is wrong.
    pub kind: FieldErrorKind,
    /// Where.
    pub field: String,
    /// The text after the path: `Required value`, `Invalid value: "x": must be …`
    pub body: String,
}

impl FieldError {
    fn new(kind: FieldErrorKind, path: &Path, body: String) -> Self {
        Self { kind, field: path.to_string(), body }
    }

    /// `path: Required value: detail`
    pub fn required(path: &Path, detail: &str) -> Self {
        Self::new(FieldErrorKind::Required, path, with_detail("Required value".into(), detail))
    }

    /// `path: Invalid value: value: detail`
    pub fn invalid(path: &Path, value: impl Shown, detail: &str) -> Self {
        Self::new(FieldErrorKind::Invalid, path, with_detail(format!("Invalid value: {}", value.shown()), detail))
    }

    /// `path: Unsupported value: value: supported values: "a", "b"`
    pub fn not_supported(path: &Path, value: impl Shown, supported: &[&str]) -> Self {
        let mut body = format!("Unsupported value: {}", value.shown());
        if !supported.is_empty() {
            let quoted: Vec<String> = supported.iter().map(|s| quoted(s)).collect();
            body = format!("{body}: supported values: {}", quoted.join(", "));
        }
        Self::new(FieldErrorKind::NotSupported, path, body)
    }

    /// `path: Duplicate value: value`
    pub fn duplicate(path: &Path, value: impl Shown) -> Self {
        Self::new(FieldErrorKind::Duplicate, path, format!("Duplicate value: {}", value.shown()))
    }

    /// `path: Forbidden: detail`
    pub fn forbidden(path: &Path, detail: &str) -> Self {
        Self::new(FieldErrorKind::Forbidden, path, with_detail("Forbidden".into(), detail))
    }

    /// `path: Not found: value`
    pub fn not_found(path: &Path, value: impl Shown) -> Self {
        Self::new(FieldErrorKind::NotFound, path, format!("Not found: {}", value.shown()))
    }

    /// `path: Too long: may not be more than N bytes`
    pub fn too_long(path: &Path, max_bytes: usize) -> Self {
        Self::new(FieldErrorKind::TooLong, path, format!("Too long: may not be more than {max_bytes} bytes"))
    }

    /// `path: Too many: actual: must have at most max items`
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::new(FieldErrorKind::TooMany, path, format!("Too many: {actual}: must have at most {max} {items}"))
    }

    /// `path: Internal error: detail`
    pub fn internal(path: &Path, detail: &str) -> Self {
        Self::new(FieldErrorKind::Internal, path, with_detail("Internal error".into(), detail))
    }
}

fn with_detail(body: String, detail: &str) -> String {
    if detail.is_empty() { body } else { format!("{body}: {detail}") }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.body)
    }
}

/// A string in Go's quotes (`strconv.Quote`).
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\u{0}'..' ' | '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // What Rust shows by its number cannot be printed.
            ' '..='~' => out.push(c),
            _ if c.is_alphanumeric() || c.escape_debug().len() == 1 => out.push(c),
            '\u{80}'..='\u{ffff}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// How a value is shown in a field error: strings in Go's quotes, the rest as JSON.
pub trait Shown {
    /// The text.
    fn shown(&self) -> String;
}

impl Shown for &str {
    fn shown(&self) -> String {
        quoted(self)
    }
}
impl Shown for &String {
    fn shown(&self) -> String {
        quoted(self)
    }
}
impl Shown for String {
    fn shown(&self) -> String {
        quoted(self)
    }
}
impl Shown for i64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for i32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for usize {
    fn shown(&self) -> String {
        self.to_string()
    }
}
impl Shown for &crate::json::Value {
    fn shown(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_shown_as_go_shows_them() {
        let cases = [
            ("a'b", r#""a'b""#),
            ("a\"b\\", r#""a\"b\\""#),
            ("\0\n\u{7f}", r#""\x00\n\x7f""#),
            ("é世😀", r#""é世😀""#),
            ("\u{200b}", r#""\u200b""#),
        ];
        for (text, wanted) in cases {
            assert_eq!(quoted(text), wanted);
        }
        let error = FieldError::not_supported(&Path::new("a"), "x", &["b", "c"]);
        assert_eq!(error.to_string(), r#"a: Unsupported value: "x": supported values: "b", "c""#);
    }
}
