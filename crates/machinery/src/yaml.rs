//! YAML bodies to trees, and trees to YAML.
//!
//! As in `sigs.k8s.io/yaml`, which upstream uses: the JSON-like subset, YAML 1.1's `yes` and `no` are truth values, keys
//! become strings, the last of equal keys wins. Aliases, depth and size are bounded.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Options, Spanned};

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
    let mut tree: Value =
        serde_saphyr::from_str_with_options(text, options()).map_err(|e| YamlError(format!("yaml: {e}")))?;
    integers(&mut tree);
    Ok(tree)
}

/// The keys that a document has twice in one place, each as upstream's reader tells of it: `line 9: key "a" already set in map`.
/// Of what is no document that [`parse`] reads there are none.
pub fn duplicates(bytes: &[u8]) -> Vec<String> {
    let text = if bytes.len() > YAML_BYTES_MAX { "" } else { std::str::from_utf8(bytes).unwrap_or_default() };
    let read: Result<Duplicates, _> = serde_saphyr::from_str_with_options(text, options());
    read.map(|found| found.0).unwrap_or_default()
}

/// Duplicate keys below a place.
struct Duplicates(Vec<String>);

impl<'de> Deserialize<'de> for Duplicates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DuplicatesVisitor)
    }
}

struct DuplicatesVisitor;

impl<'de> Visitor<'de> for DuplicatesVisitor {
    type Value = Duplicates;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Duplicates, A::Error> {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if seen.contains(&key.value) {
                found.push(format!("line {}: key {:?} already set in map", key.referenced.line(), key.value));
            }
            seen.insert(key.value);
            found.extend(map.next_value::<Duplicates>()?.0);
        }
        Ok(Duplicates(found))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Duplicates, A::Error> {
        let mut found = Vec::new();
        while let Some(item) = list.next_element::<Duplicates>()? {
            found.extend(item.0);
        }
        Ok(Duplicates(found))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_none<E>(self) -> Result<Duplicates, E> {
        Ok(Duplicates(Vec::new()))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Duplicates, D::Error> {
        Duplicates::deserialize(deserializer)
    }
}

/// Of equal keys all are read, unless a key in front of them has numbers in it.
fn options() -> Options {
    let mut options = Options::default();
    options.duplicate_keys = DuplicateKeyPolicy::LastWins;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = YAML_DEPTH_MAX;
        budget.max_events = YAML_EVENTS_MAX;
        budget.max_aliases = YAML_ALIASES_MAX;
    }
    options.alias_limits.max_total_replayed_events = YAML_EVENTS_MAX;
    options
}

/// Writes a tree as YAML.
pub fn write(tree: &Value) -> String {
    serde_saphyr::to_string(tree).unwrap_or_else(|_| tree.to_string())
}

/// A tree as an item of a list, in lines that follow those of a field's name.
pub fn write_item(tree: &Value) -> String {
    serde_saphyr::to_string(&[tree]).unwrap_or_else(|_| format!("- {tree}\n"))
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
    fn keys_that_stand_twice_are_told_with_their_lines() {
        let text = "\na: {b: 1, b: ~}\nlist:\n- x: y\n  1: 2\n  x: [z]\na: 1.5\nc: true\n";
        let wanted = ["line 2: key \"b\" already set in map", "line 6: key \"x\" already set in map"];
        assert_eq!(duplicates(text.as_bytes()), [&wanted[..], &["line 7: key \"a\" already set in map"]].concat());
        assert_eq!(duplicates(b"a: 1\nb: 2\n"), Vec::<String>::new());
        assert_eq!(duplicates(b"a: b: c"), Vec::<String>::new());
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
        let list = format!("a:\n{}{}", write_item(&tree), write_item(&Value::from("x: y")));
        let items = parse(list.as_bytes()).unwrap();
        assert_eq!(items.get("a").unwrap(), &Value::from(vec![tree, Value::from("x: y")]), "{list}");
    }
}
