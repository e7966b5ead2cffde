//! What all objects share: the JSON tree, schemas, metadata, quantities, selectors, names, Status errors, patches.
//!
//! Nothing here does IO or reads a clock.

pub mod amounts;
pub mod apply;
pub mod continue_token;
pub mod duration;
pub mod entry;
pub mod error;
pub mod field;
pub mod go_regex;
pub mod gvk;
pub mod intstr;
pub mod json;
pub mod json_path;
pub mod names;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod proto;
pub mod quantity;
pub mod quota;
pub mod schedule;
pub mod schema;
pub mod selector;
pub mod time;
pub mod time_zone;
mod wire;
pub mod yaml;

pub use entry::Entry;
pub use error::ApiError;
pub use gvk::{GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use json::{Map, Value};
