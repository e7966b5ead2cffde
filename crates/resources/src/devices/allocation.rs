//! Statuses of claims: the devices that were allocated, who uses them, and what drivers tell of them.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{claim_rules, rules};
use crate::addresses::Cidr;
use crate::checks::IMMUTABLE;
use crate::conditions;
use crate::core::volume_rules::validate_driver;
use crate::difference::normalized;
use crate::place::{Json, Place, Report};
use crate::pod_spec::scheduling::validate_node_selector;
use crate::read::Read;

const RESULTS_MAX: usize = 32;
/// Configurations of the class and of the claim.
const CONFIGS_MAX: usize = 2 * claim_rules::CONFIGS_MAX;
const CONSUMERS_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const INTERFACE_BYTES_MAX: usize = 256;
const HARDWARE_BYTES_MAX: usize = 128;
const IPS_MAX: usize = 16;
const SOURCES: [&str; 2] = ["FromClaim", "FromClass"];

/// Which device, and which share of it.
fn identity(device: &Value) -> String {
    let of = [device.text("driver"), device.text("pool"), device.text("device")].join("/");
    if device.has("shareID") { format!("{of}/{}", device.text("shareID")) } else { of }
}

fn results(claim: &Value) -> &[Value] {
    claim.at(&["status", "allocation", "devices"]).map_or(&[], |devices| devices.items("results"))
}

/// What drivers said of devices that are no longer the claim's goes.
pub(super) fn drop_deallocated(object: &mut Value, old: &Value) {
    let device = |of: &Value| [of.text("driver"), of.text("pool"), of.text("device")].map(str::to_owned);
    let now: Vec<_> = results(object).iter().map(device).collect();
    let gone: Vec<_> = results(old).iter().map(device).filter(|device| !now.contains(device)).collect();
    let Some(Value::Array(devices)) = object.at_mut(&["status", "devices"]) else { return };
    devices.retain(|status| !gone.contains(&device(status)));
    if devices.is_empty() {
        object.remove_at(&["status", "devices"]);
    }
}

/// A changed status.
pub(super) fn validate_status(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    let before = old.get("status").unwrap_or(&empty);
    let (consumers, list) = (status.items("reservedFor"), at.field("reservedFor"));
    if rules::fits(consumers.len(), CONSUMERS_MAX, &list, errors) {
        for (index, consumer) in consumers.iter().enumerate() {
            for field in ["resource", "name", "uid"].into_iter().filter(|field| consumer.text(field).is_empty()) {
                errors.required(&list.index(index).field(field), "");
            }
        }
        rules::validate_unique_by(consumers, "uid", &list, errors);
    }
    let allocated: Vec<String> = results(object).iter().map(identity).collect();
    let devices = at.field("devices");
    for (index, device) in status.items("devices").iter().enumerate() {
        validate_device(device, &allocated, &devices.index(index), errors);
    }
    let identities: Vec<String> = status.items("devices").iter().map(identity).collect();
    rules::validate_unique(&identities, &devices, errors);
    if !consumers.is_empty() {
        let added = consumers.iter().any(|consumer| !before.items("reservedFor").contains(consumer));
        if !status.has("allocation") {
            errors.forbidden(&list, "may not be specified when `allocated` is not set");
        } else if object.str_at(&["metadata", "deletionTimestamp"]).is_some() && added {
            let detail = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(&list, detail);
        }
    }
    let at = at.field("allocation");
    match (status.present("allocation"), before.present("allocation")) {
        (Some(new), Some(old)) if normalized(new) != normalized(old) => errors.invalid(&at, Json(new), IMMUTABLE),
        (Some(new), None) => validate_allocation(new, object, &at, errors),
        _ => {}
    }
}

fn validate_allocation(allocation: &Value, claim: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let wanted = claim.at(&["spec", "devices"]).unwrap_or(&empty);
    let (devices, place) = (allocation.get("devices").unwrap_or(&empty), at.field("devices"));
    let (results, list) = (devices.items("results"), place.field("results"));
    if rules::fits(results.len(), RESULTS_MAX, &list, errors) {
        for (index, result) in results.iter().enumerate() {
            validate_result(result, wanted, &list.index(index), errors);
        }
    }
    let (configs, list) = (devices.items("config"), place.field("config"));
    if rules::fits(configs.len(), CONFIGS_MAX, &list, errors) {
        for (index, config) in configs.iter().enumerate() {
            let (at, source) = (list.index(index), config.text("source"));
            if source.is_empty() {
                errors.required(&at.field("source"), "");
            } else if !SOURCES.contains(&source) {
                errors.unsupported(&at.field("source"), source, &SOURCES);
            }
            claim_rules::validate_references(config, wanted, &at, errors);
            rules::validate_configuration(config, false, &at, errors);
        }
    }
    if let Some(selector) = allocation.present("nodeSelector") {
        validate_node_selector(selector, &at.field("nodeSelector"), errors);
    }
}

fn validate_result(result: &Value, wanted: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    claim_rules::validate_reference(result.text("request"), wanted, &at.field("request"), errors);
    validate_names(result, at, errors);
    rules::validate_binding_conditions(result, at, errors);
    rules::validate_tolerations(result, &at.field("tolerations"), errors);
    if result.has("shareID") {
        rules::validate_uid(result.text("shareID"), &at.field("shareID"), errors);
    }
}

fn validate_names(device: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_driver(device.text("driver"), &at.field("driver"), errors);
    rules::validate_pool(device.text("pool"), &at.field("pool"), errors);
    rules::validate_label_name(device.text("device"), &at.field("device"), errors);
}

fn validate_device(device: &Value, allocated: &[String], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_names(device, at, errors);
    if device.has("shareID") {
        rules::validate_uid(device.text("shareID"), &at.field("shareID"), errors);
    }
    let identity = identity(device);
    if !allocated.contains(&identity) {
        errors.invalid(at, identity, "must be an allocated device in the claim");
    }
    let (list, told) = (at.field("conditions"), device.items("conditions"));
    rules::fits(told.len(), CONDITIONS_MAX, &list, errors);
    conditions::validate(told, &list, errors);
    if device.has("data") {
        rules::validate_raw(device.get("data"), false, &at.field("data"), errors);
    }
    if let Some(data) = device.present("networkData") {
        validate_network(data, &at.field("networkData"), errors);
    }
}

fn validate_network(data: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (field, max) in [("interfaceName", INTERFACE_BYTES_MAX), ("hardwareAddress", HARDWARE_BYTES_MAX)] {
        if data.text(field).len() > max {
            errors.too_long(&at.field(field), max);
        }
    }
    let (ips, list) = (data.texts("ips").collect::<Vec<_>>(), at.field("ips"));
    if !rules::fits(ips.len(), IPS_MAX, &list, errors) {
        return;
    }
    for (index, ip) in ips.iter().enumerate() {
        let Some(cidr) = Cidr::parse(ip) else {
            let detail = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            errors.invalid(&list.index(index), *ip, detail);
            continue;
        };
        let canonical = cidr.canonical();
        if canonical != *ip {
            errors.invalid(&list.index(index), *ip, &format!("must be in canonical form ({canonical:?})"));
        }
    }
    rules::validate_unique(&ips, &list, errors);
}
