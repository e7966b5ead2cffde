//! The page that tells of each field of a pod is whole, and what it refers to exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The types that the page has a section for.
const TYPES: [&str; 12] = [
    "PodSpec",
    "Container",
    "EnvVarSource",
    "LifecycleHandler",
    "Probe",
    "PodSecurityContext",
    "SecurityContext",
    "VolumeMount",
    "Volume",
    "VolumeProjection",
    "PodStatus",
    "ContainerStatus",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/pod-fields.md")).unwrap()
}

/// The cells of a section's rows.
fn rows<'a>(page: &'a str, section: &str) -> Vec<Vec<&'a str>> {
    let start = format!("\n## {section}\n");
    let (_, text) = page.split_once(&start).unwrap_or_else(|| panic!("no section {section}"));
    let text = text.split("\n## ").next().unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("| `"));
    lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

#[test]
fn each_field_of_a_pod_has_its_row() {
    let page = page();
    for name in TYPES {
        let schema = machinery::schema::Schema::builtin(&format!("io.k8s.api.core.v1.{name}")).unwrap();
        let fields = &schema.as_type().unwrap().fields;
        let fields: BTreeSet<&str> = fields.iter().map(|field| field.name.as_ref()).collect();
        let told: BTreeSet<&str> = rows(&page, name).iter().map(|cells| cells[0].trim_matches('`')).collect();
        assert_eq!(told, fields, "{name}");
    }
}

#[test]
fn the_tests_that_rows_name_exist() {
    let (page, mut code) = (page(), String::new());
    for name in ["apiserver", "client", "controllers", "node", "resources", "runtime", "scheduler", "testkit"] {
        for directory in ["src", "tests"] {
            read(&root().join("crates").join(name).join(directory), &mut code);
        }
    }
    for name in TYPES.into_iter().chain(["Volumes behind claims"]) {
        for cells in rows(&page, name) {
            assert_eq!(cells.len(), 3, "{name}: {cells:?}");
            let words = cells[2].split('`').skip(1).step_by(2);
            for test in words {
                let known = code.contains(&format!("fn {test}(")) || code.contains(&format!("(\"{test}\","));
                assert!(known, "{name}.{}: there is no test {test}", cells[0]);
            }
        }
    }
}

fn read(directory: &Path, code: &mut String) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            read(&path, code);
        } else if path.extension().is_some_and(|end| end == "rs") {
            code.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
