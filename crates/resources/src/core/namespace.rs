//! Namespaces.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::metadata::validate_finalizer_domain;
use crate::place::{Place, Report};
use crate::read::{Read, selectable};
use crate::row::{Column, NameRule, Resource, SelectableField, Strategy, Subresource, Target, Verb};

/// The label that every namespace carries with its own name (KEP-2161).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
const FINALIZER: &str = "kubernetes";

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Namespace", "namespaces")
        .cluster_scoped()
        .without(Verb::DeleteCollection)
        .short_names(&["ns"])
        .subresources(&[Subresource::Status, Subresource::Finalize])
        .columns(vec![
            Column::text("Status", "Phase of the namespace.", |object, _| {
                object.str_at(&["status", "phase"]).unwrap_or_default().into()
            }),
            Column::age(),
        ])
        .selectable(vec![
            SelectableField::new("status.phase", |object| selectable(object, &["status", "phase"])),
            SelectableField::new("name", |object| selectable(object, &["metadata", "name"])),
        ])
        .strategy(Namespace)
}

struct Namespace;

impl Strategy for Namespace {
    fn default(&self, object: &mut Value) {
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
        if !name.is_empty() {
            object.set_at(&["metadata", "labels", NAME_LABEL], name);
        }
        if object.str_at(&["status", "phase"]).unwrap_or_default().is_empty() {
            object.set_at(&["status", "phase"], "Active");
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        self.default(object);
        object.set_at(&["status", "phase"], "Active");
        let list = object.ensure_at(&["spec", "finalizers"]);
        if !matches!(list, Value::Array(_)) {
            *list = Value::Array(Vec::new());
        }
        let list = list.as_array_mut().expect("it was just made a list");
        if !list.iter().any(|f| f.as_str() == Some(FINALIZER)) {
            list.push(FINALIZER.into());
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        if target == Target::Subresource("finalize") {
            keep(object, old, "status");
        } else {
            keep(object, old, "spec");
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (spec, at) = (Place::root("spec"), object.get("spec").unwrap_or(&Value::Null));
        for finalizer in at.texts("finalizers") {
            let list = spec.field("finalizers");
            errors.invalid_each(&list, finalizer, names::qualified_name(finalizer));
            validate_finalizer_domain(finalizer, &list, &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        if target == Target::Subresource("status") {
            validate_phase(object, &mut errors);
        }
        errors
    }

    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }
}

fn keep(object: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => object.set_at(&[field], value.clone()),
        None => {
            object.remove_at(&[field]);
        }
    }
}

fn validate_phase(object: &Value, errors: &mut Vec<FieldError>) {
    let phase = object.str_at(&["status", "phase"]).unwrap_or_default();
    let deleting = object.str_at(&["metadata", "deletionTimestamp"]).is_some();
    let (wanted, detail) = match deleting {
        true => ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
        false => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
    };
    if phase != wanted {
        errors.invalid(&Place::root("status").field("Phase"), phase, detail);
    }
}
