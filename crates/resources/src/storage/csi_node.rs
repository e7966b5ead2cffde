//! CSINodes.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::API_VERSION;
use crate::cells;
use crate::checks::IMMUTABLE;
use crate::core::volume_rules::validate_driver;
use crate::difference::normalized;
use crate::place::{Json, Place, Report};
use crate::read::Read;
use crate::row::{Column, Resource, Strategy, Target};

const NODE_ID_LENGTH_MAX: usize = 256;

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "CSINode", "csinodes")
        .cluster_scoped()
        .columns(vec![
            Column::integer("Drivers", "Drivers that are installed on the node.", |object, _| {
                object.get("spec").map_or(0, |spec| cells::count(spec, "drivers")).into()
            }),
            Column::age(),
        ])
        .strategy(CsiNode)
}

struct CsiNode;

impl Strategy for CsiNode {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let drivers = object.get("spec").unwrap_or(&empty).items("drivers");
        let list = Place::root("spec");
        let list = list.field("drivers");
        for (index, driver) in drivers.iter().enumerate() {
            let at = list.index(index);
            validate_entry(driver, &at, &mut errors);
            if drivers[..index].iter().any(|known| known.text("name") == driver.text("name")) {
                errors.duplicate(&at.field("name"), driver.text("name"));
            }
            validate_topology(driver, &at, &mut errors);
        }
        errors
    }

    /// Drivers come and go, but do not change, besides the number of volumes they can have.
    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        let fixed = |driver: &Value| {
            let mut driver = normalized(driver);
            driver.remove_at(&["allocatable", "count"]);
            normalized(&driver)
        };
        for before in old.items("drivers") {
            let same_name = |driver: &&Value| driver.text("name") == before.text("name");
            for driver in new.items("drivers").iter().filter(same_name) {
                if fixed(driver) != fixed(before) {
                    errors.invalid(&Place::root("CSINodeDriver"), Json(driver), IMMUTABLE);
                }
            }
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_entry(driver: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_driver(driver.text("name"), &at.field("name"), errors);
    let (id, place) = (driver.text("nodeID"), at.field("nodeID"));
    if id.is_empty() {
        errors.required(&place, "");
    }
    if id.len() > NODE_ID_LENGTH_MAX {
        errors.invalid(&place, id, &format!("must be {NODE_ID_LENGTH_MAX} characters or less"));
    }
    if let Some(count) = driver.i64_at(&["allocatable", "count"]).filter(|count| *count < 0) {
        errors.invalid(&at.field("allocatable.count"), count, "must be greater than or equal to 0");
    }
}

fn validate_topology(driver: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let keys: Vec<&str> = driver.texts("topologyKeys").collect();
    for (index, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.required(at, "");
        }
        if keys[..index].contains(key) {
            errors.duplicate(at, *key);
        }
        errors.invalid_each(at, key, names::qualified_name(key));
    }
}
