//! Validation of the status of pods.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::addresses::{is_ip, validate_ip};
use crate::place::{Json, Place, Report};
use crate::read::Read;

/// A write of `status`.
pub(super) fn validate(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, before) = (new.get("status").unwrap_or(&empty), old.get("status").unwrap_or(&empty));
    let spec = old.get("spec").unwrap_or(&empty);
    let at = Place::root("status");
    validate_conditions(status, &mut errors);
    let nominated = status.text("nominatedNodeName");
    if !nominated.is_empty() && nominated != before.text("nominatedNodeName") {
        errors.invalid_each(&at.field("nominatedNodeName"), nominated, names::dns1123_subdomain(nominated));
    }
    if status.text("qosClass") != before.text("qosClass") {
        errors.invalid(&at.field("qosClass"), status.text("qosClass"), "field is immutable");
    }
    let policy = spec.text("restartPolicy");
    for (list, policy) in
        [("containerStatuses", policy), ("initContainerStatuses", policy), ("ephemeralContainerStatuses", "Never")]
    {
        validate_transitions(status, before, spec, list, policy, &at.field(list), &mut errors);
    }
    validate_addresses(status, &at, &mut errors);
    errors
}

fn validate_conditions(status: &Value, errors: &mut Vec<FieldError>) {
    let root = Place::root("status");
    let list = root.field("conditions");
    for (index, condition) in status.items("conditions").iter().enumerate() {
        let kind = condition.text("type");
        if let Some(generation) = condition.int("observedGeneration").filter(|generation| *generation < 0) {
            let at = list.index(index);
            errors.invalid(&at.field("observedGeneration"), generation, "must be a non-negative integer");
        }
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            errors.invalid_each(&list.index(index).field("Type"), kind, names::qualified_name(kind));
        }
    }
}

/// What has ended for good does not run again.
fn validate_transitions(
    new: &Value,
    old: &Value,
    spec: &Value,
    list: &str,
    policy: &str,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    if policy == "Always" {
        return;
    }
    let own = |name: &str| {
        let all = spec.items("containers").iter().chain(spec.items("initContainers"));
        all.filter(|c| c.text("name") == name).find(|c| c.has("restartPolicy"))
    };
    for (index, before) in old.items(list).iter().enumerate() {
        let Some(ended) = before.at(&["state", "terminated"]).filter(|t| !t.is_null()) else { continue };
        let name = before.text("name");
        let failed = ended.int("exitCode").unwrap_or(0) != 0;
        if (failed && policy == "OnFailure") || own(name).is_some() {
            continue;
        }
        let restarted =
            |after: &Value| after.text("name") == name && after.at(&["state", "terminated"]).is_none_or(Value::is_null);
        if new.items(list).iter().any(restarted) {
            errors.forbidden(&at.index(index).field("state"), "may not be transitioned to non-terminated state");
        }
    }
}

/// `podIP` is the first of `podIPs`. Where they differ, who knows the older field only is right.
pub(super) fn mirror_ips(status: &mut Value) {
    let one = status.text("podIP").to_owned();
    let first = status.items("podIPs").first().map(|ip| ip.text("ip").to_owned());
    match first {
        Some(first) if one.is_empty() => status.set_at(&["podIP"], first),
        first if !one.is_empty() && first.as_ref() != Some(&one) => {
            status.set_at(&["podIPs"], vec![Value::Object([("ip", one)].into_iter().collect())]);
        }
        _ => {}
    }
}

fn validate_addresses(status: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for list in ["podIPs", "hostIPs"] {
        let ips = status.items(list);
        let place = at.field(list);
        for (index, ip) in ips.iter().enumerate() {
            validate_ip(ip.text("ip"), &place.index(index), errors);
        }
        if ips.len() < 2 {
            continue;
        }
        let wrong = ips.iter().position(|ip| !is_ip(ip.text("ip")));
        if let Some(index) = wrong {
            let ip = ips[index].text("ip");
            let detail = format!("failed to check for dual stack with error:invalid IP[{index}]: {ip}");
            errors.internal(&place, &detail);
        }
        let six = ips.iter().filter(|ip| ip.text("ip").contains(':')).count();
        if wrong.is_some() || ips.len() > 2 || six != 1 {
            let value = Json(status.get(list).unwrap_or(&Value::Null));
            errors.invalid(&place, value, "may specify no more than one IP for each IP family");
        }
    }
    let first = status.items("hostIPs").first().map(|ip| ip.text("ip"));
    if let Some(first) = first.filter(|first| *first != status.text("hostIP")) {
        errors.invalid(&at.field("hostIPs").index(0).field("ip"), first, "must be equal to `hostIP`");
    }
}
