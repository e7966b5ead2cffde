//! From a structural schema (`JSONSchemaProps` in its JSON form) to a [`Type`]. It never fails: what no schema should have
//! (validation refuses it) is read as something of which nothing is known.

use std::sync::Arc;

use crate::gvk::GroupVersionKind;
use crate::json::{Map, Value};
use crate::schema::{Field, List, ListSemantics, MapOf, MapSemantics, Schema, Text, Type, TypeRef};

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// Levels down to which a schema is read; the JSON parser allows no more.
const DEPTH_MAX: usize = crate::json::DEPTH_MAX;

/// The type of a custom resource's objects. `name` is what OpenAPI calls it. Without a schema everything is kept.
pub fn object_type(kind: GroupVersionKind, name: &str, schema: Option<&Value>) -> Type {
    let mut ty = match schema {
        Some(schema) => fields_of(schema, 0),
        None => Type { preserve_unknown: true, custom: true, ..Type::default() },
    };
    add_object_fields(&mut ty, true);
    ty.definition = schema.map(|schema| Value::Raw(schema.to_string().into()));
    ty.name = Text::Owned(name.to_owned());
    ty.kinds = vec![kind];
    ty
}

/// The type of an object with one field, at which a schema stands.
pub fn holder(name: &'static str, schema: &Value) -> Type {
    let field = Field { name: Text::Borrowed(name), schema: read(schema, 0), ..Field::default() };
    Type { fields: vec![field], custom: true, ..Type::default() }
}

fn read(schema: &Value, depth: usize) -> Schema {
    if depth > DEPTH_MAX {
        return Schema::default();
    }
    if flag(schema, "x-kubernetes-int-or-string") {
        return Schema::IntOrString;
    }
    match schema.str_at(&["type"]).unwrap_or_default() {
        "object" => object(schema, depth),
        "array" => {
            let element = schema.get("items").map_or_else(Schema::default, |items| read(items, depth + 1));
            Schema::List(Box::new(List { element, semantics: list_semantics(schema) }))
        }
        "string" => Schema::String,
        "integer" => Schema::Int64,
        "number" => Schema::Double,
        "boolean" => Schema::Bool,
        _ if schema.get("properties").is_some() || flag(schema, "x-kubernetes-embedded-resource") => {
            object(schema, depth)
        }
        _ => Schema::default(),
    }
}

fn object(schema: &Value, depth: usize) -> Schema {
    let semantics = map_semantics(schema);
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let has_fields = schema.get("properties").and_then(Value::as_object).is_some_and(|map| !map.is_empty());
    match schema.get("additionalProperties") {
        Some(element @ Value::Object(_)) if !has_fields && !embedded => {
            Schema::Map(Box::new(MapOf { element: read(element, depth + 1), semantics }))
        }
        Some(Value::Bool(true)) if !has_fields && !embedded => {
            Schema::Map(Box::new(MapOf { element: Schema::default(), semantics }))
        }
        _ => {
            let mut ty = fields_of(schema, depth);
            if embedded {
                add_object_fields(&mut ty, false);
            }
            Schema::Struct(TypeRef::Owned(Arc::new(ty)), semantics)
        }
    }
}

fn fields_of(schema: &Value, depth: usize) -> Type {
    static NONE: Map = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&NONE);
    let fields = properties.iter().map(|(name, schema)| Field {
        name: Text::Owned(name.to_owned()),
        schema: read(schema, depth + 1),
        nullable: flag(schema, "nullable"),
        // Nothing stands where a field is left out.
        pointer: true,
        omit_empty: true,
        default: schema.get("default").filter(|default| !default.is_null()).cloned(),
        ..Field::default()
    });
    Type {
        fields: fields.collect(),
        preserve_unknown: flag(schema, "x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag(schema, "x-kubernetes-embedded-resource"),
        custom: true,
        ..Type::default()
    }
}

/// What every whole object has, whatever the schema says of it: it can only restrict the values. One that is embedded may do
/// without metadata.
fn add_object_fields(ty: &mut Type, is_root: bool) {
    let metadata = Schema::builtin(OBJECT_META).unwrap_or_default();
    for (name, schema) in [("apiVersion", Schema::String), ("kind", Schema::String), ("metadata", metadata)] {
        let optional = !is_root;
        let field =
            Field { name: Text::Borrowed(name), schema, pointer: optional, omit_empty: optional, ..Field::default() };
        match ty.fields.binary_search_by(|known| known.name.as_ref().cmp(name)) {
            Ok(at) => ty.fields[at] = field,
            Err(at) => ty.fields.insert(at, field),
        }
    }
}

fn list_semantics(schema: &Value) -> ListSemantics {
    match schema.str_at(&["x-kubernetes-list-type"]).unwrap_or_default() {
        "set" => ListSemantics::Set,
        "map" => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys = keys.into_iter().flatten().filter_map(Value::as_str).map(|key| Text::Owned(key.to_owned()));
            ListSemantics::Map(keys.collect())
        }
        "atomic" => ListSemantics::Atomic,
        _ => ListSemantics::Unset,
    }
}

fn map_semantics(schema: &Value) -> MapSemantics {
    match schema.str_at(&["x-kubernetes-map-type"]).unwrap_or_default() {
        "atomic" => MapSemantics::Atomic,
        "granular" => MapSemantics::Granular,
        _ => MapSemantics::Unset,
    }
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{FieldIssue, check};

    fn typed(schema: &str) -> Type {
        let schema = Value::parse(schema.as_bytes()).unwrap();
        object_type(GroupVersionKind::new("example.com", "v1", "Foo"), "com.example.v1.Foo", Some(&schema))
    }

    #[test]
    fn unknown_fields_are_pruned_and_named_and_values_left_alone() {
        let ty = typed(
            r#"{"type":"object","properties":{"metadata":{"type":"object"},"spec":{"type":"object","properties":{
            "replicas":{"type":"integer"},
            "any":{"x-kubernetes-preserve-unknown-fields":true},
            "open":{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"closed":{"type":"object"}}},
            "list":{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"}}}},
            "map":{"type":"object","additionalProperties":{"type":"object","properties":{"a":{"type":"string"}}}},
            "template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}
            }}}}"#,
        );
        let body =
            br#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a","foo":1,"annotations":{}},"top":1,
            "spec":{"replicas":"many","unknown":null,"any":{"a":[1]},"open":{"x":1,"closed":{"y":2}},
            "list":[{"name":1},{"nome":2},"x"],"map":{"k":{"a":"1","b":2}},
            "template":{"kind":"Pod","metadata":{"name":"b","bar":2},"spec":{"z":1}}}}"#;
        let mut tree = Value::parse(body).unwrap();
        let issues = check(&mut tree, &ty).unwrap();
        let wanted = ["metadata.foo", "spec.list[1].nome", "spec.map.k.b", "spec.open.closed.y"];
        let wanted = wanted.into_iter().chain(["spec.template.metadata.bar", "spec.unknown", "top"]);
        assert_eq!(issues, wanted.map(|path| FieldIssue::Unknown(path.to_owned())).collect::<Vec<_>>());
        let wanted = br#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a"},
            "spec":{"replicas":"many","any":{"a":[1]},"open":{"x":1,"closed":{}},
            "list":[{"name":1},{},"x"],"map":{"k":{"a":"1"}},
            "template":{"kind":"Pod","metadata":{"name":"b"},"spec":{"z":1}}}}"#;
        assert_eq!(tree, Value::parse(wanted).unwrap());
    }

    #[test]
    fn metadata_is_checked_as_everywhere() {
        let ty = typed(r#"{"type":"object"}"#);
        let mut tree = Value::parse(br#"{"metadata":{"labels":{"a":1}}}"#).unwrap();
        let error = check(&mut tree, &ty).unwrap_err().to_string();
        assert_eq!(error, "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string");
    }

    #[test]
    fn without_a_schema_everything_is_kept() {
        let ty = object_type(GroupVersionKind::new("example.com", "v1", "Foo"), "", None);
        let text = br#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"a"},"x":{"y":null}}"#;
        let mut tree = Value::parse(text).unwrap();
        assert_eq!(check(&mut tree, &ty).unwrap(), []);
        assert_eq!(tree, Value::parse(text).unwrap());
    }
}
