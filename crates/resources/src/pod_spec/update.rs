//! What updates of pods may change.

use machinery::field::FieldError;
use machinery::json::Value;

use crate::difference::{diff, normalized};
use crate::place::{Json, Place, Report};
use crate::read::{Read, items_mut, same_at};

const MUTABLE: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,\
     `spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to \
     1 if it was previously negative)";

/// An update of the pod itself.
pub(crate) fn validate(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let at = Place::root("spec");
    validate_annotations(new, old, errors);
    let empty = Value::object();
    let (new, old) = (new.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
    for list in ["containers", "initContainers"] {
        if new.items(list).len() != old.items(list).len() {
            errors.forbidden(&at.field(list), "pod updates may not add or remove containers");
            return;
        }
    }
    if !validate_deadline(new, old, &at.field("activeDeadlineSeconds"), errors) {
        return;
    }
    validate_added_tolerations(new, old, &at.field("tolerations"), errors);
    validate_deleted_gates(new, old, &at.field("schedulingGates"), errors);
    if new == old {
        return;
    }
    let mut munged = new.clone();
    munge(&mut munged, old);
    if !old.items("schedulingGates").is_empty() {
        munge_gated(&mut munged, old, &at, errors);
    }
    if normalized(&munged) != normalized(old) {
        let detail =
            format!("pod updates may not change fields other than {MUTABLE}\n{}", diff("core.PodSpec", old, &munged));
        errors.forbidden(&at, &detail);
    }
}

/// Annotations that only the node agent may set.
fn validate_annotations(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    let value = |pod: &Value| pod.str_at(&["metadata", "annotations", MIRROR]).map(str::to_owned);
    let at = Place::root("metadata");
    let list = at.field("annotations");
    match (value(old), value(new)) {
        (Some(before), after) if after.as_ref() != Some(&before) => {
            errors.forbidden(&list.key(MIRROR), "may not remove or update mirror pod annotation");
        }
        (None, Some(_)) => errors.forbidden(&list.key(MIRROR), "may not add mirror pod annotation"),
        _ => {}
    }
}

/// Returns whether the rest is worth a look, as upstream stops at a wrong deadline.
fn validate_deadline(new: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) -> bool {
    match (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds")) {
        (Some(seconds), _) if !(0..=i64::from(i32::MAX)).contains(&seconds) => {
            errors.invalid(at, seconds, "must be between 0 and 2147483647, inclusive");
            false
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.invalid(at, seconds, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(at, Json(&Value::Null), "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn validate_added_tolerations(new: &Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let alike = |a: &Value, b: &Value| {
        ["key", "operator", "value", "effect"].iter().all(|field| a.text(field) == b.text(field))
    };
    let kept = |before: &Value| new.items("tolerations").iter().any(|after| alike(before, after));
    if !old.items("tolerations").iter().all(kept) {
        errors.forbidden(at, "existing toleration can not be modified except its tolerationSeconds");
    }
}

fn validate_deleted_gates(new: &Value, old: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, gate) in new.items("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !old.items("schedulingGates").iter().any(|g| g.text("name") == name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.forbidden(&list.index(index).field("name"), &detail);
        }
    }
}

fn take(new: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => new.set_at(&[field], value.clone()),
        None => {
            new.remove_at(&[field]);
        }
    }
}

/// Sets what may change back to what it was.
fn munge(new: &mut Value, old: &Value) {
    for list in ["containers", "initContainers"] {
        for (container, before) in items_mut(new, list).iter_mut().zip(old.items(list)) {
            take(container, before, "image");
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        take(new, old, field);
    }
    let negative = old.int("terminationGracePeriodSeconds").is_some_and(|s| s < 0);
    if negative && new.int("terminationGracePeriodSeconds") == Some(1) {
        take(new, old, "terminationGracePeriodSeconds");
    }
}

/// Pods that wait at a gate may still become choosier about nodes (KEP-3838).
fn munge_gated(new: &mut Value, old: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kept =
        old.entries("nodeSelector").iter().all(|(key, value)| new.entries("nodeSelector").get(key) == Some(value));
    if !kept {
        let selector = Value::Object(new.entries("nodeSelector").clone());
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(&at.field("nodeSelector"), Json(&selector), detail);
    }
    take(new, old, "nodeSelector");
    let path = ["affinity", "nodeAffinity"];
    if same_at(new, old, &path) {
        return;
    }
    validate_node_affinity_change(new.at(&path), old.at(&path), &at.field("affinity.nodeAffinity"), errors);
    match old.at(&path) {
        Some(before) => new.set_at(&path, before.clone()),
        None => {
            new.remove_at(&path);
        }
    }
}

fn validate_node_affinity_change(
    new: Option<&Value>,
    old: Option<&Value>,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    const TERMS: [&str; 2] = ["requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"];
    let terms = |affinity: Option<&Value>| {
        affinity.and_then(|a| a.at(&TERMS)).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let (new, old) = (terms(new), terms(old));
    if old.is_empty() {
        return;
    }
    let list = at.field(TERMS[0]).field(TERMS[1]).to_string();
    let place = Place::root(&list);
    if new.len() != old.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        errors.invalid(&place, Json(&Value::Array(new)), detail);
        return;
    }
    for (index, (after, before)) in new.iter().zip(&old).enumerate() {
        let was_empty = before.items("matchExpressions").is_empty() && before.items("matchFields").is_empty();
        let kept = |field: &str| after.items(field).starts_with(before.items(field));
        if was_empty || !kept("matchExpressions") || !kept("matchFields") {
            errors.invalid(&place.index(index), Json(after), "only additions are allowed (no mutations or deletions)");
        }
    }
}

/// An update through `ephemeralcontainers`: they may only be added.
pub(crate) fn validate_ephemeral(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let (new, old) = (new.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
    let at = Place::root("spec");
    let list = at.field("ephemeralContainers");
    for before in old.items("ephemeralContainers") {
        let name = before.text("name");
        match new.items("ephemeralContainers").iter().find(|c| c.text("name") == name) {
            None => errors.forbidden(&list, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(after) if normalized(after) != normalized(before) => {
                errors.forbidden(&list, &format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}
