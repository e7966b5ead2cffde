//! How fast an autoscaler may go: defaults, rules.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::checks::validate_one_of;
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::{Read, set_default};

const PERIOD_SECONDS_DEFAULT: i64 = 15;
const PERIOD_SECONDS_MAX: i64 = 1800;
const WINDOW_SECONDS_MAX: i64 = 3600;

/// Fills in what a behavior leaves open; without one, nothing is said.
pub(super) fn default(behavior: &mut Value) {
    let up = [policy("Pods", 4), policy("Percent", 100)];
    let down = [policy("Percent", 100)];
    for (direction, policies) in [("scaleUp", up.to_vec()), ("scaleDown", down.to_vec())] {
        set_default(behavior, direction, Value::object());
        let Some(rules) = behavior.get_mut(direction) else { continue };
        set_default(rules, "selectPolicy", "Max");
        set_default(rules, "policies", policies);
        if direction == "scaleUp" {
            set_default(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

fn policy(kind: &str, value: i64) -> Value {
    let mut policy = Value::object();
    policy.set_at(&["type"], kind);
    policy.set_at(&["value"], value);
    policy.set_at(&["periodSeconds"], PERIOD_SECONDS_DEFAULT);
    policy
}

/// `spec.behavior`
pub(super) fn validate(behavior: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = behavior.present(direction) {
            validate_rules(rules, &at.field(direction), errors);
        }
    }
}

fn validate_rules(rules: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(seconds) = rules.int("stabilizationWindowSeconds") {
        let at = at.field("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(&at, seconds, "must be greater than or equal to zero");
        }
        if seconds > WINDOW_SECONDS_MAX {
            errors.invalid(&at, seconds, &format!("must be less than or equal to {WINDOW_SECONDS_MAX}"));
        }
    }
    if let Some(select) = rules.present("selectPolicy").and_then(Value::as_str) {
        validate_one_of(select, &["Disabled", "Max", "Min"], &at.field("selectPolicy"), errors);
    }
    let list = at.field("policies");
    if rules.items("policies").is_empty() {
        errors.required(&list, "must specify at least one Policy");
    }
    for (index, policy) in rules.items("policies").iter().enumerate() {
        validate_policy(policy, &list.index(index), errors);
    }
    if let Some(tolerance) = rules.present("tolerance").and_then(quantity).filter(|t| t.sign() < 0) {
        errors.invalid(&at.field("tolerance"), tolerance.to_string(), "must be greater than or equal to 0");
    }
}

fn validate_policy(policy: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_one_of(policy.text("type"), &["Percent", "Pods"], &at.field("type"), errors);
    for field in ["value", "periodSeconds"] {
        let number = policy.int(field).unwrap_or(0);
        if number <= 0 {
            errors.invalid(&at.field(field), number, "must be greater than zero");
        }
    }
    if let Some(seconds) = policy.int("periodSeconds").filter(|seconds| *seconds > PERIOD_SECONDS_MAX) {
        let detail = format!("must be less than or equal to {PERIOD_SECONDS_MAX}");
        errors.invalid(&at.field("periodSeconds"), seconds, &detail);
    }
}
