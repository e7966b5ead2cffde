//! Deployments.

use machinery::field::FieldError;
use machinery::json::Value;

use super::template::{self as shared, validate_int_or_percent};
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::pod_spec::{self, defaults};
use crate::read::{Read, present_mut, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("apps/v1", "Deployment", "deployments")
        .short_names(&["deploy"])
        .categories(&["all"])
        .subresources(&[Subresource::Scale, Subresource::Status])
        .columns(vec![
            Column::text("Ready", "Replicas ready, of those wanted.", |object, _| {
                let ready = cells::number(object, &["status", "readyReplicas"]);
                format!("{ready}/{}", cells::number(object, &["spec", "replicas"])).into()
            }),
            Column::text("Up-to-date", "Replicas of the newest template.", |object, _| {
                cells::number(object, &["status", "updatedReplicas"]).into()
            }),
            Column::text("Available", "Replicas ready for at least minReadySeconds.", |object, _| {
                cells::number(object, &["status", "availableReplicas"]).into()
            }),
            Column::age(),
            Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
            Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
            Column::text("Selector", "Labels of its pods.", cells::spec_selector).wide(),
        ])
        .generation()
        .strategy(Deployment)
}

struct Deployment;

impl Strategy for Deployment {
    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        &["labels"]
    }

    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        set_default(spec, "replicas", 1);
        set_default(spec, "revisionHistoryLimit", 10);
        set_default(spec, "progressDeadlineSeconds", 600);
        set_default(spec, "strategy", Value::object());
        if let Some(strategy) = present_mut(spec, "strategy") {
            default_strategy(strategy);
        }
        if let Some(template) = present_mut(spec, "template") {
            defaults::template(template);
        }
    }

    /// Annotations count: `kubectl rollout` writes there what the controller has to see.
    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        !same_at(object, old, &["spec"]) || !same_at(object, old, &["metadata", "annotations"])
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec");
        shared::validate_not_negative(spec, "replicas", &at, &mut errors);
        shared::validate_selector(spec, &at, "deployment", &mut errors);
        shared::validate_selected(spec, &at, &mut errors);
        shared::validate_always_restarts(spec, "Deployment", &at, &mut errors);
        if let Some(template) = spec.present("template") {
            pod_spec::validate_template(template, &at.field("template"), &mut errors);
        }
        validate_strategy(spec, &at.field("strategy"), &mut errors);
        shared::validate_not_negative(spec, "minReadySeconds", &at, &mut errors);
        shared::validate_not_negative(spec, "revisionHistoryLimit", &at, &mut errors);
        validate_deadline(spec, &at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return validate_status(object, old);
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

fn default_strategy(strategy: &mut Value) {
    if strategy.text("type").is_empty() {
        strategy.set_at(&["type"], "RollingUpdate");
    }
    if strategy.text("type") == "RollingUpdate" {
        strategy.default_at(&["rollingUpdate", "maxUnavailable"], "25%");
        strategy.default_at(&["rollingUpdate", "maxSurge"], "25%");
    }
}

fn validate_strategy(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let strategy = spec.get("strategy").unwrap_or(&empty);
    match strategy.text("type") {
        "Recreate" if strategy.has("rollingUpdate") => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(&at.field("rollingUpdate"), detail);
        }
        "Recreate" => {}
        "RollingUpdate" => match strategy.present("rollingUpdate") {
            None => errors.required(&at.field("rollingUpdate"), "this should be defaulted and never be nil"),
            Some(rolling) => validate_rolling(rolling, &at.field("rollingUpdate"), errors),
        },
        other => errors.unsupported(&at.field("type"), other, &["Recreate", "RollingUpdate"]),
    }
}

fn validate_rolling(rolling: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["maxUnavailable", "maxSurge"] {
        validate_int_or_percent(rolling.get(field), &at.field(field), errors);
    }
    if shared::is_zero(rolling.get("maxUnavailable")) && shared::is_zero(rolling.get("maxSurge")) {
        let value = rolling.get("maxUnavailable").unwrap_or(&Value::Null);
        errors.invalid(&at.field("maxUnavailable"), Json(value), "may not be 0 when `maxSurge` is 0");
    }
    shared::validate_not_more_than_all(rolling.get("maxUnavailable"), &at.field("maxUnavailable"), errors);
}

fn validate_deadline(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    shared::validate_not_negative(spec, "progressDeadlineSeconds", at, errors);
    if let Some(seconds) =
        spec.int("progressDeadlineSeconds").filter(|s| *s <= spec.int("minReadySeconds").unwrap_or(0))
    {
        errors.invalid(&at.field("progressDeadlineSeconds"), seconds, "must be greater than minReadySeconds");
    }
}

fn validate_status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ];
    for field in counts {
        shared::validate_not_negative(status, field, &at, &mut errors);
    }
    let number = |field: &str| status.int(field).unwrap_or(0);
    let not_more = [
        ("updatedReplicas", "replicas", "cannot be greater than status.replicas"),
        ("readyReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "replicas", "cannot be greater than status.replicas"),
        ("availableReplicas", "readyReplicas", "cannot be greater than readyReplicas"),
    ];
    for (field, bound, detail) in not_more {
        if number(field) > number(bound) {
            errors.invalid(&at.field(field), number(field), detail);
        }
    }
    let known = old.i64_at(&["status", "collisionCount"]).unwrap_or(0);
    if number("collisionCount") < known {
        errors.invalid(&at.field("collisionCount"), number("collisionCount"), "cannot be decremented");
    }
    errors
}
