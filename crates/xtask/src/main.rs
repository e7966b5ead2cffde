//! Repository checks, and tables that are made of other sources: `cargo xtask tidy`, `cargo xtask descriptions`.

mod descriptions;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy|descriptions";

#[allow(clippy::print_stdout, reason = "the findings are what this is for")]
fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate lies in crates/ of the workspace");
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => {
            let findings = tidy::run(root)?;
            for finding in &findings {
                println!("{finding}");
            }
            let refused = findings.iter().any(|finding| !finding.warning);
            Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        }
        ["descriptions"] => {
            println!("{}", descriptions::write(root)?);
            Ok(ExitCode::SUCCESS)
        }
        _ => anyhow::bail!(USAGE),
    }
}
