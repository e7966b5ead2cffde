//! Which objects a list or watch is about.

use std::borrow::Cow;
use std::sync::Arc;

use client::Options;
use machinery::object::ObjectExt;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::{ApiError, Entry, Value};
use resources::Resource;

/// Which objects of a resource.
pub(crate) struct Selection {
    row: Arc<Resource>,
    /// What their keys start with.
    pub prefix: String,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors of a request. An empty namespace means all.
    pub(crate) fn new(row: &Arc<Resource>, namespace: &str, options: &Options) -> Result<Self, ApiError> {
        let labels = match options.label_selector.as_str() {
            "" => LabelSelector::everything(),
            text => LabelSelector::parse(text)?,
        };
        let fields = FieldSelector::parse(&options.field_selector)?;
        for term in fields.terms() {
            let known = ["metadata.name", "metadata.namespace"].contains(&term.field.as_str())
                || row.selectable_fields.iter().any(|f| f.name == term.field);
            if !known {
                return Err(ApiError::BadRequest(unknown_field(row, &term.field)));
            }
        }
        // One name in one namespace is one key.
        let one_namespace = if namespace.is_empty() { fields.required("metadata.namespace") } else { Some(namespace) };
        let prefix = row.key(one_namespace.unwrap_or_default(), "");
        Ok(Self { row: row.clone(), prefix, labels, fields })
    }

    /// Whether an object is selected.
    pub(crate) fn matches(&self, key: &str, entry: &Entry) -> bool {
        key.starts_with(&self.prefix) && (self.is_everything() || self.selects(entry.tree()))
    }

    /// Whether there are no selectors.
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    fn selects(&self, object: &Value) -> bool {
        let labels = object.at(&["metadata", "labels"]);
        (self.labels.is_everything() || self.labels.matches(&labels))
            && self.fields.matches(|field| self.field(object, field))
    }

    fn field<'a>(&self, object: &'a Value, field: &str) -> Cow<'a, str> {
        match field {
            "metadata.name" => Cow::Borrowed(object.name()),
            "metadata.namespace" => Cow::Borrowed(object.namespace()),
            _ => {
                let known = self.row.selectable_fields.iter().find(|f| f.name == field);
                Cow::Owned(known.map(|f| (f.value)(object)).unwrap_or_default())
            }
        }
    }
}

fn unknown_field(row: &Resource, field: &str) -> String {
    if row.selectable_fields.is_empty() {
        format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
    } else {
        format!("field label not supported: {field}")
    }
}
