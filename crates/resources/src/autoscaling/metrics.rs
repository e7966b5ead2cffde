//! Validation of the metrics that an autoscaler watches.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::checks::validate_required_name;
use crate::core::quota_names::validate_container_resource;
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::Read;

const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
/// The sources, in the order in which they are looked at, with their types.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

/// Which `apiVersion` a reference may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ApiVersion {
    /// One with a group.
    OfGroup,
    /// One with or without a group.
    Any,
    /// It is not looked at.
    Unchecked,
}

/// `spec.metrics`. What they describe may keep an apiVersion that is none.
pub(super) fn validate(spec: &Value, old: Option<&Value>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let metrics = spec.items("metrics");
    let described = |metric: &Value| metric.str_at(&["object", "describedObject", "apiVersion"]).map(str::to_owned);
    let was_wrong = old.is_some_and(|old| {
        let all = old.items("metrics").iter().filter(|metric| metric.text("type") == "Object").filter_map(described);
        all.into_iter().any(|version| api_version_problem(&version, ApiVersion::Any).is_some())
    });
    let version = if was_wrong { ApiVersion::Unchecked } else { ApiVersion::Any };
    for (index, metric) in metrics.iter().enumerate() {
        validate_metric(metric, version, &list.index(index), errors);
    }
    let wakes = metrics.iter().any(|metric| matches!(metric.text("type"), "Object" | "External"));
    if spec.int("minReplicas") == Some(0) && !wakes {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(list, detail);
    }
}

fn validate_metric(metric: &Value, version: ApiVersion, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = metric.text("type");
    if kind.is_empty() {
        errors.required(&at.field("type"), "must specify a metric source type");
    }
    let is_known = TYPES.contains(&kind);
    if !is_known {
        errors.unsupported(&at.field("type"), kind, &TYPES);
    }
    let present: Vec<&str> = SOURCES.iter().map(|(source, _)| *source).filter(|source| metric.has(source)).collect();
    if let Some(first) = present.first() {
        validate_source(first, metric.get(first).unwrap_or(&Value::Null), version, &at.field(first), errors);
    }
    let expected = SOURCES.iter().find(|(_, of)| *of == kind).map(|(source, _)| *source);
    match expected {
        Some(source) if !metric.has(source) => {
            errors.required(&at.field(source), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => errors.unsupported(&at.field("type"), kind, &TYPES),
    }
    if present.len() != 1 {
        for source in present.iter().filter(|source| Some(**source) != expected) {
            errors.forbidden(&at.field(source), "must populate the given metric source only");
        }
    }
}

fn validate_source(source: &str, tree: &Value, version: ApiVersion, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let target = tree.present("target").unwrap_or(&empty);
    let of_metric = matches!(source, "object" | "external" | "pods");
    if source == "object" {
        let described = tree.present("describedObject").unwrap_or(&empty);
        validate_reference(described, version, &at.field("describedObject"), errors);
    }
    if of_metric {
        let name = tree.str_at(&["metric", "name"]).unwrap_or_default();
        let detail = "must specify a metric name";
        validate_required_name(name, detail, names::path_segment_name, &at.field("metric.name"), errors);
    } else if tree.text("name").is_empty() {
        errors.required(&at.field("name"), "must specify a resource name");
    } else if source == "containerResource" {
        validate_container_resource(tree.text("name"), &at.field("name"), errors);
    }
    if source == "containerResource" {
        let detail = "must specify a container";
        validate_required_name(tree.text("container"), detail, names::dns1123_label, &at.field("container"), errors);
    }
    validate_target(target, &at.field("target"), errors);
    validate_choice(source, target, &at.field("target"), errors);
}

/// Which of the values a target has to have.
fn validate_choice(source: &str, target: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (value, average) = (target.has("value"), target.has("averageValue"));
    let utilization = target.has("averageUtilization");
    match source {
        "object" if !value && !average => {
            errors.required(&at.field("averageValue"), "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.required(&at.field("averageValue"), detail);
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at.field("value"), detail);
        }
        "pods" if !average => {
            errors.required(&at.field("averageValue"), "must specify a positive target averageValue");
        }
        "resource" | "containerResource" if !utilization && !average => {
            let detail = "must set either a target raw value or a target utilization";
            errors.required(&at.field("averageUtilization"), detail);
        }
        "resource" | "containerResource" if utilization && average => {
            let detail = "may not set both a target raw value and a target utilization";
            errors.forbidden(&at.field("averageValue"), detail);
        }
        _ => {}
    }
}

fn validate_target(target: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = target.text("type");
    if kind.is_empty() {
        errors.required(&at.field("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&at.field("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        if let Some(amount) = target.present(field).and_then(quantity).filter(|amount| amount.sign() <= 0) {
            errors.invalid(&at.field(field), amount.to_string(), "must be positive");
        }
    }
    if let Some(percent @ ..1) = target.int("averageUtilization") {
        errors.invalid(&at.field("averageUtilization"), percent, "must be greater than 0");
    }
}

/// A `CrossVersionObjectReference`.
pub(super) fn validate_reference(reference: &Value, version: ApiVersion, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["kind", "name"] {
        validate_required_name(reference.text(field), "", names::path_segment_name, &at.field(field), errors);
    }
    let given = reference.text("apiVersion");
    if let Some(problem) = api_version_problem(given, version) {
        errors.invalid(&at.field("apiVersion"), given, &problem);
    }
}

fn api_version_problem(text: &str, wanted: ApiVersion) -> Option<String> {
    let slashes = if text == "/" { 0 } else { text.matches('/').count() };
    let has_group = slashes == 1 && !text.starts_with('/');
    match wanted {
        ApiVersion::Unchecked => None,
        _ if slashes > 1 => Some(format!("unexpected GroupVersion string: {text}")),
        ApiVersion::OfGroup if !has_group => Some("apiVersion must specify API group".to_owned()),
        _ => None,
    }
}
