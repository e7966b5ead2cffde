//! Expressions: that they are there and named well.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Place, Report};
use crate::read::Read;

const CONDITIONS_MAX: usize = 64;
/// Words that are no identifiers of the Common Expression Language.
const RESERVED: [&str; 22] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
    "",
];

/// `matchConditions`
pub(super) fn validate_conditions(owner: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let conditions = owner.items("matchConditions");
    if conditions.len() > CONDITIONS_MAX {
        errors.too_many(list, conditions.len(), CONDITIONS_MAX);
    }
    for (index, condition) in conditions.iter().enumerate() {
        let (at, name) = (list.index(index), condition.text("name"));
        if condition.text("expression").trim().is_empty() {
            errors.required(&at.field("expression"), "");
        }
        let at = at.field("name");
        if name.is_empty() {
            errors.required(&at, "");
            continue;
        }
        errors.invalid_each(&at, name, names::qualified_name(name));
        if conditions[..index].iter().any(|known| known.text("name") == name) {
            errors.duplicate(&at, name);
        }
    }
}

/// `variables`
pub(super) fn validate_variables(owner: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, variable) in owner.items("variables").iter().enumerate() {
        let (at, name) = (list.index(index), variable.text("name"));
        if name.trim().is_empty() {
            errors.required(&at.field("name"), "name is not specified");
        } else if !is_identifier(name) {
            errors.invalid(&at.field("name"), name, "must be a valid CEL identifier");
        }
        if variable.text("expression").trim().is_empty() {
            errors.required(&at.field("expression"), "expression is not specified");
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(start) && name.chars().all(|c| start(c) || c.is_ascii_digit()) && !RESERVED.contains(&name)
}
