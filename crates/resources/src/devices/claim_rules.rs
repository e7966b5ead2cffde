//! Specs of claims: requests for devices, what they have to have in common, and how they are configured.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{rules, selectors};
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, present_mut};

const REQUESTS_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 8;
const CONSTRAINTS_MAX: usize = 32;
pub(super) const CONFIGS_MAX: usize = 32;
const SELECTORS_MAX: usize = 32;
const EXPRESSION_BYTES_MAX: usize = 10 * 1024;
const MODES: [&str; 2] = ["All", "ExactCount"];
const ONE_KIND: &str = "exactly one of `exactly` or `firstAvailable` is required";
const NO_REQUEST: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
const ONE_ATTRIBUTE: &str =
    "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";

/// One device, unless a request says otherwise.
pub(super) fn default(spec: &mut Value) {
    let Some(devices) = present_mut(spec, "devices") else { return };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = present_mut(request, "exactly") {
            default_count(exactly);
        }
        items_mut(request, "firstAvailable").iter_mut().for_each(default_count);
    }
}

fn default_count(request: &mut Value) {
    if request.text("allocationMode").is_empty() {
        request.set_at(&["allocationMode"], "ExactCount");
    }
    if request.text("allocationMode") == "ExactCount" && request.int("count").unwrap_or(0) == 0 {
        request.set_at(&["count"], 1);
    }
}

/// A claim's spec.
pub(super) fn validate(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let (devices, at) = (spec.get("devices").unwrap_or(&empty), at.field("devices"));
    let (requests, list) = (devices.items("requests"), at.field("requests"));
    if rules::fits(requests.len(), REQUESTS_MAX, &list, errors) {
        for (index, request) in requests.iter().enumerate() {
            validate_request(request, &list.index(index), errors);
        }
        rules::validate_unique_by(requests, "name", &list, errors);
    }
    let (constraints, list) = (devices.items("constraints"), at.field("constraints"));
    if rules::fits(constraints.len(), CONSTRAINTS_MAX, &list, errors) {
        for (index, constraint) in constraints.iter().enumerate() {
            validate_constraint(constraint, devices, &list.index(index), errors);
        }
    }
    let (configs, list) = (devices.items("config"), at.field("config"));
    if rules::fits(configs.len(), CONFIGS_MAX, &list, errors) {
        for (index, config) in configs.iter().enumerate() {
            validate_references(config, devices, &list.index(index), errors);
            rules::validate_configuration(config, false, &list.index(index), errors);
        }
    }
}

fn validate_request(request: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    rules::validate_label_name(request.text("name"), &at.field("name"), errors);
    let alternatives = request.items("firstAvailable");
    match (request.present("exactly"), alternatives.is_empty()) {
        (None, true) => errors.required(at, ONE_KIND),
        (Some(_), false) => {
            errors.invalid(at, Json(&Value::Null), &format!("{ONE_KIND}, but multiple fields are set"));
        }
        (Some(exactly), true) => validate_wanted(exactly, &at.field("exactly"), errors),
        (None, false) => {
            let list = at.field("firstAvailable");
            if !rules::fits(alternatives.len(), ALTERNATIVES_MAX, &list, errors) {
                return;
            }
            for (index, alternative) in alternatives.iter().enumerate() {
                let at = list.index(index);
                rules::validate_label_name(alternative.text("name"), &at.field("name"), errors);
                validate_wanted(alternative, &at, errors);
            }
            rules::validate_unique_by(alternatives, "name", &list, errors);
        }
    }
}

/// What a request asks for.
fn validate_wanted(wanted: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (class, place) = (wanted.text("deviceClassName"), at.field("deviceClassName"));
    if class.is_empty() {
        errors.required(&place, "");
    } else {
        errors.invalid_each(&place, class, names::dns1123_subdomain(class));
    }
    validate_selectors(wanted, false, &at.field("selectors"), errors);
    let (mode, count) = (wanted.text("allocationMode"), wanted.int("count").unwrap_or(0));
    match mode {
        "All" if count != 0 => {
            let detail = "must not be specified when allocationMode is 'All'";
            errors.invalid(&at.field("count"), count, detail);
        }
        "ExactCount" if count <= 0 => errors.invalid(&at.field("count"), count, "must be greater than zero"),
        "All" | "ExactCount" => {}
        _ => errors.unsupported(&at.field("allocationMode"), mode, &MODES),
    }
    rules::validate_tolerations(wanted, &at.field("tolerations"), errors);
}

/// Selectors of devices.
pub(super) fn validate_selectors(owner: &Value, stored: bool, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let selectors = owner.items("selectors");
    if !rules::fits(selectors.len(), SELECTORS_MAX, list, errors) {
        return;
    }
    for (index, selector) in selectors.iter().enumerate() {
        let at = list.index(index);
        match selector.present("cel") {
            None => errors.required(&at.field("cel"), ""),
            Some(cel) if !stored && cel.text("expression").len() > EXPRESSION_BYTES_MAX => {
                errors.too_long(&at.field("cel.expression"), EXPRESSION_BYTES_MAX);
            }
            // What is stored compiled once.
            Some(cel) if !stored => selectors::check(cel.text("expression"), &at.field("cel.expression"), errors),
            Some(_) => {}
        }
    }
}

fn validate_constraint(constraint: &Value, devices: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_references(constraint, devices, at, errors);
    for field in ["matchAttribute", "distinctAttribute"] {
        if constraint.has(field) {
            rules::validate_fully_qualified(constraint.text(field), &at.field(field), errors);
            return;
        }
    }
    errors.required(at, ONE_ATTRIBUTE);
}

/// `requests` that name requests of the claim.
pub(super) fn validate_references(owner: &Value, devices: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (names, list) = (owner.texts("requests").collect::<Vec<_>>(), at.field("requests"));
    if !rules::fits(names.len(), REQUESTS_MAX, &list, errors) {
        return;
    }
    for (index, name) in names.iter().enumerate() {
        validate_reference(name, devices, &list.index(index), errors);
    }
    rules::validate_unique(&names, &list, errors);
}

/// The name of a request, or of a request and one of its alternatives.
pub(super) fn validate_reference(name: &str, devices: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if name.matches('/').count() > 1 {
        errors.invalid(at, name, NO_REQUEST);
        return;
    }
    for segment in name.split('/') {
        rules::validate_label_name(segment, at, errors);
    }
    let (request, alternative) = name.split_once('/').map_or((name, None), |(request, rest)| (request, Some(rest)));
    let found = devices.items("requests").iter().rfind(|known| known.text("name") == request);
    let known = found.is_some_and(|request| {
        let alternatives = request.items("firstAvailable");
        alternative.is_none_or(|wanted| alternatives.iter().any(|known| known.text("name") == wanted))
    });
    if !known {
        errors.invalid(at, name, NO_REQUEST);
    }
}
