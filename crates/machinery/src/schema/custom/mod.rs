//! Custom resources: structural OpenAPI v3 schemas, as a [`Type`] that the server works with.

mod types;

pub use types::{object_type, schema_at};
