//! ConfigMaps.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::cells;
use crate::place::{Place, Report};
use crate::read::{Read, same_at};
use crate::row::{Column, Resource, Strategy, Target};

/// Bytes that all values of a ConfigMap or Secret may have together.
pub(crate) const DATA_BYTES_MAX: usize = 1024 * 1024;
const FROZEN: &str = "field is immutable when `immutable` is set";

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "ConfigMap", "configmaps")
        .short_names(&["cm"])
        .columns(vec![
            Column::text("Data", "Number of entries.", |object, _| {
                (cells::count(object, "data") + cells::count(object, "binaryData")).into()
            }),
            Column::age(),
        ])
        .strategy(ConfigMap)
}

struct ConfigMap;

impl Strategy for ConfigMap {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut bytes = 0;
        for (key, value) in object.entries("data").iter() {
            let at = Place::root("data");
            errors.invalid_each(&at.key(key), key, names::config_map_key(key));
            if object.entries("binaryData").contains_key(key) {
                errors.invalid(&at.key(key), key, "duplicate of key present in binaryData");
            }
            bytes += value.as_str().unwrap_or_default().len();
        }
        for (key, value) in object.entries("binaryData").iter() {
            errors.invalid_each(&Place::root("binaryData").key(key), key, names::config_map_key(key));
            bytes += decoded_len(value.as_str().unwrap_or_default());
        }
        if bytes > DATA_BYTES_MAX {
            errors.too_long(&Place::root(""), DATA_BYTES_MAX);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_frozen(object, old, &["data", "binaryData"], &mut errors);
        errors.extend(self.validate(object));
        errors
    }
}

/// What `immutable: true` forbids.
pub(crate) fn validate_frozen(new: &Value, old: &Value, fields: &[&str], errors: &mut Vec<FieldError>) {
    if !old.flag("immutable") {
        return;
    }
    if !new.flag("immutable") {
        errors.forbidden(&Place::root("immutable"), FROZEN);
    }
    for field in fields {
        if !same_at(new, old, &[field]) {
            errors.forbidden(&Place::root(field), FROZEN);
        }
    }
}

/// Bytes that a base64 text stands for.
pub(crate) fn decoded_len(base64: &str) -> usize {
    let digits = base64.trim_end_matches('=').len();
    digits * 3 / 4
}
