//! policy: pod disruption budgets.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::apps::template::{validate_int_or_percent, validate_not_more_than_all, validate_not_negative};
use crate::cells;
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::Read;
use crate::row::{Column, Resource, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
        .short_names(&["pdb"])
        .subresources(&[Subresource::Status])
        .generation()
        .columns(vec![
            Column::text("Min Available", "Pods that have to stay.", |object, _| bound(object, "minAvailable")),
            Column::text("Max Unavailable", "Pods that may go.", |object, _| bound(object, "maxUnavailable")),
            Column::integer("Allowed Disruptions", "Pods that may go now.", |object, _| {
                cells::number(object, &["status", "disruptionsAllowed"]).into()
            }),
            Column::age(),
        ])
        .strategy(PodDisruptionBudget)
}

fn bound(object: &Value, field: &str) -> Value {
    match object.at(&["spec", field]) {
        Some(Value::Integer(number)) => number.to_string().into(),
        Some(Value::String(text)) => text.as_str().into(),
        _ => "N/A".into(),
    }
}

struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec");
        if spec.has("minAvailable") && spec.has("maxUnavailable") {
            errors.invalid(&at, Json(spec), "minAvailable and maxUnavailable cannot be both set");
        }
        for field in ["minAvailable", "maxUnavailable"] {
            validate_int_or_percent(spec.get(field), &at.field(field), &mut errors);
            validate_not_more_than_all(spec.get(field), &at.field(field), &mut errors);
        }
        if let Some(selector) = spec.present("selector") {
            validate_label_selector(selector, &at.field("selector"), &mut errors);
        }
        let policy = spec.text("unhealthyPodEvictionPolicy");
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        if !policy.is_empty() && !known.contains(&policy) {
            errors.unsupported(&at.field("unhealthyPodEvictionPolicy"), policy, &known);
        }
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        if target != Target::Subresource("status") {
            return self.validate(object);
        }
        let mut errors = Vec::new();
        let empty = Value::object();
        let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
        for field in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            validate_not_negative(status, field, &at, &mut errors);
        }
        errors
    }
}
