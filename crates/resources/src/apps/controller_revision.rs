//! ControllerRevisions: what daemon sets and stateful sets remember of their templates.

use machinery::field::FieldError;
use machinery::json::Value;

use super::template as shared;
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};
use crate::row::{Column, Resource, Strategy, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("apps/v1", "ControllerRevision", "controllerrevisions")
        .columns(vec![
            Column::text("Controller", "Whose revision it is.", |object, _| controller(object).into()),
            Column::integer("Revision", "Number of the revision.", |object, _| {
                cells::number(object, &["revision"]).into()
            }),
            Column::age(),
        ])
        .strategy(ControllerRevision)
}

/// `daemonset.apps/web`
fn controller(object: &Value) -> String {
    let owners = object.get("metadata").map_or(&[] as &[Value], |metadata| metadata.items("ownerReferences"));
    let Some(owner) = owners.iter().find(|owner| owner.flag("controller")) else { return cells::NONE.to_owned() };
    let kind = owner.text("kind").to_lowercase();
    let name = owner.text("name");
    match owner.text("apiVersion").split_once('/') {
        Some((group, _)) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    }
}

struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if !object.has("data") {
            errors.required(&Place::root("data"), "data is mandatory");
        }
        if let Some(revision @ ..0) = object.int("revision") {
            errors.invalid(&Place::root("revision"), revision, shared::NOT_NEGATIVE);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        if !same_at(object, old, &["data"]) {
            let data = object.get("data").unwrap_or(&Value::Null);
            errors.invalid(&Place::root("data"), Json(data), "field is immutable");
        }
        errors
    }
}
