//! Which paths a change adds, modifies and removes.

use std::collections::BTreeMap;

use super::before::{Part, Reset, is_nobodys, is_zero};
use super::element;
use super::set::FieldSet;
use super::shape::{Shape, list_step, shape};
use super::write;
use crate::json::{Map, Str, Value};
use crate::schema::{Absent, Schema, Text};

/// What changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// What is new, or has another value.
    pub(super) changed: FieldSet,
    /// What is no longer there.
    pub(super) removed: FieldSet,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

static EMPTY: Map = Map::new();

/// Compares an object before and after, but for fields that are reset and those that are nobody's.
pub(super) fn compare(schema: &Schema, old: &Value, new: &Value, reset: Reset<'_>) -> Changes {
    let mut walk = Walk { changes: Changes::default(), path: Vec::new() };
    let shape = shape(schema, [Some(old), Some(new)]);
    walk.maps(&shape, old.as_object().unwrap_or(&EMPTY), new.as_object().unwrap_or(&EMPTY), Part::Root, reset);
    walk.changes
}

struct Walk<'v> {
    changes: Changes,
    path: Vec<Step<'v>>,
}

/// A step that is not written out as long as nothing changes below it.
enum Step<'v> {
    Field(&'v str),
    Element(Str),
}

impl Step<'_> {
    fn text(&self) -> Str {
        match self {
            Self::Field(name) => element::field(name),
            Self::Element(step) => step.clone(),
        }
    }
}

fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

impl<'v> Walk<'v> {
    fn path(&self) -> Vec<Str> {
        self.path.iter().map(Step::text).collect()
    }

    fn changed(&mut self) {
        let path = self.path();
        self.changes.changed.insert(&path);
    }

    fn removed(&mut self) {
        let path = self.path();
        self.changes.removed.insert(&path);
    }

    /// A place where something stood and stands.
    fn both(&mut self, schema: &Schema, old: &'v Value, new: &'v Value, part: Part, reset: Reset<'_>) {
        // Most of an object is the same, which is quicker to see without its schema.
        if old == new {
            return;
        }
        let shape = shape(schema, [Some(old), Some(new)]);
        // Two empty values are compared as leaves, so that empty and null stay apart.
        if matches!(shape, Shape::Leaf) || is_bare(old) && is_bare(new) {
            return self.changed();
        }
        if let Shape::List { element, keys } = &shape {
            let list = |value: &'v Value| value.as_array().map(Vec::as_slice).unwrap_or_default();
            return self.lists(element, keys, list(old), list(new));
        }
        self.maps(&shape, old.as_object().unwrap_or(&EMPTY), new.as_object().unwrap_or(&EMPTY), part, reset);
    }

    fn maps(&mut self, shape: &Shape<'_>, old: &'v Map, new: &'v Map, part: Part, reset: Reset<'_>) {
        let (mut olds, mut news) = (old.iter().peekable(), new.iter().peekable());
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => return,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            let old = if order.is_le() { olds.next() } else { None };
            let new = if order.is_ge() { news.next() } else { None };
            let name = old.or(new).map(|(name, _)| name).unwrap_or_default();
            if is_nobodys(part, name) {
                continue;
            }
            let Some(reset) = reset.field(name) else { continue };
            self.path.push(Step::Field(name));
            self.field(
                shape,
                name,
                (old.map(|(_, value)| value), new.map(|(_, value)| value)),
                part.field(name),
                reset,
            );
            self.path.pop();
        }
    }

    fn field(
        &mut self,
        shape: &Shape<'_>,
        name: &str,
        (old, new): (Option<&'v Value>, Option<&'v Value>),
        part: Part,
        reset: Reset<'_>,
    ) {
        let (schema, before) = match shape {
            Shape::Struct(ty) => match ty.field(name) {
                Some(field) => (&field.schema, Absent::of(field)),
                None => (shape.field(name).0, Absent::Nothing),
            },
            _ => (shape.field(name).0, Absent::Nothing),
        };
        match (old, new) {
            (Some(old), Some(new)) => self.both(schema, old, new, part, reset),
            (Some(one), None) | (None, Some(one)) => self.alone(schema, one, new.is_some(), before, part, reset),
            (None, None) => {}
        }
    }

    /// A place where a value stands only before or only after, and `before` where it does not.
    fn alone(&mut self, schema: &Schema, value: &'v Value, is_new: bool, before: Absent, part: Part, reset: Reset<'_>) {
        let shape = shape(schema, [Some(value), None]);
        if let (Absent::Zero, Shape::Struct(_), Value::Object(map)) = (before, &shape, value) {
            // An object of this type is always there.
            let (old, new) = if is_new { (&EMPTY, map) } else { (map, &EMPTY) };
            return self.maps(&shape, old, new, part, reset);
        }
        let is_leaf = matches!(shape, Shape::Leaf) || is_bare(value);
        match before {
            Absent::Null if is_leaf && !value.is_null() => return self.changed(),
            Absent::Zero if !is_zero(schema, value) => return self.changed(),
            Absent::Zero => return,
            Absent::Null | Absent::Nothing => {}
        }
        let Some(set) = write::value(schema, value, before) else { return };
        let (path, set) = (self.path(), FieldSet::from_text(&set));
        let changes = if is_new { &mut self.changes.changed } else { &mut self.changes.removed };
        changes.graft(&path, &set);
    }

    fn lists(&mut self, schema: &Schema, keys: &[Text], old: &'v [Value], new: &'v [Value]) {
        let mut steps: BTreeMap<Str, (Vec<&'v Value>, Vec<&'v Value>)> = BTreeMap::new();
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
            self.path.push(Step::Element(step));
            self.list_items(schema, &old, &new);
            self.path.pop();
        }
    }

    /// Elements of one key. Where there are several they are owned as one.
    fn list_items(&mut self, schema: &Schema, old: &[&'v Value], new: &[&'v Value]) {
        let mut alone = |value: &'v Value, is_new| {
            self.alone(schema, value, is_new, Absent::Nothing, Part::Other, Reset::NONE);
        };
        match (old, new) {
            ([old], [new]) => self.both(schema, old, new, Part::Other, Reset::NONE),
            ([old], []) => alone(old, false),
            ([], [new]) => alone(new, true),
            ([] | [_], _) => {
                if let Some(old) = old.first() {
                    alone(old, false);
                }
                self.changed();
            }
            (_, [] | [_]) => {
                if let Some(new) = new.first() {
                    alone(new, true);
                }
                self.removed();
            }
            _ if old != new => self.changed(),
            _ => {}
        }
    }
}
