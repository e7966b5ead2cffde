//! Names of a definition, as asked for and as accepted.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::read::Read;

/// Names that are given look as they should.
pub(super) fn validate(given: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["plural", "singular"] {
        label(given.text(field), &at.field(field), errors);
    }
    for field in ["kind", "listKind"] {
        let name = given.text(field);
        let wrong = names::dns1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid(&at.field(field), name, &detail);
        }
    }
    list(given, "shortNames", at, errors);
    if !given.text("kind").is_empty() && given.text("kind") == given.text("listKind") {
        errors.invalid(&at.field("listKind"), given.text("listKind"), "kind and listKind may not be the same");
    }
    list(given, "categories", at, errors);
}

/// A list of labels, none of which is empty.
fn list(given: &Value, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, name) in given.texts(field).enumerate() {
        let wrong = names::dns1035_label(name);
        if !wrong.is_empty() {
            errors.invalid(&at.field(field).index(index), name, &wrong.join(","));
        }
    }
}

/// A label, if one is given.
fn label(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let wrong = names::dns1035_label(name);
    if !name.is_empty() && !wrong.is_empty() {
        errors.invalid(at, name, &wrong.join(","));
    }
}
