//! node.k8s.io: runtime classes.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::checks::{IMMUTABLE, repeats};
use crate::metadata::validate_labels;
use crate::place::{Json, Place, Report};
use crate::pod_spec::{resources, scheduling, warnings};
use crate::read::{Read, same_at};
use crate::row::{Column, Resource, Strategy, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("node.k8s.io/v1", "RuntimeClass", "runtimeclasses")
        .cluster_scoped()
        .columns(vec![
            Column::text("Handler", "What the runtime calls it.", |object, _| object.text("handler").into()),
            Column::age(),
        ])
        .strategy(RuntimeClass)
}

struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let handler = object.text("handler");
        errors.invalid_each(&Place::root("handler"), handler, names::dns1123_label(handler));
        if let Some(overhead) = object.present("overhead") {
            // Overhead is checked as limits are.
            let mut limits = Value::object();
            limits.set_at(&["limits"], overhead.get("podFixed").cloned().unwrap_or_else(Value::object));
            resources::validate_container(&limits, &Value::object(), &Place::root("overhead"), &mut errors);
        }
        if let Some(scheduling) = object.present("scheduling") {
            validate_scheduling(scheduling, &Place::root("scheduling"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        if !same_at(object, old, &["handler"]) {
            errors.invalid(&Place::root("handler"), object.text("handler"), IMMUTABLE);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        object.get("scheduling").map(|s| warnings::of_labels(s, "scheduling.nodeSelector")).unwrap_or_default()
    }
}

fn validate_scheduling(tree: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_labels(tree, "nodeSelector", &at.field("nodeSelector"), errors);
    let list = at.field("tolerations");
    // Upstream names the list twice.
    scheduling::validate_tolerations(tree, &list.field("tolerations"), errors);
    let tolerations = tree.items("tolerations");
    let repeated =
        repeats(tolerations.iter().map(|t| ["key", "operator", "value", "effect"].map(|field| t.text(field))));
    for (index, toleration) in tolerations.iter().enumerate().filter(|(index, _)| repeated[*index]) {
        errors.duplicate(&list.index(index), Json(toleration));
    }
}
