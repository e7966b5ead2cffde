//! Files of environment variables (KEP-3721): `NAME='value'` lines, a strict part of what a POSIX shell reads.

use std::collections::BTreeMap;

/// The longest name, upstream's limit while the feature is young.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest value.
pub const VALUE_BYTES_MAX: usize = 32 << 10;
/// The longest file.
pub const FILE_BYTES_MAX: u64 = 64 << 10;

/// The variables of a file. Blank lines and lines that begin with `#` are skipped; values stand in single quotes, are taken
/// as they are and may have several lines.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            return Ok(variables);
        }
        if rest.starts_with('#') {
            rest = rest.split_once('\n').map_or("", |(_, tail)| tail);
            continue;
        }
        let (name, value, tail) = declaration(rest)?;
        variables.insert(name, value);
        rest = tail;
    }
}

/// One variable at the start of `text`, and what follows its line.
fn declaration(text: &str) -> Result<(String, String, &str), String> {
    let line = text.lines().next().unwrap_or_default();
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("{line:?} has no '='"))?;
    let name = name.trim_end_matches([' ', '\t']);
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("{line:?} does not declare a variable"));
    }
    let quoted = rest.trim_start_matches([' ', '\t']).strip_prefix('\'');
    let quoted = quoted.ok_or_else(|| format!("the value of {name:?} must stand in single quotes"))?;
    let (value, tail) = quoted.split_once('\'').ok_or_else(|| format!("the quote of {name:?} does not end"))?;
    let tail = tail.trim_start_matches([' ', '\t', '\r']);
    match tail.chars().next() {
        None | Some('\n') => Ok((name.to_owned(), value.to_owned(), tail)),
        Some('#') => Ok((name.to_owned(), value.to_owned(), tail.split_once('\n').map_or("", |(_, next)| next))),
        Some(_) => Err(format!("after the value of {name:?} its line must end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_a_shell_reads_them() {
        let text = "# first\n\n  A='1'\nB = ' two # words ' # why\r\nC='x\ny'\nA='3'\nD=''";
        let found = parse(text).unwrap();
        let wanted = [("A", "3"), ("B", " two # words "), ("C", "x\ny"), ("D", "")];
        assert_eq!(found, wanted.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        for (text, error) in [
            ("A=1", "the value of \"A\" must stand in single quotes"),
            ("A=\"1\"", "the value of \"A\" must stand in single quotes"),
            ("A='1''2'", "after the value of \"A\" its line must end"),
            ("A='1", "the quote of \"A\" does not end"),
            ("export A='1'", "\"export A='1'\" does not declare a variable"),
            ("A", "\"A\" has no '='"),
        ] {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
    }
}
