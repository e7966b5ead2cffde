//! Regular expressions as Go reads them (RE2's syntax), for the `regex` crate: perl classes are ASCII, brackets know no set
//! operations, and what only one of the two understands is refused or written otherwise.

use regex::Regex;
use std::fmt::Write;

/// Bytes that one compiled expression may take.
const SIZE_BYTES_MAX: usize = 4 << 20;

/// Compiles an expression of Go's. The error is in Go's words where these are known.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let translated = translate(pattern)?;
    let built = regex::RegexBuilder::new(&translated).size_limit(SIZE_BYTES_MAX).build();
    built.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().rev().find_map(|line| line.strip_prefix("error: ")).unwrap_or(&text);
        fail(go_reason(reason), pattern)
    })
}

fn fail(reason: &str, part: &str) -> String {
    format!("error parsing regexp: {reason}: `{part}`")
}

/// Go's words for an error of the `regex` crate.
fn go_reason(reason: &str) -> &str {
    match reason {
        "unclosed group" => "missing closing )",
        "unopened group" => "unexpected )",
        "unclosed character class" => "missing closing ]",
        "repetition operator missing expression" => "missing argument to repetition operator",
        "invalid character class range, the start must be <= the end" => "invalid character class range",
        "Unicode property not found" | "Unicode property value not found" => "invalid character class range",
        "look-around, including look-ahead and look-behind, is not supported" => "invalid or unsupported Perl syntax",
        other => other,
    }
}

/// The same expression in the syntax of the `regex` crate.
fn translate(pattern: &str) -> Result<String, String> {
    let mut reader = Reader { pattern, rest: pattern };
    let mut out = String::with_capacity(pattern.len() + 8);
    while let Some(letter) = reader.take() {
        match letter {
            '\\' => reader.escape(&mut out, false)?,
            '[' => reader.class(&mut out)?,
            '(' if reader.rest.starts_with('?') => reader.group(&mut out)?,
            _ => out.push(letter),
        }
    }
    Ok(out)
}

struct Reader<'p> {
    pattern: &'p str,
    rest: &'p str,
}

impl<'p> Reader<'p> {
    fn take(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    /// Go knows the flags i, m, s and U, and names after `P<` or `<`.
    fn group(&mut self, out: &mut String) -> Result<(), String> {
        let body = &self.rest[1..];
        let is_name =
            body.starts_with("P<") || body.starts_with('<') && !body.starts_with("<=") && !body.starts_with("<!");
        let flags = body.trim_start_matches(['i', 'm', 's', 'U', '-']);
        if is_name || flags.starts_with([':', ')']) {
            out.push('(');
            return Ok(());
        }
        let end = body.char_indices().nth(1).map_or(body.len(), |(at, _)| at);
        Err(fail("invalid or unsupported Perl syntax", &format!("(?{}", &body[..end])))
    }

    /// What follows a backslash.
    fn escape(&mut self, out: &mut String, in_class: bool) -> Result<(), String> {
        let Some(letter) = self.take() else { return Err(fail("trailing backslash at end of expression", "")) };
        let class = |body: &str, out: &mut String| {
            out.push_str(if in_class { body } else { "[" });
            if !in_class {
                out.push_str(body);
                out.push(']');
            }
        };
        match letter {
            'd' => class("0-9", out),
            's' => class(r"\t\n\x0c\r ", out),
            'w' => class("0-9A-Za-z_", out),
            'D' => out.push_str("[^0-9]"),
            'S' => out.push_str(r"[^\t\n\x0c\r ]"),
            'W' => out.push_str("[^0-9A-Za-z_]"),
            'b' if !in_class => out.push_str(r"(?-u:\b)"),
            'B' if !in_class => out.push_str(r"(?-u:\B)"),
            'A' | 'z' if !in_class => out.extend(['\\', letter]),
            'Q' if !in_class => self.quoted(out),
            'p' | 'P' => self.property(letter, out)?,
            _ => literal(self.character(letter)?, out),
        }
        Ok(())
    }

    /// `\Q…\E`: as it stands.
    fn quoted(&mut self, out: &mut String) {
        let end = self.rest.find("\\E").unwrap_or(self.rest.len());
        self.rest[..end].chars().for_each(|letter| literal(letter, out));
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
    }

    fn property(&mut self, letter: char, out: &mut String) -> Result<(), String> {
        let name = match self.rest.strip_prefix('{') {
            Some(body) => {
                let end = body.find('}').ok_or_else(|| fail("invalid character class range", self.pattern))?;
                self.rest = &body[end + 1..];
                body[..end].to_owned()
            }
            None => self.take().map(String::from).unwrap_or_default(),
        };
        let (negated, name) =
            name.strip_prefix('^').map_or((letter == 'P', name.as_str()), |rest| (letter == 'p', rest));
        let letter = if negated { 'P' } else { 'p' };
        _ = write!(out, "\\{letter}{{{name}}}");
        Ok(())
    }

    /// One character that is written as an escape.
    fn character(&mut self, letter: char) -> Result<char, String> {
        let wrong = |letter: char| fail("invalid escape sequence", &format!("\\{letter}"));
        match letter {
            'a' => Ok('\u{7}'),
            'f' => Ok('\u{c}'),
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'v' => Ok('\u{b}'),
            'x' => self.hexadecimal().ok_or_else(|| wrong(letter)),
            '0'..='7' => {
                let is_octal = letter == '0' || self.rest.starts_with(|next: char| ('0'..='7').contains(&next));
                let mut number = letter.to_digit(8).unwrap_or_default();
                if !is_octal {
                    return Err(wrong(letter));
                }
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) else { break };
                    number = number * 8 + digit;
                    self.take();
                }
                char::from_u32(number).ok_or_else(|| wrong(letter))
            }
            _ if letter.is_ascii() && !letter.is_ascii_alphanumeric() => Ok(letter),
            _ => Err(wrong(letter)),
        }
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let digits = match self.rest.strip_prefix('{') {
            Some(body) => {
                let end = body.find('}')?;
                self.rest = &body[end + 1..];
                &body[..end]
            }
            None => {
                let digits = self.rest.get(..2)?;
                self.rest = &self.rest[2..];
                digits
            }
        };
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }

    /// A bracket, of which the opening one is read.
    fn class(&mut self, out: &mut String) -> Result<(), String> {
        let start = self.rest;
        let missing = || fail("missing closing ]", &format!("[{start}"));
        out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            out.push('^');
        }
        let mut first = true;
        loop {
            if let Some(rest) = self.rest.strip_prefix(']').filter(|_| !first) {
                self.rest = rest;
                out.push(']');
                return Ok(());
            }
            first = false;
            if self.named(out) {
                continue;
            }
            match self.take().ok_or_else(missing)? {
                '\\' if self.rest.starts_with(['d', 's', 'w', 'D', 'S', 'W', 'p', 'P']) => self.escape(out, true)?,
                letter => self.range(letter, out).map_err(|error| error.unwrap_or_else(missing))?,
            }
        }
    }

    /// `[:alpha:]` and the like.
    fn named(&mut self, out: &mut String) -> bool {
        let name = self.rest.strip_prefix("[:").and_then(|rest| rest.split_once(":]"));
        let Some((name, rest)) = name.filter(|(name, _)| name.bytes().all(|b| b == b'^' || b.is_ascii_lowercase()))
        else {
            return false;
        };
        _ = write!(out, "[:{name}:]");
        self.rest = rest;
        true
    }

    /// One character of a bracket, or a range that begins with it.
    fn range(&mut self, letter: char, out: &mut String) -> Result<(), Option<String>> {
        let low = self.one(letter)?;
        literal(low, out);
        let after = self.rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']'));
        let Some(after) = after else { return Ok(()) };
        let shown = self.rest;
        self.rest = after;
        let letter = self.take().ok_or(None)?;
        let high = self.one(letter)?;
        if high < low {
            let after = &shown[..shown.len() - self.rest.len()];
            return Err(Some(fail("invalid character class range", &format!("{low}{after}"))));
        }
        out.push('-');
        literal(high, out);
        Ok(())
    }

    fn one(&mut self, letter: char) -> Result<char, Option<String>> {
        if letter != '\\' {
            return Ok(letter);
        }
        let escaped = self.take().ok_or(None)?;
        self.character(escaped).map_err(Some)
    }
}

/// A character that stands for itself, wherever it stands.
fn literal(letter: char, out: &mut String) {
    if letter.is_alphanumeric() || !letter.is_ascii() {
        out.push(letter);
    } else {
        _ = write!(out, "\\x{{{:x}}}", u32::from(letter));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_as_in_go() {
        let cases = [
            (r"^\d+$", "12", true),
            (r"^\d+$", "٣", false),
            (r"^\w$", "é", false),
            (r"^.$", "é", true),
            (r"^[\w.-]+$", "a.b-c", true),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "a-b", true),
            (r"^[[]$", "[", true),
            (r"^[]a]$", "]", true),
            (r"^[^]]$", "]", false),
            (r"^[a&&b]$", "&", true),
            (r"^[+--]$", ",", true),
            (r"^[~-~]$", "~", true),
            (r"^[[:alpha:]_]+$", "a_b", true),
            (r"^[\W]$", "-", true),
            (r"^\/a\_b\<$", "/a_b<", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"(?i)^ABC$", "abc", true),
            (r"^\x41\x{42}\103$", "ABC", true),
            (r"^(?P<name>a)(?:b)$", "ab", true),
            (r"\bfoo\b", "a foo b", true),
            (r"^\p{Greek}\PN$", "αx", true),
            (r"^a{2,3}$", "aaa", true),
            ("^$", "", true),
            ("a$", "a\n", false),
        ];
        for (pattern, text, wanted) in cases {
            let compiled = compile(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            assert_eq!(compiled.is_match(text), wanted, "{pattern} {text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        let cases = [
            ("(?!a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?!`"),
            ("(?<=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?<`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("(a", "error parsing regexp: missing closing ): `(a`"),
            (r"a\1", r"error parsing regexp: invalid escape sequence: `\1`"),
            (r"\y", r"error parsing regexp: invalid escape sequence: `\y`"),
            ("a\\", "error parsing regexp: trailing backslash at end of expression: ``"),
            ("[z-a]", "error parsing regexp: invalid character class range: `z-a`"),
        ];
        for (pattern, wanted) in cases {
            assert_eq!(compile(pattern).map(|_| ()).unwrap_err(), wanted);
        }
        assert!(compile("a{1000}{1000}{1000}").is_err());
    }
}
