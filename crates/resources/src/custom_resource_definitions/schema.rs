//! Schemas of a definition: what OpenAPI v3 allows and Kubernetes takes of it
//! (`ValidateCustomResourceDefinitionOpenAPISchema`).

use machinery::field::FieldError;
use machinery::json::{Map, Value};
use machinery::schema::{check, lookup};

use super::{defaults, rules, structural};
use crate::checks::repeats;
use crate::place::{Json, Place, Report};
use crate::read::Read;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
/// What may stand at the root beside `properties` when `status` is a subresource, whose schema is taken out of it.
const AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];
/// The same in upstream's words, which are Go's names of the fields.
const AT_ROOT_WORDS: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
    MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
    XPreserveUnknownFields XValidations]";
/// Fields that every object has.
const OBJECT_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];
const SCHEMA_TYPE: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

/// The schema of a version.
pub(super) fn of_version(version: &Value) -> Option<&Value> {
    version.at(&["schema", "openAPIV3Schema"]).filter(|schema| !schema.is_null())
}

/// Whether there is a default anywhere in a schema.
pub(super) fn has_defaults(schema: &Value) -> bool {
    let mut found = false;
    each(schema, &Place::root(""), &mut |schema, _| found |= schema.has("default"));
    found
}

/// Schemas that stand in a field, with their index or key.
enum Step<'a> {
    Alone,
    Index(usize),
    Key(&'a str),
}

/// All schemas directly below one.
fn children(schema: &Value) -> Vec<(&str, Step<'_>, &Value)> {
    let mut found = Vec::new();
    for (field, value) in schema.as_object().into_iter().flat_map(Map::iter) {
        match (field, value) {
            ("items" | "not" | "additionalProperties" | "additionalItems", Value::Object(_)) => {
                found.push((field, Step::Alone, value));
            }
            ("items" | "allOf" | "anyOf" | "oneOf", Value::Array(list)) => {
                found.extend(list.iter().enumerate().map(|(i, schema)| (field, Step::Index(i), schema)));
            }
            ("properties" | "definitions" | "patternProperties" | "dependencies", Value::Object(map)) => {
                found.extend(map.iter().map(|(key, schema)| (field, Step::Key(key), schema)));
            }
            _ => {}
        }
    }
    found
}

/// Visits a schema and all below it.
pub(super) fn each(schema: &Value, at: &Place<'_>, visit: &mut dyn FnMut(&Value, &Place<'_>)) {
    visit(schema, at);
    for (field, step, child) in children(schema) {
        let field = at.field(field);
        match step {
            Step::Alone => each(child, &field, visit),
            Step::Index(index) => each(child, &field.index(index), visit),
            Step::Key(key) => each(child, &field.key(key), visit),
        }
    }
}

/// Takes away what is no field of a schema where the schema table does not say that one stands (below `items` and others that
/// may be something else too). What is of a wrong type is left for validation.
pub(super) fn normalize(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for (field, value) in map.iter_mut() {
        match (field, &mut *value) {
            ("items" | "additionalProperties" | "additionalItems", Value::Object(_)) => {
                fit(value);
                normalize(value);
            }
            ("not", Value::Object(_)) => normalize(value),
            ("items", Value::Array(list)) => {
                for schema in list {
                    fit(schema);
                    normalize(schema);
                }
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(list)) => list.iter_mut().for_each(normalize),
            ("properties" | "definitions" | "patternProperties", Value::Object(map)) => {
                map.iter_mut().for_each(|(_, schema)| normalize(schema));
            }
            _ => {}
        }
    }
}

/// Whether schemas stand in a field, which are looked at by themselves.
fn holds_schemas(field: &str, value: &Value) -> bool {
    match field {
        "properties" | "definitions" | "patternProperties" | "not" => matches!(value, Value::Object(_)),
        "allOf" | "anyOf" | "oneOf" => matches!(value, Value::Array(_)),
        "items" | "additionalProperties" | "additionalItems" => matches!(value, Value::Object(_) | Value::Array(_)),
        _ => false,
    }
}

/// Fits a schema, without those below it, to the type of schemas.
fn fit(schema: &mut Value) {
    let (Some(map), Some(ty)) = (schema.as_object_mut(), lookup(SCHEMA_TYPE)) else { return };
    let (below, own): (Vec<_>, Vec<_>) =
        std::mem::take(map).into_iter().partition(|(field, value)| holds_schemas(field, value));
    let mut own = Value::from(own.into_iter().collect::<Map>());
    // What does not fit is told by validation.
    _ = check(&mut own, ty);
    let Value::Object(own) = own else { return };
    *map = own.into_iter().chain(below).collect();
}

/// Why a schema, without those below it, is none.
fn misfit(schema: &Value) -> Option<String> {
    let own = schema.as_object()?.iter().filter(|(field, value)| !holds_schemas(field, value));
    let own: Map = own.map(|(field, value)| (field, value.clone())).collect();
    check(&mut own.into(), lookup(SCHEMA_TYPE)?).err().map(|error| error.to_string())
}

/// What holds for a schema by where it stands.
#[derive(Clone, Copy, Default)]
struct Inside<'a> {
    is_root: bool,
    /// Within the metadata of an object.
    metadata: bool,
    /// Why there may be no default, if so.
    no_default: Option<&'a str>,
    /// Whether rules are compiled: the schema is structural, and this is no part of `allOf` and the like.
    compiles: bool,
    /// The list around this whose elements are not found again after a change, if there is one.
    uncorrelated: Option<&'a str>,
}

/// The schema of a version.
pub(super) fn validate_root(schema: &Value, has_status: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    if has_status {
        validate_root_fields(schema, at, errors);
    }
    if schema.flag("nullable") {
        errors.forbidden(&at.field("nullable"), "nullable cannot be true at the root");
    }
    let unsupported = structural::unsupported(schema);
    let mut compiles = false;
    if unsupported.is_none() {
        let wrong = structural::validate(schema, at);
        if wrong.is_empty() {
            let wrong = defaults::validate(schema, at);
            compiles = wrong.is_empty();
            errors.extend(wrong);
        } else {
            errors.extend(wrong);
        }
    }
    walk(schema, Inside { is_root: true, compiles, ..Inside::default() }, at, errors);
    if let Some(detail) = unsupported.filter(|_| errors.len() == before) {
        errors.invalid(at, "", &detail);
    }
}

fn validate_root_fields(schema: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = schema.text("type");
    if !kind.is_empty() && kind != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.invalid(&at.field("type"), kind, detail);
        return;
    }
    let mut fields = schema.as_object().into_iter().flat_map(Map::keys);
    if fields.any(|field| !AT_ROOT.contains(&field)) {
        let detail = format!(
            "only {AT_ROOT_WORDS} fields are allowed at the root of the schema if the status subresource is enabled"
        );
        errors.invalid(at, Json(schema), &detail);
    }
}

fn walk(schema: &Value, inside: Inside<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    validate_fields(schema, inside, at, errors);
    if schema.flag("uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&at.field("uniqueItems"), detail);
    }
    let has_properties = !schema.entries("properties").is_empty();
    if has_properties && matches!(schema.get("additionalProperties"), Some(Value::Object(_) | Value::Bool(false))) {
        let detail = "additionalProperties and properties are mutual exclusive";
        errors.forbidden(&at.field("additionalProperties"), detail);
    }
    walk_children(schema, inside, at, errors);
    validate_extensions(schema, at, errors);
    validate_list(schema, at, errors);
    for (index, rule) in schema.items("x-kubernetes-validations").iter().enumerate() {
        let list = at.field("x-kubernetes-validations");
        rules::validate_form(schema, rule, &list.index(index), errors);
    }
    // What is wrong with a schema would make its rules look wrong too.
    if inside.compiles && errors.len() == before {
        rules::validate(schema, inside.is_root, inside.uncorrelated, at, errors);
    }
}

fn walk_children(schema: &Value, inside: Inside<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    const IN_MAP: &str = "inside additionalProperties applying to object metadata";
    let holds_object = inside.is_root || schema.flag("x-kubernetes-embedded-resource");
    for (field, step, child) in children(schema) {
        let here = Inside { is_root: false, ..inside };
        let place = at.field(field);
        match step {
            Step::Alone if field == "additionalProperties" => {
                let no_default = if inside.metadata { Some(IN_MAP) } else { inside.no_default };
                walk(child, Inside { no_default, ..here }, &place, errors);
            }
            Step::Alone if field == "items" => {
                // Elements are found again by their keys.
                let path = at.to_string();
                let is_found = schema.text("x-kubernetes-list-type") == "map";
                let uncorrelated = inside.uncorrelated.or((!is_found).then_some(path.as_str()));
                walk(child, Inside { uncorrelated, ..here }, &place, errors);
            }
            Step::Alone => walk(child, Inside { compiles: false, ..here }, &place, errors),
            Step::Index(index) => {
                walk(child, Inside { compiles: false, ..here }, &place.index(index), errors);
            }
            Step::Key(key) if field == "properties" && holds_object && OBJECT_FIELDS.contains(&key) => {
                let reason = format!("in top-level {key}");
                let no_default = if inside.is_root { Some(reason.as_str()) } else { inside.no_default };
                walk(child, Inside { metadata: true, no_default, ..here }, &place.key(key), errors);
            }
            Step::Key(key) => walk(child, here, &place.key(key), errors),
        }
    }
}

/// Fields that schemas of definitions may not have.
fn validate_fields(schema: &Value, inside: Inside<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(detail) = misfit(schema) {
        errors.invalid(at, Json(schema), &detail);
        return;
    }
    let kind = schema.text("type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.unsupported(&at.field("type"), kind, &TYPES);
    }
    if let Some(reason) = inside.no_default.filter(|_| schema.has("default")) {
        errors.forbidden(&at.field("default"), &format!("must not be set {reason}"));
    }
    for field in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
        let is_set = match schema.present(field) {
            None => false,
            Some(Value::Object(map)) if field != "additionalItems" && field != "dependencies" => !map.is_empty(),
            Some(Value::String(text)) if field == "id" => !text.is_empty(),
            Some(_) => true,
        };
        if is_set {
            errors.forbidden(&at.field(field), &format!("{field} is not supported"));
        }
    }
    if kind == "null" {
        errors.forbidden(&at.field("type"), "type cannot be set to null, use nullable as an alternative");
    }
    match schema.present("items") {
        None | Some(Value::Object(_)) => {}
        Some(Value::Array(_)) => {
            errors.forbidden(&at.field("items"), "items must be a schema object and not an array");
        }
        Some(other) => errors.invalid(&at.field("items"), Json(other), "items must be a schema object"),
    }
    if let Some(other) = schema.present("additionalProperties")
        && !matches!(other, Value::Object(_) | Value::Bool(_))
    {
        let detail = "additionalProperties must be a schema object or a boolean";
        errors.invalid(&at.field("additionalProperties"), Json(other), detail);
    }
    if inside.metadata && schema.flag("x-kubernetes-embedded-resource") {
        errors.forbidden(&at.field("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

fn validate_extensions(schema: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if schema.present("x-kubernetes-preserve-unknown-fields").and_then(Value::as_bool) == Some(false) {
        errors.invalid(&at.field("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
    validate_typed(schema, "x-kubernetes-map-type", "object", &["atomic", "granular"], at, errors);
}

/// An extension that only a type can have, and its values.
fn validate_typed(
    schema: &Value,
    field: &str,
    kind: &str,
    known: &[&str],
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let Some(value) = schema.present(field).and_then(Value::as_str) else { return };
    let detail = format!("must be {kind} if {field} is specified");
    match schema.text("type") {
        found if found == kind => {}
        "" => errors.required(&at.field("type"), &detail),
        found => errors.invalid(&at.field("type"), found, &detail),
    }
    if !known.contains(&value) {
        errors.unsupported(&at.field(field), value, known);
    }
}

fn validate_list(schema: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_typed(schema, "x-kubernetes-list-type", "array", &["atomic", "set", "map"], at, errors);
    let kind = schema.text("x-kubernetes-list-type");
    let items = schema.get("items").filter(|items| items.as_object().is_some());
    let at_items = at.field("items");
    if kind == "set"
        && let Some(items) = items
    {
        const DETAIL: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let (inner, map) = (items.text("x-kubernetes-list-type"), items.text("x-kubernetes-map-type"));
        match items.text("type") {
            "array" if !matches!(inner, "" | "atomic") => {
                errors.invalid(&at_items.field("x-kubernetes-list-type"), inner, DETAIL);
            }
            "object" if map != "atomic" => {
                let shown = items.get("x-kubernetes-map-type").unwrap_or(&Value::Null);
                errors.invalid(&at_items.field("x-kubernetes-map-type"), Json(shown), DETAIL);
            }
            _ => {}
        }
    }
    if schema.items("x-kubernetes-list-map-keys").is_empty() {
        if kind == "map" {
            let detail = "must not be empty if x-kubernetes-list-type is map";
            errors.required(&at.field("x-kubernetes-list-map-keys"), detail);
        }
    } else if kind != "map" {
        let (detail, at) =
            ("must be map if x-kubernetes-list-map-keys is non-empty", at.field("x-kubernetes-list-type"));
        if kind.is_empty() { errors.required(&at, detail) } else { errors.invalid(&at, kind, detail) }
    }
    if kind == "map" {
        match items {
            None if schema.has("items") => {}
            None => errors.required(&at_items, "must have a schema if x-kubernetes-list-type is map"),
            Some(items) => validate_map_items(schema, items, at, errors),
        }
    }
    if matches!(kind, "set" | "map") && items.is_some_and(|items| items.flag("nullable")) {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.forbidden(&at_items.field("nullable"), &detail);
    }
}

fn validate_map_items(schema: &Value, items: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (at_items, at_keys) = (at.field("items"), at.field("x-kubernetes-list-map-keys"));
    if items.text("type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid(&at_items.field("type"), items.text("type"), detail);
        return;
    }
    let keys: Vec<&str> = schema.texts("x-kubernetes-list-map-keys").collect();
    let list = schema.get("x-kubernetes-list-map-keys").unwrap_or(&Value::Null);
    let properties = at_items.field("properties");
    for (key, is_repeated) in keys.iter().zip(repeats(keys.iter())) {
        let at = properties.key(key);
        match items.entries("properties").get(key) {
            None => errors.invalid(&at_keys, Json(list), "entries must all be names of item properties"),
            Some(property) => {
                if ["array", "object"].contains(&property.text("type")) {
                    let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.invalid(&at.field("type"), property.text("type"), detail);
                }
                if !items.texts("required").any(|required| required == *key) && !property.has("default") {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a \
                        required property";
                    errors.required(&at.field("default"), detail);
                }
                if property.flag("nullable") {
                    let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                    errors.forbidden(&at.field("nullable"), detail);
                }
            }
        }
        if is_repeated {
            errors.invalid(&at_keys, Json(list), "must not contain duplicate entries");
        }
    }
}
