//! Rules: to which requests something applies.

use std::collections::HashSet;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, present_mut, set_default};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
/// What policies that change objects can be about.
const MUTATING_OPERATIONS: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];

/// Rules are about all scopes, unless they say so.
pub(super) fn default_rules(owner: &mut Value, list: &str) {
    for rule in items_mut(owner, list) {
        set_default(rule, "scope", "*");
    }
}

/// `MatchResources` of an owner.
pub(super) fn default_match(owner: &mut Value, field: &str) {
    let Some(resources) = present_mut(owner, field) else { return };
    default_selection(resources);
    default_rules(resources, "resourceRules");
    default_rules(resources, "excludeResourceRules");
}

/// What webhooks and policies say alike of what they match.
pub(super) fn default_selection(owner: &mut Value) {
    set_default(owner, "matchPolicy", "Equivalent");
    set_default(owner, "namespaceSelector", Value::object());
    set_default(owner, "objectSelector", Value::object());
}

/// `matchConstraints` of a policy.
pub(super) fn validate_constraints(spec: &Value, mutating: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = at.field("matchConstraints");
    let Some(constraints) = spec.present("matchConstraints") else {
        errors.required(&at, "");
        return;
    };
    validate_match(constraints, &at, errors);
    if constraints.items("resourceRules").is_empty() {
        errors.required(&at.field("resourceRules"), "");
    }
    if mutating {
        validate_mutating(constraints, &at, errors);
    }
}

/// Rules of what changes objects are not about deletions.
pub(super) fn validate_mutating(resources: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for operation in resources.items("resourceRules").iter().flat_map(|rule| rule.texts("operations")) {
        if !MUTATING_OPERATIONS.contains(&operation) {
            errors.unsupported(&at.field("resourceRules.operations"), operation, &MUTATING_OPERATIONS);
        }
    }
}

/// `MatchResources`
pub(super) fn validate_match(resources: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let policy = resources.text("matchPolicy");
    if !resources.has("matchPolicy") {
        errors.required(&at.field("matchPolicy"), "");
    } else if !MATCH_POLICIES.contains(&policy) {
        errors.unsupported(&at.field("matchPolicy"), policy, &MATCH_POLICIES);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        match resources.present(field) {
            Some(selector) => validate_label_selector(selector, &at.field(field), errors),
            None => errors.required(&at.field(field), ""),
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        let list = at.field(field);
        for (index, rule) in resources.items(field).iter().enumerate() {
            validate_names(rule, &list.index(index), errors);
            validate_rule(rule, &list.index(index), errors);
        }
    }
}

fn validate_names(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (list, names) = (at.field("resourceNames"), rule.texts("resourceNames").collect::<Vec<_>>());
    for (index, name) in names.iter().enumerate() {
        errors.invalid_each(&list.index(index), name, names::path_segment_name(name));
        if names[..index].contains(name) {
            errors.duplicate(&list.index(index), *name);
        }
    }
}

/// `RuleWithOperations`
pub(super) fn validate_rule(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_list(rule, "operations", "operations", at, errors);
    let list = at.field("operations");
    for (index, operation) in rule.texts("operations").enumerate() {
        if !OPERATIONS.contains(&operation) {
            errors.unsupported(&list.index(index), operation, &OPERATIONS);
        }
    }
    validate_list(rule, "apiGroups", "API groups", at, errors);
    validate_list(rule, "apiVersions", "API versions", at, errors);
    let list = at.field("apiVersions");
    for (index, _) in rule.texts("apiVersions").enumerate().filter(|(_, version)| version.is_empty()) {
        errors.required(&list.index(index), "");
    }
    validate_resources(rule, &at.field("resources"), errors);
    if rule.has("scope") && !SCOPES.contains(&rule.text("scope")) {
        errors.unsupported(&at.field("scope"), rule.text("scope"), &SCOPES);
    }
}

/// A list that is not empty, and holds `*` only alone.
fn validate_list(rule: &Value, field: &str, words: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = at.field(field);
    let length = rule.items(field).len();
    if length == 0 {
        errors.required(&at, "");
    }
    if length > 1 && rule.texts(field).any(|text| text == "*") {
        let value = Json(rule.get(field).unwrap_or(&Value::Null));
        errors.invalid(&at, value, &format!("if '*' is present, must not specify other {words}"));
    }
}

fn validate_resources(rule: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let resources: Vec<&str> = rule.texts("resources").collect();
    if resources.is_empty() {
        errors.required(list, "");
    }
    let (mut all_below, mut below_all) = (HashSet::new(), HashSet::new());
    let mut whole = false;
    for (index, resource) in resources.iter().enumerate() {
        let at = list.index(index);
        if resource.is_empty() {
            errors.required(&at, "");
            continue;
        }
        let Some((parent, sub)) = resource.split_once('/') else {
            whole = *resource != "*";
            continue;
        };
        if all_below.contains(parent) {
            errors.invalid(&at, *resource, &format!("if '{parent}/*' is present, must not specify {resource}"));
        }
        if below_all.contains(sub) {
            errors.invalid(&at, *resource, &format!("if '*/{sub}' is present, must not specify {resource}"));
        }
        if sub == "*" {
            all_below.insert(parent);
        }
        if parent == "*" {
            below_all.insert(sub);
        }
    }
    let value = rule.get("resources").unwrap_or(&Value::Null);
    if resources.len() > 1 && resources.contains(&"*/*") {
        errors.invalid(list, Json(value), "if '*/*' is present, must not specify other resources");
    }
    if whole && resources.contains(&"*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.invalid(list, Json(value), detail);
    }
}

/// `paramKind`
pub(super) fn validate_param_kind(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(of) = spec.present("paramKind") else { return };
    let at = at.field("paramKind");
    validate_api_version(of.text("apiVersion"), &at.field("apiVersion"), errors);
    let (kind, at) = (of.text("kind"), at.field("kind"));
    if kind.is_empty() {
        errors.required(&at, "");
        return;
    }
    let wrong = names::dns1035_label(&kind.to_lowercase());
    if !wrong.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.invalid(&at, kind, &detail);
    }
}

fn validate_api_version(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if text.is_empty() {
        errors.required(at, "");
        return;
    }
    if text.matches('/').count() > 1 {
        errors.invalid(at, text, &format!("unexpected GroupVersion string: {text}"));
        return;
    }
    let (group, version) = text.split_once('/').unwrap_or(("", text));
    let check = |part: &str, wrong: Vec<String>, errors: &mut Vec<FieldError>| {
        if !wrong.is_empty() {
            errors.invalid(at, part, &wrong.join(","));
        }
    };
    if !group.is_empty() {
        check(group, names::dns1123_subdomain(group), errors);
    }
    if version.is_empty() {
        errors.invalid(at, text, "version must be specified");
    } else {
        check(version, names::dns1035_label(version), errors);
    }
}
