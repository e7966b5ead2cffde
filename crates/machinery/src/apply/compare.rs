//! Which paths a change adds, modifies and removes.

use std::collections::BTreeMap;

use super::element;
use super::set::FieldSet;
use super::shape::{Shape, list_step, shape};
use crate::json::{Map, Str, Value};
use crate::schema::Schema;

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

/// Compares an object before and after.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value) -> Changes {
    let mut walk = Walk { changes: Changes::default(), path: Vec::new() };
    walk.values(schema, Some(old), Some(new));
    walk.changes
}

struct Walk {
    changes: Changes,
    path: Vec<Str>,
}

fn is_bare(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

impl Walk {
    fn values(&mut self, schema: &Schema, old: Option<&Value>, new: Option<&Value>) {
        let shape = shape(schema, [old, new]);
        // Two empty values are compared as leaves, so that empty and absent stay apart.
        if matches!(shape, Shape::Leaf) || is_bare(old) && is_bare(new) {
            return self.leaf(old, new);
        }
        match (&shape, old, new) {
            (Shape::List { element, keys }, _, _) => self.lists(element, keys, list(old), list(new)),
            _ => self.maps(&shape, old.and_then(Value::as_object), new.and_then(Value::as_object)),
        }
        if self.path.is_empty() {
            return;
        }
        match (old, new) {
            (None, Some(_)) => self.changes.added.insert(&self.path),
            (Some(_), None) => self.changes.removed.insert(&self.path),
            _ => {}
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        if self.path.is_empty() {
            return;
        }
        match (old, new) {
            (None, _) => self.changes.added.insert(&self.path),
            (_, None) => self.changes.removed.insert(&self.path),
            (Some(old), Some(new)) if old != new => self.changes.modified.insert(&self.path),
            _ => {}
        }
    }

    fn below(&mut self, step: Str, schema: &Schema, old: Option<&Value>, new: Option<&Value>) {
        self.path.push(step);
        self.values(schema, old, new);
        self.path.pop();
    }

    fn maps(&mut self, shape: &Shape<'_>, old: Option<&Map>, new: Option<&Map>) {
        let only_new = new.into_iter().flat_map(Map::keys).filter(|k| old.is_none_or(|o| !o.contains_key(k)));
        for name in old.into_iter().flat_map(Map::keys).chain(only_new) {
            let of = |map: Option<&Map>| map.and_then(|m| m.get(name)).cloned();
            let (old, new) = (of(old), of(new));
            self.below(element::field(name), shape.field(name).0, old.as_ref(), new.as_ref());
        }
    }

    fn lists(&mut self, schema: &Schema, keys: &[crate::schema::Text], old: &[Value], new: &[Value]) {
        let mut steps: BTreeMap<Str, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for value in old {
            if let Ok(step) = list_step(schema, keys, value) {
                steps.entry(step).or_default().0.push(value);
            }
        }
        for value in new {
            if let Ok(step) = list_step(schema, keys, value) {
                steps.entry(step).or_default().1.push(value);
            }
        }
        for (step, (old, new)) in steps {
            self.list_items(step, schema, &old, &new);
        }
    }

    /// Elements of one key. Where there are several they are owned as one.
    fn list_items(&mut self, step: Str, schema: &Schema, old: &[&Value], new: &[&Value]) {
        let path = [self.path.as_slice(), std::slice::from_ref(&step)].concat();
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => self.below(step, schema, old.first().copied(), new.first().copied()),
            (0 | 1, _) => {
                if let Some(old) = old.first() {
                    self.below(step, schema, Some(old), None);
                }
                self.changes.added.insert(&path);
            }
            (_, 0 | 1) => {
                if let Some(new) = new.first() {
                    self.below(step, schema, None, Some(new));
                }
                self.changes.removed.insert(&path);
            }
            _ if old != new => self.changes.modified.insert(&path),
            _ => {}
        }
    }
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
