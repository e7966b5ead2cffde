//! Rules of schemas (`x-kubernetes-validations`): their form, and that their expressions compile.

use machinery::field::{FieldError, Shown, quoted};
use machinery::json::Value;

use super::field_path::find;
use crate::custom::rules::{compile, type_of};
use crate::place::{Place, Report};
use crate::read::Read;

/// What is wrong with a rule apart from its expressions.
pub(super) fn validate_form(schema: &Value, rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    const REASONS: [&str; 4] =
        ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    let (text, message) = (rule.text("rule").trim(), rule.text("message"));
    let has_line_breaks = |text: &str| text.contains(['\n', '\r']);
    if text.is_empty() {
        errors.required(&at.field("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        errors.invalid(&at.field("message"), message, "message must be non-empty if specified");
    } else if has_line_breaks(message.trim()) {
        errors.invalid(&at.field("message"), message, "message must not contain line breaks");
    } else if has_line_breaks(text) && message.is_empty() {
        errors.required(&at.field("message"), "message must be specified if rule contains line breaks");
    }
    let expression = rule.text("messageExpression");
    if !expression.is_empty() && expression.trim().is_empty() {
        errors.required(&at.field("messageExpression"), "messageExpression must be non-empty if specified");
    }
    if let Some(reason) = rule.present("reason").and_then(Value::as_str).filter(|reason| !REASONS.contains(reason)) {
        errors.unsupported(&at.field("reason"), reason, &REASONS);
    }
    let path = rule.text("fieldPath");
    let at = at.field("fieldPath");
    if path.is_empty() {
        return;
    }
    if path.trim().is_empty() {
        errors.invalid(&at, path, "fieldPath must be non-empty if specified");
    }
    if has_line_breaks(path) {
        errors.invalid(&at, path, "fieldPath must not contain line breaks");
    }
    if find(schema, path).is_err() {
        errors.invalid(&at, path, "fieldPath must be a valid path");
    }
}

/// The expressions of the rules of a schema.
///
/// DIVERGES: what rules cost is bounded when they run. Upstream also estimates it beforehand, and refuses definitions whose
/// rules could cost too much for the largest values that the schema allows.
pub(super) fn validate(
    schema: &Value,
    is_root: bool,
    uncorrelated: Option<&str>,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let rules = schema.items("x-kubernetes-validations");
    let list = at.field("x-kubernetes-validations");
    if rules.is_empty() {
        return;
    }
    let Some(ty) = type_of(schema, is_root) else {
        let detail = "internal error: failed to retrieve type information for x-kubernetes-validations";
        errors.push(FieldError::internal(&machinery::field::Path::new(&list.to_string()), detail));
        return;
    };
    for (index, rule) in rules.iter().enumerate() {
        let at = list.index(index);
        let compiled = compile(rule, &ty);
        if let Err(detail) = &compiled.rule {
            errors.invalid(&at.field("rule"), Shape(rule), detail);
        }
        if let Some(Err(detail)) = &compiled.message {
            errors.invalid(&at.field("messageExpression"), Shape(rule), detail);
        }
        if let Some(within) = uncorrelated.filter(|_| compiled.uses_old) {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {within}");
            errors.invalid(&at.field("rule"), rule.text("rule"), &detail);
        }
        if rule.has("optionalOldSelf") && compiled.rule.is_ok() && !compiled.uses_old {
            let detail = "may not be set if oldSelf is not used in rule";
            errors.invalid(&at.field("optionalOldSelf"), rule.flag("optionalOldSelf"), detail);
        }
    }
}

/// A rule as upstream shows it: with Go's names of the fields.
struct Shape<'a>(&'a Value);

impl Shown for Shape<'_> {
    fn shown(&self) -> String {
        let text = |field: &str| quoted(self.0.text(field));
        let reason = self.0.present("reason").map_or_else(|| "null".to_owned(), ToString::to_string);
        let optional = self.0.present("optionalOldSelf").map_or_else(|| "null".to_owned(), ToString::to_string);
        format!(
            "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}",
            text("rule"),
            text("message"),
            text("messageExpression"),
            text("fieldPath"),
        )
    }
}
