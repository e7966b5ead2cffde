//! `matchLabelKeys` and `mismatchLabelKeys`: the pod's own labels become requirements when it is made (KEP-3633, KEP-3243).

use machinery::json::{Map, Value};

use crate::read::{Read, items_mut};

/// Adds the requirements to all terms of a new pod.
pub(crate) fn apply(pod: &mut Value) {
    let labels: Map = pod.get("metadata").map(|metadata| metadata.entries("labels").clone()).unwrap_or_default();
    let Some(spec) = pod.get_mut("spec") else { return };
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        merge(constraint, &labels);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = spec.at_mut(&["affinity", kind]) else { continue };
        for term in items_mut(affinity, "requiredDuringSchedulingIgnoredDuringExecution") {
            merge(term, &labels);
        }
        for weighted in items_mut(affinity, "preferredDuringSchedulingIgnoredDuringExecution") {
            if let Some(term) = weighted.get_mut("podAffinityTerm") {
                merge(term, &labels);
            }
        }
    }
}

fn merge(term: &mut Value, labels: &Map) {
    if !term.has("labelSelector") {
        return;
    }
    let mut added: Vec<Value> = Vec::new();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        for key in term.texts(field) {
            let Some(value) = labels.get(key) else { continue };
            let mut requirement = Value::object();
            requirement.set_at(&["key"], key);
            requirement.set_at(&["operator"], operator);
            requirement.set_at(&["values"], vec![value.clone()]);
            added.push(requirement);
        }
    }
    if added.is_empty() {
        return;
    }
    let list = term.ensure_at(&["labelSelector", "matchExpressions"]);
    match list {
        Value::Array(known) => {
            added.retain(|requirement| !known.contains(requirement));
            known.extend(added);
        }
        other => *other = Value::Array(added),
    }
}
