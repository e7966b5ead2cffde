//! Attributes of devices: a truth, a number, a text or a version each.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::place::{Json, Place, Report};
use crate::read::Read;

const VALUE_LENGTH_MAX: usize = 64;
const ONE: &str = "exactly one value must be specified";

/// `DeviceAttribute`
pub(super) fn validate(attribute: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut kinds = 0;
    for field in ["bool", "int", "string", "version"] {
        if !attribute.has(field) {
            continue;
        }
        kinds += 1;
        let (text, at) = (attribute.text(field), at.field(field));
        if field == "version" && !is_semantic_version(text) {
            errors.invalid(&at, text, "must be a string compatible with semver.org spec 2.0.0");
        }
        if text.len() > VALUE_LENGTH_MAX {
            errors.too_long(&at, VALUE_LENGTH_MAX);
        }
    }
    match kinds {
        0 => errors.invalid(at, "", ONE),
        1 => {}
        _ => errors.invalid(at, Json(attribute), ONE),
    }
}

/// `1.2.3-alpha.1+build`
fn is_semantic_version(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let numeric = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let pre_part = |part: &str| word(part) && (numeric(part) || part.bytes().any(|b| !b.is_ascii_digit()));
    core.split('.').count() == 3
        && core.split('.').all(numeric)
        && pre.is_none_or(|pre| pre.split('.').all(pre_part))
        && build.is_none_or(|build| build.split('.').all(word))
}

#[cfg(test)]
mod tests {
    use super::is_semantic_version;

    #[test]
    fn versions_are_semantic() {
        for good in ["1.2.3", "0.0.0", "1.0.0-alpha.1", "1.0.0-0a-b+001.x", "1.0.0+a-b"] {
            assert!(is_semantic_version(good), "{good}");
        }
        for bad in ["", "1.2", "01.2.3", "1.2.3-", "1.2.3-01", "1.2.3+", "v1.2.3", "1.2.3.4"] {
            assert!(!is_semantic_version(bad), "{bad}");
        }
    }
}
