//! Printer columns and selectable fields of a definition.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::json_path::JsonPath;

use super::field_path;
use super::schema::of_version;
use crate::place::{Place, Report};
use crate::read::Read;

const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const SELECTABLE_FIELDS_MAX: usize = 8;

/// The columns of a version (or of all), which stand below `at`.
pub(super) fn validate(version: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("additionalPrinterColumns");
    for (index, column) in version.items("additionalPrinterColumns").iter().enumerate() {
        validate_column(column, &list.index(index), errors);
    }
}

fn validate_column(column: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if column.text("name").is_empty() {
        errors.required(&at.field("name"), "");
    }
    let (kind, format, path) = (column.text("type"), column.text("format"), column.text("jsonPath"));
    let detail = format!("must be one of {}", TYPES.join(","));
    if kind.is_empty() {
        errors.required(&at.field("type"), &detail);
    } else if !TYPES.contains(&kind) {
        errors.invalid(&at.field("type"), kind, &detail);
    }
    if !format.is_empty() && !FORMATS.contains(&format) {
        errors.invalid(&at.field("format"), format, &format!("must be one of {}", FORMATS.join(",")));
    }
    let at_path = at.field("jsonPath");
    if path.is_empty() {
        errors.required(&at.field("JSONPath"), "");
    } else if !path.starts_with('.') {
        errors.invalid(&at.field("JSONPath"), path, "must be a simple json path starting with .");
    } else if let Err(error) = JsonPath::parse(path) {
        // DIVERGES: upstream takes a path that it cannot read, and then shows none of the columns.
        errors.invalid(&at_path, path, &format!("is an invalid path: {error}"));
    }
}

/// Selectable fields are named without brackets.
fn find_selectable<'s>(schema: &'s Value, path: &str) -> Result<(String, &'s Value), String> {
    if path.contains('[') { Err("array notation is not allowed".to_owned()) } else { field_path::find(schema, path) }
}

/// The selectable fields of a version (or of all), which stand below `at` (KEP-4358).
pub(super) fn validate_selectable(version: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let fields = version.items("selectableFields");
    let at = at.field("selectableFields");
    if fields.is_empty() {
        return;
    }
    let Some(schema) = of_version(version) else {
        errors.invalid(&at, "", "may only be set when validations.schema is included");
        return;
    };
    let mut seen: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let (path, list) = (field.text("jsonPath"), at.index(index));
        let at = list.field("jsonPath");
        if path.is_empty() {
            errors.required(&at, "");
            continue;
        }
        match find_selectable(schema, path) {
            Err(error) => errors.invalid(&at, path, &format!("is an invalid path: {error}")),
            Ok((shown, found)) => {
                if shown.split(['.', '[']).next() == Some("metadata") {
                    errors.invalid(&at, path, "must not point to fields in metadata");
                }
                if !["string", "boolean", "integer"].contains(&found.text("type")) {
                    let detail = "must point to a field of type string, boolean or integer. Enum string fields and \
                        strings with allowed formats are supported.";
                    errors.invalid(&at, path, detail);
                }
                if seen.contains(&shown) {
                    errors.duplicate(&at, path);
                } else {
                    seen.push(shown);
                }
            }
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(&at, seen.len(), SELECTABLE_FIELDS_MAX);
    }
}
