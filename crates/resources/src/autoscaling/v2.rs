//! autoscaling/v2, which is stored.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{behavior, metrics};
use crate::apps::template::validate_not_negative;
use crate::place::{Place, Report};
use crate::read::{Read, present_mut, same_at, set_default};
use crate::row::{Strategy, Target};

/// What is wanted of the processor when no metric is named, in percent.
pub(super) const CPU_PERCENT_DEFAULT: i64 = 80;

pub(super) struct Autoscaler;

impl Strategy for Autoscaler {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        set_default(spec, "minReplicas", 1);
        if spec.items("metrics").is_empty() {
            spec.set_at(&["metrics"], vec![cpu_metric(CPU_PERCENT_DEFAULT)]);
        }
        if let Some(behavior) = present_mut(spec, "behavior") {
            behavior::default(behavior);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return validate_status(object);
        }
        validate(object, Some(old))
    }
}

/// The processor's utilization as a metric.
pub(super) fn cpu_metric(percent: i64) -> Value {
    let mut metric = Value::object();
    metric.set_at(&["type"], "Resource");
    metric.set_at(&["resource", "name"], "cpu");
    metric.set_at(&["resource", "target", "type"], "Utilization");
    metric.set_at(&["resource", "target", "averageUtilization"], percent);
    metric
}

/// All that is wrong with a new spec, or a changed one.
pub(super) fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let old = old.map(|old| old.get("spec").unwrap_or(&empty));
    let least = if old.and_then(|old| old.int("minReplicas")) == Some(0) { 0 } else { 1 };
    let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
    let (min, max) = (spec.int("minReplicas"), spec.int("maxReplicas").unwrap_or(0));
    if let Some(min) = min.filter(|min| *min < least) {
        errors.invalid(&at.field("minReplicas"), min, &format!("must be greater than or equal to {least}"));
    }
    if max < 1 {
        errors.invalid(&at.field("maxReplicas"), max, "must be greater than 0");
    }
    if min.is_some_and(|min| max < min) {
        errors.invalid(&at.field("maxReplicas"), max, "must be greater than or equal to `minReplicas`");
    }
    let target = spec.present("scaleTargetRef").unwrap_or(&empty);
    let stays = |old: &Value| ["apiVersion", "kind"].iter().all(|field| same_at(old, spec, &["scaleTargetRef", field]));
    let version = match target.text("kind") {
        _ if old.is_some_and(stays) => metrics::ApiVersion::Unchecked,
        // The only one of the core group that scales.
        "ReplicationController" => metrics::ApiVersion::Any,
        _ => metrics::ApiVersion::OfGroup,
    };
    metrics::validate_reference(target, version, &at.field("scaleTargetRef"), &mut errors);
    metrics::validate(spec, old, &at.field("metrics"), &mut errors);
    if let Some(behavior) = spec.present("behavior") {
        behavior::validate(behavior, &at.field("behavior"), &mut errors);
    }
    errors
}

/// All that is wrong with a status.
pub(super) fn validate_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let status = object.get("status").unwrap_or(&empty);
    for field in ["currentReplicas", "desiredReplicas"] {
        validate_not_negative(status, field, &Place::root("status"), &mut errors);
    }
    errors
}
