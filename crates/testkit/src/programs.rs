//! Programs that tests use: skiff itself, kubectls, and what `scripts/packages` unpacks.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository is there")
}

/// The skiff to test: what `SKIFF` names, or the one built beside the tests (`cargo build -p skiff`).
pub fn skiff() -> PathBuf {
    if let Some(path) = std::env::var_os("SKIFF") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test has a program");
    let beside = test.ancestors().map(|directory| directory.join("skiff")).find(|path| path.is_file());
    beside.expect("skiff is built beside the tests: cargo build -p skiff")
}

/// A program of a Debian package that is unpacked beside (`scripts/packages`).
pub fn tool(package: &str, path: &str) -> PathBuf {
    let place = root().join("target/tools").join(package).join(path);
    assert!(place.exists(), "{} is missing: run scripts/packages", place.display());
    place
}

/// Where Python finds the official client (`scripts/packages`).
pub fn python_packages() -> PathBuf {
    tool("python", "")
}

/// Debian's kubectl, and the newest that the machine has if it has others; the oldest first. On slow machines only Debian's: in an
/// emulated one it needs two seconds to start, the newest six.
pub fn kubectls() -> Vec<PathBuf> {
    static FOUND: OnceLock<Vec<PathBuf>> = OnceLock::new();
    FOUND.get_or_init(find_kubectls).clone()
}

fn find_kubectls() -> Vec<PathBuf> {
    let debian = tool("kubernetes-client", "usr/bin/kubectl");
    if crate::slowness() > 1 {
        return vec![debian];
    }
    let newest = installed().into_iter().filter_map(|path| Some((minor(&path)?, path))).max();
    [Some(debian.clone()), newest.map(|(_, path)| path).filter(|p| *p != debian)].into_iter().flatten().collect()
}

/// Everything that is called kubectl and may carry a version, in the search path and beside what its links point to.
fn installed() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let links: Vec<PathBuf> = directories.iter().filter_map(|d| d.join("kubectl").canonicalize().ok()).collect();
    directories.extend(links.iter().filter_map(|l| l.parent().map(Path::to_owned)));
    let entries = directories.iter().filter_map(|d| std::fs::read_dir(d).ok()).flatten().flatten().map(|e| e.path());
    entries.filter(|p| is_kubectl(p)).collect()
}

/// `kubectl`, `kubectl.1.33`
fn is_kubectl(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let rest = name.strip_prefix("kubectl");
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.').is_some_and(|v| v.starts_with("1.")))
}

/// Its minor version: what its name says, or what it tells when asked, which takes a while.
fn minor(path: &Path) -> Option<u32> {
    if let Some(named) = path.to_str().and_then(|path| path.rsplit_once("kubectl.1.")) {
        return named.1.parse().ok();
    }
    let output = Command::new(path).args(["version", "--client", "-o", "json"]).output().ok()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    version.pointer("/clientVersion/minor")?.as_str()?.trim_end_matches('+').parse().ok()
}
