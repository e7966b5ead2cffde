//! Which objects a list or watch is about.

use std::borrow::Cow;
use std::sync::Arc;

use client::Options;
use machinery::object::ObjectExt;
use machinery::selector::{FieldSelector, LabelSelector};
use machinery::{ApiError, Entry, Value};
use resources::{Resource, SelectableField};

use super::topics::Topic;

/// Fields by which lists find objects: storage name and field, at most one of each resource (upstream's cache indexers).
const INDEXED_FIELDS: [(&str, &str); 1] = [("pods", "spec.nodeName")];

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
        let one_namespace = if namespace.is_empty() { fields.required("metadata.namespace") } else { Some(namespace) };
        let one_namespace = one_namespace.unwrap_or_default();
        // One name in one namespace is one key.
        let one_name = fields.required("metadata.name").filter(|_| !row.namespaced || !one_namespace.is_empty());
        let prefix = row.key(one_namespace, one_name.unwrap_or_default());
        Ok(Self { row: row.clone(), prefix, labels, fields })
    }

    /// Where to look for what is selected.
    pub(crate) fn topic(&self) -> Topic {
        if !self.prefix.ends_with('/') {
            return Topic::Key(self.prefix.clone());
        }
        if let Some((field, value)) = self.required_field() {
            return Topic::Field(field, value.to_owned());
        }
        if self.prefix == self.row.key("", "") { Topic::All } else { Topic::Namespace(self.prefix.clone()) }
    }

    /// The field by which lists find objects, with its value, when the selector asks for one.
    pub(crate) fn indexed(&self) -> Option<(SelectableField, &str)> {
        let is_indexed = |name: &str| INDEXED_FIELDS.contains(&(self.row.storage.as_str(), name));
        self.required_field().filter(|(field, _)| is_indexed(&field.name))
    }

    /// The first field of the row that must have one value.
    fn required_field(&self) -> Option<(SelectableField, &str)> {
        self.row.selectable_fields.iter().find_map(|f| {
            let value = self.fields.required(&f.name)?;
            Some((f.clone(), value))
        })
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
                Cow::Owned(known.map(|f| f.value.of(object)).unwrap_or_default())
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
