//! autoscaling/v1, which knows one metric; the rest stands in annotations.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{annotations, legacy, v2};
use crate::read::{present_mut, set_default};
use crate::row::{Strategy, Target};

pub(super) struct Autoscaler;

impl Strategy for Autoscaler {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        if let Some(spec) = present_mut(object, "spec") {
            set_default(spec, "minReplicas", 1);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        annotations::keep(object, None, &annotations::OF_STATUS);
    }

    /// Annotations are parts of the spec and of the status, and follow their rules.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        let kept = if target == Target::Object { &annotations::OF_STATUS } else { &annotations::OF_SPEC };
        annotations::keep(object, Some(old), kept);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        v2::validate(&converted(object), None)
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        v2::Autoscaler.validate_update(&converted(object), &converted(old), target)
    }

    fn to_storage(&self, object: &mut Value) {
        legacy::to_v2(object);
        v2::Autoscaler.default(object);
        object.set_at(&["apiVersion"], "autoscaling/v2");
    }

    fn from_storage(&self, object: &mut Value) {
        legacy::from_v2(object);
        object.set_at(&["apiVersion"], "autoscaling/v1");
    }
}

fn converted(object: &Value) -> Value {
    let mut object = object.clone();
    legacy::to_v2(&mut object);
    object
}
