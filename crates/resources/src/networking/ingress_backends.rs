//! Where ingresses send requests.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::checks::validate_required_name;
use crate::place::{Place, Report};
use crate::read::Read;

const PATH_TYPES: [&str; 3] = ["Exact", "ImplementationSpecific", "Prefix"];
const WRONG_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const WRONG_AT_ENDS: [&str; 2] = ["/..", "/."];

/// `http` of a rule.
pub(super) fn validate_http(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(http) = rule.present("http") else { return };
    let list = at.field("http.paths");
    if http.items("paths").is_empty() {
        errors.required(&list, "");
    }
    for (index, path) in http.items("paths").iter().enumerate() {
        validate_path(path, &list.index(index), errors);
    }
}

fn validate_path(path: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(kind) = path.present("pathType").and_then(Value::as_str) else {
        errors.required(&at.field("pathType"), "pathType must be specified");
        return;
    };
    let (text, field) = (path.text("path"), at.field("path"));
    match kind {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid(&field, text, "must be an absolute path");
            }
            for wrong in WRONG_IN_PATHS.iter().filter(|wrong| text.contains(**wrong)) {
                errors.invalid(&field, text, &format!("must not contain '{wrong}'"));
            }
            for wrong in WRONG_AT_ENDS.iter().filter(|wrong| text.ends_with(**wrong)) {
                errors.invalid(&field, text, &format!("cannot end with '{wrong}'"));
            }
        }
        "ImplementationSpecific" if text.is_empty() || text.starts_with('/') => {}
        "ImplementationSpecific" => errors.invalid(&field, text, "must be an absolute path"),
        _ => errors.unsupported(&at.field("pathType"), kind, &PATH_TYPES),
    }
    let empty = Value::object();
    validate_backend(path.present("backend").unwrap_or(&empty), &at.field("backend"), errors);
}

/// A service or another resource.
pub(super) fn validate_backend(backend: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match (backend.present("resource"), backend.present("service")) {
        (Some(_), Some(_)) => errors.invalid(at, "", "cannot set both resource and service backends"),
        (Some(resource), None) => validate_reference(resource, &at.field("resource"), errors),
        (None, Some(service)) => validate_service(service, at, errors),
        (None, None) => errors.invalid(at, "", "resource or service backend is required"),
    }
}

fn validate_service(service: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    validate_required_name(service.text("name"), "", names::dns1123_label, &at.field("service.name"), errors);
    let port = service.present("port").unwrap_or(&empty);
    let (name, number) = (port.text("name"), port.int("number").unwrap_or(0));
    match (name.is_empty(), number) {
        (false, 0) => errors.invalid_each(&at.field("service.port.name"), name, names::port_name(name)),
        (false, _) => errors.invalid(at, "", "cannot set both port name & port number"),
        (true, 0) => errors.required(at, "port name or number is required"),
        (true, number) => {
            for wrong in names::port_number(number) {
                errors.invalid(&at.field("service.port.number"), number, &wrong);
            }
        }
    }
}

/// A `TypedLocalObjectReference`.
pub(super) fn validate_reference(reference: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(group) = reference.present("apiGroup").and_then(Value::as_str) {
        errors.invalid_each(&at.field("apiGroup"), group, names::dns1123_subdomain(group));
    }
    for (field, detail) in [("kind", "kind is required"), ("name", "name is required")] {
        validate_required_name(reference.text(field), detail, names::path_segment_name, &at.field(field), errors);
    }
}
