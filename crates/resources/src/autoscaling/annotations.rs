//! The annotations by which autoscaling/v1 tells what it has no fields for.

use machinery::json::Value;

/// All metrics but the processor's utilization.
pub(super) const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// How fast it may go.
pub(super) const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// What the metrics are now.
pub(super) const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
/// Conditions.
pub(super) const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Those that tell of the spec.
pub(super) const OF_SPEC: [&str; 2] = [METRICS, BEHAVIOR];
/// Those that tell of the status.
pub(super) const OF_STATUS: [&str; 2] = [CURRENT, CONDITIONS];

/// What an annotation says, if it can be read.
pub(super) fn get(object: &Value, name: &str) -> Option<Value> {
    Value::parse(object.str_at(&["metadata", "annotations", name])?.as_bytes()).ok()
}

/// Writes an annotation.
pub(super) fn set(object: &mut Value, name: &str, value: &Value) {
    object.set_at(&["metadata", "annotations", name], value.to_string());
}

/// Makes annotations what they were before, or takes them away.
pub(super) fn keep(object: &mut Value, old: Option<&Value>, names: &[&str]) {
    for name in names {
        let path = ["metadata", "annotations", name];
        match old.and_then(|old| old.at(&path)) {
            Some(value) => object.set_at(&path, value.clone()),
            None => {
                object.remove_at(&path);
            }
        }
    }
    drop_empty(object);
}

/// Takes all of them away.
pub(super) fn clear(object: &mut Value) {
    for name in OF_SPEC.iter().chain(&OF_STATUS) {
        object.remove_at(&["metadata", "annotations", name]);
    }
    drop_empty(object);
}

fn drop_empty(object: &mut Value) {
    let path = ["metadata", "annotations"];
    if object.at(&path).and_then(Value::as_object).is_some_and(|map| map.is_empty()) {
        object.remove_at(&path);
    }
}
