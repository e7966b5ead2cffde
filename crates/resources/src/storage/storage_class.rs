//! StorageClasses.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{API_VERSION, validate_parameters, validate_provisioner};
use crate::builder::NAME_COLUMN;
use crate::checks::IMMUTABLE;
use crate::place::{Place, Report};
use crate::pod_spec::warnings::deprecated_label;
use crate::read::{Read, same_at, set_default};
use crate::row::{Cell, Column, Resource, Strategy, Target};

const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
const RECLAIM_POLICIES: [&str; 2] = ["Delete", "Retain"];
const BINDING_MODES: [&str; 2] = ["Immediate", "WaitForFirstConsumer"];

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "StorageClass", "storageclasses")
        .cluster_scoped()
        .short_names(&["sc"])
        .columns(vec![
            Column { cell: Cell::Function(name), ..NAME_COLUMN.clone() },
            Column::text("Provisioner", "Who makes its volumes.", |object, _| object.text("provisioner").into()),
            Column::text("ReclaimPolicy", "What happens to its volumes once their claims are gone.", |object, _| {
                text_or(object, "reclaimPolicy", "Delete")
            }),
            Column::text("VolumeBindingMode", "When its volumes are made.", |object, _| {
                text_or(object, "volumeBindingMode", "Immediate")
            }),
            Column::text("AllowVolumeExpansion", "Whether its volumes can grow.", |object, _| {
                object.flag("allowVolumeExpansion").into()
            }),
            Column::age(),
        ])
        .strategy(StorageClass)
}

fn name(object: &Value, _now: Timestamp) -> Value {
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    let set = |annotation: &&str| object.str_at(&["metadata", "annotations", annotation]) == Some("true");
    if DEFAULT_ANNOTATIONS.iter().any(set) { format!("{name} (default)").into() } else { name.into() }
}

fn text_or(object: &Value, field: &str, otherwise: &str) -> Value {
    if object.has(field) { object.text(field).into() } else { otherwise.into() }
}

struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, object: &mut Value) {
        set_default(object, "reclaimPolicy", "Delete");
        set_default(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_provisioner(object.text("provisioner"), &Place::root("provisioner"), &mut errors);
        validate_parameters(object, &mut errors);
        let policy = object.text("reclaimPolicy");
        if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
            errors.unsupported(&Place::root("reclaimPolicy"), policy, &RECLAIM_POLICIES);
        }
        let mode = object.text("volumeBindingMode");
        let at = Place::root("volumeBindingMode");
        if !object.has("volumeBindingMode") {
            errors.required(&at, "");
        } else if !BINDING_MODES.contains(&mode) {
            errors.unsupported(&at, mode, &BINDING_MODES);
        }
        validate_topologies(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same_at(object, old, &[field]) {
                errors.forbidden(&Place::root(field), &format!("updates to {field} are forbidden."));
            }
        }
        if !same_at(object, old, &["volumeBindingMode"]) {
            errors.invalid(&Place::root("volumeBindingMode"), object.text("volumeBindingMode"), IMMUTABLE);
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = Vec::new();
        for (index, term) in object.items("allowedTopologies").iter().enumerate() {
            for (place, expression) in term.items("matchLabelExpressions").iter().enumerate() {
                if let Some(text) = deprecated_label(expression.text("key")) {
                    let at = format!("allowedTopologies[{index}].matchLabelExpressions[{place}].key");
                    warnings.push(format!("{at}: {text}"));
                }
            }
        }
        warnings
    }
}

type Term<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

fn validate_topologies(object: &Value, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<Term<'_>> = Vec::new();
    let list = Place::root("allowedTopologies");
    for (index, term) in object.items("allowedTopologies").iter().enumerate() {
        let at = list.index(index);
        let place = at.field("matchLabelExpressions");
        let mut keys = Term::new();
        for (index, expression) in term.items("matchLabelExpressions").iter().enumerate() {
            let at = place.index(index);
            let values = validate_expression(expression, &at, errors);
            let key = expression.text("key");
            if keys.insert(key, values).is_some() {
                errors.duplicate(&at.field("key"), key);
            }
        }
        // Upstream starts from as many empty terms as there are, so an empty one is always a duplicate.
        let empty = if keys.is_empty() { object.items("allowedTopologies").len() } else { 0 };
        for _ in 0..empty + seen.iter().filter(|known| **known == keys).count() {
            errors.duplicate(&place, "");
        }
        seen.push(keys);
    }
}

fn validate_expression<'a>(expression: &'a Value, at: &Place<'_>, errors: &mut Vec<FieldError>) -> BTreeSet<&'a str> {
    let (place, mut values) = (at.field("values"), BTreeSet::new());
    if expression.items("values").is_empty() {
        errors.required(&place, "");
    }
    for (index, value) in expression.texts("values").enumerate() {
        if !values.insert(value) {
            errors.duplicate(&place.index(index), value);
        }
    }
    let key = expression.text("key");
    errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
    values
}
