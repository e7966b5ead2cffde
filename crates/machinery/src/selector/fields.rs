//! Field selectors: `spec.nodeName=n1,status.phase!=Running`.

use std::borrow::Cow;
use std::fmt;

use super::SelectorError;

/// One term of a field selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldTerm {
    /// The field's name, such as `metadata.name`.
    pub field: String,
    /// Whether the value must be equal; otherwise it must differ.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// A conjunction of terms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

impl FieldSelector {
    /// Reads the text form. Which fields there are is for the caller to check, in [`FieldSelector::terms`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let terms = parts.into_iter().filter(|p| !p.is_empty()).map(|part| {
            let (field, operator, value) = split_term(part)
                .ok_or_else(|| SelectorError(format!("invalid selector: '{text}'; can't understand '{part}'")))?;
            Ok(FieldTerm { field: field.to_owned(), equal: operator != "!=", value: unescape(value)? })
        });
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }

    /// Matches what has this value in this field.
    pub fn equal(field: &str, value: &str) -> Self {
        Self { terms: vec![FieldTerm { field: field.to_owned(), equal: true, value: value.to_owned() }] }
    }

    /// The terms.
    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Whether it matches all.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object matches; `get` gives a field's value, empty when the object has none.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.terms.iter().all(|t| (get(&t.field) == t.value) == t.equal)
    }

    /// The one value that a field must have, when the selector asks for one.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.field == field).map(|t| t.value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.terms.iter().enumerate() {
            let value = term.value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
            let (comma, operator) = (if i > 0 { "," } else { "" }, if term.equal { "=" } else { "!=" });
            write!(f, "{comma}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

/// Terms between commas; a comma after a backslash is part of a value.
fn split_terms(text: &str) -> Vec<&str> {
    let (mut terms, mut start, mut escaped) = (Vec::new(), 0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, &str, &str)> {
    term.char_indices().find_map(|(i, _)| {
        let operator = ["!=", "==", "="].into_iter().find(|o| term[i..].starts_with(o))?;
        Some((&term[..i], operator, &term[i + operator.len()..]))
    })
}

fn unescape(value: &str) -> Result<String, SelectorError> {
    let bad_escape = |s: &str| SelectorError(format!("invalid field selector: invalid escape sequence: {s}"));
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(c @ ('\\' | ',' | '=')) => text.push(c),
                Some(c) => return Err(bad_escape(&format!("\\{c}"))),
                None => return Err(bad_escape("\\")),
            },
            // Go prints the character as its number.
            ',' | '=' => {
                let number = u32::from(c);
                return Err(SelectorError(format!("invalid field selector: unescaped character in value: {number}")));
            }
            c => text.push(c),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_selectors_match() {
        let get = |field: &str| match field {
            "metadata.name" => Cow::Borrowed("a,b"),
            _ => Cow::Borrowed(""),
        };
        for (text, wanted) in [
            ("", true),
            (r"metadata.name=a\,b", true),
            ("metadata.name!=x,spec.nodeName=", true),
            ("spec.nodeName==n", false),
            ("spec.nodeName!=", false),
        ] {
            let selector = FieldSelector::parse(text).unwrap();
            assert_eq!(selector.matches(get), wanted, "{text}");
            assert_eq!(FieldSelector::parse(&selector.to_string()).unwrap(), selector);
        }
        assert_eq!(FieldSelector::parse("a=b,c=d").unwrap().required("c"), Some("d"));
    }

    #[test]
    fn errors_are_upstreams() {
        let cases = [
            ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ];
        for (text, wanted) in cases {
            assert_eq!(FieldSelector::parse(text).unwrap_err().0, wanted);
        }
    }
}
