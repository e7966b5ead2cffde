//! Custom resources: structural OpenAPI v3 schemas, as a [`Type`](super::Type) by which fields are known, patched and applied,
//! and as a [`Node`] by which values are defaulted and validated.

mod defaults;
mod format;
mod lists;
mod node;
mod pattern;
mod types;
mod validate;

pub use defaults::{default, prune_nulls};
pub use format::Format;
pub use lists::validate_lists;
pub use node::{Below, Kind, Node};
pub use types::{holder, object_type};
pub use validate::validate;
