//! Time and randomness come from `seams`, so that a simulation can stop the one and replay the other.

use super::{Finding, Source, words};

/// What is banned, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("SystemTime::now", "take the time from seams::clock"),
    ("Timestamp::now", "take the time from seams::clock"),
    ("Instant::now", "take tokio::time::Instant, which stops with the paused clock"),
    ("rand::", "take randomness from seams::random"),
    ("getrandom", "take randomness from seams::random"),
];

/// The crate that may, because it is what the others are sent to.
const EXEMPT: &str = "seams";

/// Crates that run other processes, in real time: they may hold a stopwatch.
const REAL_TIME: [&str; 2] = ["bench", "testkit"];
/// How a function says that it holds a stopwatch; clippy wants it said, with a reason.
const ALLOWED: &str = "#[allow(clippy::disallowed_methods";

/// Finds reads of the clock and of random sources.
pub fn check(source: &Source) -> Vec<Finding> {
    if source.member == EXEMPT {
        return Vec::new();
    }
    let code = source.masked.code.as_str();
    let tokio_instant = imports_tokio_instant(code);
    let mut findings = Vec::new();
    for (word, instead) in BANNED {
        for at in words(code, word) {
            let before = &code[..at];
            let fine = match *word {
                // An example is run by hand and measures real time.
                "Instant::now" if source.path.contains("/examples/") => true,
                "Instant::now" if REAL_TIME.contains(&source.member.as_str()) || is_allowed(before) => true,
                "Instant::now" => {
                    before.ends_with("tokio::time::") || (tokio_instant && !before.ends_with("std::time::"))
                }
                // A module of another crate: ring's signatures want ring's own source.
                "rand::" => before.ends_with("::"),
                _ => false,
            };
            if !fine {
                findings.push(source.finding(at, format!("{}: {instead}", word.trim_end_matches("::"))));
            }
        }
    }
    findings
}

/// Whether the function that `before` ends in allows it.
fn is_allowed(before: &str) -> bool {
    before.rfind(ALLOWED).is_some_and(|at| !before[at..].contains("\n}"))
}

/// Whether `Instant` is tokio's in this file.
fn imports_tokio_instant(code: &str) -> bool {
    code.match_indices("tokio::time::").any(|(at, path)| {
        let rest = &code[at + path.len()..];
        let names = if rest.starts_with('{') { rest.split('}').next().unwrap_or(rest) } else { rest };
        let names = if rest.starts_with('{') { names } else { names.split([';', ':', ',']).next().unwrap_or(names) };
        words(names, "Instant").next().is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines_found;

    #[test]
    fn clocks_and_random_sources_are_found() {
        let cases: [(&str, &[usize]); 12] = [
            ("let a = std::time::SystemTime::now();", &[1]),
            ("\njiff::Timestamp::now()", &[2]),
            ("use std::time::Instant;\nInstant::now()", &[2]),
            ("use tokio::time::Instant;\nInstant::now()", &[]),
            ("use tokio::time::{Duration, Instant};\nInstant::now(); std::time::Instant::now()", &[2]),
            ("tokio::time::Instant::now()", &[]),
            ("use rand::Rng;\ngetrandom::fill(b)", &[1, 2]),
            ("use ring::rand::SystemRandom;", &[]),
            ("// SystemTime::now\nlet s = \"rand::x\";", &[]),
            ("#[allow(clippy::disallowed_methods)]\nfn f() {\nstd::time::Instant::now();\n}", &[]),
            ("#[allow(clippy::disallowed_methods)]\nfn f() {\n}\nstd::time::Instant::now()", &[4]),
            ("use tokio::time::sleep;\nuse std::time::Instant;\nInstant::now()", &[3]),
        ];
        for (text, lines) in cases {
            assert_eq!(lines_found(check, "crates/node/src/a.rs", text), lines, "{text}");
        }
        assert!(lines_found(check, "crates/node/examples/a.rs", "std::time::Instant::now()").is_empty());
        assert!(lines_found(check, "crates/bench/src/a.rs", "std::time::Instant::now()").is_empty());
        assert_eq!(lines_found(check, "crates/bench/src/a.rs", "std::time::SystemTime::now()"), [1]);
        assert!(lines_found(check, "crates/seams/src/clock.rs", "Timestamp::now()").is_empty());
    }
}
