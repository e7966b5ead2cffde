//! The paths of all that an object sets.

use std::collections::BTreeMap;

use super::element;
use super::set::FieldSet;
use super::shape::{Shape, list_step, shape};
use crate::json::{Str, Value};
use crate::schema::Schema;

/// The set of an object's fields. The object's own path is not in it.
pub(super) fn to_set(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    walk(schema, value, &mut set);
    set.member = false;
    set
}

fn walk(schema: &Schema, value: &Value, set: &mut FieldSet) {
    match (shape(schema, [Some(value), None]), value) {
        (Shape::List { element, keys }, Value::Array(list)) => {
            let mut seen: BTreeMap<Str, usize> = BTreeMap::new();
            let steps: Vec<Option<Str>> = list.iter().map(|v| list_step(element, keys, v).ok()).collect();
            for step in steps.iter().flatten() {
                *seen.entry(step.clone()).or_default() += 1;
            }
            for (step, value) in steps.into_iter().zip(list) {
                let Some(step) = step else { continue };
                let single = seen.get(&step) == Some(&1);
                let child = set.children.entry(&step);
                child.member = true;
                // Of what stands twice only the step itself is owned.
                if single {
                    walk(element, value, child);
                    child.member = true;
                }
            }
        }
        (shape @ (Shape::Struct(_) | Shape::Map(_)), Value::Object(map)) => {
            for (name, value) in map.iter() {
                let (below, named) = shape.field(name);
                let mut child = FieldSet::default();
                walk(below, value, &mut child);
                let is_empty = value.is_null() || value.as_object().is_some_and(|m| m.is_empty());
                child.member |= is_empty || !named;
                if !child.is_empty() {
                    set.children.set(element::field(name), child);
                }
            }
        }
        (Shape::Leaf, _) => set.member = true,
        _ => {}
    }
}
