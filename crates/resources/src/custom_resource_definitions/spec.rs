//! The `spec` of a definition.
//!
//! Upstream keeps what all versions have alike (schema, subresources, columns) in fields of `spec` itself that the API does not
//! show any more, and names these in errors: `spec.validation.openAPIV3Schema`.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{columns, conversion, is_established, schema, subresources};
use crate::checks::{repeats, validate_immutable, validate_required_one_of};
use crate::place::{Json, Place, Report};
use crate::read::Read;

const DEPRECATION_WARNING_BYTES_MAX: usize = 256;

/// All that is wrong with it. `old` is the definition that it changes.
pub(super) fn validate(spec: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let at = Place::root("spec");
    validate_group(spec, &at, errors);
    validate_required_one_of(spec.text("scope"), &["Cluster", "Namespaced"], &at.field("scope"), errors);
    let versions = spec.items("versions");
    for (index, version) in versions.iter().enumerate() {
        if schema::of_version(version).is_none() {
            let list = at.field("versions");
            errors.required(&list.index(index).field("schema.openAPIV3Schema"), "schemas are required");
        }
    }
    if spec.flag("preserveUnknownFields") && versions.iter().filter_map(schema::of_version).any(schema::has_defaults) {
        let detail = "must be false in order to use defaults in the schema";
        errors.invalid(&at.field("preserveUnknownFields"), true, detail);
    }
    let common = Common::of(versions);
    validate_versions(versions, &common, &at, errors);
    validate_names(spec, &at, errors);
    if let Some(first) = versions.first() {
        validate_common(first, versions, &common, &at, errors);
    }
    conversion::validate(spec, &at.field("conversion"), errors);
    if let Some(old) = old {
        validate_change(spec, old, &at, errors);
    }
}

/// What all versions have alike.
struct Common {
    schema: bool,
    subresources: bool,
    columns: bool,
    selectable: bool,
}

impl Common {
    fn of(versions: &[Value]) -> Self {
        let same = |key: &str| versions.windows(2).all(|pair| pair[0].present(key) == pair[1].present(key));
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            selectable: same("selectableFields"),
        }
    }
}

fn validate_group(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (group, at) = (spec.text("group"), at.field("group"));
    let wrong = names::dns1123_subdomain(group);
    if group.is_empty() {
        errors.required(&at, "");
    } else if !wrong.is_empty() {
        errors.invalid(&at, group, &wrong.join(","));
    } else if !group.contains('.') {
        errors.invalid(&at, group, "should be a domain with at least one dot");
    }
}

fn validate_versions(versions: &[Value], common: &Common, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("versions");
    for (index, version) in versions.iter().enumerate() {
        let at = list.index(index);
        let wrong = names::dns1035_label(version.text("name"));
        if !wrong.is_empty() {
            errors.invalid(&at.field("name"), version.text("name"), &wrong.join(","));
        }
        validate_deprecation(version, &at, errors);
        if !common.schema
            && let Some(of) = schema::of_version(version)
        {
            let has_status = version.at(&["subresources", "status"]).is_some();
            schema::validate_root(of, has_status, &at.field("schema.openAPIV3Schema"), errors);
        }
        if !common.subresources {
            subresources::validate(version, &at, errors);
        }
        if !common.columns {
            columns::validate(version, &at, errors);
        }
        if !common.selectable {
            columns::validate_selectable(version, &at, errors);
        }
    }
    let all = versions.iter().map(Json).collect::<Vec<_>>();
    let shown = || Value::Array(all.iter().map(|Json(version)| (*version).clone()).collect());
    if repeats(versions.iter().map(|version| version.text("name"))).contains(&true) {
        errors.invalid(&list, Json(&shown()), "must contain unique version names");
    }
    if versions.iter().filter(|version| version.flag("storage")).count() != 1 {
        errors.invalid(&list, Json(&shown()), "must have exactly one version marked as storage version");
    }
}

fn validate_deprecation(version: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(text) = version.present("deprecationWarning").and_then(Value::as_str) else { return };
    let at = at.field("deprecationWarning");
    if !version.flag("deprecated") {
        errors.invalid(&at, text, "can only be set for deprecated versions");
        return;
    }
    if text.len() > DEPRECATION_WARNING_BYTES_MAX {
        errors.invalid(&at, text, "must be <= 256 characters long");
    }
    if text.is_empty() {
        errors.invalid(&at, text, "must not be an empty string");
    }
    let is_printable = |c: char| !c.is_control() && (!c.is_whitespace() || c == ' ');
    if let Some((index, _)) = text.char_indices().find(|(_, c)| !is_printable(*c)) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.invalid(&at, text, &detail);
    }
}

fn validate_names(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let given = spec.get("names").unwrap_or(&Value::Null);
    let at = at.field("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if given.text(field).is_empty() {
            errors.required(&at.field(field), "");
        }
    }
    super::names::validate(given, &at, errors);
}

fn validate_common(first: &Value, versions: &[Value], common: &Common, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if common.schema
        && let Some(of) = schema::of_version(first)
    {
        let has_status = versions.iter().any(|version| version.at(&["subresources", "status"]).is_some());
        schema::validate_root(of, has_status, &at.field("validation.openAPIV3Schema"), errors);
    }
    if common.subresources {
        subresources::validate(first, at, errors);
    }
    if common.columns {
        columns::validate(first, at, errors);
    }
    if common.selectable {
        columns::validate_selectable(first, at, errors);
    }
}

/// What objects are stored under cannot change.
fn validate_change(spec: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let nothing = Value::Null;
    let old_spec = old.get("spec").unwrap_or(&nothing);
    let names = |spec: &Value| spec.get("names").cloned().unwrap_or_default();
    let (new_names, old_names, at_names) = (names(spec), names(old_spec), at.field("names"));
    if is_established(old) {
        validate_immutable(spec, old_spec, "scope", at, errors);
        validate_immutable(&new_names, &old_names, "kind", &at_names, errors);
    }
    validate_immutable(spec, old_spec, "group", at, errors);
    validate_immutable(&new_names, &old_names, "plural", &at_names, errors);
}
