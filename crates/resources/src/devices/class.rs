//! DeviceClasses.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::claim_rules::{CONFIGS_MAX, validate_selectors};
use super::rules;
use crate::difference::normalized;
use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::{Column, Resource, Strategy, Target};

/// The row of a version.
pub fn row(api_version: &str) -> Resource {
    Resource::new(api_version, "DeviceClass", "deviceclasses")
        .cluster_scoped()
        .generation()
        .columns(vec![Column::age()])
        .strategy(DeviceClass)
}

struct DeviceClass;

impl Strategy for DeviceClass {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        validate(object, Some(old))
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
    let stored = |field: &str| {
        let list = |object: &Value| object.at(&["spec", field]).map(normalized);
        old.is_some_and(|old| list(old) == list(object))
    };
    validate_selectors(spec, stored("selectors"), &at.field("selectors"), &mut errors);
    let list = at.field("config");
    if rules::fits(spec.items("config").len(), CONFIGS_MAX, &list, &mut errors) {
        for (index, config) in spec.items("config").iter().enumerate() {
            rules::validate_configuration(config, stored("config"), &list.index(index), &mut errors);
        }
    }
    let name = spec.text("extendedResourceName");
    if spec.has("extendedResourceName") && !is_extended(name) {
        errors.invalid(&at.field("extendedResourceName"), name, "must be a valid extended resource name");
    }
    errors
}

/// Whether it is the name of a resource with a domain of its own, for which quotas can be set.
fn is_extended(name: &str) -> bool {
    let own = name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.");
    own && names::qualified_name(&format!("requests.{name}")).is_empty()
}
