//! Short declarations of rows: everything that most resources share is filled in.

use std::borrow::Cow;

use jiff::Timestamp;
use machinery::json::Value;

use crate::cells;
use crate::row::{Cell, Column, FieldValue, Resource, ScalePaths, SelectableField, Strategy, Subresource, Verb};
use crate::versioned::Versioned;

/// The column that stands first in most tables.
pub static NAME_COLUMN: Column = Column {
    name: Cow::Borrowed("Name"),
    kind: Cow::Borrowed("string"),
    format: Cow::Borrowed("name"),
    description: Cow::Borrowed("Name of the object, unique within its namespace."),
    priority: 0,
    cell: Cell::Function(cells::name),
};

/// The strategy of resources with nothing particular to them.
pub(crate) struct Plain;

impl Strategy for Plain {}

impl Resource {
    /// A stored, namespaced resource with all verbs: `Resource::new("apps/v1", "Deployment", "deployments")`.
    pub fn new(api_version: &str, kind: &str, plural: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let group_word = if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) };
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: kind.to_owned(),
            list_kind: format!("{kind}List"),
            plural: plural.to_owned(),
            singular: kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            type_name: format!("io.k8s.api.{group_word}.{version}.{kind}"),
            schema: None,
            storage: plural.to_owned(),
            verbs: Verb::ALL.to_vec(),
            subresources: Vec::new(),
            scale: ScalePaths::default(),
            columns: Vec::new(),
            selectable_fields: Vec::new(),
            has_generation: false,
            graceful_deletion: false,
            stored: true,
            fixed: Vec::new(),
            deprecated: None,
            strategy: Box::new(Plain),
        }
    }

    /// A resource that only answers `create` and keeps nothing (reviews).
    #[must_use]
    pub fn create_only(mut self) -> Self {
        self.verbs = vec![Verb::Create];
        self.stored = false;
        self
    }

    /// A resource whose objects are always these.
    #[must_use]
    pub fn fixed(mut self, objects: Vec<Value>) -> Self {
        self.verbs = vec![Verb::Get, Verb::List];
        self.stored = false;
        self.fixed = objects;
        self
    }

    /// Objects live outside of namespaces.
    #[must_use]
    pub fn cluster_scoped(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// Short names, as kubectl accepts them.
    #[must_use]
    pub fn short_names(mut self, names: &[&'static str]) -> Self {
        self.short_names = names.iter().copied().map(Cow::Borrowed).collect();
        self
    }

    /// Categories, as kubectl accepts them.
    #[must_use]
    pub fn categories(mut self, categories: &[&'static str]) -> Self {
        self.categories = categories.iter().copied().map(Cow::Borrowed).collect();
        self
    }

    /// Everything but some verbs.
    #[must_use]
    pub fn without(mut self, verb: Verb) -> Self {
        self.verbs.retain(|v| *v != verb);
        self
    }

    /// What can be done below an object.
    #[must_use]
    pub fn subresources(mut self, subresources: &[Subresource]) -> Self {
        self.subresources = subresources.to_vec();
        self
    }

    /// Table columns after Name.
    #[must_use]
    pub fn columns(mut self, columns: Vec<Column>) -> Self {
        self.columns = columns;
        self
    }

    /// Fields for field selectors.
    #[must_use]
    pub fn selectable(mut self, fields: Vec<SelectableField>) -> Self {
        self.selectable_fields = fields;
        self
    }

    /// `metadata.generation` counts changes of what the user wants.
    #[must_use]
    pub fn generation(mut self) -> Self {
        self.has_generation = true;
        self
    }

    /// Deletion waits for a grace period.
    #[must_use]
    pub fn graceful_deletion(mut self) -> Self {
        self.graceful_deletion = true;
        self
    }

    /// What is particular to it.
    #[must_use]
    pub fn strategy(mut self, strategy: impl Strategy + 'static) -> Self {
        self.strategy = Box::new(strategy);
        self
    }

    /// The same resource in another version, which differs from the stored one (of the same group) in its name only.
    #[must_use]
    pub fn stored_as(mut self, version: &str) -> Self {
        let (own, stored) = (self.group_version().to_string(), format!("{}/{version}", self.group));
        let inner = std::mem::replace(&mut self.strategy, Box::new(Plain));
        self.strategy = Box::new(Versioned::new(inner, &own, &stored));
        self
    }

    /// All columns of server-side tables: Name in front, unless the row places it itself.
    pub fn all_columns(&self) -> Vec<&Column> {
        let places_name = self.columns.iter().any(|c| c.name == NAME_COLUMN.name);
        (!places_name).then_some(&NAME_COLUMN).into_iter().chain(&self.columns).collect()
    }
}

impl Column {
    /// A column of text, as which upstream declares some counts too.
    pub fn text(name: &'static str, description: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self {
            name: name.into(),
            kind: "string".into(),
            format: "".into(),
            description: description.into(),
            priority: 0,
            cell: Cell::Function(cell),
        }
    }

    /// A column of whole numbers.
    pub fn integer(name: &'static str, description: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self { kind: "integer".into(), ..Self::text(name, description, cell) }
    }

    /// A column of truth values.
    pub fn boolean(name: &'static str, description: &'static str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Self { kind: "boolean".into(), ..Self::text(name, description, cell) }
    }

    /// How long ago the object was created.
    pub fn age() -> Self {
        Self::text("Age", "Time since the object was created.", cells::age)
    }

    /// When the object was created: the only column of resources that upstream has no table for.
    pub fn created_at() -> Self {
        Self { kind: "date".into(), ..Self::text("Created At", "When the object was created.", cells::created_at) }
    }

    /// Shown by `-o wide` only.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

impl SelectableField {
    /// A field with its value in an object; empty when unset.
    pub fn new(name: &'static str, value: fn(&Value) -> String) -> Self {
        Self { name: name.into(), value: FieldValue::Function(value) }
    }
}
