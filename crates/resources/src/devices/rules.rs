//! Names, lists and maps, as the whole group has them.

use std::fmt;

use machinery::field::FieldError;
use machinery::json::{Map, Value};
use machinery::names;

use crate::core::volume_rules::validate_driver;
use crate::place::{Json, Place, Report};
use crate::read::Read;

const POOL_LENGTH_MAX: usize = names::DNS_SUBDOMAIN_LENGTH_MAX;
const IDENTIFIER_LENGTH_MAX: usize = 32;
pub(super) const QUALIFIED_LENGTH_MAX: usize = 63 + 1 + IDENTIFIER_LENGTH_MAX;
const PARAMETERS_BYTES_MAX: usize = 10 * 1024;
const TOLERATION_OPERATORS: [&str; 2] = ["Equal", "Exists"];
const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// A list that is not too long; gives back whether its elements are to be looked at.
pub(super) fn fits(length: usize, max: usize, at: &Place<'_>, errors: &mut Vec<FieldError>) -> bool {
    if length > max {
        errors.too_many(at, length, max);
    }
    length <= max
}

/// Elements that have the key of one before them.
pub(super) fn validate_unique<K: PartialEq + fmt::Display>(keys: &[K], list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, key) in keys.iter().enumerate() {
        if keys[..index].contains(key) {
            errors.duplicate(&list.index(index), key.to_string());
        }
    }
}

/// Elements whose text of a field stands before them.
pub(super) fn validate_unique_by(items: &[Value], field: &str, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let keys: Vec<&str> = items.iter().map(|item| item.text(field)).collect();
    validate_unique(&keys, list, errors);
}

/// A DNS label: names of requests, devices and counters.
pub(super) fn validate_label_name(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    errors.invalid_each(at, name, names::dns1123_label(name));
}

/// A pool's name: DNS subdomains with slashes between.
pub(super) fn validate_pool(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.required(at, "");
        return;
    }
    if name.len() > POOL_LENGTH_MAX {
        errors.too_long(at, POOL_LENGTH_MAX);
    }
    for part in name.split('/') {
        errors.invalid_each(at, part, names::dns1123_subdomain(part));
    }
}

/// An attribute's or capacity's name: an identifier, with the domain of a driver before it or none.
pub(super) fn validate_qualified(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut parts = name.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(identifier), None, _) => validate_identifier(identifier, at, errors),
        (Some(domain), Some(identifier), None) => {
            if domain.is_empty() {
                errors.invalid(at, "", "the domain must not be empty");
            } else {
                validate_driver(domain, at, errors);
            }
            if identifier.is_empty() {
                errors.invalid(at, "", "the name must not be empty");
            } else {
                validate_identifier(identifier, at, errors);
            }
        }
        _ => errors.invalid(at, name, "must not contain more than one slash"),
    }
}

/// The same, with a domain.
pub(super) fn validate_fully_qualified(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_qualified(name, at, errors);
    if !name.contains('/') {
        errors.invalid(at, name, "a fully qualified name must be a domain and a name separated by a slash");
    }
}

fn validate_identifier(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if name.len() > IDENTIFIER_LENGTH_MAX {
        errors.too_long(at, IDENTIFIER_LENGTH_MAX);
    }
    errors.invalid_each(at, name, names::c_identifier(name));
}

/// A key as paths show it: cut in the middle when it is too long.
pub(super) fn shown_key(key: &str, max: usize) -> String {
    if key.len() <= max || !key.is_ascii() {
        return key.to_owned();
    }
    let rest = max - 3;
    format!("{}...{}", &key[..rest.div_ceil(2)], &key[key.len() - rest / 2..])
}

/// An identity in its normal form.
pub(super) fn validate_uid(uid: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let parts = |text: &str| {
        let lengths: Vec<usize> = text.split('-').map(str::len).collect();
        lengths == [8, 4, 4, 4, 12] && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
    };
    let right = match uid.len() {
        36 => parts(uid),
        38 => uid.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(parts),
        45 => uid.get(..9).is_some_and(|urn| urn.eq_ignore_ascii_case("urn:uuid:")) && uid.get(9..).is_some_and(parts),
        32 => uid.bytes().all(|b| b.is_ascii_hexdigit()),
        length => {
            errors.invalid(at, uid, &format!("error validating uid: invalid UUID length: {length}"));
            return;
        }
    };
    if !right {
        errors.invalid(at, uid, "error validating uid: invalid UUID format");
    } else if uid.len() != 36 || uid.bytes().any(|b| b.is_ascii_uppercase()) {
        let detail = "uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase \
                      hexadecimal characters";
        errors.invalid(at, uid, detail);
    }
}

/// What a driver is given as it is: an object that is not too large, unless it was stored like that.
pub(super) fn validate_raw(raw: Option<&Value>, stored: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match raw {
        None | Some(Value::Null) => errors.required(at, ""),
        Some(value) if !stored && value.to_bytes().len() > PARAMETERS_BYTES_MAX => {
            errors.too_long(at, PARAMETERS_BYTES_MAX);
        }
        Some(Value::Object(_)) => {}
        Some(_) => errors.invalid(at, "<value omitted>", "must be a valid JSON object"),
    }
}

/// `opaque` configuration of a driver.
pub(super) fn validate_configuration(config: &Value, stored: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = at.field("opaque");
    let Some(opaque) = config.present("opaque") else {
        errors.required(&at, "");
        return;
    };
    validate_driver(opaque.text("driver"), &at.field("driver"), errors);
    validate_raw(opaque.get("parameters"), stored, &at.field("parameters"), errors);
}

/// `DeviceToleration`s
pub(super) fn validate_tolerations(owner: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, toleration) in owner.items("tolerations").iter().enumerate() {
        let at = list.index(index);
        let (key, operator, value) = (toleration.text("key"), toleration.text("operator"), toleration.text("value"));
        if !key.is_empty() {
            errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
        }
        match operator {
            "Exists" if !value.is_empty() => {
                errors.invalid(&at.field("value"), value, "must be empty for operator `Exists`");
            }
            "Exists" => {}
            "Equal" => errors.invalid_each(&at.field("value"), value, names::label_value(value)),
            "" => errors.required(&at.field("operator"), ""),
            _ => errors.unsupported(&at.field("operator"), operator, &TOLERATION_OPERATORS),
        }
        let effect = toleration.text("effect");
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.unsupported(&at.field("effect"), effect, &EFFECTS);
        }
    }
}

/// A `DeviceTaint`.
pub(super) fn validate_taint(taint: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
    errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
    if !value.is_empty() {
        errors.invalid_each(&at.field("value"), value, names::label_value(value));
    }
    if effect.is_empty() {
        errors.required(&at.field("effect"), "");
    } else if !EFFECTS.contains(&effect) {
        errors.unsupported(&at.field("effect"), effect, &EFFECTS);
    }
}

/// Conditions that have to be true, and those that end the wait, before a pod is bound.
pub(super) fn validate_binding_conditions(owner: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    const FIELDS: [&str; 2] = ["bindingConditions", "bindingFailureConditions"];
    const CONDITIONS_MAX: usize = 4;
    for field in FIELDS {
        let list = at.field(field);
        if fits(owner.items(field).len(), CONDITIONS_MAX, &list, errors) {
            for (index, condition) in owner.texts(field).enumerate() {
                errors.invalid_each(&list.index(index), condition, names::qualified_name(condition));
            }
        }
    }
    let all = FIELDS.map(|field| owner.texts(field).collect::<Vec<_>>());
    for (field, conditions) in FIELDS.iter().zip(&all) {
        let list = at.field(field);
        for (index, condition) in conditions.iter().enumerate() {
            if conditions[..index].contains(condition) {
                errors.duplicate(&list.index(index), *condition);
            }
            if *field == FIELDS[1] && all[0].contains(condition) {
                let detail = "bindingFailureConditions must not overlap with bindingConditions";
                errors.invalid(&list.index(index), *condition, detail);
            }
        }
    }
    for (missing, there) in [(0, 1), (1, 0)] {
        if all[missing].is_empty() && !all[there].is_empty() {
            let detail = format!("{} are required to use {}", FIELDS[missing], FIELDS[there]);
            let value = owner.get(FIELDS[missing]).unwrap_or(&Value::Null);
            errors.invalid(&at.field(FIELDS[missing]), Json(value), &detail);
        }
    }
}

/// A map: its size, its keys (told at the map) and its values.
pub(super) fn validate_map(
    map: &Map,
    key_length_max: usize,
    check_key: fn(&str, &Place<'_>, &mut Vec<FieldError>),
    mut check: impl FnMut(&Value, &Place<'_>, &mut Vec<FieldError>),
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    for (key, value) in map.iter() {
        check_key(key, at, errors);
        check(value, &at.key(&shown_key(key, key_length_max)), errors);
    }
}
