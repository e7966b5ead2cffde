//! What belongs to nobody, and what counts as empty. Field sets of upstream are made of Go's objects, so `spec`, which is always
//! there, is never added, and `containers` neither ([`crate::schema::Absent`]).

use super::set::FieldSet;
use crate::json::Value;
use crate::schema::Schema;

/// Whether a value is what Go has for empty.
pub(super) fn is_zero(schema: &Schema, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Integer(i) => *i == 0,
        Value::Float(f) => *f == 0.0,
        Value::String(s) => match schema {
            Schema::Quantity => s == "0",
            Schema::Duration => s == "0s",
            Schema::IntOrString => false,
            _ => s.is_empty(),
        },
        Value::Object(map) => map.is_empty(),
        Value::Array(_) | Value::Raw(_) => false,
    }
}

/// Fields of an object that belong to nobody (upstream's `stripMeta`), at its root and in its `metadata`.
pub(super) fn is_nobodys(at: Part, name: &str) -> bool {
    match at {
        Part::Root => matches!(name, "apiVersion" | "kind"),
        Part::Metadata => NOBODYS_METADATA.contains(&name),
        Part::Other => false,
    }
}

/// Fields of metadata that belong to nobody.
pub(super) const NOBODYS_METADATA: [&str; 8] =
    ["name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"];

/// Which part of an object a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The object itself.
    Root,
    /// Its `metadata`.
    Metadata,
    /// Anything else.
    Other,
}

impl Part {
    /// The part that a field of this one is.
    pub(super) fn field(self, name: &str) -> Self {
        if self == Self::Root && name == "metadata" { Self::Metadata } else { Self::Other }
    }
}

/// Fields that writes through here do not change: those at a place, and whether it is all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reset<'r>(Option<&'r FieldSet>);

impl<'r> Reset<'r> {
    /// Nothing is reset.
    pub(super) const NONE: Self = Self(None);

    pub(super) fn new(set: &'r FieldSet) -> Self {
        Self((!set.is_empty()).then_some(set))
    }

    /// At a field of this place; nothing when all of it is reset.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let Some(set) = self.0 else { return Some(Self(None)) };
        match set.children.iter().find(|(step, _)| step.strip_prefix("f:") == Some(name)) {
            Some((_, below)) if below.member => None,
            below => Some(Self(below.map(|(_, below)| below))),
        }
    }
}
