//! `cargo xtask descriptions`: what types and fields are for, taken from k8s-openapi's generated schemas and compressed into
//! the table that OpenAPI documents are described by.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::{Compression, GzBuilder};
use serde_json::Value;

/// The module of the API level that is served.
const LEVEL: &str = "v1_36";
/// Where the table lies in the workspace.
const TABLE: &str = "crates/apiserver/src/openapi/descriptions.txt.gz";

/// Writes the table.
pub fn write(root: &Path) -> Result<String> {
    let mut files = Vec::new();
    collect(&source()?.join(LEVEL), &mut files)?;
    files.sort();
    let (mut text, mut types) = (String::new(), 0);
    for file in &files {
        let source = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        types += usize::from(read(&source, &mut text));
    }
    ensure!(types > 0, "no types were found");
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    let bytes = encoder.finish()?;
    fs::write(root.join(TABLE), &bytes).with_context(|| format!("cannot write {TABLE}"))?;
    Ok(format!("{TABLE}: {types} types, {} bytes of {}", bytes.len(), text.len()))
}

/// Where cargo keeps k8s-openapi's source.
fn source() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline"])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
    let packages = metadata["packages"].as_array().map_or(&[][..], Vec::as_slice);
    let found = packages.iter().find(|p| p["name"] == "k8s-openapi").and_then(|p| p["manifest_path"].as_str());
    let manifest = PathBuf::from(found.context("k8s-openapi is no dependency")?);
    Ok(manifest.with_file_name("src"))
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// Appends what one file says of its type: `:name description`, then `field description` of each field. Texts stay escaped
/// as Rust writes them, so each is one line. False when the file has no type.
fn read(source: &str, out: &mut String) -> bool {
    const NAME: &str = "// Generated from definition ";
    let Some(name) = source.lines().find_map(|line| line.strip_prefix(NAME)) else { return false };
    let Some(schema) = source.find("fn json_schema(").map(|at| &source[at..]) else { return false };
    let (mut own, mut fields, mut field) = ("", String::new(), None);
    for line in schema.lines() {
        let depth = line.len() - line.trim_start().len();
        let rest = line.trim_start();
        // The type's own keys stand at this depth, its properties one deeper, and theirs deeper still.
        match (depth, property(rest), description(rest)) {
            (12, _, Some(text)) => own = text,
            (16, Some(name), _) => field = Some(name),
            (20.., _, Some(text)) => {
                if let Some(name) = field.take() {
                    let _ = writeln!(fields, "{name} {text}");
                }
            }
            _ => {}
        }
    }
    let _ = writeln!(out, ":{name} {own}");
    out.push_str(&fields);
    true
}

/// `"name": …`
fn property(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix('"')?.split_once('"')?;
    rest.starts_with(':').then_some(name)
}

/// The text of `"description": "text",` or of `schema_obj.ensure_object().insert("description".into(), "text".into());`
fn description(line: &str) -> Option<&str> {
    if let Some(text) = line.strip_prefix("\"description\": \"") {
        return text.strip_suffix("\",");
    }
    let (_, text) = line.split_once("insert(\"description\".into(), \"")?;
    text.strip_suffix("\".into());")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read() {
        let source = r#"// Generated from definition io.k8s.api.core.v1.Pod
            "description": "not this",
    fn json_schema(__gen: &mut Generator) -> Schema {
        crate::schemars::json_schema!({
            "description": "Pod is a \"thing\".\n\nMore.",
            "type": "object",
            "properties": {
                "kind": {
                    "description": "Its kind.",
                    "type": "string",
                },
                "metadata": ({
                    schema_obj.ensure_object().insert("description".into(), "Its metadata.".into());
                }),
                "plain": {
                    "items": {
                        "description": "deep",
"#;
        let mut out = String::new();
        assert!(read(source, &mut out));
        let wanted = ":io.k8s.api.core.v1.Pod Pod is a \\\"thing\\\".\\n\\nMore.\nkind Its kind.\nmetadata Its metadata.\nplain deep\n";
        assert_eq!(out, wanted);
        assert!(!read("mod pod;", &mut out));
    }
}
