//! ResourceSlices: devices that a driver has in a pool.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::{names, time};

use super::{device, rules};
use crate::core::volume_rules::validate_driver;
use crate::place::{Json, Place, Report};
use crate::pod_spec::scheduling::validate_node_selector;
use crate::read::{Read, items_mut, present_mut, same_at, selectable, set_default};
use crate::row::{Column, Resource, SelectableField, Strategy, Target};

const DEVICES_MAX: usize = 128;
/// When some have taints or use counters.
const RICH_DEVICES_MAX: usize = 64;
const COUNTER_SETS_MAX: usize = 8;
const COUNTERS_MAX: usize = 32;
const ONE_OF: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
const UNSET_OR_TRUE: &str = "must be either unset or set to true";

/// The row of a version.
pub fn row(api_version: &str) -> Resource {
    Resource::new(api_version, "ResourceSlice", "resourceslices")
        .cluster_scoped()
        .generation()
        .columns(vec![
            Column::text("Node", "The node that has the devices.", |object, _| spec_text(object, &["nodeName"])),
            Column::text("Driver", "The driver of the devices.", |object, _| spec_text(object, &["driver"])),
            Column::text("Pool", "The pool of the devices.", |object, _| spec_text(object, &["pool", "name"])),
            Column::age(),
        ])
        .selectable(vec![
            SelectableField::new("spec.nodeName", |object| selectable(object, &["spec", "nodeName"])),
            SelectableField::new("spec.driver", |object| selectable(object, &["spec", "driver"])),
        ])
        .strategy(ResourceSlice)
}

fn spec_text(object: &Value, path: &[&str]) -> Value {
    object.get("spec").and_then(|spec| spec.str_at(path)).unwrap_or_default().into()
}

struct ResourceSlice;

impl Strategy for ResourceSlice {
    fn default(&self, object: &mut Value) {
        let Some(spec) = present_mut(object, "spec") else { return };
        for taint in items_mut(spec, "devices").iter_mut().flat_map(|device| items_mut(device, "taints")) {
            if !taint.has("timeAdded") {
                set_default(taint, "timeAdded", time::format(seams::clock::now_seconds()));
            }
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        device::drop_alpha_fields(object);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value, _target: Target) {
        device::drop_alpha_fields(object);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        validate(object, None)
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        validate(object, Some(old))
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let driver = object.str_at(&["spec", "driver"]).unwrap_or_default();
        if driver == driver.to_lowercase() {
            return Vec::new();
        }
        vec![format!("spec.driver: driver names should be lowercase; {driver:?} contains uppercase characters")]
    }
}

fn validate(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
    validate_driver(spec.text("driver"), &at.field("driver"), &mut errors);
    validate_pool(spec.get("pool").unwrap_or(&empty), &at.field("pool"), &mut errors);
    if let Some(old) = old {
        for (path, shown) in
            [(&["pool", "name"][..], "pool.name"), (&["driver"], "driver"), (&["nodeName"], "nodeName")]
        {
            let before = old.get("spec").unwrap_or(&empty);
            if !same_at(spec, before, path) {
                let value = spec.at(path).unwrap_or(&Value::Null);
                errors.invalid(&at.field(shown), Json(value), crate::checks::IMMUTABLE);
            }
        }
    }
    validate_nodes(spec, &at, &mut errors);
    if spec.has("sharedCounters") && spec.has("devices") {
        errors.invalid(&at, "", "only one of `sharedCounters` or `devices` is allowed");
    }
    validate_devices(spec, old, &at.field("devices"), &mut errors);
    validate_counter_sets(spec, &at.field("sharedCounters"), &mut errors);
    errors
}

fn validate_pool(pool: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    rules::validate_pool(pool.text("name"), &at.field("name"), errors);
    let (slices, generation) = (pool.int("resourceSliceCount").unwrap_or(0), pool.int("generation").unwrap_or(0));
    if slices <= 0 {
        errors.invalid(&at.field("resourceSliceCount"), slices, "must be greater than zero");
    }
    if generation < 0 {
        errors.invalid(&at.field("generation"), generation, "must be greater than or equal to zero");
    }
}

/// Where the devices can be used.
fn validate_nodes(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut set = Vec::new();
    if spec.has("nodeName") {
        let name = spec.text("nodeName");
        if name.is_empty() {
            errors.invalid(&at.field("nodeName"), name, "must be either unset or set to a non-empty string");
        } else {
            set.push("`nodeName`");
            errors.invalid_each(&at.field("nodeName"), name, names::dns1123_subdomain(name));
        }
    }
    if let Some(selector) = spec.present("nodeSelector") {
        set.push("`nodeSelector`");
        let place = at.field("nodeSelector");
        validate_node_selector(selector, &place, errors);
        if selector.items("nodeSelectorTerms").len() != 1 {
            let terms = Json(selector.get("nodeSelectorTerms").unwrap_or(&Value::Null));
            errors.invalid(&place.field("nodeSelectorTerms"), terms, "must have exactly one node selector term");
        }
    }
    for (field, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        if spec.flag(field) {
            set.push(shown);
        } else if spec.has(field) {
            errors.invalid(&at.field(field), false, UNSET_OR_TRUE);
        }
    }
    match set.len() {
        0 => errors.required(at, ONE_OF),
        1 => {}
        _ => {
            let all = format!("{{{}}}", set.join(", "));
            errors.invalid(at, all, &format!("{ONE_OF}, but multiple fields are set"));
        }
    }
}

fn validate_devices(spec: &Value, old: Option<&Value>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let devices = spec.items("devices");
    let rich = |device: &Value| !device.items("taints").is_empty() || !device.items("consumesCounters").is_empty();
    let max = if devices.iter().any(rich) { RICH_DEVICES_MAX } else { DEVICES_MAX };
    if !rules::fits(devices.len(), max, list, errors) {
        return;
    }
    let before = old.and_then(|old| old.get("spec")).map_or(&[][..], |spec| spec.items("devices"));
    for (index, device) in devices.iter().enumerate() {
        let before = before.iter().find(|known| known.text("name") == device.text("name"));
        device::validate(device, before, spec.flag("perDeviceNodeSelection"), &list.index(index), errors);
    }
    rules::validate_unique_by(devices, "name", list, errors);
}

fn validate_counter_sets(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let sets = spec.items("sharedCounters");
    if !rules::fits(sets.len(), COUNTER_SETS_MAX, list, errors) {
        return;
    }
    for (index, set) in sets.iter().enumerate() {
        validate_counters(set, "name", &list.index(index), errors);
    }
    rules::validate_unique_by(sets, "name", list, errors);
}

/// A set of counters: its name (in a field) and those it has.
pub(super) fn validate_counters(set: &Value, name_field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (name, place) = (set.text(name_field), at.field(name_field));
    if name.is_empty() {
        errors.required(&place, "");
    } else {
        rules::validate_label_name(name, &place, errors);
    }
    let (counters, at) = (set.entries("counters"), at.field("counters"));
    if counters.is_empty() {
        errors.required(&at, "");
    } else if rules::fits(counters.len(), COUNTERS_MAX, &at, errors) {
        for name in counters.keys() {
            rules::validate_label_name(name, &at, errors);
        }
    }
}
