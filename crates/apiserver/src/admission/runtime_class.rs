//! RuntimeClass: what a pod's runtime class costs, and where its pods can run.

use std::sync::Arc;

use machinery::{ApiError, Entry, Value};

use super::{Operation, Plugin, Review};

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if !review.is(Operation::Create, "pods") {
            return Ok(());
        }
        let Some(class) = find(review)? else { return Ok(()) };
        if let Some(overhead) = overhead(&class) {
            if review.object.at(&["spec", "overhead"]).is_some_and(|given| given != overhead) {
                return Err(review.forbidden(MISMATCH));
            }
            review.object.set_at(&["spec", "overhead"], overhead.clone());
        }
        match class.tree().get("scheduling") {
            Some(scheduling) => schedule(review, scheduling),
            None => Ok(()),
        }
    }

    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        if !review.is(Operation::Create, "pods") {
            return Ok(());
        }
        let class = find(review)?;
        let given = review.object.at(&["spec", "overhead"]).filter(|overhead| !overhead.is_null());
        match (class.as_deref().and_then(overhead), given) {
            (Some(wanted), given) if given != Some(wanted) => Err(review.forbidden(MISMATCH)),
            (None, Some(_)) => {
                let detail = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
                Err(review.forbidden(detail))
            }
            _ => Ok(()),
        }
    }
}

fn find(review: &Review<'_>) -> Result<Option<Arc<Entry>>, ApiError> {
    let Some(name) = review.object.str_at(&["spec", "runtimeClassName"]) else { return Ok(None) };
    let found = review.kinds.get("node.k8s.io", "v1", "runtimeclasses").and_then(|kind| kind.find("", name));
    let missing = || review.forbidden(&format!("pod rejected: RuntimeClass {name:?} not found"));
    found.ok_or_else(missing).map(Some)
}

fn overhead(class: &Entry) -> Option<&Value> {
    class.tree().at(&["overhead", "podFixed"])
}

/// Adds the class's node labels and tolerations to the pod's.
fn schedule(review: &mut Review<'_>, scheduling: &Value) -> Result<(), ApiError> {
    let wanted = scheduling.get("nodeSelector").and_then(Value::as_object).cloned().unwrap_or_default();
    for (label, value) in wanted.iter() {
        let path = ["spec", "nodeSelector", label];
        let (given, value) = (review.object.str_at(&path), value.as_str().unwrap_or_default());
        if let Some(given) = given.filter(|given| *given != value) {
            let detail = format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{label}] = {value}; \
                 pod.spec.nodeSelector[{label}] = {given}"
            );
            return Err(review.forbidden(&detail));
        }
        review.object.set_at(&path, value);
    }
    let list = |tree: Option<&Value>| tree.and_then(Value::as_array).cloned().unwrap_or_default();
    let mut all = list(review.object.at(&["spec", "tolerations"]));
    all.extend(list(scheduling.get("tolerations")));
    if !all.is_empty() {
        review.object.set_at(&["spec", "tolerations"], merged(&all));
    }
    Ok(())
}

/// Tolerations without those that others cover; of equal ones the first stays.
fn merged(all: &[Value]) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let is_covered = merged.iter().any(|other| covers(other, toleration))
            || all[index + 1..].iter().any(|other| other != toleration && covers(other, toleration));
        if !is_covered {
            merged.push(toleration.clone());
        }
    }
    merged
}

fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let text = |tree: &Value, field: &str| tree.str_at(&[field]).unwrap_or_default().to_owned();
    let (key, operator, effect) = (text(wide, "key"), text(wide, "operator"), text(wide, "effect"));
    // No key with Exists is any key; no effect is any effect.
    let fits_key = key == text(narrow, "key") || (key.is_empty() && operator == "Exists");
    let fits_effect = effect.is_empty() || effect == text(narrow, "effect");
    let seconds = |tree: &Value| tree.i64_at(&["tolerationSeconds"]);
    let fits_seconds = effect != "NoExecute"
        || seconds(wide).is_none_or(|limit| seconds(narrow).is_some_and(|seconds| seconds <= limit));
    let fits_value = match operator.as_str() {
        "" | "Equal" => text(narrow, "operator") == "Equal" && text(narrow, "value") == text(wide, "value"),
        other => other == "Exists",
    };
    fits_key && fits_effect && fits_seconds && fits_value
}
