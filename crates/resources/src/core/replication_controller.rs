//! ReplicationControllers.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::apps::template as shared;
use crate::cells;
use crate::metadata::validate_labels;
use crate::place::{Place, Report};
use crate::pod_spec::{self, defaults};
use crate::read::{Read, present_mut, set_default};
use crate::row::{Resource, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "ReplicationController", "replicationcontrollers")
        .short_names(&["rc"])
        .categories(&["all"])
        .subresources(&[Subresource::Scale, Subresource::Status])
        .columns(shared::replica_columns(|object, _| {
            cells::labels(object.get("spec").unwrap_or(&Value::Null).entries("selector")).into()
        }))
        .selectable(vec![shared::replicas_field()])
        .generation()
        .strategy(ReplicationController)
}

struct ReplicationController;

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let labels = object.at(&["spec", "template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|l| !l.is_empty())) {
            if object.get("spec").is_some_and(|spec| spec.entries("selector").is_empty()) {
                object.set_at(&["spec", "selector"], labels.clone());
            }
            if object.get("metadata").is_none_or(|metadata| metadata.entries("labels").is_empty()) {
                object.set_at(&["metadata", "labels"], labels);
            }
        }
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
        shared::validate_not_negative(spec, "minReadySeconds", &at, &mut errors);
        if spec.entries("selector").is_empty() {
            errors.required(&at.field("selector"), "");
        }
        validate_labels(spec, "selector", &at.field("selector"), &mut errors);
        shared::validate_not_negative(spec, "replicas", &at, &mut errors);
        let field = at.field("template");
        let Some(template) = spec.present("template") else {
            errors.required(&field, "");
            return errors;
        };
        let metadata = template.get("metadata").unwrap_or(&empty);
        if !spec.entries("selector").iter().all(|(key, value)| metadata.entries("labels").get(key) == Some(value)) {
            shared::not_selected(metadata, &field, &mut errors);
        }
        pod_spec::validate_template(template, &field, &mut errors);
        shared::validate_always_restarts(spec, "ReplicationController", &at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        match target {
            Target::Subresource("status") => shared::validate_replica_status(object),
            _ => self.validate(object),
        }
    }

    fn scale_selector(&self, object: &Value) -> String {
        let selector = object.get("spec").unwrap_or(&Value::Null).entries("selector");
        if selector.is_empty() { String::new() } else { cells::labels(selector) }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        shared::warnings(object)
    }
}
