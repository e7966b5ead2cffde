//! One device of a slice.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::slice::validate_counters;
use super::{attributes, capacity, rules};
use crate::difference::normalized;
use crate::place::{Json, Place, Report};
use crate::pod_spec::scheduling::validate_node_selector;
use crate::read::{Read, items_mut, present_mut};

/// Attributes and capacities that a device has together.
const PROPERTIES_MAX: usize = 32;
const ATTRIBUTE_VALUES_MAX: usize = 48;
const TAINTS_MAX: usize = 16;
const CONSUMPTIONS_MAX: usize = 2;
/// Fields of attributes that hold lists.
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];
const ONE_OF: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is \
                      set to true in the ResourceSlice spec";
const ONLY_THEN: &str = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true \
                         in the ResourceSlice spec";

/// Fields of features that are off by default (DRAListTypeAttributes and DRANodeAllocatableResources, both alpha) are
/// dropped, as upstream drops them.
pub(super) fn drop_alpha_fields(object: &mut Value) {
    let Some(spec) = present_mut(object, "spec") else { return };
    for device in items_mut(spec, "devices") {
        device.remove_at(&["nodeAllocatableResourceMappings"]);
        let Some(attributes) = device.get_mut("attributes").and_then(Value::as_object_mut) else { continue };
        for (_, attribute) in attributes.iter_mut() {
            for list in LISTS {
                attribute.remove_at(&[list]);
            }
        }
    }
}

/// A device; what did not change of the one before is not judged again.
pub(super) fn validate(
    device: &Value,
    before: Option<&Value>,
    node_per_device: bool,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let changed = |field: &str| {
        let part = |device: &Value| device.get(field).map(normalized);
        before.is_none_or(|before| part(before) != part(device))
    };
    rules::validate_label_name(device.text("name"), &at.field("name"), errors);
    validate_size(device, at, errors);
    let key = rules::QUALIFIED_LENGTH_MAX;
    let (all, place) = (device.entries("attributes"), at.field("attributes"));
    rules::validate_map(all, key, rules::validate_qualified, attributes::validate, &place, errors);
    if changed("capacity") {
        let shared = device.flag("allowMultipleAllocations");
        let check = |value: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>| {
            capacity::validate(value, shared, at, errors);
        };
        let (all, place) = (device.entries("capacity"), at.field("capacity"));
        rules::validate_map(all, key, rules::validate_qualified, check, &place, errors);
    }
    let (taints, list) = (device.items("taints"), at.field("taints"));
    if changed("taints") && rules::fits(taints.len(), TAINTS_MAX, &list, errors) {
        for (index, taint) in taints.iter().enumerate() {
            rules::validate_taint(taint, &list.index(index), errors);
        }
    }
    let (consumptions, list) = (device.items("consumesCounters"), at.field("consumesCounters"));
    if rules::fits(consumptions.len(), CONSUMPTIONS_MAX, &list, errors) {
        for (index, consumption) in consumptions.iter().enumerate() {
            validate_counters(consumption, "counterSet", &list.index(index), errors);
        }
        rules::validate_unique_by(consumptions, "counterSet", &list, errors);
    }
    validate_nodes(device, node_per_device, at, errors);
    rules::validate_binding_conditions(device, at, errors);
}

fn validate_size(device: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let attributes = device.entries("attributes");
    let properties = attributes.len() + device.entries("capacity").len();
    if properties > PROPERTIES_MAX {
        let detail = format!("the total number of attributes and capacities must not exceed {PROPERTIES_MAX}");
        errors.invalid(at, properties, &detail);
    }
    if attributes.len() > ATTRIBUTE_VALUES_MAX {
        let detail = format!("the total number of attribute values must not exceed {ATTRIBUTE_VALUES_MAX}");
        errors.invalid(at, attributes.len(), &detail);
    }
}

fn validate_nodes(device: &Value, per_device: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    if !per_device {
        if fields.iter().any(|field| device.has(field)) {
            errors.invalid(at, Json(&Value::Null), ONLY_THEN);
        }
        return;
    }
    let mut set = Vec::new();
    if device.has("nodeName") {
        let name = device.text("nodeName");
        if name.is_empty() {
            errors.invalid(&at.field("nodeName"), name, "must not be empty");
        } else {
            set.push("`nodeName`");
            errors.invalid_each(&at.field("nodeName"), name, names::dns1123_subdomain(name));
        }
    }
    if let Some(selector) = device.present("nodeSelector") {
        set.push("`nodeSelector`");
        validate_node_selector(selector, &at.field("nodeSelector"), errors);
    }
    if device.flag("allNodes") {
        set.push("`allNodes`");
    } else if device.has("allNodes") {
        errors.invalid(&at.field("allNodes"), false, "must be either unset or set to true");
    }
    match set.len() {
        0 => errors.required(at, ONE_OF),
        1 => {}
        _ => errors.invalid(at, format!("{{{}}}", set.join(", ")), ONE_OF),
    }
}
