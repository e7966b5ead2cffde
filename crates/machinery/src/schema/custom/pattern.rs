//! A pattern of a schema, compiled when a value is first compared with it: many definitions have hundreds, and few are used.

use std::sync::OnceLock;

use regex::Regex;

use crate::go_regex;

/// A pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    pub text: Box<str>,
    made: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into(), made: OnceLock::new() }
    }

    /// Whether a text matches; the error when the pattern is none.
    pub(super) fn matches(&self, text: &str) -> Result<bool, &str> {
        let made = self.made.get_or_init(|| go_regex::compile(&self.text));
        made.as_ref().map(|pattern| pattern.is_match(text)).map_err(String::as_str)
    }
}
