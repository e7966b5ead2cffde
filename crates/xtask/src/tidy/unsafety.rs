//! `unsafe` stands only where the kernel is talked to.

use super::{Finding, Source, words};

/// The crates that may.
const ALLOWED: &[&str] = &["runtime", "network", "node", "store", "skiff"];

/// Finds `unsafe` elsewhere.
pub fn check(source: &Source) -> Vec<Finding> {
    if ALLOWED.contains(&source.member.as_str()) {
        return Vec::new();
    }
    let text = format!("unsafe may stand only in {}", ALLOWED.join(", "));
    words(&source.masked.code, "unsafe").map(|at| source.finding(at, text.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::lines_found;

    #[test]
    fn unsafe_is_found_outside_the_kernel_crates() {
        let text = "#![deny(unsafe_code)]\n// unsafe\nunsafe { f() }";
        assert_eq!(lines_found(check, "crates/scheduler/src/lib.rs", text), [3]);
        assert!(lines_found(check, "crates/runtime/src/lib.rs", text).is_empty());
    }
}
