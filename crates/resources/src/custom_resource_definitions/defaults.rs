//! Defaults of schemas have to be valid themselves (apiextensions' `schema/defaulting/validation.go`).

use machinery::field::FieldError;
use machinery::gvk::GroupVersionKind;
use machinery::json::Value;
use machinery::schema::check;
use machinery::schema::custom::{self, Node};

use crate::custom::rules::Rules;
use crate::custom::validate_embedded;
use crate::place::{Json, Place, Report};
use crate::read::Read;

/// A step from a whole object to the place of a default.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Item,
}

/// The whole object in which a schema stands, and the way to it.
#[derive(Clone)]
struct Around<'a> {
    object: &'a Value,
    steps: Vec<Step<'a>>,
    /// Whether the place is the object's metadata, apiVersion or kind, or below.
    inside_metadata: bool,
}

/// All defaults of a schema that are not valid.
pub(super) fn validate(schema: &Value, at: &Place<'_>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if super::schema::has_defaults(schema) {
        let around = Around { object: schema, steps: Vec::new(), inside_metadata: false };
        walk(schema, &around, true, at, &mut errors);
    }
    errors
}

fn walk<'a>(schema: &'a Value, around: &Around<'a>, is_root: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let is_object = is_root || schema.flag("x-kubernetes-embedded-resource");
    let fresh = Around { object: schema, steps: Vec::new(), inside_metadata: false };
    let around = if is_object { &fresh } else { around };
    if let Some(default) = schema.present("default") {
        if around.inside_metadata {
            validate_in_metadata(schema, default, around, at, errors);
        } else {
            validate_default(schema, default, at, errors);
        }
    }
    let below = |step: Step<'a>, inside: bool| {
        let mut around = around.clone();
        around.steps.push(step);
        around.inside_metadata |= inside;
        around
    };
    if let Some(items) = schema.get("items").filter(|items| items.as_object().is_some()) {
        walk(items, &below(Step::Item, false), false, &at.field("items"), errors);
    }
    let properties = at.field("properties");
    for (key, child) in schema.entries("properties").iter() {
        let inside = is_object && ["metadata", "apiVersion", "kind"].contains(&key);
        walk(child, &below(Step::Field(key), inside), false, &properties.key(key), errors);
    }
}

fn validate_default(schema: &Value, default: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = at.field("default");
    let path = at.to_string();
    let mut pruned = default.clone();
    match prune(&mut pruned, schema) {
        Err(detail) => {
            errors.invalid(&at, Json(default), &detail);
            return;
        }
        Ok(true) => errors.invalid(&at, Json(default), "must not have unknown fields"),
        Ok(false) => {}
    }
    let node = Node::new(schema);
    let wrong = validate_embedded(default, &node, &path);
    if wrong.is_empty() {
        errors.extend(validate_value(schema, default, &node, &path));
    } else {
        errors.extend(wrong);
    }
}

/// The value by itself, and by the rules of its schema.
fn validate_value(schema: &Value, default: &Value, node: &Node, path: &str) -> Vec<FieldError> {
    let mut errors = custom::validate(default, None, node, path);
    if let Some(rules) = Rules::new(schema, false).filter(|_| errors.is_empty()) {
        rules.validate(default, None, path, &mut errors);
    }
    errors
}

/// Takes away what the schema does not know. Gives whether there was any.
fn prune(value: &mut Value, schema: &Value) -> Result<bool, String> {
    let mut whole = Value::object();
    whole.set_at(&["value"], std::mem::take(value));
    let ty = custom::holder("value", schema);
    let issues = check(&mut whole, &ty).map_err(|error| error.to_string())?;
    *value = whole.remove_at(&["value"]).unwrap_or_default();
    Ok(!issues.is_empty())
}

/// A default inside of metadata is judged as part of an object that has it.
fn validate_in_metadata(
    schema: &Value,
    default: &Value,
    around: &Around<'_>,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let at = at.field("default");
    let mut inner = default.clone();
    for step in around.steps.iter().rev() {
        inner = match step {
            Step::Item => vec![inner].into(),
            Step::Field(name) => [(*name, inner)].into_iter().collect::<machinery::json::Map>().into(),
        };
    }
    for (field, value) in [("apiVersion", "validation/v1"), ("kind", "Validation")] {
        inner.default_at(&[field], value);
    }
    let ty = custom::object_type(GroupVersionKind::new("validation", "v1", "Validation"), "", Some(around.object));
    let node = Node::new(around.object).whole_object();
    let wrong = match check(&mut inner, &ty) {
        Err(error) => error.to_string(),
        Ok(_) => {
            let found = validate_embedded(&inner, &node, "");
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
    };
    if wrong.is_empty() {
        errors.extend(validate_value(schema, default, &Node::new(schema), &at.to_string()));
    } else {
        errors.invalid(&at, Json(default), &format!("must result in valid metadata: {wrong}"));
    }
}
