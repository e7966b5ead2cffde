//! The three patches: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch, with upstream's errors.

mod json_patch;
mod merge;
mod order;
mod strategic;

pub use json_patch::{JSON_PATCH_COPY_BYTES_MAX, JSON_PATCH_OPERATIONS_MAX, json_patch, json_patch_issues};
pub use merge::merge_patch;
pub use strategic::strategic_merge_patch;

use crate::error::ApiError;
use crate::field::{FieldError, Path};
use crate::json::{Map, Value};
use crate::schema::{FieldIssue, FieldValidation, Type, check};

/// 422: the patch does not apply to this object. Upstream keeps the detail to itself.
fn does_not_apply() -> ApiError {
    ApiError::Other {
        code: 422,
        reason: "Invalid".to_owned(),
        message: "the server rejected our request due to an error in our request".to_owned(),
        details: Some(Map::new()),
    }
}

/// Fits what a patch made to its type. Gives the tree and warnings; `patch` is shown in errors. `duplicates` are the
/// paths which the parser found twice in the patch.
pub fn decode_patched(
    mut tree: Value,
    patch: &Value,
    duplicates: Vec<String>,
    ty: &Type,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let invalid = |detail: &str| {
        let error = FieldError::invalid(&Path::new("patch"), patch, detail);
        ApiError::invalid("", "", "", vec![error])
    };
    let mut issues: Vec<FieldIssue> = duplicates.into_iter().map(FieldIssue::Duplicate).collect();
    issues.extend(check(&mut tree, ty).map_err(|e| invalid(&e.0))?);
    let texts: Vec<String> = issues.iter().map(ToString::to_string).collect();
    match validation {
        FieldValidation::Strict if !texts.is_empty() => {
            Err(invalid(&format!("strict decoding error: {}", texts.join(", "))))
        }
        FieldValidation::Warn => Ok((tree, texts)),
        _ => Ok((tree, Vec::new())),
    }
}
