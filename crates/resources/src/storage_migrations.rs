//! storagemigration.k8s.io: StorageVersionMigrations. DIVERGES: nothing performs them yet; the README says so.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;

use crate::checks::{IMMUTABLE, has_condition};
use crate::conditions;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("storagemigration.k8s.io/v1beta1", "StorageVersionMigration", "storageversionmigrations")
        .cluster_scoped()
        .subresources(&[Subresource::Status])
        .columns(vec![Column {
            format: "name".into(),
            ..Column::text("Resource", "The resource whose objects move.", resource)
        }])
        .strategy(StorageVersionMigration)
}

fn resource(object: &Value, _now: Timestamp) -> Value {
    let part = |field: &str| object.str_at(&["spec", "resource", field]).unwrap_or_default();
    match part("group") {
        "" => part("resource").into(),
        group => format!("{}.{group}", part("resource")).into(),
    }
}

struct StorageVersionMigration;

impl Strategy for StorageVersionMigration {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object.str_at(&["spec", "resource", "resource"]).unwrap_or_default().is_empty() {
            errors.required(&Place::root("spec").field("resource.resource"), "resource is required");
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return validate_status(object, old);
        }
        let mut errors = self.validate(object);
        for field in ["group", "resource"] {
            let path = ["spec", "resource", field];
            if !same_at(object, old, &path) {
                errors.invalid(&Place::root(field), object.str_at(&path).unwrap_or_default(), IMMUTABLE);
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

fn validate_status(object: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, before) = (object.get("status").unwrap_or(&empty), old.get("status").unwrap_or(&empty));
    let root = Place::root("status");
    let (version, at) = (status.text("resourceVersion"), root.field("resourceVersion"));
    match version.parse::<i64>() {
        Err(_) if !version.is_empty() => {
            let quoted = machinery::field::quoted(version);
            let detail = format!(
                "failed to parse resource version {quoted}: strconv.ParseInt: parsing {quoted}: invalid syntax"
            );
            errors.invalid(&at, version, &detail);
        }
        Ok(number) if number < 0 => errors.invalid(&at, number, "must be greater than or equal to 0"),
        _ => {}
    }
    let list = root.field("conditions");
    conditions::validate(status.items("conditions"), &list, &mut errors);
    if !before.text("resourceVersion").is_empty() && before.text("resourceVersion") != version {
        errors.invalid(&at, version, "cannot be updated");
    }
    let [running, succeeded, failed] = ["Running", "Succeeded", "Failed"].map(|kind| has_condition(status, kind));
    let wrong = [
        (succeeded && failed, "Both success and failed conditions cannot be true at the same time"),
        (succeeded && running, "Running condition cannot be true when success condition is true"),
        (failed && running, "Running condition cannot be true when failed condition is true"),
        (has_condition(before, "Succeeded") && !succeeded, "Success condition cannot be set to false once it is true"),
        (has_condition(before, "Failed") && !failed, "Failed condition cannot be set to false once it is true"),
    ];
    for (_, detail) in wrong.iter().filter(|(wrong, _)| *wrong) {
        errors.invalid(&list, Json(status.get("conditions").unwrap_or(&Value::Null)), detail);
    }
    errors
}
