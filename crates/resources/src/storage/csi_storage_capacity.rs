//! CSIStorageCapacities.

use machinery::field::FieldError;
use machinery::json::Value;

use super::API_VERSION;
use crate::cells;
use crate::checks::{only_new, validate_immutable};
use crate::core::persistent_volume::validate_class_name;
use crate::metadata::validate_label_selector;
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::pod_spec::warnings::deprecated_label;
use crate::read::Read;
use crate::row::{Column, Resource, Strategy, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "CSIStorageCapacity", "csistoragecapacities")
        .columns(vec![
            Column::text("StorageClassName", "The class whose capacity it is.", |object, _| {
                object.text("storageClassName").into()
            }),
            Column::text("Capacity", "How much there is.", |object, _| {
                let amount = object.get("capacity").and_then(quantity);
                amount.map_or_else(|| cells::UNSET.into(), |amount| amount.to_string().into())
            }),
        ])
        .strategy(CsiStorageCapacity)
}

struct CsiStorageCapacity;

impl Strategy for CsiStorageCapacity {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_topology(object);
        validate_rest(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = only_new(validate_topology(object), &validate_topology(old));
        validate_rest(object, &mut errors);
        // Fields at the root: their path has no parent.
        for field in ["nodeTopology", "storageClassName"] {
            let mut wrong = Vec::new();
            validate_immutable(object, old, field, &Place::root(""), &mut wrong);
            errors.extend(wrong.into_iter().map(|error| FieldError { field: field.to_owned(), ..error }));
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(topology) = object.present("nodeTopology") else { return warnings };
        for (index, expression) in topology.items("matchExpressions").iter().enumerate() {
            if let Some(text) = deprecated_label(expression.text("key")) {
                warnings
                    .push(format!("nodeTopology.matchExpressions[{index}].key: {} is {text}", expression.text("key")));
            }
        }
        for label in topology.entries("matchLabels").keys() {
            if let Some(text) = deprecated_label(label) {
                warnings.push(format!("nodeTopology.matchLabels.{label}: {text}"));
            }
        }
        warnings
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_topology(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(topology) = object.present("nodeTopology") {
        validate_label_selector(topology, &Place::root("nodeTopology"), &mut errors);
    }
    errors
}

fn validate_rest(object: &Value, errors: &mut Vec<FieldError>) {
    validate_class_name(object.text("storageClassName"), &Place::root("storageClassName"), errors);
    if let Some(amount) = object.get("capacity").and_then(quantity).filter(|amount| amount.sign() < 0) {
        errors.invalid(&Place::root("capacity"), amount.to_string(), "must be greater than or equal to 0");
    }
}
