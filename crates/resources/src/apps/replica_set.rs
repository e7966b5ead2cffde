//! ReplicaSets.

use machinery::field::FieldError;
use machinery::json::Value;

use super::template as shared;
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::pod_spec::{self, defaults};
use crate::read::{Read, present_mut, same_at, selectable, set_default};
use crate::row::{Column, Resource, SelectableField, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("apps/v1", "ReplicaSet", "replicasets")
        .short_names(&["rs"])
        .categories(&["all"])
        .subresources(&[Subresource::Scale, Subresource::Status])
        .columns(vec![
            Column::integer("Desired", "Replicas wanted.", |object, _| {
                cells::number(object, &["spec", "replicas"]).into()
            }),
            Column::integer("Current", "Replicas there.", |object, _| {
                cells::number(object, &["status", "replicas"]).into()
            }),
            Column::integer("Ready", "Replicas ready.", |object, _| {
                cells::number(object, &["status", "readyReplicas"]).into()
            }),
            Column::age(),
            Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
            Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
            Column::text("Selector", "Labels of its pods.", cells::spec_selector).wide(),
        ])
        .selectable(vec![SelectableField::new("status.replicas", |object| {
            let text = selectable(object, &["status", "replicas"]);
            if text.is_empty() { "0".to_owned() } else { text }
        })])
        .generation()
        .strategy(ReplicaSet)
}

struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        set_default(spec, "replicas", 1);
        if let Some(template) = present_mut(spec, "template") {
            defaults::template(template);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec");
        shared::validate_not_negative(spec, "replicas", &at, &mut errors);
        shared::validate_not_negative(spec, "minReadySeconds", &at, &mut errors);
        shared::validate_selector(spec, &at, "replicaset", &mut errors);
        shared::validate_selected(spec, &at, &mut errors);
        shared::validate_always_restarts(spec, &at, &mut errors);
        if let Some(template) = spec.present("template") {
            pod_spec::validate_template(template, &at.field("template"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return validate_status(object);
        }
        let mut errors = self.validate(object);
        if !same_at(object, old, &["spec", "selector"]) {
            let selector = object.at(&["spec", "selector"]).unwrap_or(&Value::Null);
            errors.invalid(&Place::root("spec").field("selector"), Json(selector), "field is immutable");
        }
        errors
    }

    fn scale_selector(&self, object: &Value) -> String {
        object.at(&["spec", "selector"]).map(cells::selector_text).unwrap_or_default()
    }
}

fn validate_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    let counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    for field in counts {
        shared::validate_not_negative(status, field, &at, &mut errors);
    }
    let number = |field: &str| status.int(field).unwrap_or(0);
    let not_more = [
        ("fullyLabeledReplicas", "replicas", "cannot be greater than status.replicas"),
        ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    for (field, bound, detail) in not_more {
        if number(field) > number(bound) {
            errors.invalid(&at.field(field), number(field), detail);
        }
    }
    errors
}
