//! The flowcontrol.apiserver.k8s.io group.

mod flow_schema;
pub(crate) mod objects;
mod priority_level;
mod rules;

use machinery::field::FieldError;
use machinery::json::Value;

use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::Resource;

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// The rows.
pub fn rows() -> Vec<Resource> {
    vec![flow_schema::row(), priority_level::row()]
}

/// Conditions have a type, each another.
fn validate_status(object: &Value, errors: &mut Vec<FieldError>) {
    let at = Place::root("status");
    let list = at.field("conditions");
    let conditions = object.get("status").map_or(&[][..], |status| status.items("conditions"));
    for (index, condition) in conditions.iter().enumerate() {
        let (at, kind) = (list.index(index), condition.text("type"));
        if conditions[..index].iter().any(|known| known.text("type") == kind) {
            errors.duplicate(&at.field("type"), kind);
        }
        if kind.is_empty() {
            errors.required(&at.field("type"), "must not be empty");
        }
    }
}
