//! Validation of resource requests and limits.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;
use machinery::quantity::Quantity;

use super::qos::quantity;
use crate::place::{Place, Report};
use crate::read::Read;

const OF_CONTAINERS: [&str; 3] = ["cpu", "ephemeral-storage", "memory"];
const HUGE_PAGES: &str = "hugepages-";

/// `resources` of a container.
pub(crate) fn validate_container(resources: &Value, spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let limits = at.field("limits");
    for (name, value) in resources.entries("limits").iter() {
        validate_entry(name, value, &limits.key(name), errors);
    }
    let requests = at.field("requests");
    for (name, value) in resources.entries("requests").iter() {
        validate_entry(name, value, &requests.key(name), errors);
        if let Some(request) = quantity(value) {
            validate_against_limit(name, &request, resources, &limits, &requests, errors);
        }
    }
    let names = || resources.entries("limits").keys().chain(resources.entries("requests").keys());
    if names().any(|n| n.starts_with(HUGE_PAGES)) && !names().any(|n| matches!(n, "cpu" | "memory")) {
        errors.forbidden(at, "HugePages require cpu or memory");
    }
    validate_claims(resources, spec, &at.field("claims"), errors);
}

/// `resources` of a pod as a whole (KEP-2837).
pub(super) fn validate_pod(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(resources) = spec.present("resources") else { return };
    let at = at.field("resources");
    if resources.has("claims") {
        errors.forbidden(&at.field("claims"), "claims cannot be set for Resources at pod-level");
    }
    for list in ["limits", "requests"] {
        for name in resources.entries(list).keys() {
            if !matches!(name, "cpu" | "memory") && !name.starts_with(HUGE_PAGES) {
                errors.unsupported(&at.field(list).key(name), name, &["cpu", "hugepages-", "memory"]);
            }
        }
    }
    validate_container(resources, spec, &at, errors);
    validate_sums(spec, resources, &at, errors);
}

fn validate_sums(spec: &Value, resources: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for name in ["cpu", "memory"] {
        let mut sum = Quantity::ZERO;
        for container in spec.items("containers") {
            if let Some(request) = container.at(&["resources", "requests", name]).and_then(quantity) {
                sum.add(&request);
            }
        }
        let whole = resources.at(&["requests", name]).and_then(quantity).unwrap_or(Quantity::ZERO);
        if sum > whole {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&at.field("requests").key(name), whole.to_string(), &detail);
        }
        let Some(limit) = resources.at(&["limits", name]).and_then(quantity) else { continue };
        let list = at.field("containers");
        for (index, container) in spec.items("containers").iter().enumerate() {
            let own = container.at(&["resources", "limits", name]).and_then(quantity);
            if let Some(own) = own.filter(|own| *own > limit) {
                let detail = format!("must be less than or equal to pod limits of {limit}");
                errors.invalid(&list.index(index).key(name).field("limits"), own.to_string(), &detail);
            }
        }
    }
}

/// One resource of a list: its name and its amount.
pub(super) fn validate_entry(name: &str, value: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let domain = name.split_once('/').map(|(domain, _)| domain);
    errors.invalid_each(at, name, names::qualified_name(name));
    let native = domain.is_none_or(|domain| domain == "kubernetes.io" || domain.ends_with(".kubernetes.io"));
    match domain {
        None if OF_CONTAINERS.contains(&name) || name.starts_with(HUGE_PAGES) => {}
        None => {
            errors.invalid(at, name, "must be a standard resource type or fully qualified");
            errors.invalid(at, name, "must be a standard resource for containers");
        }
        Some(_) if !native && name.starts_with("requests.") => {
            errors.invalid(at, name, "doesn't follow extended resource name standard");
        }
        Some(_) => {}
    }
    let Some(amount) = quantity(value) else {
        let text = value.as_str().unwrap_or_default();
        errors.invalid(at, text, "must be a valid quantity");
        return;
    };
    if amount.sign() < 0 {
        errors.invalid(at, amount.to_string(), "must be greater than or equal to 0");
    }
    if !native && !amount.is_whole() {
        errors.invalid(at, amount.to_string(), "must be an integer");
    }
    if let Some(size) = name.strip_prefix(HUGE_PAGES) {
        validate_huge_pages(size, &amount, at, errors);
    }
}

fn validate_huge_pages(size: &str, amount: &Quantity, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(page) = Quantity::parse(size).ok().and_then(|q| q.as_i64()).filter(|page| *page > 0) else { return };
    if amount.as_i64().is_none_or(|bytes| bytes % page != 0) {
        let detail = format!("quantity must be a multiple of page size {size}");
        errors.invalid(at, amount.to_string(), &detail);
    }
}

fn validate_against_limit(
    name: &str,
    request: &Quantity,
    resources: &Value,
    limits: &Place<'_>,
    requests: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let native = name.split_once('/').is_none_or(|(domain, _)| domain.ends_with("kubernetes.io"));
    let overcommit = native && !name.starts_with(HUGE_PAGES);
    match resources.at(&["limits", name]).and_then(quantity) {
        Some(limit) if !overcommit && *request != limit => {
            errors.invalid(requests, request.to_string(), &format!("must be equal to {name} limit of {limit}"));
        }
        Some(limit) if *request > limit => {
            let detail = format!("must be less than or equal to {name} limit of {limit}");
            errors.invalid(requests, request.to_string(), &detail);
        }
        None if !overcommit => errors.required(limits, "Limit must be set for non overcommitable resources"),
        _ => {}
    }
}

fn validate_claims(resources: &Value, spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let claims = resources.items("claims");
    for (index, claim) in claims.iter().enumerate() {
        let name = claim.text("name");
        let at = list.index(index);
        if name.is_empty() {
            errors.required(&at.field("name"), "");
            continue;
        }
        let same = |c: &Value| c.text("name") == name && c.text("request") == claim.text("request");
        if claims[..index].iter().any(same) {
            errors.duplicate(&at, name);
        } else if !spec.items("resourceClaims").iter().any(|c| c.text("name") == name) {
            errors.not_found(&at, name);
        }
    }
}
