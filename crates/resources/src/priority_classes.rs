//! scheduling.k8s.io: priority classes.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::cells;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at, set_default};
use crate::row::{Column, Resource, Strategy, Target};

/// Priorities above this are the system's.
const USER_PRIORITY_MAX: i64 = 1_000_000_000;
const SYSTEM_PREFIX: &str = "system-";
/// The classes that the system has, with their values.
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The row.
pub fn row() -> Resource {
    Resource::new("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses")
        .cluster_scoped()
        .short_names(&["pc"])
        .generation()
        .columns(vec![
            Column::integer("Value", "The priority of its pods.", |object, _| cells::number(object, &["value"]).into()),
            Column::boolean("Global-Default", "Whether pods without a class get it.", |object, _| {
                object.flag("globalDefault").into()
            }),
            Column::age(),
            Column::text("PreemptionPolicy", "Whether its pods drive others away.", |object, _| {
                object.text("preemptionPolicy").into()
            }),
        ])
        .strategy(PriorityClass)
}

/// The classes of the system, as every cluster has them.
pub(crate) fn system() -> Vec<Value> {
    const DESCRIPTIONS: [&str; 2] = [
        "Used for system critical pods that must not be moved from their current node.",
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ];
    let object = |((name, value), description): (&(&str, i64), &str)| {
        let mut object = Value::object();
        object.set_at(&["apiVersion"], "scheduling.k8s.io/v1");
        object.set_at(&["kind"], "PriorityClass");
        object.set_at(&["metadata", "name"], *name);
        object.set_at(&["value"], *value);
        object.set_at(&["description"], description);
        object
    };
    SYSTEM.iter().zip(DESCRIPTIONS).map(object).collect()
}

struct PriorityClass;

impl Strategy for PriorityClass {
    fn default(&self, object: &mut Value) {
        set_default(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let value = object.int("value").unwrap_or(0);
        if name.starts_with(SYSTEM_PREFIX) {
            validate_system(object, name, value, &mut errors);
        } else if value > USER_PRIORITY_MAX {
            let detail =
                format!("maximum allowed value of a user defined priority is {USER_PRIORITY_MAX}, but it is {value}");
            errors.forbidden(&Place::root("value"), &detail);
        }
        let policy = object.text("preemptionPolicy");
        let at = Place::root("preemptionPolicy");
        match policy {
            "PreemptLowerPriority" | "Never" => {}
            "" => errors.required(&at, ""),
            _ => errors.unsupported(&at, policy, &["PreemptLowerPriority", "Never"]),
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object.int("value").unwrap_or(0) != old.int("value").unwrap_or(0) {
            errors.forbidden(&Place::root("value"), "may not be changed in an update.");
        }
        if !same_at(object, old, &["preemptionPolicy"]) {
            let policy = object.get("preemptionPolicy").unwrap_or(&Value::Null);
            errors.invalid(&Place::root("preemptionPolicy"), Json(policy), "field is immutable");
        }
        errors
    }
}

/// Names with the system's prefix are for the system's own classes, as they are.
fn validate_system(object: &Value, name: &str, value: i64, errors: &mut Vec<FieldError>) {
    let wrong = match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => format!("{name} is not a known system priority class"),
        Some((_, wanted)) if *wanted != value => format!("value of {name} PriorityClass must be {wanted}"),
        Some(_) if object.flag("globalDefault") => format!("globalDefault of {name} PriorityClass must be false"),
        Some(_) => return,
    };
    let detail =
        format!("priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {wrong}");
    errors.forbidden(&Place::root("metadata").field("name"), &detail);
}
