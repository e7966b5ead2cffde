//! Tidy: what the compiler and clippy do not check about this repository. One file per check, one line per finding.

mod bans;
mod edges;
mod header;
mod mask;
mod sizes;
mod unfinished;
mod unsafety;

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use anyhow::Context;

use mask::Masked;

/// A place that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file, from the repository's root.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub text: String,
    /// It is told, but not refused.
    pub warning: bool,
}

/// A Rust file of this repository.
pub struct Source {
    /// From the repository's root.
    pub path: String,
    /// The directory under `crates/`.
    pub member: String,
    /// As it is.
    pub text: String,
    /// Without what only looks like code.
    pub masked: Masked,
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let warning = if self.warning { "warning: " } else { "" };
        write!(f, "{}:{}: {warning}{}", self.path, self.line, self.text)
    }
}

impl Source {
    fn new(path: String, text: String) -> Self {
        let member = path.split('/').nth(1).unwrap_or_default().to_owned();
        let masked = Masked::new(&text);
        Self { path, member, text, masked }
    }

    /// A finding at a place in the text.
    fn finding(&self, offset: usize, text: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line: self.line(offset), text: text.into(), warning: false }
    }

    fn line(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// All findings, in the order of files and lines.
pub fn run(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let sources = sources(root)?;
    let allowed = sizes::read_allowed(root)?;
    let mut findings = edges::check(root)?;
    findings.extend(sources.iter().flat_map(sizes::check_file));
    findings.extend(sizes::check_functions(&sources, &allowed));
    for check in [bans::check, unsafety::check, unfinished::check, header::check] {
        findings.extend(sources.iter().flat_map(check));
    }
    findings.sort_by(|a, b| (&a.path, a.line, &a.text).cmp(&(&b.path, b.line, &b.text)));
    Ok(findings)
}

/// All Rust files of all crates.
fn sources(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut directories = vec![root.join("crates")];
    while let Some(directory) = directories.pop() {
        let context = || format!("cannot read {}", directory.display());
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let path: PathBuf = entry.with_context(context)?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let path = path.strip_prefix(root).expect("it was found under the root");
                sources.push(Source::new(path.to_string_lossy().into_owned(), text));
            }
        }
    }
    Ok(sources)
}

/// Where `word` stands in `text` as a word of its own: no letter, digit or underscore beside it.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = text.as_bytes();
    text.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !is_part(before) && (!is_part(word.as_bytes().last()) || !is_part(bytes.get(at + word.len())))
    })
}

/// The lines of the findings of one check in one file that is called `path`.
#[cfg(test)]
fn lines_found(check: impl Fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    check(&Source::new(path.into(), text.into())).into_iter().map(|finding| finding.line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_alone() {
        let found: Vec<usize> = words("unsafe unsafe_code not_unsafe (unsafe) unsafety", "unsafe").collect();
        assert_eq!(found, [0, 31]);
        assert_eq!(words("rand::x crand::x", "rand::").count(), 1);
    }

    #[test]
    fn a_finding_is_one_line() {
        let source = Source::new("crates/a/src/lib.rs".into(), "one\ntwo\n".into());
        assert_eq!(source.finding(4, "wrong").to_string(), "crates/a/src/lib.rs:2: wrong");
        assert_eq!(source.member, "a");
    }
}
