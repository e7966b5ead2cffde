//! Lists that are sets or maps hold each element once (apiextensions' `schema/listtype`).

use std::collections::HashMap;
use std::fmt::Write;

use super::Node;
use crate::field::{FieldError, Path, Shown};
use crate::json::{Map, Value};
use crate::schema::{ListSemantics, Text};

/// All elements that stand twice, below a place.
pub fn validate_lists(value: &Value, node: &Node, prefix: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, node, &mut prefix.to_owned(), &mut errors);
    errors
}

fn walk(value: &Value, node: &Node, path: &mut String, errors: &mut Vec<FieldError>) {
    if !node.below.list {
        return;
    }
    let length = path.len();
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter() {
                let (below, is_known) = match (node.property(key), &node.additional) {
                    (Some(below), _) => (below, true),
                    (None, Some(below)) => (&**below, false),
                    (None, None) => continue,
                };
                let dot = if path.is_empty() { "" } else { "." };
                _ = if is_known { write!(path, "{dot}{key}") } else { write!(path, "[{key}]") };
                walk(value, below, path, errors);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            match node.list() {
                ListSemantics::Set => set(items, path, errors),
                ListSemantics::Map(keys) => list_map(items, keys, path, errors),
                ListSemantics::Unset | ListSemantics::Atomic => {}
            }
            for (i, item) in items.iter().enumerate() {
                let Some(below) = &node.items else { break };
                _ = write!(path, "[{i}]");
                walk(item, below, path, errors);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// The places at which something stands the second time; a third does not count.
fn repeated(items: impl Iterator<Item = Value>) -> Vec<(usize, Value)> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut found = Vec::new();
    for (at, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            found.push((at, item));
        }
    }
    found
}

fn set(items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    for (at, item) in repeated(items.iter().cloned()) {
        errors.push(duplicate(path, at, &item));
    }
}

fn list_map(items: &[Value], keys: &[Text], path: &str, errors: &mut Vec<FieldError>) {
    let misfit = items.iter().position(|item| !matches!(item, Value::Object(_) | Value::Null));
    if let Some(at) = misfit {
        let error =
            FieldError::invalid(&Path::default(), Json(&items[at]), "must be an object for an array of list-type map");
        errors.push(FieldError { field: format!("{path}[{at}]"), ..error });
        return;
    }
    let keys_of = |item: &Value| -> Value {
        let found = keys.iter().filter_map(|key| Some((key.as_ref(), item.get(key)?.clone())));
        found.collect::<Map>().into()
    };
    for (at, item) in repeated(items.iter().map(keys_of)) {
        errors.push(duplicate(path, at, &item));
    }
}

fn duplicate(path: &str, at: usize, value: &Value) -> FieldError {
    FieldError { field: format!("{path}[{at}]"), ..FieldError::duplicate(&Path::default(), Json(value)) }
}

struct Json<'a>(&'a Value);

impl Shown for Json<'_> {
    fn shown(&self) -> String {
        self.0.as_str().map_or_else(|| self.0.to_string(), |text| text.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_stand_twice_are_named() {
        let schema = br#"{"type":"object","properties":{
            "s":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
            "m":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["a","b"],
                "items":{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer"}}}},
            "o":{"type":"object","additionalProperties":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"integer"}}}}}"#;
        let node = Node::new(&Value::parse(schema).unwrap());
        let cases = [
            (r#"{"s":["a","b"],"m":[{"a":"x","b":1},{"a":"x","b":2}]}"#, ""),
            (r#"{"s":["a","b","a","a"]}"#, "s[2]: Duplicate value: \"a\""),
            (r#"{"m":[{"a":"x","b":1},{"a":"x","b":1,"c":1}]}"#, r#"m[1]: Duplicate value: {"a":"x","b":1}"#),
            (r#"{"m":[{},null]}"#, "m[1]: Duplicate value: {}"),
            (r#"{"m":[1]}"#, "m[0]: Invalid value: 1: must be an object for an array of list-type map"),
            (r#"{"o":{"k":[1,1]}}"#, "o[k][1]: Duplicate value: 1"),
        ];
        for (value, wanted) in cases {
            let found = validate_lists(&Value::parse(value.as_bytes()).unwrap(), &node, "");
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"), wanted, "{value}");
        }
    }
}
