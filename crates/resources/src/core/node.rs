//! Nodes.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::quota_names::validate_amount;
use crate::addresses::{self, Cidr};
use crate::cells;
use crate::metadata::validate_annotations;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};
use crate::row::{Column, Resource, SelectableField, Strategy, Subresource, Target};

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";
const ONLY: &str = "node updates may only change labels, taints, or capacity (or configSource, if the \
                    DynamicKubeletConfig feature gate is enabled)";

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Node", "nodes")
        .cluster_scoped()
        .short_names(&["no"])
        .subresources(&[Subresource::Status, Subresource::Proxy])
        .columns(columns())
        .selectable(vec![SelectableField::new("spec.unschedulable", |object| {
            object.at(&["spec", "unschedulable"]).and_then(Value::as_bool).unwrap_or(false).to_string()
        })])
        .strategy(Node)
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("Status", "Whether the node is ready and takes pods.", |object, _| status_cell(object).into()),
        Column::text("Roles", "Roles of the node, from its labels.", |object, _| roles_cell(object).into()),
        Column::age(),
        Column::text("Version", "Version of the node agent.", |object, _| info(object, "kubeletVersion").into()),
        Column::text("Internal-IP", "Address inside the cluster.", |object, _| address(object, "InternalIP")).wide(),
        Column::text("External-IP", "Address outside the cluster.", |object, _| address(object, "ExternalIP")).wide(),
        Column::text("OS-Image", "Operating system.", |object, _| known(info(object, "osImage"))).wide(),
        Column::text("Kernel-Version", "Version of the kernel.", |object, _| known(info(object, "kernelVersion")))
            .wide(),
        Column::text("Container-Runtime", "Container runtime and its version.", |object, _| {
            known(info(object, "containerRuntimeVersion"))
        })
        .wide(),
    ]
}

fn info<'a>(object: &'a Value, field: &str) -> &'a str {
    object.str_at(&["status", "nodeInfo", field]).unwrap_or_default()
}

fn known(text: &str) -> Value {
    if text.is_empty() { cells::UNKNOWN.into() } else { text.into() }
}

fn address(object: &Value, kind: &str) -> Value {
    let addresses = object.get("status").map_or(&[] as &[Value], |status| status.items("addresses"));
    cells::or_none(addresses.iter().find(|a| a.text("type") == kind).map_or("", |a| a.text("address")))
}

fn status_cell(object: &Value) -> String {
    let conditions = object.get("status").map_or(&[] as &[Value], |status| status.items("conditions"));
    let mut parts = match conditions.iter().find(|c| c.text("type") == "Ready") {
        Some(ready) if ready.text("status") == "True" => vec!["Ready"],
        Some(_) => vec!["NotReady"],
        None => vec!["Unknown"],
    };
    if object.at(&["spec", "unschedulable"]).and_then(Value::as_bool) == Some(true) {
        parts.push("SchedulingDisabled");
    }
    parts.join(",")
}

fn roles_cell(object: &Value) -> String {
    let empty = Value::Null;
    let labels = object.get("metadata").unwrap_or(&empty).entries("labels");
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in labels.iter() {
        let role = match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => role,
            None if key == ROLE_LABEL => value.as_str().unwrap_or_default(),
            None => "",
        };
        if !role.is_empty() && !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles.sort_unstable();
    if roles.is_empty() { cells::NONE.to_owned() } else { roles.join(",") }
}

struct Node;

impl Strategy for Node {
    fn default(&self, object: &mut Value) {
        let Some(status) = object.get_mut("status").filter(|s| s.has("capacity")) else { return };
        if !status.has("allocatable") {
            let capacity = status.get("capacity").cloned();
            status.set_at(&["allocatable"], capacity);
        }
    }

    /// Node agents register with their status.
    fn keeps_status_at_create(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, object: &mut Value) {
        mirror_pod_cidrs(object);
    }

    fn prepare_for_update(&self, object: &mut Value, _old: &Value, _target: Target) {
        mirror_pod_cidrs(object);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::Null;
        let spec = object.get("spec").unwrap_or(&empty);
        let at = Place::root("spec");
        validate_annotations(
            object.get("metadata").unwrap_or(&empty),
            &Place::root("metadata.annotations"),
            &mut errors,
        );
        // Upstream says metadata, though they are the spec's.
        validate_taints(spec, &Place::root("metadata").field("taints"), &mut errors);
        let status = Place::root("status");
        for list in ["capacity", "allocatable"] {
            let at = status.field(list);
            for (name, amount) in object.get("status").unwrap_or(&empty).entries(list).iter() {
                validate_amount(name, amount, &at.field(name), &mut errors);
            }
        }
        validate_pod_cidrs(spec, &at.field("podCIDRs"), &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new_spec, old_spec) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        if target == Target::Object {
            validate_spec_change(new_spec, old_spec, &mut errors);
        }
        validate_addresses(object.get("status").unwrap_or(&empty), &mut errors);
        errors
    }
}

fn validate_addresses(status: &Value, errors: &mut Vec<FieldError>) {
    let root = Place::root("status");
    let list = root.field("addresses");
    let addresses = status.items("addresses");
    for (index, address) in
        addresses.iter().enumerate().filter(|(index, address)| addresses[..*index].contains(address))
    {
        errors.duplicate(&list.index(index), Json(address));
    }
}

/// `podCIDR` is the first of `podCIDRs`.
fn mirror_pod_cidrs(object: &mut Value) {
    let one = object.str_at(&["spec", "podCIDR"]).unwrap_or_default().to_owned();
    let first = object.at(&["spec", "podCIDRs"]).and_then(Value::as_array).and_then(|l| l.first()).cloned();
    match first {
        None if !one.is_empty() => object.set_at(&["spec", "podCIDRs"], vec![one]),
        Some(first) if one.is_empty() => object.set_at(&["spec", "podCIDR"], first),
        // Who knows the older field only is right.
        Some(first) if first.as_str() != Some(&one) => object.set_at(&["spec", "podCIDRs"], vec![one]),
        _ => {}
    }
}

fn validate_spec_change(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let at = Place::root("spec");
    if !old.items("podCIDRs").is_empty() && !same_at(new, old, &["podCIDRs"]) {
        errors.forbidden(&at.field("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid");
    }
    if !old.text("providerID").is_empty() && old.text("providerID") != new.text("providerID") {
        errors.forbidden(&at.field("providerID"), "node updates may not change providerID except from \"\" to valid");
    }
    if !same_at(new, old, &["externalID"]) {
        errors.forbidden(&Place::root(""), ONLY);
    }
}

/// Taints of a node.
fn validate_taints(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (index, taint) in spec.items("taints").iter().enumerate() {
        let at = at.index(index);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
        for message in names::label_value(value) {
            errors.invalid(&at.field("value"), value, &message);
        }
        match effect {
            "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            "" => errors.required(&at.field("effect"), ""),
            _ => {
                let supported = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
                errors.unsupported(&at.field("effect"), effect, &supported);
            }
        }
        if seen.contains(&(key, effect)) {
            errors.push(FieldError {
                body: format!("{}: taints must be unique by key and effect pair", duplicate_taint(taint)),
                ..FieldError::duplicate(&machinery::field::Path::new(&at.to_string()), "")
            });
        }
        seen.push((key, effect));
    }
}

fn duplicate_taint(taint: &Value) -> String {
    format!("Duplicate value: {}", String::from_utf8_lossy(&taint.to_bytes()))
}

fn validate_pod_cidrs(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let cidrs: Vec<&str> = spec.texts("podCIDRs").collect();
    for (index, cidr) in cidrs.iter().enumerate() {
        addresses::validate_cidr(cidr, &at.index(index), errors);
    }
    let families: Vec<bool> = cidrs.iter().filter_map(|cidr| Cidr::parse(cidr)).map(Cidr::is_ipv6).collect();
    let is_dual = families.contains(&true) && families.contains(&false);
    if cidrs.len() > 2 || cidrs.len() == 2 && !is_dual {
        errors.invalid(
            at,
            Json(spec.get("podCIDRs").unwrap_or(&Value::Null)),
            "may specify no more than one CIDR for each IP family",
        );
    }
}
