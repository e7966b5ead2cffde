//! DeviceTaintRules: taints that an administrator puts on devices.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::time;

use super::{BETA_2, rules};
use crate::conditions;
use crate::core::volume_rules::validate_driver;
use crate::place::Place;
use crate::read::{Read, same_at, set_default};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

const CONDITIONS_MAX: usize = 8;
const ADDED: [&str; 3] = ["spec", "taint", "timeAdded"];

/// The row. There is no v1 of it yet.
pub fn row() -> Resource {
    Resource::new(BETA_2, "DeviceTaintRule", "devicetaintrules")
        .cluster_scoped()
        .generation()
        .subresources(&[Subresource::Status])
        .columns(vec![Column::age()])
        .strategy(DeviceTaintRule)
}

fn now() -> String {
    time::format(seams::clock::now_seconds())
}

struct DeviceTaintRule;

impl Strategy for DeviceTaintRule {
    fn default(&self, object: &mut Value) {
        if let Some(taint) = object.at_mut(&["spec", "taint"]).filter(|taint| !taint.has("timeAdded")) {
            set_default(taint, "timeAdded", now());
        }
    }

    /// The time is that of the effect, unless the client says another.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        let changed = !same_at(object, old, &["spec", "taint", "effect"]);
        if target == Target::Object && changed && same_at(object, old, &ADDED) {
            object.set_at(&ADDED, now());
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        if let Some(selector) = spec.present("deviceSelector") {
            let at = at.field("deviceSelector");
            if selector.has("driver") {
                validate_driver(selector.text("driver"), &at.field("driver"), &mut errors);
            }
            if selector.has("pool") {
                rules::validate_pool(selector.text("pool"), &at.field("pool"), &mut errors);
            }
            if selector.has("device") {
                rules::validate_label_name(selector.text("device"), &at.field("device"), &mut errors);
            }
        }
        rules::validate_taint(spec.get("taint").unwrap_or(&empty), &at.field("taint"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        if target != Target::Subresource("status") {
            return self.validate(object);
        }
        let mut errors = Vec::new();
        let at = Place::root("status");
        let list = at.field("conditions");
        let told = object.get("status").map_or(&[][..], |status| status.items("conditions"));
        conditions::validate(told, &list, &mut errors);
        rules::fits(told.len(), CONDITIONS_MAX, &list, &mut errors);
        errors
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}
