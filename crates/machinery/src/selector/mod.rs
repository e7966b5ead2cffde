//! Label and field selectors, as list and watch requests and `metav1.LabelSelector` carry them.

mod fields;
mod labels;
mod lexer;

pub use fields::{FieldSelector, FieldTerm};
pub use labels::{LabelSelector, Labels, Operator, Requirement};

use crate::error::ApiError;

/// Why a text or object is no selector, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(pub String);

impl From<SelectorError> for ApiError {
    fn from(error: SelectorError) -> Self {
        Self::BadRequest(error.0)
    }
}
