//! DaemonSets.

use machinery::field::FieldError;
use machinery::json::Value;

use super::template::{self as shared, validate_int_or_percent};
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::pod_spec::{self, defaults};
use crate::read::{Read, present_mut, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Subresource, Target};

/// Counts of the status, none of which may be negative.
const COUNTS: [&str; 9] = [
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
];

/// The row.
pub fn row() -> Resource {
    Resource::new("apps/v1", "DaemonSet", "daemonsets")
        .short_names(&["ds"])
        .categories(&["all"])
        .subresources(&[Subresource::Status])
        .columns(columns())
        .generation()
        .strategy(DaemonSet)
}

fn columns() -> Vec<Column> {
    fn count(object: &Value, field: &str) -> Value {
        cells::number(object, &["status", field]).into()
    }
    vec![
        Column::integer("Desired", "Nodes that should run its pod.", |o, _| count(o, "desiredNumberScheduled")),
        Column::integer("Current", "Nodes that run its pod and should.", |o, _| count(o, "currentNumberScheduled")),
        Column::integer("Ready", "Nodes where its pod is ready.", |o, _| count(o, "numberReady")),
        Column::integer("Up-to-date", "Nodes with the newest template.", |o, _| count(o, "updatedNumberScheduled")),
        Column::integer("Available", "Nodes where its pod is available.", |o, _| count(o, "numberAvailable")),
        Column::text("Node Selector", "Labels of the nodes it is for.", |object, _| {
            let spec = object.at(&["spec", "template", "spec"]).unwrap_or(&Value::Null);
            cells::labels(spec.entries("nodeSelector")).into()
        }),
        Column::age(),
        Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
        Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
        Column::text("Selector", "Labels of its pods.", cells::spec_selector).wide(),
    ]
}

struct DaemonSet;

/// The annotation in which `apps/v1` shows how often the template has changed; the server counts.
const TEMPLATE_GENERATION: [&str; 3] = ["metadata", "annotations", "deprecated.daemonset.template.generation"];

fn template_generation(object: &Value) -> i64 {
    object.str_at(&TEMPLATE_GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        object.default_at(&TEMPLATE_GENERATION, "0");
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        set_default(spec, "revisionHistoryLimit", 10);
        set_default(spec, "updateStrategy", Value::object());
        if let Some(strategy) = present_mut(spec, "updateStrategy") {
            set_default(strategy, "type", "RollingUpdate");
            if strategy.text("type") == "RollingUpdate" {
                strategy.default_at(&["rollingUpdate", "maxUnavailable"], 1);
                strategy.default_at(&["rollingUpdate", "maxSurge"], 0);
            }
        }
        if let Some(template) = present_mut(spec, "template") {
            defaults::template(template);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        object.set_at(&TEMPLATE_GENERATION, template_generation(object).max(1).to_string());
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, _: Target) {
        let grows = !same_at(object, old, &["spec", "template"]);
        object.set_at(&TEMPLATE_GENERATION, (template_generation(old) + i64::from(grows)).to_string());
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec");
        shared::validate_selector(spec, &at, "daemonset", &mut errors);
        shared::validate_selected(spec, &at, &mut errors);
        if let Some(template) = spec.present("template") {
            pod_spec::validate_template(template, &at.field("template"), &mut errors);
        }
        shared::validate_always_restarts(spec, "DaemonSet", &at, &mut errors);
        shared::validate_not_negative(spec, "minReadySeconds", &at, &mut errors);
        validate_strategy(spec, &at.field("updateStrategy"), &mut errors);
        shared::validate_not_negative(spec, "revisionHistoryLimit", &at, &mut errors);
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

    fn warnings(&self, object: &Value) -> Vec<String> {
        shared::warnings(object)
    }
}

fn validate_strategy(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let strategy = spec.get("updateStrategy").unwrap_or(&empty);
    let kind = strategy.text("type");
    match (kind, strategy.present("rollingUpdate")) {
        ("OnDelete", _) => {}
        ("RollingUpdate", None) => errors.required(&at.field("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &at.field("rollingUpdate"), errors),
        _ => errors.unsupported(at, kind, &["RollingUpdate", "OnDelete"]),
    }
}

fn validate_rolling(rolling: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["maxUnavailable", "maxSurge"] {
        validate_int_or_percent(rolling.get(field), &at.field(field), errors);
        shared::validate_not_more_than_all(rolling.get(field), &at.field(field), errors);
    }
    let set = |field: &str| !shared::is_zero(rolling.get(field));
    match (set("maxUnavailable"), set("maxSurge")) {
        (true, true) => {
            let value = Json(rolling.get("maxSurge").unwrap_or(&Value::Null));
            errors.invalid(&at.field("maxSurge"), value, "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => errors.required(&at.field("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn validate_status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    for field in COUNTS {
        shared::validate_not_negative(status, field, &at, &mut errors);
    }
    let (count, known) =
        (status.int("collisionCount").unwrap_or(0), old.i64_at(&["status", "collisionCount"]).unwrap_or(0));
    if count < known {
        errors.invalid(&at.field("collisionCount"), count, "cannot be decremented");
    }
    errors
}
