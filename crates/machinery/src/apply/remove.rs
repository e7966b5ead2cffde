//! Taking paths out of an object.

use super::element;
use super::set::FieldSet;
use super::shape::{Shape, list_step, shape};
use crate::json::{Map, Str, Value};
use crate::schema::Schema;

/// What becomes of fields of which nothing is left.
#[derive(Clone, Copy)]
enum Emptied<'a> {
    /// They are null.
    Null,
    /// They go, but those of this set stay, empty.
    Gone(Option<&'a FieldSet>),
}

impl<'a> Emptied<'a> {
    fn below(self, step: &Str) -> Self {
        match self {
            Self::Null => self,
            Self::Gone(kept) => Self::Gone(kept.and_then(|kept| kept.child(step))),
        }
    }

    /// What stands for a value of which nothing is left.
    fn left_of(self, value: &Value) -> Option<Value> {
        match self {
            Self::Null => Some(Value::Null),
            Self::Gone(kept) => kept.filter(|kept| kept.member).map(|_| match value {
                Value::Array(_) => Vec::<Value>::new().into(),
                _ => Value::object(),
            }),
        }
    }
}

/// The object without the paths of the set. Fields of which nothing is left go with them, unless they are of the set `kept`.
pub(super) fn remove(schema: &Schema, value: &Value, set: &FieldSet, kept: &FieldSet) -> Value {
    walk(schema, value, set, Emptied::Gone(Some(kept))).unwrap_or_else(Value::object)
}

/// The same, but fields of which nothing is left are null: they are there still when the object's paths are asked for.
pub(super) fn empty(schema: &Schema, value: &Value, set: &FieldSet) -> Value {
    walk(schema, value, set, Emptied::Null).unwrap_or_else(Value::object)
}

fn walk(schema: &Schema, value: &Value, set: &FieldSet, emptied: Emptied<'_>) -> Option<Value> {
    match (shape(schema, [Some(value), None]), value) {
        (Shape::List { element, keys }, Value::Array(list)) => {
            let left = list.iter().filter_map(|value| {
                let step = list_step(element, keys, value).ok();
                match step.and_then(|step| Some((set.child(&step)?.clone(), emptied.below(&step)))) {
                    None => Some(value.clone()),
                    Some((below, _)) if below.member => None,
                    Some((below, emptied)) => walk(element, value, &below, emptied),
                }
            });
            let left: Vec<Value> = left.collect();
            (!left.is_empty()).then(|| left.into())
        }
        (shape @ (Shape::Struct(_) | Shape::Map(_)), Value::Object(map)) => {
            let left = map.iter().filter_map(|(name, value)| {
                let step = element::field(name);
                let left = match set.child(&step) {
                    None => Some(value.clone()),
                    Some(below) if below.member => None,
                    Some(below) => {
                        let emptied = emptied.below(&step);
                        walk(shape.field(name).0, value, below, emptied).or_else(|| emptied.left_of(value))
                    }
                };
                left.map(|value| (name, value))
            });
            let left: Map = left.collect();
            (!left.is_empty()).then(|| left.into())
        }
        _ => Some(value.clone()),
    }
}
