//! Definitions of custom resources: their own schemas, with what all objects have (apiextensions' `controller/openapi/builder`).
//! In v2 what its clients cannot read is left out (`controller/openapi/v2`).

use super::Form;
use crate::json::{Map, Value};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
/// What is said of every kind's apiVersion and kind stands with any of them.
const ANY_KIND: &str = "io.k8s.api.core.v1.Pod";

/// What definitions refer to and what is said of it.
pub(super) struct Common {
    api_version: Value,
    kind: Value,
    metadata: Value,
    pub list_metadata: Value,
}

impl Common {
    /// `describe` gives the description of a field of a type.
    pub(super) fn new(form: Form, describe: impl Fn(&str, &str) -> Option<String>) -> Self {
        let text = |field: &str| {
            let mut schema = Map::new();
            if let Some(text) = describe(ANY_KIND, field) {
                schema.insert("description", text);
            }
            schema.insert("type", "string");
            Value::from(schema)
        };
        let reference = |name: &str, owner: &str| {
            let reference = super::schemas::reference(&format!("{META}.{name}"), form);
            let mut schema = match form {
                Form::V2 => reference,
                Form::V3 => [("allOf", vec![reference])].into_iter().collect(),
            };
            if let Some(text) = describe(owner, "metadata") {
                schema.insert("description", text);
            }
            Value::from(schema)
        };
        Self {
            api_version: text("apiVersion"),
            kind: text("kind"),
            metadata: reference("ObjectMeta", ANY_KIND),
            list_metadata: reference("ListMeta", &format!("{ANY_KIND}List")),
        }
    }

    /// Adds apiVersion, kind and metadata to a definition.
    pub(super) fn add_to(&self, schema: &mut Value) {
        for (field, value) in [("apiVersion", &self.api_version), ("kind", &self.kind), ("metadata", &self.metadata)] {
            schema.set_at(&["properties", field], value.clone());
        }
    }
}

/// The definition of a kind whose schema is this.
pub(super) fn definition(schema: &Value, form: Form, common: &Common) -> Map {
    let mut schema = schema.unfolded();
    let flag = |schema: &Value, key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
    if form == Form::V2 && flag(&schema, "x-kubernetes-preserve-unknown-fields") {
        // Whoever knows some fields would take others for wrong.
        return [("type", "object")].into_iter().collect();
    }
    publish(&mut schema, form, common);
    common.add_to(&mut schema);
    match schema {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Leaves out what is not published, here and below, and adds what embedded objects have.
fn publish(schema: &mut Value, form: Form, common: &Common) {
    let Some(map) = schema.as_object_mut() else { return };
    map.remove("externalDocs");
    map.remove("example");
    if form == Form::V2 {
        strip(map);
    }
    for field in ["items", "additionalProperties"] {
        if let Some(inner @ Value::Object(_)) = map.get_mut(field) {
            publish(inner, form, common);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.iter_mut().for_each(|(_, inner)| publish(inner, form, common));
    }
    let flag = |key: &str| map.get(key).and_then(Value::as_bool).unwrap_or_default();
    let is_open = form == Form::V2 && flag("x-kubernetes-preserve-unknown-fields");
    if flag("x-kubernetes-embedded-resource") && !is_open {
        let mut required: Vec<Value> = map.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|known| known.as_str() == Some(name)) {
                required.push(name.into());
            }
        }
        map.insert("required", required);
        common.add_to(schema);
    }
}

/// What clients of v2 cannot read. Null is no value there, and where unknown fields are kept none may be known.
fn strip(map: &mut Map) {
    for junctor in ["allOf", "anyOf", "oneOf", "not"] {
        map.remove(junctor);
    }
    let flag = |map: &Map, key: &str| map.get(key).and_then(Value::as_bool).unwrap_or_default();
    let is_open = flag(map, "x-kubernetes-preserve-unknown-fields");
    if flag(map, "nullable") {
        map.remove("type");
    }
    if flag(map, "nullable") || is_open {
        map.remove("items");
        map.remove("properties");
    }
    map.remove("nullable");
    let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if kind == "array" && !map.contains_key("items") || kind == "object" && is_open {
        map.remove("type");
    }
    drop_required_nullables(map);
}

fn drop_required_nullables(map: &mut Map) {
    let is_nullable = |schema: &Value| schema.get("nullable").and_then(Value::as_bool).unwrap_or_default();
    let properties = map.get("properties").and_then(Value::as_object);
    let nullable: Vec<String> = properties
        .into_iter()
        .flat_map(Map::iter)
        .filter(|(_, schema)| is_nullable(schema))
        .map(|(name, _)| name.to_owned())
        .collect();
    let all = map.get("additionalProperties").is_some_and(is_nullable);
    let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) else { return };
    required.retain(|name| !all && !nullable.iter().any(|known| name.as_str() == Some(known)));
    if required.is_empty() {
        map.remove("required");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_are_published_with_what_all_objects_have() {
        let schema = br#"{"type":"object","required":["spec"],"properties":{"metadata":{"type":"object"},
            "spec":{"type":"object","required":["a","b"],"example":{"a":1},"properties":{
                "a":{"type":"string","nullable":true},"b":{"type":"integer","oneOf":[{"minimum":1}]},
                "open":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"x":{"type":"string"}}},
                "e":{"type":"object","x-kubernetes-embedded-resource":true,"properties":{"spec":{"type":"object"}}}}}}}"#;
        let schema = Value::parse(schema).unwrap();
        let describe = |_: &str, field: &str| Some(format!("what {field} is"));
        let of = |form| Value::from(definition(&schema, form, &Common::new(form, describe)));
        let (v2, v3) = (of(Form::V2), of(Form::V3));
        let meta = r##"{"allOf":[{"$ref":"#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}],"description":"what metadata is"}"##;
        assert_eq!(v3.at(&["properties", "metadata"]), Some(&Value::parse(meta.as_bytes()).unwrap()));
        assert_eq!(v3.str_at(&["properties", "kind", "description"]), Some("what kind is"));
        assert_eq!(v3.at(&["properties", "spec", "example"]), None);
        assert_eq!(
            v3.at(&["properties", "spec", "properties", "e", "required"]),
            Some(&vec!["kind", "apiVersion"].into())
        );
        let spec = br##"{"type":"object","required":["b"],"properties":{"a":{},"b":{"type":"integer"},
            "open":{"x-kubernetes-preserve-unknown-fields":true},
            "e":{"type":"object","required":["kind","apiVersion"],"x-kubernetes-embedded-resource":true,"properties":{
                "spec":{"type":"object"},"kind":{"type":"string","description":"what kind is"},
                "apiVersion":{"type":"string","description":"what apiVersion is"},
                "metadata":{"$ref":"#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta","description":"what metadata is"}}}}}"##;
        assert_eq!(v2.at(&["properties", "spec"]), Some(&Value::parse(spec).unwrap()));
        let open = Value::parse(br#"{"type":"object","x-kubernetes-preserve-unknown-fields":true}"#).unwrap();
        let open = Value::from(definition(&open, Form::V2, &Common::new(Form::V2, describe)));
        assert_eq!(open.to_string(), r#"{"type":"object"}"#);
    }
}
