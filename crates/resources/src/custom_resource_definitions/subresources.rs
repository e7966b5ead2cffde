//! `status` and `scale` of a definition.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::place::{Place, Report};
use crate::read::Read;

/// The subresources of a version (or of all), which stand below `at`.
pub(super) fn validate(version: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(scale) = version.at(&["subresources", "scale"]).filter(|scale| !scale.is_null()) else { return };
    let at = at.field("subresources.scale");
    validate_path(scale, "specReplicasPath", &[".spec."], &at, errors);
    validate_path(scale, "statusReplicasPath", &[".status."], &at, errors);
    if !scale.text("labelSelectorPath").is_empty() {
        validate_path(scale, "labelSelectorPath", &[".spec.", ".status."], &at, errors);
    }
}

fn validate_path(scale: &Value, field: &str, roots: &[&str], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (path, at) = (scale.text(field), at.field(field));
    if path.is_empty() {
        errors.required(&at, "");
    } else if !path.starts_with('.') {
        errors.invalid(&at, path, "must be a simple json path starting with .");
    } else if !roots.iter().any(|root| path.starts_with(root)) {
        let detail = match roots {
            [root] => format!("should be a json path under {}", root.trim_end_matches('.')),
            _ => "should be a json path under either .spec or .status".to_owned(),
        };
        errors.invalid(&at, path, &detail);
    }
}
