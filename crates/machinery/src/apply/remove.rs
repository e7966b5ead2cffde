//! Taking paths out of an object.

use super::element;
use super::set::FieldSet;
use super::shape::{Shape, list_step, shape};
use crate::json::{Map, Value};
use crate::schema::Schema;

/// The object without the paths of the set. Fields of which nothing is left go with them.
pub(super) fn remove(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    walk(schema, value, set, None).unwrap_or_else(Value::object)
}

/// The same, but fields of which nothing is left are null: they are there still when the object's paths are asked for.
pub(super) fn empty(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    walk(schema, value, set, Some(&Value::Null)).unwrap_or_else(Value::object)
}

/// `emptied` is what stands for a field of which nothing is left.
fn walk(schema: &Schema, value: &Value, set: &FieldSet, emptied: Option<&Value>) -> Option<Value> {
    match (shape(schema, [Some(value), None]), value) {
        (Shape::List { element, keys }, Value::Array(list)) => {
            let left = list.iter().filter_map(|value| {
                let below = list_step(element, keys, value).ok().and_then(|step| set.child(&step).cloned());
                match below {
                    None => Some(value.clone()),
                    Some(below) if below.member => None,
                    Some(below) => walk(element, value, &below, emptied),
                }
            });
            let left: Vec<Value> = left.collect();
            (!left.is_empty()).then(|| left.into())
        }
        (shape @ (Shape::Struct(_) | Shape::Map(_)), Value::Object(map)) => {
            let left = map.iter().filter_map(|(name, value)| {
                let left = match set.child(&element::field(name)) {
                    None => Some(value.clone()),
                    Some(below) if below.member => None,
                    Some(below) => walk(shape.field(name).0, value, below, emptied).or_else(|| emptied.cloned()),
                };
                left.map(|value| (name, value))
            });
            let left: Map = left.collect();
            (!left.is_empty()).then(|| left.into())
        }
        _ => Some(value.clone()),
    }
}
