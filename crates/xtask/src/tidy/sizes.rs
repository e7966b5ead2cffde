//! Sizes: long files are told, long functions refused, except those of a list that may only shrink.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;

use super::{Finding, Source, words};

/// Lines of a file past which it should be cut.
const FILE_LINES_MAX: usize = 800;

/// Lines of a function, from `fn` to its closing brace.
const FUNCTION_LINES_MAX: usize = 70;

/// The list: one line for each function, `PATH NAME LINES`.
const LIST: &str = "crates/xtask/tidy-allow.txt";

/// How many lines a function of the list may have, by path and name, with its line in the list.
pub type Allowed = BTreeMap<(String, String), (usize, usize)>;

/// Warns of a long file.
pub fn check_file(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    let text = format!("the file has {lines} lines, more than {FILE_LINES_MAX}: cut it");
    let finding = Finding { path: source.path.clone(), line: lines, text, warning: true };
    if lines > FILE_LINES_MAX { vec![finding] } else { Vec::new() }
}

/// Refuses long functions, and rows of the list that are no longer needed.
pub fn check_functions(sources: &[Source], allowed: &Allowed) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut needed = BTreeMap::new();
    for source in sources {
        for (at, name, lines) in functions(&source.masked.code).filter(|(_, _, lines)| *lines > FUNCTION_LINES_MAX) {
            let key = (source.path.clone(), name.to_owned());
            let limit = allowed.get(&key).map_or(FUNCTION_LINES_MAX, |(lines, _)| *lines);
            if lines > limit {
                findings.push(source.finding(at, format!("fn {name} has {lines} lines, more than {limit}")));
            }
            let most = needed.entry(key).or_insert(lines);
            *most = lines.max(*most);
        }
    }
    for (key @ (path, name), (lines, line)) in allowed {
        let text = match needed.get(key) {
            None => format!("fn {name} of {path} is not long any more: remove its row"),
            Some(now) if now < lines => format!("fn {name} of {path} has {now} lines now: lower its number"),
            Some(_) => continue,
        };
        findings.push(Finding { path: LIST.into(), line: *line, text, warning: false });
    }
    findings
}

/// Reads the list.
pub fn read_allowed(root: &Path) -> anyhow::Result<Allowed> {
    let text = std::fs::read_to_string(root.join(LIST)).with_context(|| format!("cannot read {LIST}"))?;
    let rows = text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    rows.map(|(n, line)| parse_row(line, n + 1).with_context(|| format!("{LIST}:{}: a row is PATH NAME LINES", n + 1)))
        .collect()
}

fn parse_row(line: &str, number: usize) -> Option<((String, String), (usize, usize))> {
    let mut fields = line.split_whitespace();
    let key = (fields.next()?.to_owned(), fields.next()?.to_owned());
    Some((key, (fields.next()?.parse().ok()?, number)))
}

/// All functions with a body: where, their name, how many lines.
fn functions(code: &str) -> impl Iterator<Item = (usize, &str, usize)> {
    words(code, "fn").filter_map(move |at| {
        let rest = &code[at + 2..];
        let name = rest.trim_start();
        let name = &name[..name.find(|c: char| !c.is_alphanumeric() && c != '_')?];
        // A function pointer's type has no name.
        let length = if name.is_empty() { None } else { body_end(rest) }?;
        Some((at, name, rest[..length].matches('\n').count() + 1))
    })
}

/// Where the body that belongs to the signature at the start of `rest` ends; `None` when there is no body.
fn body_end(rest: &str) -> Option<usize> {
    let (mut depth, mut braces) = (0usize, 0usize);
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b';' if depth == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(body_lines: usize) -> Source {
        let body = "    let _ = [0; 3];\n".repeat(body_lines);
        let text =
            format!("trait T {{\n    fn none(&self, x: [u8; 4]);\n}}\nfn long<'a>(f: fn(u8)) -> u8 {{\n{body}}}\n");
        Source::new("crates/a/src/lib.rs".into(), text)
    }

    fn found(body_lines: usize, allowed: &[(&str, usize)]) -> Vec<String> {
        let row = |(name, lines): &(&str, usize)| (("crates/a/src/lib.rs".into(), (*name).into()), (*lines, 1));
        let allowed: Allowed = allowed.iter().map(row).collect();
        check_functions(&[source(body_lines)], &allowed).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_function_is_as_long_as_its_lines() {
        let source = source(3);
        let all: Vec<_> = functions(&source.masked.code).map(|(_, name, lines)| (name, lines)).collect();
        assert_eq!(all, [("long", 5)]);
    }

    #[test]
    fn long_functions_are_refused_and_the_list_shrinks() {
        assert!(found(68, &[]).is_empty());
        assert_eq!(found(69, &[]), ["crates/a/src/lib.rs:4: fn long has 71 lines, more than 70"]);
        assert!(found(69, &[("long", 71)]).is_empty());
        assert_eq!(found(70, &[("long", 71)]), ["crates/a/src/lib.rs:4: fn long has 72 lines, more than 71"]);
        assert!(found(69, &[("long", 90)])[0].ends_with("has 71 lines now: lower its number"));
        assert!(found(10, &[("long", 90)])[0].ends_with("is not long any more: remove its row"));
        assert!(found(10, &[("gone", 90)])[0].starts_with("crates/xtask/tidy-allow.txt:1: fn gone"));
    }

    #[test]
    fn long_files_are_told() {
        let long = Source::new("crates/a/src/lib.rs".into(), "\n".repeat(801));
        assert!(check_file(&long)[0].warning);
        assert!(check_file(&source(10)).is_empty());
    }
}
