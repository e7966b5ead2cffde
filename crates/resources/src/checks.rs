//! Checks of values that resources of several groups share.

use std::collections::HashSet;
use std::hash::Hash;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};

/// What upstream says of a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// `acme.io/foo`: a domain, a slash and a path.
pub(crate) fn validate_domain_prefixed_path(value: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if value.is_empty() {
        errors.required(at, "");
        return;
    }
    let parts = value.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty());
    let Some((host, path)) = parts else {
        errors.invalid(at, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    errors.invalid_each(at, host, names::dns1123_subdomain(host));
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
        let detail = r"Invalid path (regex used for validation is '[A-Za-z0-9/\-._~%!$&'()*+,;=:]+')";
        errors.invalid(at, path, detail);
    }
}

/// A field below an object (`spec`, …) has the value that it had.
pub(crate) fn validate_immutable(new: &Value, old: &Value, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !same_at(new, old, &[field]) {
        let value = new.get(field).unwrap_or(&Value::Null);
        errors.invalid(&at.field(field), Json(value), IMMUTABLE);
    }
}

/// A text that has to be one of some.
pub(crate) fn validate_one_of(text: &str, known: &[&str], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !known.contains(&text) {
        errors.unsupported(at, text, known);
    }
}

/// The same, with an error of its own for none.
pub(crate) fn validate_required_one_of(text: &str, known: &[&str], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if text.is_empty() {
        errors.required(at, "");
    } else {
        validate_one_of(text, known, at, errors);
    }
}

/// A name that has to be there and to look in a certain way.
pub(crate) fn validate_required_name(
    text: &str,
    detail: &str,
    check: fn(&str) -> Vec<String>,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    if text.is_empty() {
        errors.required(at, detail);
    } else {
        errors.invalid_each(at, text, check(text));
    }
}

/// Whether a list of conditions has one of a type that is true.
pub(crate) fn has_condition(status: &Value, kind: &str) -> bool {
    status.items("conditions").iter().any(|c| c.text("type") == kind && c.text("status") == "True")
}

/// What is wrong now and was not before: objects that break a newer rule can still be changed elsewhere.
pub(crate) fn only_new(errors: Vec<FieldError>, before: &[FieldError]) -> Vec<FieldError> {
    errors.into_iter().filter(|error| !before.contains(error)).collect()
}

/// `[]T{…}` of texts as Go prints them with `%q`: `["a" "b"]`.
pub(crate) fn go_list(texts: &[&str]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

/// For each of some keys, whether it stood before; in time that grows with their number only.
pub(crate) fn repeats<K: Hash + Eq>(keys: impl IntoIterator<Item = K>) -> Vec<bool> {
    let mut seen = HashSet::new();
    keys.into_iter().map(|key| !seen.insert(key)).collect()
}
