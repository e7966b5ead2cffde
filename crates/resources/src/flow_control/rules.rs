//! Rules of flow schemas: whose requests, and which.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Json, Place, Report};
use crate::read::Read;

const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];
/// Kinds of subjects, with the fields that tell who it is.
const KINDS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
const KIND_NAMES: [&str; 3] = ["Group", "ServiceAccount", "User"];

/// `PolicyRulesWithSubjects`
pub(super) fn validate(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("subjects");
    if rule.items("subjects").is_empty() {
        errors.required(&list, "subjects must contain at least one value");
    }
    for (index, subject) in rule.items("subjects").iter().enumerate() {
        validate_subject(subject, &list.index(index), errors);
    }
    if rule.items("resourceRules").is_empty() && rule.items("nonResourceRules").is_empty() {
        errors.required(at, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    let list = at.field("resourceRules");
    for (index, rule) in rule.items("resourceRules").iter().enumerate() {
        validate_resource_rule(rule, &list.index(index), errors);
    }
    let list = at.field("nonResourceRules");
    for (index, rule) in rule.items("nonResourceRules").iter().enumerate() {
        validate_path_rule(rule, &list.index(index), errors);
    }
}

fn validate_subject(subject: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = subject.text("kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        errors.unsupported(&at.field("kind"), kind, &KIND_NAMES);
        return;
    };
    validate_who(subject, kind, own, &at.field(own), errors);
    // In the order in which upstream looks at the others.
    for field in ["serviceAccount", "user", "group"] {
        let Some((other, _)) = KINDS.iter().find(|(_, known)| *known == field) else { continue };
        if field != *own && subject.has(field) {
            errors.forbidden(&at.field(field), &format!("{field} is forbidden when subject kind is not '{other}'"));
        }
    }
}

fn validate_who(subject: &Value, kind: &str, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(who) = subject.present(field) else {
        errors.required(at, &format!("{field} is required when subject kind is '{kind}'"));
        return;
    };
    let name = who.text("name");
    if name.is_empty() {
        errors.required(&at.field("name"), "");
    }
    if kind != "ServiceAccount" {
        return;
    }
    if !name.is_empty() && name != "*" {
        errors.invalid_each(&at.field("name"), name, names::dns1123_subdomain(name));
    }
    let (namespace, at) = (who.text("namespace"), at.field("namespace"));
    if namespace.is_empty() {
        errors.required(&at, "must specify namespace for service account");
    } else {
        errors.invalid_each(&at, namespace, names::dns1123_label(namespace));
    }
}

/// What is said of a list that is empty, and of `*` that does not stand alone. Whether there is more to look at.
fn validate_list(
    rule: &Value,
    field: &str,
    empty: &str,
    others: &str,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) -> bool {
    let (at, length) = (at.field(field), rule.items(field).len());
    let all = rule.texts(field).any(|text| text == "*");
    if length == 0 {
        errors.required(&at, empty);
    } else if all && length > 1 {
        let value = Json(rule.get(field).unwrap_or(&Value::Null));
        errors.invalid(&at, value, &format!("if '*' is present, must not specify other {others}"));
    }
    length > 0 && !all
}

fn validate_verbs(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let named = validate_list(rule, "verbs", "verbs must contain at least one value", "verbs", at, errors);
    if named && rule.texts("verbs").any(|verb| !VERBS.contains(&verb)) {
        errors.unsupported(&at.field("verbs"), Json(rule.get("verbs").unwrap_or(&Value::Null)), &VERBS);
    }
}

fn validate_resource_rule(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_verbs(rule, at, errors);
    let empty = "resource rules must supply at least one api group";
    validate_list(rule, "apiGroups", empty, "api groups", at, errors);
    let empty = "resource rules must supply at least one resource";
    validate_list(rule, "resources", empty, "resources", at, errors);
    if rule.items("namespaces").is_empty() && rule.flag("clusterScope") {
        return;
    }
    let empty = "resource rules that are not cluster scoped must supply at least one namespace";
    if !validate_list(rule, "namespaces", empty, "namespaces", at, errors) {
        return;
    }
    let list = at.field("namespaces");
    for (index, namespace) in rule.texts("namespaces").enumerate() {
        for message in names::dns1123_label(namespace) {
            let detail = format!("each member of this list must be '*' or a DNS-1123 label; {message}");
            errors.invalid(&list.index(index), namespace, &detail);
        }
    }
}

fn validate_path_rule(rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_verbs(rule, at, errors);
    let empty = "nonResourceURLs must contain at least one value";
    if !validate_list(rule, "nonResourceURLs", empty, "non-resource URLs", at, errors) {
        return;
    }
    let list = at.field("nonResourceURLs");
    for (index, path) in rule.texts("nonResourceURLs").enumerate() {
        if let Some(wrong) = wrong_path(path) {
            errors.invalid(&list.index(index), path, wrong);
        }
    }
}

fn wrong_path(path: &str) -> Option<&'static str> {
    match path {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !path.starts_with('/') => Some("must start with slash"),
        _ if path.contains(' ') => Some("must not contain white-space"),
        _ if path.contains("//") => Some("must not contain double slash"),
        _ => match path.matches('*').count() {
            0 => None,
            1 if path.ends_with("/*") => None,
            _ => Some("wildcard can only do suffix matching"),
        },
    }
}
