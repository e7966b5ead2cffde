//! Bounds of key ranges, in the byte order that all backends share.

use crate::RangeQuery;

/// The smallest string above every key that starts with `prefix`; `None` when no string is.
pub(crate) fn prefix_end(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = next_char(last) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// The smallest key that `query` may answer with.
pub(crate) fn range_start(query: &RangeQuery) -> String {
    match &query.after {
        // Nothing sorts between a string and the same string with a zero byte behind it.
        Some(after) if after.as_str() >= query.prefix.as_str() => format!("{after}\0"),
        _ => query.prefix.clone(),
    }
}

/// The next character; UTF-8 sorts as its code points do, and the surrogates are no characters.
fn next_char(c: char) -> Option<char> {
    match c {
        '\u{d7ff}' => Some('\u{e000}'),
        char::MAX => None,
        _ => char::from_u32(u32::from(c) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_just_above_it() {
        let cases = [
            ("", None),
            ("/a/", Some("/a0")),
            ("a\u{7f}", Some("a\u{80}")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("a\u{10ffff}", Some("b")),
            ("\u{10ffff}\u{10ffff}", None),
        ];
        for (prefix, end) in cases {
            assert_eq!(prefix_end(prefix).as_deref(), end, "prefix {prefix:?}");
        }
    }

    #[test]
    fn a_range_starts_after_the_last_key_but_inside_the_prefix() {
        let start = |prefix: &str, after: Option<&str>| {
            range_start(&RangeQuery { prefix: prefix.into(), after: after.map(Into::into), ..RangeQuery::default() })
        };
        assert_eq!(start("/a/", None), "/a/");
        assert_eq!(start("/a/", Some("/a/x")), "/a/x\0");
        assert_eq!(start("/b/", Some("/a/x")), "/b/");
        assert_eq!(start("/a/", Some("/b/")), "/b/\0");
    }
}
