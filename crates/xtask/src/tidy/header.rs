//! Every file says on top what it is.

use super::{Finding, Source};

/// Finds files that start with anything but `//!`.
pub fn check(source: &Source) -> Vec<Finding> {
    let told = source.text.starts_with("//! ") && source.text.lines().next().is_some_and(|line| line.len() > 6);
    if told { Vec::new() } else { vec![source.finding(0, "start the file with a line `//! what it is`")] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines_found;

    #[test]
    fn a_file_says_what_it_is() {
        assert!(lines_found(check, "crates/a/src/a.rs", "//! The words of a.\n").is_empty());
        for text in ["", "use x;\n//! Late.", "//!\n", "/// Not of the file.\n", "//! \n"] {
            assert_eq!(lines_found(check, "crates/a/src/a.rs", text), [1], "{text:?}");
        }
    }
}
