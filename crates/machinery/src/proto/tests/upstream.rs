//! Beside Kubernetes' own documents: `k8s.io/api` holds, for every kind, an object with all fields set, in JSON and as Go's
//! protobuf encoder writes it. They are not part of this repository: `SKIFF_UPSTREAM_DOCUMENTS` names the directory
//! `testdata/v1.36.0` of a checkout of github.com/kubernetes/api.

use std::path::Path;

use crate::gvk::{GroupVersion, GroupVersionKind};
use crate::json::Value;
use crate::proto::{Document, encode};
use crate::schema::{Type, check, lookup_gvk};

fn type_of(tree: &Value) -> Option<&'static Type> {
    let version = GroupVersion::parse(tree.str_at(&["apiVersion"])?)?;
    lookup_gvk(&GroupVersionKind::new(version.group, version.version, tree.str_at(&["kind"])?))
}

/// What differs between our reading and writing of one of upstream's documents and upstream's.
fn differences(json: &Path, ty: &Type) -> Vec<String> {
    let mut wanted = Value::parse(&std::fs::read(json).unwrap()).unwrap();
    let unknown = check(&mut wanted, ty).unwrap();
    let go = std::fs::read(json.with_extension("pb")).unwrap();
    let mut found: Vec<String> = unknown.iter().map(|issue| format!("JSON: {issue}")).collect();
    let mut read = Document::read(&go).unwrap().decode(ty).unwrap();
    check(&mut read, ty).unwrap();
    let (read, text) = (read.to_string(), wanted.to_string());
    if read != text {
        let at = read.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        let near = |s: &str| s[at.saturating_sub(60)..(at + 60).min(s.len())].to_owned();
        found.push(format!("read:\n  {}\n  {}", near(&read), near(&text)));
    }
    let written = match encode(&wanted, ty) {
        Ok(written) => written,
        Err(error) => return [found, vec![error.to_string()]].concat(),
    };
    if written != go {
        let at = written.iter().zip(&go).take_while(|(a, b)| a == b).count();
        let near = |s: &[u8]| s[at.saturating_sub(40)..(at + 40).min(s.len())].escape_ascii().to_string();
        found.push(format!(
            "written, at {at} of {} and {}:\n  {}\n  {}",
            written.len(),
            go.len(),
            near(&written),
            near(&go)
        ));
    }
    found
}

#[test]
#[ignore = "needs a checkout of github.com/kubernetes/api"]
fn upstreams_own_documents_are_read_and_written_alike() {
    let directory = std::env::var("SKIFF_UPSTREAM_DOCUMENTS").expect("names the documents");
    let (mut seen, mut report) = (0, String::new());
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") || path.to_string_lossy().contains("after_roundtrip") {
            continue;
        }
        let tree = Value::parse(&std::fs::read(&path).unwrap()).unwrap();
        let Some(ty) = type_of(&tree) else { continue };
        seen += 1;
        for difference in differences(&path, ty) {
            report.push_str(&format!("{}: {difference}\n", ty.name));
        }
    }
    assert!(report.is_empty(), "{report}");
    assert!(seen > 90, "{seen}");
}
