//! ResourceQuotas.

use machinery::field::FieldError;
use machinery::json::Value;

use super::quota_names::{is_standard_for_quota, validate_quota_entry};
use crate::checks::IMMUTABLE;
use crate::place::{Json, Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::{Read, set_default};
use crate::row::{Column, Resource, Strategy, Subresource, Target};

const SCOPES: [&str; 7] = [
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Scopes that have no values.
const PLAIN_SCOPES: [&str; 5] =
    ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const OF_PODS: [&str; 6] = ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "ResourceQuota", "resourcequotas")
        .short_names(&["quota"])
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("Request", "What is used of what may be asked for.", |object, _| used(object, false).into()),
            Column::text("Limit", "What is used of what limits may add up to.", |object, _| used(object, true).into()),
            Column::age(),
        ])
        .strategy(ResourceQuota)
}

/// `pods: 1/10, requests.cpu: 500m/2`
fn used(object: &Value, limits: bool) -> String {
    let status = object.get("status").unwrap_or(&Value::Null);
    let amount = |list: &str, name: &str| {
        let value = status.at(&[list, name]).and_then(quantity);
        value.map_or_else(|| "0".to_owned(), |amount| amount.to_string())
    };
    let mut names: Vec<&str> = status.entries("hard").keys().filter(|n| n.starts_with("limits.") == limits).collect();
    names.sort_unstable();
    let parts: Vec<String> =
        names.iter().map(|name| format!("{name}: {}/{}", amount("used", name), amount("hard", name))).collect();
    parts.join(", ")
}

struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_amounts(spec, "hard", &at, &mut errors);
        validate_scopes(spec, &at.field("scopes"), &mut errors);
        if let Some(selector) = spec.present("scopeSelector") {
            validate_selector(spec, selector, &at.field("scopeSelector.matchExpressions"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        let empty = Value::object();
        if target == Target::Subresource("status") {
            let mut errors = Vec::new();
            let status = object.get("status").unwrap_or(&empty);
            for field in ["hard", "used"] {
                validate_amounts(status, field, &Place::root("status"), &mut errors);
            }
            return errors;
        }
        let mut errors = self.validate(object);
        let sorted = |object: &Value| {
            let mut scopes: Vec<String> =
                object.get("spec").map(|spec| spec.texts("scopes").map(str::to_owned).collect()).unwrap_or_default();
            scopes.sort_unstable();
            scopes.dedup();
            scopes
        };
        if sorted(object) != sorted(old) {
            let scopes = object.at(&["spec", "scopes"]).unwrap_or(&Value::Null);
            errors.invalid(&Place::root("spec").field("scopes"), Json(scopes), IMMUTABLE);
        }
        errors
    }
}

fn validate_amounts(tree: &Value, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = at.field(field);
    for (name, amount) in tree.entries(field).iter() {
        validate_quota_entry(name, amount, &at.key(name), errors);
    }
}

/// Whether a scope makes sense for a resource that quotas know.
fn fits(scope: &str, name: &str) -> bool {
    match scope {
        "BestEffort" => name == "pods",
        "Terminating" | "NotTerminating" | "NotBestEffort" | "PriorityClass" | "CrossNamespacePodAffinity" => {
            name == "pods" || OF_PODS.contains(&name)
        }
        "VolumeAttributesClass" => matches!(name, "persistentvolumeclaims" | "requests.storage"),
        _ => true,
    }
}

/// How many of the limited resources a scope does not fit.
fn misfits(spec: &Value, scope: &str) -> usize {
    spec.entries("hard").keys().filter(|name| is_standard_for_quota(name) && !fits(scope, name)).count()
}

fn validate_scopes(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let all = || Json(spec.get("scopes").unwrap_or(&Value::Null));
    for scope in spec.texts("scopes") {
        if !SCOPES.contains(&scope) {
            errors.invalid(at, all(), "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            errors.invalid(at, all(), "unsupported scope applied to resource");
        }
    }
    for pair in CONFLICTS {
        if pair.iter().all(|one| spec.texts("scopes").any(|scope| scope == *one)) {
            errors.invalid(at, all(), "conflicting scopes");
        }
    }
}

fn validate_selector(spec: &Value, selector: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let requirements = selector.items("matchExpressions");
    for requirement in requirements {
        let (scope, operator) = (requirement.text("scopeName"), requirement.text("operator"));
        if !SCOPES.contains(&scope) {
            errors.invalid(&at.field("scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            errors.invalid(at, Json(selector), "unsupported scope applied to resource");
        }
        if PLAIN_SCOPES.contains(&scope) && operator != "Exists" {
            let detail = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                          ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                          ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.invalid(&at.field("operator"), operator, detail);
        }
        let values = requirement.items("values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&at.field("values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                let values = requirement.get("values").unwrap_or(&Value::Null);
                errors.invalid(&at.field("values"), Json(values), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&at.field("operator"), operator, "not a valid selector operator"),
        }
    }
    for pair in CONFLICTS {
        if pair.iter().all(|one| requirements.iter().any(|r| r.text("scopeName") == *one)) {
            let scopes = spec.get("scopes").unwrap_or(&Value::Null);
            errors.invalid(at, Json(scopes), "conflicting scopes");
        }
    }
}
