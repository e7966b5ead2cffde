//! ResourceClaimTemplates.

use machinery::field::FieldError;
use machinery::json::Value;

use super::claim_rules;
use crate::checks::validate_immutable;
use crate::core::claim_rules::validate_template_metadata;
use crate::place::Place;
use crate::read::Read;
use crate::row::{Column, Resource, Strategy, Target};

/// The row of a version.
pub fn row(api_version: &str) -> Resource {
    Resource::new(api_version, "ResourceClaimTemplate", "resourceclaimtemplates")
        .columns(vec![Column::age()])
        .strategy(ResourceClaimTemplate)
}

struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.at_mut(&["spec", "spec"]) {
            claim_rules::default(spec);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_template_metadata(spec, &at.field("metadata"), &mut errors);
        if let Some(spec) = spec.present("spec") {
            claim_rules::validate(spec, &at.field("spec"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_immutable(object, old, "spec", &Place::root(""), &mut errors);
        errors.into_iter().map(|error| FieldError { field: "spec".to_owned(), ..error }).collect()
    }
}
