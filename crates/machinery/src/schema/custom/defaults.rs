//! Defaults of a structural schema, and what becomes of nulls (apiextensions' `schema/defaulting`).

use super::Node;
use crate::json::{Map, Value};

/// Takes away nulls that the schema does not allow and for which it has no default, then fills in what is missing.
pub fn default(value: &mut Value, node: &Node) {
    prune_nulls(value, node);
    fill(value, node);
}

/// A null that is no value: the default stands in its place, or nothing.
fn is_foreign_null(value: &Value, node: &Node) -> bool {
    value.is_null() && !node.nullable
}

/// Takes away nulls of fields that are not nullable and have no default.
pub fn prune_nulls(value: &mut Value, node: &Node) {
    match value {
        Value::Object(map) => {
            map.retain(|key, value| match node.field(key) {
                Some(field) if is_foreign_null(value, field) && field.default.is_none() => false,
                Some(field) => {
                    prune_nulls(value, field);
                    true
                }
                None => true,
            });
        }
        Value::Array(items) => {
            if let Some(element) = &node.items {
                items.iter_mut().for_each(|item| prune_nulls(item, element));
            }
        }
        _ => {}
    }
}

fn fill(value: &mut Value, node: &Node) {
    if !node.below.default {
        return;
    }
    match value {
        Value::Object(map) => {
            fill_fields(map, node);
            for (key, value) in map.iter_mut() {
                match (node.property(key), &node.additional) {
                    (Some(field), _) => fill(value, field),
                    (None, Some(field)) => replace_null(value, field),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(element) = &node.items {
                items.iter_mut().for_each(|item| replace_null(item, element));
            }
        }
        _ => {}
    }
}

fn fill_fields(map: &mut Map, node: &Node) {
    for (name, field) in &node.properties {
        let Some(default) = &field.default else { continue };
        if map.get(name).is_none_or(|value| is_foreign_null(value, field)) {
            map.insert(name.clone(), Value::clone(default));
        }
    }
}

fn replace_null(value: &mut Value, node: &Node) {
    if let Some(default) = node.default.as_deref().filter(|_| is_foreign_null(value, node)) {
        *value = default.clone();
    }
    fill(value, node);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(schema: &str, value: &str) -> String {
        let node = Node::new(&Value::parse(schema.as_bytes()).unwrap());
        let mut value = Value::parse(value.as_bytes()).unwrap();
        default(&mut value, &node);
        let once = value.to_string();
        default(&mut value, &node);
        assert_eq!(value.to_string(), once, "defaulting is idempotent");
        once
    }

    #[test]
    fn defaults_are_filled_in_as_upstream_does() {
        let schema = r#"{"type":"object","properties":{
            "a":{"type":"string","default":"A"},
            "n":{"type":"string","nullable":true,"default":"N"},
            "plain":{"type":"string"},
            "keep":{"type":"string","nullable":true},
            "o":{"type":"object","default":{},"properties":{"x":{"type":"integer","default":1}}},
            "p":{"type":"object","properties":{"x":{"type":"integer","default":1}}},
            "l":{"type":"array","items":{"type":"object","properties":{"p":{"type":"string","default":"TCP"}}}},
            "s":{"type":"array","items":{"type":"string","default":"s"}},
            "m":{"type":"object","additionalProperties":{"type":"object","properties":{"y":{"type":"boolean","default":true}}}}}}"#;
        let cases = [
            ("{}", r#"{"a":"A","n":"N","o":{"x":1}}"#),
            (
                r#"{"a":null,"n":null,"plain":null,"keep":null,"unknown":null}"#,
                r#"{"a":"A","keep":null,"n":null,"o":{"x":1},"unknown":null}"#,
            ),
            (r#"{"a":"x","n":"y","o":{"x":5},"p":{}}"#, r#"{"a":"x","n":"y","o":{"x":5},"p":{"x":1}}"#),
            (
                r#"{"l":[{},{"p":"UDP"},"odd",null],"s":[null,"t"]}"#,
                r#"{"a":"A","l":[{"p":"TCP"},{"p":"UDP"},"odd",null],"n":"N","o":{"x":1},"s":["s","t"]}"#,
            ),
            (r#"{"m":{"k":{},"gone":null}}"#, r#"{"a":"A","m":{"k":{"y":true}},"n":"N","o":{"x":1}}"#),
            (r#"["not an object"]"#, r#"["not an object"]"#),
        ];
        for (value, wanted) in cases {
            assert_eq!(defaulted(schema, value), wanted, "{value}");
        }
    }
}
