//! Nothing unfinished is checked in: what is missing stands in an issue or in the README.

use super::{Finding, Source, words};

const MACROS: &[&str] = &["todo!", "unimplemented!"];
const WORDS: &[&str] = &["TODO", "FIXME", "XXX"];

/// Finds macros and comments that promise code for later.
pub fn check(source: &Source) -> Vec<Finding> {
    let macros = MACROS.iter().flat_map(|word| words(&source.masked.code, word).map(move |at| (at, word)));
    let comments = WORDS.iter().flat_map(|word| words(&source.masked.comments, word).map(move |at| (at, word)));
    let found = macros.chain(comments);
    found
        .map(|(at, word)| source.finding(at, format!("{word}: finish it, or say in an issue what is missing")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines_found;

    #[test]
    fn promises_are_found() {
        let text = "// a TODO list\nfn f() { todo!() }\nlet s = \"TODO\"; let TODOS = 1;\n/* FIXME */ unimplemented!()";
        let mut lines = lines_found(check, "crates/node/src/a.rs", text);
        lines.sort_unstable();
        assert_eq!(lines, [1, 2, 4, 4]);
    }
}
