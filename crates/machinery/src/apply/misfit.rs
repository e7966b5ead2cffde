//! Values of a configuration that are not of the schema's type, as upstream's typed values tell of them. Those of built-in types
//! are found when a body is decoded; bodies of custom resources decode whatever they hold.

use super::element::shown;
use super::shape::list_step;
use crate::json::Value;
use crate::schema::{ListSemantics, Schema, go_interface_name};

/// All of them, each with its path.
pub(super) fn misfits(schema: &Schema, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, value, "", &mut found);
    found
}

fn walk(schema: &Schema, value: &Value, path: &str, found: &mut Vec<String>) {
    match (schema, value) {
        (_, Value::Null)
        | (Schema::Int64 | Schema::Double, Value::Integer(_) | Value::Float(_))
        | (Schema::String, Value::String(_))
        | (Schema::Bool, Value::Bool(_)) => {}
        (Schema::Struct(ty, _), _) if !ty.get().custom => {}
        (Schema::Struct(ty, _), Value::Object(map)) => {
            for (name, value) in map.iter() {
                if let Some(field) = ty.get().field(name) {
                    walk(&field.schema, value, &format!("{path}.{name}"), found);
                }
            }
        }
        (Schema::Map(of), Value::Object(map)) => {
            map.iter().for_each(|(key, value)| walk(&of.element, value, &format!("{path}.{key}"), found));
        }
        (Schema::List(list), Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                let step = match &list.semantics {
                    ListSemantics::Map(keys) => list_step(&list.element, keys, item).ok(),
                    _ => None,
                };
                let step = step.map_or_else(|| format!("[{index}]"), |step| shown(&step));
                walk(&list.element, item, &format!("{path}{step}"), found);
            }
        }
        (Schema::Int64 | Schema::Double, other) => {
            found.push(format!("{path}: expected numeric (int or float), got {}", go_interface_name(other)));
        }
        (Schema::String, other) => found.push(format!("{path}: expected string, got {other}")),
        (Schema::Bool, other) => found.push(format!("{path}: expected boolean, got {other}")),
        (Schema::List(_), other) => found.push(format!("{path}: expected list, got {other}")),
        (Schema::Map(_) | Schema::Struct(..), other) => found.push(format!("{path}: expected map, got {other}")),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gvk::GroupVersionKind;
    use crate::schema::{MapSemantics, TypeRef, custom};

    #[test]
    fn values_of_other_types_are_told() {
        let schema = br#"{"type":"object","properties":{"n":{"type":"integer"},"s":{"type":"string"},"b":{"type":"boolean"},
            "l":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object",
            "properties":{"k":{"type":"string"},"v":{"type":"number"}}}},"m":{"type":"object","additionalProperties":{"type":"string"}},
            "any":{"x-kubernetes-int-or-string":true}}}"#;
        let schema = Value::parse(schema).unwrap();
        let ty = custom::object_type(GroupVersionKind::new("example.com", "v1", "Foo"), "", Some(&schema));
        let schema = Schema::Struct(TypeRef::Owned(ty.into()), MapSemantics::Granular);
        let good =
            br#"{"metadata":{"name":"a"},"n":1.5,"s":"x","b":true,"l":[{"k":"a","v":1}],"m":{"a":"b"},"any":true}"#;
        assert_eq!(misfits(&schema, &Value::parse(good).unwrap()), Vec::<String>::new());
        let bad = br#"{"n":"1","s":1,"b":"true","l":[{"k":"a","v":"x"}],"m":[]}"#;
        let wanted = [
            ".b: expected boolean, got \"true\"",
            ".l[k=\"a\"].v: expected numeric (int or float), got string",
            ".m: expected map, got []",
            ".n: expected numeric (int or float), got string",
            ".s: expected string, got 1",
        ];
        assert_eq!(misfits(&schema, &Value::parse(bad).unwrap()), wanted);
    }
}
