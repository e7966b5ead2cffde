//! What all objects share: the JSON tree, schemas, metadata, quantities, selectors, names, Status errors, patches.
//!
//! Nothing here does IO or reads a clock.

pub mod entry;
pub mod error;
pub mod field;
pub mod gvk;
pub mod json;
pub mod object;

pub use entry::Entry;
pub use error::ApiError;
pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use json::{Map, Value};
