//! ReplicaSets.

use machinery::field::FieldError;
use machinery::json::Value;

use super::template as shared;
use crate::cells;
use crate::place::Place;
use crate::pod_spec::{self, defaults};
use crate::read::{Read, present_mut, set_default};
use crate::row::{Resource, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("apps/v1", "ReplicaSet", "replicasets")
        .short_names(&["rs"])
        .categories(&["all"])
        .subresources(&[Subresource::Scale, Subresource::Status])
        .columns(shared::replica_columns(cells::spec_selector))
        .selectable(vec![shared::replicas_field()])
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
        shared::validate_always_restarts(spec, "ReplicaSet", &at, &mut errors);
        if let Some(template) = spec.present("template") {
            pod_spec::validate_template(template, &at.field("template"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return shared::validate_replica_status(object);
        }
        let mut errors = self.validate(object);
        shared::validate_same_selector(object, old, &mut errors);
        errors
    }

    fn scale_selector(&self, object: &Value) -> String {
        object.at(&["spec", "selector"]).map(cells::selector_text).unwrap_or_default()
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        shared::warnings(object)
    }
}
