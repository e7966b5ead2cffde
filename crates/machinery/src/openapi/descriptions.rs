//! What types and fields are for: the texts of OpenAPI documents.

use std::borrow::Cow;
use std::collections::HashMap;

/// Descriptions of types and of their fields, read from a table: a line `:type text` for each type, then a line `field text`
/// for each of its fields. Line feeds, quotes and backslashes in texts are escaped by a backslash.
#[derive(Debug, Clone, Default)]
pub struct Descriptions<'a> {
    types: HashMap<&'a str, Described<'a>>,
}

#[derive(Debug, Clone, Default)]
struct Described<'a> {
    text: &'a str,
    fields: HashMap<&'a str, &'a str>,
}

impl<'a> Descriptions<'a> {
    /// Reads a table.
    pub fn parse(table: &'a str) -> Self {
        let mut types: HashMap<&str, Described<'_>> = HashMap::new();
        let mut current = "";
        for line in table.lines() {
            let (name, text) = line.split_once(' ').unwrap_or((line, ""));
            match name.strip_prefix(':') {
                Some(name) => {
                    current = name;
                    types.insert(name, Described { text, ..Described::default() });
                }
                None => drop(types.entry(current).or_default().fields.insert(name, text)),
            }
        }
        Self { types }
    }

    /// What a type is for.
    pub(super) fn of_type(&self, name: &str) -> Option<Cow<'a, str>> {
        self.types.get(name).map(|ty| ty.text).filter(|text| !text.is_empty()).map(unescaped)
    }

    /// What a field is for.
    pub(super) fn of_field(&self, ty: &str, field: &str) -> Option<Cow<'a, str>> {
        self.types.get(ty).and_then(|ty| ty.fields.get(field).copied()).map(unescaped)
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let table = [r#":a.Pod A \"pod\".\n\nMore."#, "spec What is wanted.", ":a.Bare"].join("\n");
        let descriptions = Descriptions::parse(&table);
        assert_eq!(descriptions.of_type("a.Pod").as_deref(), Some("A \"pod\".\n\nMore."));
        assert_eq!(descriptions.of_field("a.Pod", "spec").as_deref(), Some("What is wanted."));
        assert_eq!((descriptions.of_type("a.Bare"), descriptions.of_field("a.Pod", "x")), (None, None));
    }
}
