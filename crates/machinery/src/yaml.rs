//! YAML bodies to trees, and trees to YAML.
//!
//! As in `sigs.k8s.io/yaml`, which upstream uses: the JSON-like subset, YAML 1.1's `yes` and `no` are truth values, keys
//! become strings, the last of equal keys wins. Aliases, depth and size are bounded.

use serde_saphyr::Options;
use serde_saphyr::options::DuplicateKeyPolicy;

use crate::json::Value;

/// Most bytes of one document: as much as a request may have.
pub const YAML_BYTES_MAX: usize = 3 * 1024 * 1024;
/// Most events that a parser may report; a plain document of the largest size has fewer.
const YAML_EVENTS_MAX: usize = 1_000_000;
/// Deepest nesting: the reader takes more of the stack than that of JSON.
const YAML_DEPTH_MAX: usize = 128;
/// Most uses of anchors in one document.
const YAML_ALIASES_MAX: usize = 1_000;

/// Why a text is no YAML document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error converting YAML to JSON: {0}")]
pub struct YamlError(pub String);

/// Reads one YAML document.
pub fn parse(bytes: &[u8]) -> Result<Value, YamlError> {
    if bytes.len() > YAML_BYTES_MAX {
        return Err(YamlError(format!("yaml: the document is larger than {YAML_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| YamlError("yaml: invalid UTF-8".to_owned()))?;
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = YAML_DEPTH_MAX;
        budget.max_events = YAML_EVENTS_MAX;
        budget.max_aliases = YAML_ALIASES_MAX;
    }
    options.alias_limits.max_total_replayed_events = YAML_EVENTS_MAX;
    let mut tree: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|e| YamlError(format!("yaml: {e}")))?;
    integers(&mut tree);
    Ok(tree)
}

/// Writes a tree as YAML.
pub fn write(tree: &Value) -> String {
    serde_saphyr::to_string(tree).unwrap_or_else(|_| tree.to_string())
}

/// Floats that are whole are integers in JSON, which upstream goes through.
fn integers(value: &mut Value) {
    /// Up to here floats are exact.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Float(f) if f.fract() == 0.0 && f.abs() <= EXACT_MAX => *value = Value::Integer(*f as i64),
        Value::Array(list) => list.iter_mut().for_each(integers),
        Value::Object(map) => map.iter_mut().for_each(|(_, v)| integers(v)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_read_as_upstream_reads_them() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  1: \"x\"\n  b: |\n    line\n  on: yes\n  \
                    n: 5\n  f: 1.0\n  g: 1.5\n  z: ~\n  q: \"5\"\n  t: 2024-01-02T03:04:05Z\nlist:\n- a\n- {b: c}\n";
        let wanted = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"1":"x","b":"line\n",
            "on":true,"n":5,"f":1,"g":1.5,"z":null,"q":"5","t":"2024-01-02T03:04:05Z"},"list":["a",{"b":"c"}]}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), Value::parse(wanted).unwrap());
        assert_eq!(parse(b"{\"a\":[1,2]}").unwrap(), Value::parse(b"{\"a\":[1,2]}").unwrap());
        assert_eq!(parse(b"a: 1\na: 2\n").unwrap().i64_at(&["a"]), Some(2));
    }

    #[test]
    fn bombs_and_broken_documents_are_refused() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (outer, inner) in "bcdefghi".chars().zip("abcdefgh".chars()) {
            let uses = vec![format!("*{inner}"); 10].join(",");
            bomb.push_str(&format!("{outer}: &{outer} [{uses}]\n"));
        }
        assert!(parse(bomb.as_bytes()).is_err());
        assert!(parse("[".repeat(1000).as_bytes()).is_err());
        assert!(parse(b"a: b: c").is_err());
        assert!(parse(b"a: 1\n---\nb: 2\n").is_err());
        assert!(parse(b"\xff").is_err());
    }

    #[test]
    fn trees_are_written() {
        let tree = Value::parse(br#"{"a":{"b":["x","5",true,"yes"]},"c":null,"d":{}}"#).unwrap();
        assert_eq!(parse(write(&tree).as_bytes()).unwrap(), tree);
    }
}
