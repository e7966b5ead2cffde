//! Parameters of policies: objects of a kind that the policy names, chosen by the binding.

use std::sync::Arc;

use machinery::selector::LabelSelector;
use machinery::{Entry, Value};

use super::super::Review;
use super::{Binding, Policy};
use crate::kind::Kind;

/// What a policy is evaluated with for a binding, once with each; `None` is no parameter. Fails in upstream's words.
pub(super) fn collect(
    policy: &Policy,
    binding: &Binding,
    review: &Review<'_>,
) -> Result<Vec<Option<Arc<Entry>>>, String> {
    let binding_tree = binding.entry.tree();
    let reference = binding_tree.at(&["spec", "paramRef"]).filter(|reference| !reference.is_null());
    let kind = policy.spec().get("paramKind").filter(|kind| !kind.is_null());
    let (Some(reference), Some(wanted)) = (reference, kind) else { return Ok(vec![None]) };
    let kind = find(wanted, review).ok_or_else(|| unknown(wanted))?;
    let given = reference.str_at(&["namespace"]).unwrap_or_default();
    let namespace = match (kind.row.namespaced, given) {
        (false, "") => "",
        (false, _) => return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned()),
        (true, "") if review.namespace.is_empty() => {
            let text = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(text.to_owned());
        }
        (true, "") => review.namespace,
        (true, given) => given,
    };
    let found = match reference.str_at(&["name"]).filter(|name| !name.is_empty()) {
        Some(name) => kind.find(namespace, name).into_iter().collect(),
        None => selected(&kind, namespace, reference)?,
    };
    if found.is_empty() && reference.str_at(&["parameterNotFoundAction"]) == Some("Deny") {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.iter().map(|entry| Some(kind.present(entry))).collect())
}

/// Whether the kind of a policy's parameters is served.
pub(super) fn check(policy: &Policy, review: &Review<'_>) -> Result<(), String> {
    match policy.spec().get("paramKind").filter(|kind| !kind.is_null()) {
        Some(wanted) if find(wanted, review).is_none() => Err(unknown(wanted)),
        _ => Ok(()),
    }
}

fn unknown(wanted: &Value) -> String {
    let text = |field: &str| wanted.str_at(&[field]).unwrap_or_default();
    format!("failed to find resource referenced by paramKind: '{}, Kind={}'", text("apiVersion"), text("kind"))
}

fn find(wanted: &Value, review: &Review<'_>) -> Option<Arc<Kind>> {
    let (version, kind) = (wanted.str_at(&["apiVersion"])?, wanted.str_at(&["kind"])?);
    let rows = review.kinds.rows();
    let row = rows.iter().find(|row| row.kind == kind && row.stored && row.group_version().to_string() == version)?;
    review.kinds.find(&row.group, &row.version, &row.plural)
}

fn selected(kind: &Kind, namespace: &str, reference: &Value) -> Result<Vec<Arc<Entry>>, String> {
    let selector = LabelSelector::from_object(reference.get("selector")).map_err(|wrong| wrong.to_string())?;
    let prefix =
        if namespace.is_empty() { kind.cache.prefix.clone() } else { format!("{}{namespace}/", kind.cache.prefix) };
    let items = kind.cache.stretch(&prefix, None, 0).items.into_iter();
    let labels = |entry: &Entry| entry.tree().at(&["metadata", "labels"]).cloned().unwrap_or_default();
    Ok(items.map(|(_, entry)| entry).filter(|entry| selector.matches(&labels(entry))).collect())
}
