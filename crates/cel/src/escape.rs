//! Names of fields that are no identifiers, as expressions write them: `a.b` is `a__dot__b`, `in` is `__in__`.

use std::borrow::Cow;

use crate::parser::RESERVED;

const ESCAPES: [(&str, &str); 4] = [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];

/// Words that mean something, and so no field can be called, besides those that are reserved.
const MEANING: [&str; 4] = ["true", "false", "null", "in"];

fn is_word(name: &str) -> bool {
    MEANING.contains(&name) || RESERVED.contains(&name)
}

/// A field's name as expressions write it; nothing when they cannot write it at all.
pub fn escape(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if is_word(name) {
        return Some(Cow::Owned(format!("__{name}__")));
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.contains("__") {
        return Some(Cow::Borrowed(name));
    }
    let (mut rest, mut escaped) = (name, String::with_capacity(name.len() + 16));
    'next: while let Some(letter) = rest.chars().next() {
        for (long, short) in ESCAPES {
            if let Some(after) = rest.strip_prefix(short) {
                escaped.push_str(long);
                rest = after;
                continue 'next;
            }
        }
        if !(letter.is_ascii_alphanumeric() || letter == '_') {
            return None;
        }
        escaped.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    Some(Cow::Owned(escaped))
}

/// The name of the field that an expression means; nothing when no field is written so.
pub fn unescape(written: &str) -> Option<Cow<'_, str>> {
    if !written.contains("__") {
        return Some(Cow::Borrowed(written));
    }
    if let Some(word) = written.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"))
        && is_word(word)
    {
        return Some(Cow::Owned(word.to_owned()));
    }
    let (mut rest, mut name) = (written, String::with_capacity(written.len()));
    'next: while let Some(letter) = rest.chars().next() {
        for (long, short) in ESCAPES {
            if let Some(after) = rest.strip_prefix(long) {
                name.push_str(short);
                rest = after;
                continue 'next;
            }
        }
        if rest.starts_with("__") {
            return None;
        }
        name.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
    Some(Cow::Owned(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_and_found_again() {
        let cases = [
            ("plain", Some("plain")),
            ("a_b", Some("a_b")),
            ("a.b-c/d", Some("a__dot__b__dash__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("namespace", Some("__namespace__")),
            ("int", Some("int")),
            ("x-y", Some("x__dash__y")),
            ("9a", None),
            ("a$b", None),
            ("é", None),
            ("", None),
        ];
        for (name, written) in cases {
            assert_eq!(escape(name).as_deref(), written, "{name}");
            if let Some(written) = written {
                assert_eq!(unescape(written).as_deref(), Some(name), "{written}");
            }
        }
        assert_eq!(unescape("a__b"), None);
    }
}
