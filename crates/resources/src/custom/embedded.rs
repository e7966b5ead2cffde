//! Whole objects inside of custom resources (`x-kubernetes-embedded-resource`) have kinds and metadata as any other
//! (apiextensions' `schema/objectmeta`).

use machinery::field::FieldError;
use machinery::gvk::GroupVersion;
use machinery::json::Value;
use machinery::names;
use machinery::schema::custom::Node;

use crate::metadata::validate_metadata;
use crate::place::{Json, Place, Report};
use crate::read::Read;
use crate::row::NameRule;

/// All that is wrong with the objects inside of a value that stands at `path` (empty for a whole object).
pub(crate) fn validate(value: &Value, node: &Node, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, node, path, &mut errors);
    errors
}

fn walk(value: &Value, node: &Node, path: &str, errors: &mut Vec<FieldError>) {
    if !node.below.embedded {
        return;
    }
    match value {
        Value::Object(map) => {
            if node.embedded_resource {
                validate_object(value, path, errors);
            }
            for (key, value) in map.iter() {
                match (node.property(key), &node.additional) {
                    (Some(field), _) => walk(value, field, &child(path, key), errors),
                    (None, Some(field)) => walk(value, field, &format!("{path}[{key}]"), errors),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                let Some(element) = &node.items else { break };
                walk(item, element, &format!("{path}[{i}]"), errors);
            }
        }
        _ => {}
    }
}

fn child(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn validate_object(object: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (api_version_path, kind_path) = (child(path, "apiVersion"), child(path, "kind"));
    let (at_version, at_kind) = (Place::root(&api_version_path), Place::root(&kind_path));
    match object.get("apiVersion") {
        None => errors.required(&at_version, "must not be empty"),
        Some(Value::String(text)) if text.is_empty() => errors.invalid(&at_version, "", "must not be empty"),
        Some(Value::String(text)) if GroupVersion::parse(text).is_none() => {
            errors.invalid(&at_version, text.as_str(), &format!("unexpected GroupVersion string: {text}"));
        }
        Some(Value::String(_)) => {}
        Some(other) => errors.invalid(&at_version, Json(other), "must be a string"),
    }
    match object.get("kind") {
        None => errors.required(&at_kind, "must not be empty"),
        Some(Value::String(text)) if text.is_empty() => errors.invalid(&at_kind, "", "must not be empty"),
        Some(Value::String(text)) => {
            let wrong = names::dns1035_label(&text.to_lowercase());
            if !wrong.is_empty() {
                let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                errors.invalid(&at_kind, text.as_str(), &detail);
            }
        }
        Some(other) => errors.invalid(&at_kind, Json(other), "must be a string"),
    }
    let Some(metadata @ Value::Object(_)) = object.get("metadata") else { return };
    let mut alone = Value::object();
    alone.set_at(&["metadata"], metadata.clone());
    if metadata.text("name").is_empty() {
        // Templates have no names yet.
        alone.set_at(&["metadata", "name"], "fakename");
    }
    let namespaced = !metadata.text("namespace").is_empty();
    let found = validate_metadata(&alone, namespaced, NameRule::PathSegment);
    errors.extend(found.into_iter().map(|error| FieldError { field: child(path, &error.field), ..error }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_objects_are_objects() {
        let schema = br#"{"type":"object","properties":{"t":{"type":"object","x-kubernetes-embedded-resource":true,
            "x-kubernetes-preserve-unknown-fields":true}}}"#;
        let node = Node::new(&Value::parse(schema).expect("the test's own text"));
        let cases = [
            (r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"a":"b"}}}"#, ""),
            ("{}", "t.apiVersion: Required value: must not be empty\nt.kind: Required value: must not be empty"),
            (
                r#"{"apiVersion":"a/b/c","kind":"Pod"}"#,
                "t.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
            ),
            (r#"{"apiVersion":"v1","kind":1}"#, "t.kind: Invalid value: 1: must be a string"),
            (
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a/b"}}"#,
                "t.metadata.name: Invalid value: \"a/b\": may not contain '/'",
            ),
        ];
        for (value, wanted) in cases {
            let value = Value::parse(format!(r#"{{"t":{value}}}"#).as_bytes()).expect("the test's own text");
            let found: Vec<String> = validate(&value, &node, "").iter().map(ToString::to_string).collect();
            assert_eq!(found.join("\n"), wanted);
        }
    }
}
