//! ResourceClaims.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;

use super::{allocation, claim_rules};
use crate::checks::validate_immutable;
use crate::place::Place;
use crate::read::{Read, present_mut};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

/// The row of a version.
pub fn row(api_version: &str) -> Resource {
    Resource::new(api_version, "ResourceClaim", "resourceclaims")
        .subresources(&[Subresource::Status])
        .columns(vec![Column::text("State", "Whether it has its devices, and is in use.", state), Column::age()])
        .strategy(ResourceClaim)
}

fn state(object: &Value, _now: Timestamp) -> Value {
    let deleted = object.str_at(&["metadata", "deletionTimestamp"]).is_some();
    let status = object.get("status").unwrap_or(&Value::Null);
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    if status.has("allocation") {
        states.push("allocated");
        if !status.items("reservedFor").is_empty() {
            states.push("reserved");
        }
    } else if !deleted {
        states.push("pending");
    }
    states.join(",").into()
}

struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = present_mut(object, "spec") {
            claim_rules::default(spec);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        if target == Target::Subresource("status") {
            allocation::drop_deallocated(object, old);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(spec) = object.present("spec") {
            claim_rules::validate(spec, &Place::root("spec"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if target == Target::Subresource("status") {
            allocation::validate_status(object, old, &mut errors);
            return errors;
        }
        validate_immutable(object, old, "spec", &Place::root(""), &mut errors);
        errors.into_iter().map(|error| FieldError { field: "spec".to_owned(), ..error }).collect()
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}
