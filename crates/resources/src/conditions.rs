//! Lists of `metav1.Condition`.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::read::Read;

const REASON_LENGTH_MAX: usize = 1024;
const MESSAGE_LENGTH_MAX: usize = 32 * 1024;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of \
    alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or \
    'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
    '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Each condition of a list, and that types stand once.
pub(crate) fn validate(conditions: &[Value], list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, condition) in conditions.iter().enumerate() {
        let (at, kind) = (list.index(index), condition.text("type"));
        if conditions[..index].iter().any(|known| known.text("type") == kind) {
            errors.duplicate(&at.field("type"), kind);
        }
        validate_one(condition, &at, errors);
    }
}

fn validate_one(condition: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (kind, status, reason) = (condition.text("type"), condition.text("status"), condition.text("reason"));
    errors.invalid_each(&at.field("type"), kind, names::qualified_name(kind));
    if !["False", "True", "Unknown"].contains(&status) {
        errors.unsupported(&at.field("status"), status, &["False", "True", "Unknown"]);
    }
    if let Some(generation) = condition.int("observedGeneration").filter(|generation| *generation < 0) {
        errors.invalid(&at.field("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if condition.text("lastTransitionTime").is_empty() {
        errors.required(&at.field("lastTransitionTime"), "");
    }
    let at_reason = at.field("reason");
    if reason.is_empty() {
        errors.required(&at_reason, "");
    } else {
        if !is_reason(reason) {
            errors.invalid(&at_reason, reason, REASON);
        }
        if reason.len() > REASON_LENGTH_MAX {
            errors.too_long(&at_reason, REASON_LENGTH_MAX);
        }
    }
    if condition.text("message").len() > MESSAGE_LENGTH_MAX {
        errors.too_long(&at.field("message"), MESSAGE_LENGTH_MAX);
    }
}

fn is_reason(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(|b| word(*b))
        && bytes.iter().all(|b| word(*b) || b",:".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_judged_in_upstreams_words() {
        let list = r#"[{"type":"Ready","status":"True","reason":"Because","lastTransitionTime":"2026-01-01T00:00:00Z"},
            {"type":"Ready","status":"Maybe","reason":"1","observedGeneration":-1}]"#;
        let list = Value::parse(list.as_bytes()).expect("the test's own text");
        let mut errors = Vec::new();
        validate(list.as_array().expect("it is a list"), &Place::root("status.conditions"), &mut errors);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let wanted = [
            "status.conditions[1].type: Duplicate value: \"Ready\"".to_owned(),
            "status.conditions[1].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\""
                .to_owned(),
            "status.conditions[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero".to_owned(),
            "status.conditions[1].lastTransitionTime: Required value".to_owned(),
            format!("status.conditions[1].reason: Invalid value: \"1\": {REASON}"),
        ];
        assert_eq!(shown, wanted);
    }
}
