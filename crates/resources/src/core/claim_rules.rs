//! Specs of claims: of PersistentVolumeClaims, and of the templates from which pods' own claims are made.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::persistent_volume::validate_class_name;
use super::volume_rules::{validate_known_modes, validate_volume_mode};
use crate::metadata::{validate_annotations, validate_label_selector, validate_labels};
use crate::place::{Place, Report};
use crate::pod_spec::qos::quantity;
use crate::read::{Read, is_empty};

/// What templates may say of their claims' metadata.
const TEMPLATE_METADATA: [&str; 2] = ["annotations", "labels"];

/// The template of a claim, as pods' ephemeral volumes have it.
pub(crate) fn validate_template(template: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    validate_template_metadata(template, &at.field("metadata"), errors);
    validate_spec(template.get("spec").unwrap_or(&empty), &at.field("spec"), errors);
}

/// Metadata of a template from which claims (on volumes or devices) are made.
pub(crate) fn validate_template_metadata(template: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let metadata = template.get("metadata").unwrap_or(&empty);
    validate_annotations(metadata, &at.field("annotations"), errors);
    validate_labels(metadata, "labels", &at.field("labels"), errors);
    for (field, value) in metadata.as_object().into_iter().flat_map(|map| map.iter()) {
        if !TEMPLATE_METADATA.contains(&field) && !is_empty(value) {
            errors.forbidden(&at.field(field), "cannot be set");
        }
    }
}

/// The spec of a claim.
pub(crate) fn validate_spec(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let modes = at.field("accessModes");
    if spec.items("accessModes").is_empty() {
        errors.required(&modes, "at least 1 access mode is required");
    }
    if let Some(selector) = spec.present("selector") {
        validate_label_selector(selector, &at.field("selector"), errors);
    }
    validate_known_modes(spec, &modes, errors);
    let place = at.field("resources");
    let place = place.key("storage");
    match spec.at(&["resources", "requests", "storage"]).and_then(quantity) {
        None => errors.required(&place, ""),
        Some(amount) if amount.sign() <= 0 => {
            errors.invalid(&place, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        if !spec.text(field).is_empty() {
            validate_class_name(spec.text(field), &at.field(field), errors);
        }
        if field == "storageClassName" {
            validate_volume_mode(spec, at, errors);
            validate_data_sources(spec, at, errors);
        }
    }
}

fn validate_data_sources(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["dataSource", "dataSourceRef"] {
        if let Some(source) = spec.present(field) {
            validate_data_source(source, &at.field(field), errors);
        }
    }
    let (Some(source), Some(reference)) = (spec.present("dataSource"), spec.present("dataSourceRef")) else { return };
    let same = |field: &str| source.text(field) == reference.text(field) && source.has(field) == reference.has(field);
    // Upstream shows a path in place of the value, which has nothing to print.
    if !reference.text("namespace").is_empty() {
        errors.invalid(at, EmptyObject, "may not be specified when dataSourceRef.namespace is specified");
    } else if !["apiGroup", "kind", "name"].into_iter().all(same) {
        errors.invalid(at, EmptyObject, "must match dataSourceRef");
    }
}

struct EmptyObject;

impl machinery::field::Shown for EmptyObject {
    fn shown(&self) -> String {
        "{}".to_owned()
    }
}

fn validate_data_source(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["name", "kind"].into_iter().filter(|field| source.text(field).is_empty()) {
        errors.required(&at.field(field), "");
    }
    let (group, kind, namespace) = (source.text("apiGroup"), source.text("kind"), source.text("namespace"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(at, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        errors.invalid_each(&at.field("apiGroup"), group, names::dns1123_subdomain(group));
    }
    if !namespace.is_empty() {
        errors.invalid_each(&at.field("namespace"), namespace, names::dns1123_label(namespace));
    }
}

/// Errors of a changed claim, without those of labels in its selector and of groups of its source when the claim was like
/// that before these were looked at.
pub(super) fn without_tolerated(errors: Vec<FieldError>, before: &[FieldError]) -> Vec<FieldError> {
    let tolerated = |error: &FieldError| {
        let relaxed = error.field.starts_with("spec.selector") || error.field.ends_with(".apiGroup");
        relaxed && before.contains(error)
    };
    errors.into_iter().filter(|error| !tolerated(error)).collect()
}

/// KEP-1495: `dataSource` that is neither a claim nor a snapshot is dropped, and it and `dataSourceRef` follow each other.
/// A reference into another namespace is dropped, as it is where that feature is off (its default).
pub(super) fn settle_data_sources(spec: &mut Value, old: Option<&Value>) {
    let had_reference = old.is_some_and(|old| old.has("dataSourceRef"));
    let had_source = had_reference || old.is_some_and(|old| old.has("dataSource"));
    let foreign = spec.str_at(&["dataSourceRef", "namespace"]).is_some_and(|namespace| !namespace.is_empty());
    if foreign && !had_reference {
        spec.remove_at(&["dataSourceRef"]);
    }
    if !had_source && !spec.has("dataSourceRef") && !spec.present("dataSource").is_some_and(is_known_source) {
        spec.remove_at(&["dataSource"]);
    }
    let from_source = spec.has("dataSource") && !spec.has("dataSourceRef");
    let local = spec.str_at(&["dataSourceRef", "namespace"]).unwrap_or_default().is_empty();
    let from_reference = spec.has("dataSourceRef") && !spec.has("dataSource") && local;
    let (from, to) = match (from_source, from_reference) {
        (true, _) => ("dataSource", "dataSourceRef"),
        (_, true) => ("dataSourceRef", "dataSource"),
        _ => return,
    };
    let Some(mut source) = spec.present(from).cloned() else { return };
    source.remove_at(&["namespace"]);
    spec.set_at(&[to], source);
}

fn is_known_source(source: &Value) -> bool {
    matches!(
        (source.text("apiGroup"), source.text("kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}
