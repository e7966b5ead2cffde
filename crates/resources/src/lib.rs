//! The table of built-in resources: one file each, one line in [`table`].
//!
//! Routes, discovery, OpenAPI, printing, defaulting, validation and the generic tests all derive from these rows. A custom
//! resource is a row made at run time, so rows own their strings and travel as `Arc<Resource>`.

mod row;

pub use row::*;

use std::sync::Arc;

/// All built-in rows, in the order in which discovery lists them.
pub fn table() -> Vec<Arc<Resource>> {
    Vec::new()
}
