//! PersistentVolumeClaims.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::claim_rules::{self as rules, validate_spec, without_tolerated};
use super::volume_rules;
use crate::checks::IMMUTABLE;
use crate::difference::{diff, normalized};
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::{Read, present_mut, selectable, set_default};
use crate::row::{Column, Resource, SelectableField, Strategy, Subresource, Target};

const IMMUTABLE_SPEC: &str =
    "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const REQUEST: [&str; 3] = ["resources", "requests", "storage"];
const RESIZE_STATUSES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
        .short_names(&["pvc"])
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("Status", "Whether it is bound.", |object, _| volume_rules::phase(object).into()),
            Column::text("Volume", "The volume it is bound to.", |object, _| {
                object.str_at(&["spec", "volumeName"]).unwrap_or_default().into()
            }),
            Column::text("Capacity", "How much its volume holds.", capacity),
            Column::text("Access Modes", "Ways in which its volume can be mounted.", access_modes),
            Column::text("StorageClass", "The class it asks for.", |object, _| volume_rules::class(object).into()),
            Column::text(
                "VolumeAttributesClass",
                "The class of attributes it asks for.",
                volume_rules::attributes_class,
            ),
            Column::age(),
            Column::text("VolumeMode", "A file system, or a raw device.", volume_rules::mode_cell).wide(),
        ])
        .selectable(vec![SelectableField::new("name", |object| selectable(object, &["metadata", "name"]))])
        .strategy(PersistentVolumeClaim)
}

fn is_bound(object: &Value) -> bool {
    object.str_at(&["spec", "volumeName"]).is_some_and(|name| !name.is_empty())
}

fn capacity(object: &Value, _now: Timestamp) -> Value {
    if is_bound(object) { volume_rules::amount(object, &["status", "capacity", "storage"]).into() } else { "".into() }
}

fn access_modes(object: &Value, _now: Timestamp) -> Value {
    let status = object.get("status").unwrap_or(&Value::Null);
    if is_bound(object) { volume_rules::short_modes(status).into() } else { "".into() }
}

struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["status", "phase"]).unwrap_or_default().is_empty() {
            object.set_at(&["status", "phase"], "Pending");
        }
        if let Some(spec) = present_mut(object, "spec") {
            set_default(spec, "volumeMode", "Filesystem");
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        object.set_at(&["status", "phase"], "Pending");
        if let Some(spec) = present_mut(object, "spec") {
            rules::settle_data_sources(spec, None);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        if target == Target::Object
            && let Some(spec) = present_mut(object, "spec")
        {
            rules::settle_data_sources(spec, old.get("spec"));
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        validate_spec(object.get("spec").unwrap_or(&empty), &Place::root("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return validate_status(object);
        }
        let mut errors = without_tolerated(self.validate(object), &self.validate(old));
        validate_change(object, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut warnings = volume_rules::class_warnings(object);
        for list in ["requests", "limits"] {
            let amount = object.at(&["spec", "resources", list, "storage"]).and_then(quantity);
            if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
                let text = format!("fractional byte value {:?} is invalid, must be an integer", amount.to_string());
                warnings.push(format!("spec.resources.{list}[storage]: {text}"));
            }
        }
        warnings
    }
}

/// Claims stay as they are, so that quotas and limits hold: a volume is bound once, a class is put where there was none, and
/// bound claims may grow.
fn validate_change(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let (mut new_spec, mut old_spec) =
        (normalized(object.get("spec").unwrap_or(&empty)), normalized(old.get("spec").unwrap_or(&empty)));
    if old_spec.text("volumeName").is_empty() {
        copy(&mut old_spec, &new_spec, &["volumeName"]);
    }
    if !upgrades_annotation(object, old) {
        volume_rules::validate_class_annotation(object, old, errors);
    }
    let (class, class_before) = (class_of(object), class_of(old));
    let annotated = volume_rules::class_annotation(old);
    let put = class_before.is_none() && class.is_some() && annotated.is_none_or(|annotated| Some(annotated) == class);
    // An empty class is another thing than none.
    if put || class == class_before {
        copy(&mut new_spec, &old_spec, &["storageClassName"]);
    } else {
        new_spec.set_at(&["storageClassName"], class.unwrap_or_default());
        old_spec.set_at(&["storageClassName"], class_before.unwrap_or("nil"));
    }
    if object.str_at(&["status", "phase"]) == Some("Bound") {
        copy(&mut new_spec, &old_spec, &REQUEST);
    }
    copy(&mut new_spec, &old_spec, &["volumeAttributesClassName"]);
    if new_spec != old_spec {
        let detail = format!("{IMMUTABLE_SPEC}\n{}", diff("core.PersistentVolumeClaimSpec", &old_spec, &new_spec));
        errors.forbidden(&Place::root("spec"), &detail);
    }
    validate_sizes(object, old, errors);
    let mode = |claim: &Value| claim.str_at(&["spec", "volumeMode"]).map(str::to_owned);
    if mode(object) != mode(old) {
        errors.invalid(&Place::root("volumeMode"), mode(object).unwrap_or_default(), IMMUTABLE);
    }
}

fn copy(to: &mut Value, from: &Value, path: &[&str]) {
    match from.at(path) {
        Some(value) => to.set_at(path, value.clone()),
        None => {
            to.remove_at(path);
        }
    }
}

fn class_of(claim: &Value) -> Option<&str> {
    claim.str_at(&["spec", "storageClassName"])
}

/// Whether the class moves from the old annotation into the spec.
fn upgrades_annotation(object: &Value, old: &Value) -> bool {
    let (now, before) = (volume_rules::class_annotation(object), volume_rules::class_annotation(old));
    before.is_some() && class_of(old).is_none() && class_of(object) == before && (now.is_none() || now == before)
}

/// A claim shrinks only to undo a growth that did not come about.
fn validate_sizes(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let wanted = |claim: &Value| claim.at(&["spec", "resources", "requests", "storage"]).and_then(quantity);
    let (now, before) = (wanted(object).unwrap_or_default(), wanted(old).unwrap_or_default());
    let has = old.at(&["status", "capacity", "storage"]).and_then(quantity).unwrap_or_default();
    if now < before && now <= has {
        let at = Place::root("spec");
        errors.forbidden(&at.field("resources.requests.storage"), "field can not be less than status.capacity");
    }
}

fn validate_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, root) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    if object.at(&["spec", "accessModes"]).and_then(Value::as_array).is_none_or(Vec::is_empty) {
        errors.required(&Place::root("Spec").field("accessModes"), "");
    }
    let at = root.field("capacity");
    for (resource, value) in status.entries("capacity").iter() {
        validate_amount(value, &at.key(resource), &mut errors);
    }
    let at = root.field("allocatedResourceStatuses");
    for (resource, value) in status.entries("allocatedResourceStatuses").iter() {
        validate_resource(resource, &at, &mut errors);
        if !RESIZE_STATUSES.contains(&value.as_str().unwrap_or_default()) {
            errors.unsupported(&at, resource, &RESIZE_STATUSES);
        }
    }
    let at = root.field("allocatedResources");
    for (resource, value) in status.entries("allocatedResources").iter() {
        if validate_resource(resource, &at, &mut errors) {
            validate_amount(value, &at.key(resource), &mut errors);
        }
    }
    errors
}

fn validate_amount(value: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(amount) = quantity(value).filter(|amount| amount.sign() < 0) {
        errors.invalid(at, amount.value(), "must be a valid resource quantity");
    }
}

/// Of the resources without a domain, and of Kubernetes' own, only storage is one of claims. Whether it is right.
fn validate_resource(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) -> bool {
    let before = errors.len();
    errors.invalid_each(at, name, names::qualified_name(name));
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    if errors.len() == before && native && name != "storage" {
        errors.unsupported(at, name, &["storage"]);
    }
    errors.len() == before
}
