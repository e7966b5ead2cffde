//! VolumeAttributesClasses.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{validate_parameters, validate_provisioner};
use crate::place::{Place, Report};
use crate::read::{Read, same_at};
use crate::row::{Column, Resource, Strategy, Target};

/// The row of a version.
pub fn row(api_version: &str) -> Resource {
    Resource::new(api_version, "VolumeAttributesClass", "volumeattributesclasses")
        .cluster_scoped()
        .short_names(&["vac"])
        .columns(vec![
            Column::text("DriverName", "The driver that knows its parameters.", |object, _| {
                object.text("driverName").into()
            }),
            Column::age(),
        ])
        .strategy(VolumeAttributesClass)
}

struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_provisioner(object.text("driverName"), &Place::root("driverName"), &mut errors);
        if object.entries("parameters").is_empty() {
            errors.required(&Place::root("parameters"), "must contain at least one key/value pair");
        }
        validate_parameters(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for field in ["driverName", "parameters"] {
            if !same_at(object, old, &[field]) {
                errors.forbidden(&Place::root(field), &format!("updates to {field} are forbidden."));
            }
        }
        errors.extend(self.validate(object));
        errors
    }
}
