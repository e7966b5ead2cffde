//! What workloads with a selector and a template have in common.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::intstr::IntOrPercent;
use machinery::json::Value;
use machinery::names;
use machinery::selector::LabelSelector;

use crate::cells;
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::pod_spec::warnings;
use crate::read::{Read, same_at};
use crate::row::{Column, SelectableField};

/// What upstream says of a negative number.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// `spec.selector` of a workload: required, not empty, valid.
pub(crate) fn validate_selector(spec: &Value, at: &Place<'_>, what: &str, errors: &mut Vec<FieldError>) {
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

/// `spec.selector` of a workload may not change.
pub(crate) fn validate_same_selector(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    if !same_at(object, old, &["spec", "selector"]) {
        let selector = object.at(&["spec", "selector"]).unwrap_or(&Value::Null);
        errors.invalid(&Place::root("spec").field("selector"), Json(selector), "field is immutable");
    }
}

/// The template's labels have to be selected.
pub(crate) fn validate_selected(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
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
    let metadata = template.get("metadata").unwrap_or(&Value::Null);
    if !selector.is_everything() && !selector.matches(metadata.entries("labels")) {
        not_selected(metadata, &field, errors);
    }
}

/// Tells that a template's labels are not selected.
pub(crate) fn not_selected(metadata: &Value, template: &Place<'_>, errors: &mut Vec<FieldError>) {
    let labels = metadata.get("labels").unwrap_or(&Value::Null);
    let detail = "`selector` does not match template `labels`";
    errors.invalid(&template.field("metadata.labels"), Json(labels), detail);
}

/// Workloads keep their pods running for good.
pub(crate) fn validate_always_restarts(spec: &Value, kind: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let pod = spec.at(&["template", "spec"]).unwrap_or(&Value::Null);
    let policy = pod.text("restartPolicy");
    if !matches!(policy, "" | "Always") {
        errors.unsupported(&at.field("template.spec.restartPolicy"), policy, &["Always"]);
    }
    if pod.has("activeDeadlineSeconds") {
        let detail = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(&at.field("template.spec.activeDeadlineSeconds"), &detail);
    }
}

/// A number that may not be negative.
pub(crate) fn validate_not_negative(tree: &Value, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(number @ ..0) = tree.int(field) {
        errors.invalid(&at.field(field), number, NOT_NEGATIVE);
    }
}

/// A whole number or a percentage, not negative.
pub(crate) fn validate_int_or_percent(value: Option<&Value>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match value {
        Some(Value::String(text)) => errors.invalid_each(at, text, names::percent(text)),
        Some(Value::Integer(number @ ..0)) => errors.invalid(at, *number, NOT_NEGATIVE),
        _ => {}
    }
}

/// A percentage is at most the whole.
pub(crate) fn validate_not_more_than_all(value: Option<&Value>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let percent = value.and_then(IntOrPercent::of).and_then(IntOrPercent::percent);
    if let Some(value) = value.filter(|_| percent.is_some_and(|p| p > 100)) {
        errors.invalid(at, Json(value), "must not be greater than 100%");
    }
}

/// Whether a number or percentage is nothing.
pub(crate) fn is_zero(value: Option<&Value>) -> bool {
    match value {
        Some(Value::String(text)) => text.trim_end_matches('%').parse() == Ok(0_i64),
        other => other.and_then(Value::as_i64).unwrap_or(0) == 0,
    }
}

/// What replica sets and replication controllers print; the last column is their selector.
pub(crate) fn replica_columns(selector: fn(&Value, Timestamp) -> Value) -> Vec<Column> {
    vec![
        Column::integer("Desired", "Replicas wanted.", |object, _| cells::number(object, &["spec", "replicas"]).into()),
        Column::integer("Current", "Replicas there.", |object, _| {
            cells::number(object, &["status", "replicas"]).into()
        }),
        Column::integer("Ready", "Replicas ready.", |object, _| {
            cells::number(object, &["status", "readyReplicas"]).into()
        }),
        Column::age(),
        Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
        Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
        Column::text("Selector", "Labels of its pods.", selector).wide(),
    ]
}

/// `status.replicas` for field selectors.
pub(crate) fn replicas_field() -> SelectableField {
    SelectableField::new("status.replicas", |object| cells::number(object, &["status", "replicas"]).to_string())
}

/// The counts in the status of replica sets and replication controllers.
pub(crate) fn validate_replica_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    let counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    for field in counts {
        validate_not_negative(status, field, &at, &mut errors);
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

/// Warnings about the template's pod spec.
pub(crate) fn warnings(object: &Value) -> Vec<String> {
    let spec = object.at(&["spec", "template", "spec"]);
    spec.map(|spec| warnings::of(spec, "spec.template.spec")).unwrap_or_default()
}
