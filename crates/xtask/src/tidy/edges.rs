//! Which crate may depend on which: the order in which data flows, and no component that knows a sibling.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Finding;

/// What every component sees: the cluster through its API, nothing else.
const COMPONENT: &[&str] = &["seams", "machinery", "client"];

/// The crates of this repository that each may depend on. Tests may use more; so may `skiff`, which joins all, and `testkit`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("seams", &[]),
    ("grpc", &[]),
    ("machinery", &["seams"]),
    ("cel", &["machinery"]),
    ("resources", &["seams", "machinery", "cel"]),
    ("store", &["seams"]),
    ("client", &["seams", "machinery", "resources"]),
    ("apiserver", &["seams", "machinery", "cel", "resources", "store", "client"]),
    ("controllers", COMPONENT),
    ("scheduler", COMPONENT),
    ("network", COMPONENT),
    ("dns", COMPONENT),
    ("node", &["seams", "machinery", "client", "runtime", "grpc"]),
    ("runtime", &["seams", "machinery", "grpc"]),
    ("cli", COMPONENT),
    ("xtask", &[]),
    ("bench", &["testkit"]),
];

/// May depend on every crate.
const JOINERS: &[&str] = &["skiff", "testkit", "sim"];

/// Checks the manifests of all crates.
pub fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
    Ok(check_metadata(&metadata))
}

fn check_metadata(metadata: &Value) -> Vec<Finding> {
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let members: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        // A kind is named for tests and build scripts only.
        let ordinary = dependencies.iter().filter(|dependency| dependency["kind"] != "dev");
        let inner = ordinary.filter_map(|dependency| dependency["name"].as_str()).filter(|name| members.contains(name));
        let refused: Vec<&str> = match ALLOWED.iter().find(|(crate_name, _)| *crate_name == name) {
            _ if JOINERS.contains(&name) => Vec::new(),
            Some((_, allowed)) => inner.filter(|name| !allowed.contains(name)).collect(),
            None => vec!["anything: it has no row in xtask's table of crates"],
        };
        findings.extend(refused.into_iter().map(|dependency| Finding {
            path: format!("crates/{name}/Cargo.toml"),
            line: 1,
            text: format!("{name} may not depend on {dependency}"),
            warning: false,
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(name: &str, dependency: Value) -> Vec<String> {
        let names = ["store", "client", "network", "runtime"].map(|name| json!({"name": name, "dependencies": []}));
        let mut packages = names.to_vec();
        packages.retain(|package| package["name"] != name);
        packages.push(json!({"name": name, "dependencies": [dependency]}));
        check_metadata(&json!({"packages": packages})).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn edges_follow_the_table() {
        let plain = |name: &str| json!({"name": name, "kind": null});
        assert_eq!(
            refused("controllers", plain("store")),
            ["crates/controllers/Cargo.toml:1: controllers may not depend on store"]
        );
        assert_eq!(refused("node", plain("network")).len(), 1);
        assert_eq!(refused("scheduler", plain("runtime")).len(), 1);
        assert_eq!(refused("seams", json!({"name": "store", "kind": "build"})).len(), 1);
        assert_eq!(refused("newcomer", plain("tokio")).len(), 1);
        assert!(refused("controllers", json!({"name": "store", "kind": "dev"})).is_empty());
        assert!(refused("controllers", plain("tokio")).is_empty());
        assert!(refused("node", plain("runtime")).is_empty());
        assert!(refused("apiserver", plain("store")).is_empty());
        assert!(refused("skiff", plain("network")).is_empty());
    }
}
