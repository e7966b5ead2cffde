//! Structural schemas (apiextensions' `apiserver/schema/validation.go`): every place has a type, and what combines schemas
//! only restricts values.

use machinery::field::FieldError;
use machinery::go_regex;
use machinery::json::{Map, Value};

use super::schema::{each, of_version};
use crate::place::{Place, Report};
use crate::read::Read;

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What a restriction of values may not have: the field, and what upstream says it has to be.
const ONLY_IN_STRUCTURE: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

/// All that keeps a schema from being structural, sorted by text.
pub(super) fn validate(schema: &Value, at: &Place<'_>) -> Vec<FieldError> {
    let mut errors = structure(schema, at);
    each(schema, at, &mut |schema, at| {
        let pattern = schema.text("pattern");
        if let Some(error) = go_regex::compile(pattern).err().filter(|_| !pattern.is_empty()) {
            let detail = format!("must be a valid regular expression, but isn't: {error}");
            errors.invalid(&at.field("pattern"), pattern, &detail);
        }
    });
    errors.sort_by_key(ToString::to_string);
    errors
}

/// The same apart from patterns, which take the most time.
fn structure(schema: &Value, at: &Place<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, at, &mut errors);
    complete(schema, Some(schema), at, at, &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors
}

/// What the condition NonStructuralSchema says of a definition; empty when all is well.
pub(crate) fn violations(crd: &Value) -> String {
    let mut errors = Vec::new();
    let spec = crd.get("spec").unwrap_or(&Value::Null);
    if spec.flag("preserveUnknownFields") {
        errors.invalid(&Place::root("spec.preserveUnknownFields"), true, "must be false");
    }
    let list = Place::root("spec.versions");
    for (index, version) in spec.items("versions").iter().enumerate() {
        let at = list.index(index);
        if let Some(schema) = of_version(version).filter(|schema| unsupported(schema).is_none()) {
            errors.extend(structure(schema, &at.field("schema.openAPIV3Schema")));
        }
    }
    match errors.as_slice() {
        [] => String::new(),
        [error] => error.to_string(),
        _ => format!("[{}]", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// The first field that no structural schema has, at any depth.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    const FIELDS: [(&str, &str); 7] = [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ];
    if let Some((_, name)) =
        FIELDS.iter().find(|(field, _)| schema.present(field).is_some_and(|v| !crate::read::is_empty(v)))
    {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if matches!(schema.get("items"), Some(Value::Array(_))) {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if schema.present("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(false) {
        return Some("internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined".to_owned());
    }
    let alone = ["not", "items", "additionalProperties"].into_iter().filter_map(|field| schema.get(field));
    let lists = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|field| schema.items(field));
    let properties = schema.entries("properties").iter().map(|(_, schema)| schema);
    alone.chain(lists).chain(properties).filter(|child| child.as_object().is_some()).find_map(unsupported)
}

fn invariants(schema: &Value, level: Level, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = schema.text("type");
    match schema.present("items") {
        Some(items) => invariants(items, Level::Item, &at.field("items"), errors),
        None if kind == "array" => errors.required(&at.field("items"), "must be specified"),
        None => {}
    }
    let properties = at.field("properties");
    for (key, schema) in schema.entries("properties").iter() {
        invariants(schema, Level::Field, &properties.key(key), errors);
    }
    if let Some(additional) = schema.present("additionalProperties") {
        let at = at.field("additionalProperties");
        if level == Level::Root {
            errors.forbidden(&at, "must not be used at the root");
        }
        if additional.as_object().is_some() {
            invariants(additional, Level::Field, &at, errors);
        }
    }
    extensions(schema, at, errors);
    let skips_any_of = is_int_or_string(schema.items("anyOf"));
    let skips_first = schema.items("allOf").first().is_some_and(|first| is_int_or_string(first.items("anyOf")));
    restrictions(schema, skips_any_of, skips_first, at, errors);
    typed(schema, level, at, errors);
    metadata(schema, level, at, errors);
    if schema.flag("x-kubernetes-embedded-resource") {
        if schema.has("additionalProperties") {
            let detail = "must not be used if x-kubernetes-embedded-resource is set";
            errors.forbidden(&at.field("additionalProperties"), detail);
        }
        if !schema.flag("x-kubernetes-preserve-unknown-fields") && schema.entries("properties").is_empty() {
            let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                x-kubernetes-preserve-unknown-fields";
            errors.required(&at.field("properties"), detail);
        }
    }
}

fn typed(schema: &Value, level: Level, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (kind, at) = (schema.text("type"), at.field("type"));
    let may_be_empty = schema.flag("x-kubernetes-int-or-string") || schema.flag("x-kubernetes-preserve-unknown-fields");
    if schema.flag("x-kubernetes-embedded-resource") && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() { errors.required(&at, detail) } else { errors.invalid(&at, kind, detail) }
    } else if kind.is_empty() && !may_be_empty {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(&at, detail);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(&at, kind, "must be object at the root");
    }
}

/// Metadata may only be restricted in its names, and not be described otherwise.
fn metadata(schema: &Value, level: Level, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let holds_object = level == Level::Root || schema.flag("x-kubernetes-embedded-resource");
    let properties = at.field("properties");
    let fields = schema.entries("properties");
    for field in ["kind", "apiVersion"].into_iter().filter(|_| holds_object) {
        let Some(kind) = fields.get(field).map(|field| field.text("type")).filter(|kind| *kind != "string") else {
            continue;
        };
        errors.invalid(&properties.key(field).field("type"), kind, "must be string");
    }
    let Some(metadata) = fields.get("metadata") else { return };
    let at = properties.key("metadata");
    if holds_object && metadata.text("type") != "object" {
        errors.invalid(&at.field("type"), metadata.text("type"), "must be object");
    }
    if level != Level::Root {
        return;
    }
    let only_names = metadata.entries("properties").keys().all(|name| ["name", "generateName"].contains(&name));
    let is_other = |field: &str| {
        !(["type", "default", "externalDocs", "example"].contains(&field) || field == "properties" && only_names)
    };
    if metadata.as_object().into_iter().flat_map(Map::keys).any(is_other) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.forbidden(&at, detail);
    }
}

fn extensions(schema: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !schema.flag("x-kubernetes-int-or-string") {
        return;
    }
    for field in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if schema.flag(field) {
            errors.invalid(&at.field(field), true, "must be false if x-kubernetes-int-or-string is true");
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`
fn is_int_or_string(any_of: &[Value]) -> bool {
    let only = |schema: &Value, kind: &str| {
        let one_field = schema.as_object().is_some_and(|map| map.len() == 1);
        one_field && schema.text("type") == kind
    };
    matches!(any_of, [first, second] if only(first, "integer") && only(second, "string"))
}

/// What restricts values: its parts may not say what stands where.
fn restrictions(schema: &Value, skips_any_of: bool, skips_first: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["anyOf", "allOf", "oneOf"].into_iter().filter(|field| *field != "anyOf" || !skips_any_of) {
        let list = at.field(field);
        for (index, inner) in schema.items(field).iter().enumerate() {
            nested(inner, skips_first && field == "allOf" && index == 0, &list.index(index), errors);
        }
    }
    if let Some(not) = schema.present("not") {
        nested(not, false, &at.field("not"), errors);
    }
}

fn nested(schema: &Value, skips_any_of: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    restrictions(schema, skips_any_of, false, at, errors);
    if let Some(items) = schema.present("items") {
        nested(items, false, &at.field("items"), errors);
    }
    let properties = at.field("properties");
    for (key, schema) in schema.entries("properties").iter() {
        nested(schema, false, &properties.key(key), errors);
    }
    for (field, detail) in ONLY_IN_STRUCTURE {
        let is_set = match schema.present(field) {
            Some(Value::Bool(value)) if field != "additionalProperties" => *value,
            Some(Value::Object(_) | Value::Bool(_)) => true,
            Some(value) => field == "default" || !crate::read::is_empty(value),
            None => false,
        };
        if is_set {
            errors.forbidden(&at.field(field), detail);
        }
    }
    if schema.entries("properties").contains_key("metadata") {
        errors.forbidden(&properties.key("metadata"), "must not be specified in a nested context");
    }
}

/// What a restriction names is part of the structure. `structure` is what stands there in it, at `at`.
fn complete(
    schema: &Value,
    structure: Option<&Value>,
    at: &Place<'_>,
    value_at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(not) = schema.present("not") {
        complete_nested(not, structure, at, &value_at.field("not"), errors);
    }
    for field in ["allOf", "anyOf", "oneOf"] {
        let list = value_at.field(field);
        for (index, inner) in schema.items(field).iter().enumerate() {
            complete_nested(inner, structure, at, &list.index(index), errors);
        }
    }
}

fn complete_nested(
    schema: &Value,
    structure: Option<&Value>,
    at: &Place<'_>,
    value_at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(structure) = structure else {
        errors.required(at, &format!("because it is defined in {value_at}"));
        return;
    };
    complete(schema, Some(structure), at, value_at, errors);
    if let Some(items) = schema.present("items") {
        let (at, value_at) = (at.field("items"), value_at.field("items"));
        complete_nested(items, structure.present("items"), &at, &value_at, errors);
    }
    let (at, value_at) = (at.field("properties"), value_at.field("properties"));
    for (key, schema) in schema.entries("properties").iter() {
        let below = structure.entries("properties").get(key);
        complete_nested(schema, below, &at.key(key), &value_at.key(key), errors);
    }
}
