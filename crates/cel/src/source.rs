//! Places in an expression, and messages that show them.

use std::fmt;

/// Longest line that is shown with a message.
const LINE_BYTES_MAX: usize = 16_384;

/// One thing that is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Where: letters from the start. Nowhere in particular when there is none.
    pub at: Option<u32>,
    /// What is wrong.
    pub message: String,
}

/// All that is wrong with an expression. Its text shows each with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issues {
    source: String,
    list: Vec<Issue>,
}

impl Issues {
    pub(crate) fn new(source: &str, mut list: Vec<Issue>) -> Self {
        list.sort_by_key(|issue| issue.at);
        Self { source: source.to_owned(), list }
    }

    /// Each issue.
    pub fn iter(&self) -> impl Iterator<Item = &Issue> {
        self.list.iter()
    }
}

impl std::error::Error for Issues {}

impl fmt::Display for Issues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, issue) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write_issue(f, &self.source, issue)?;
        }
        Ok(())
    }
}

fn write_issue(f: &mut fmt::Formatter<'_>, source: &str, issue: &Issue) -> fmt::Result {
    let Some(at) = issue.at else { return write!(f, "ERROR: <input>:-1:0: {}", issue.message) };
    let (line, column) = locate(source, at);
    write!(f, "ERROR: <input>:{}:{}: {}", line + 1, column + 1, issue.message)?;
    let Some(text) = source.split('\n').nth(line).filter(|text| text.len() <= LINE_BYTES_MAX) else { return Ok(()) };
    write!(f, "\n | {}\n | ", text.replace('\t', " "))?;
    let mut letters = text.chars();
    for letter in letters.by_ref().take(column) {
        f.write_str(if letter.is_ascii() { "." } else { "．" })?;
    }
    f.write_str(if letters.next().is_some_and(|letter| !letter.is_ascii()) { "＾" } else { "^" })
}

/// Line and column, both from 0.
fn locate(source: &str, at: u32) -> (usize, usize) {
    let (mut line, mut column) = (0, 0);
    for letter in source.chars().take(at as usize) {
        if letter == '\n' {
            (line, column) = (line + 1, 0);
        } else {
            column += 1;
        }
    }
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issues_point_at_their_place() {
        let issue = |at| Issue { at: Some(at), message: "m".to_owned() };
        let issues = Issues::new("a\n\tbé c", vec![issue(6), issue(0)]);
        assert_eq!(issues.to_string(), "ERROR: <input>:1:1: m\n | a\n | ^\nERROR: <input>:2:5: m\n |  bé c\n | ..．.^");
    }
}
