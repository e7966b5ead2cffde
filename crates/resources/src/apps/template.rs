//! What workloads with a selector and a template have in common.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::selector::LabelSelector;

use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::Read;

/// `spec.selector` of a workload: required, not empty, valid.
pub(super) fn validate_selector(spec: &Value, at: &Place<'_>, what: &str, errors: &mut Vec<FieldError>) {
    let field = at.field("selector");
    match spec.present("selector") {
        None => errors.required(&field, ""),
        Some(selector) => {
            validate_label_selector(selector, &field, errors);
            if selector.entries("matchLabels").is_empty() && selector.items("matchExpressions").is_empty() {
                let detail = format!("empty selector is invalid for {what}");
                errors.invalid(&field, Json(selector), &detail);
            }
        }
    }
}

/// The template's labels have to be selected.
pub(super) fn validate_selected(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let field = at.field("template");
    let Some(template) = spec.present("template") else {
        errors.required(&field, "");
        return;
    };
    let Ok(selector) = LabelSelector::from_object(spec.present("selector")) else {
        errors.invalid(
            &at.field("selector"),
            Json(spec.get("selector").unwrap_or(&Value::Null)),
            "invalid label selector",
        );
        return;
    };
    let empty = Value::Null;
    let metadata = template.get("metadata").unwrap_or(&empty);
    if !selector.is_everything() && !selector.matches(metadata.entries("labels")) {
        let labels = Value::Object(metadata.entries("labels").clone());
        let detail = "`selector` does not match template `labels`";
        errors.invalid(&field.field("metadata.labels"), Json(&labels), detail);
    }
}

/// Workloads keep their pods running for good.
pub(super) fn validate_always_restarts(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let pod = spec.at(&["template", "spec"]).unwrap_or(&Value::Null);
    let policy = pod.text("restartPolicy");
    if !matches!(policy, "" | "Always") {
        errors.unsupported(&at.field("template.spec.restartPolicy"), policy, &["Always"]);
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = "activeDeadlineSeconds in ReplicaSet is not Supported";
        errors.forbidden(&at.field("template.spec.activeDeadlineSeconds"), detail);
    }
}

/// A number that may not be negative.
pub(super) fn validate_not_negative(tree: &Value, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(number @ ..0) = tree.int(field) {
        errors.invalid(&at.field(field), number, "must be greater than or equal to 0");
    }
}
