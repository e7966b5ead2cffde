//! Specs of persistent volumes, which volume attachments may hold as well, and what volumes and claims show alike.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::persistent_volume::validate_class_name;
use crate::cells;
use crate::place::{Json, Place, Report};
use crate::pod_spec::qos::quantity;
use crate::pod_spec::scheduling::validate_node_selector;
use crate::pod_spec::vendor_volumes::{self, Owner};
use crate::pod_spec::volumes::{has_backsteps, validate_host_path};
use crate::read::Read;

/// Ways in which volumes can be mounted, with their short forms.
const MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
const SUPPORTED_MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const RECLAIM_POLICIES: [&str; 3] = ["Delete", "Recycle", "Retain"];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const NOT_INLINE: &str = "may not be specified in the context of inline volumes";

/// Sources in the order in which upstream looks at them, with the texts that each requires.
pub(crate) const SOURCES: [(&str, &[&str]); 22] = [
    ("hostPath", &["path"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("nfs", &["server", "path"]),
    ("rbd", &[]),
    ("quobyte", &[]),
    ("cephfs", &[]),
    ("iscsi", &[]),
    ("cinder", &["volumeID"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("local", &["path"]),
    ("storageos", &[]),
    ("csi", &[]),
];

/// The spec of a persistent volume.
pub(super) fn validate_volume(spec: &Value, name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_modes(spec, at, errors);
    validate_capacity(spec, &at.field("capacity"), errors);
    let policy = spec.text("persistentVolumeReclaimPolicy");
    let policy_at = at.field("persistentVolumeReclaimPolicy");
    if !policy.is_empty() && !RECLAIM_POLICIES.contains(&policy) {
        errors.unsupported(&policy_at, policy, &RECLAIM_POLICIES);
    }
    if let Some(affinity) = spec.present("nodeAffinity") {
        let at = at.field("nodeAffinity.required");
        match affinity.present("required") {
            Some(required) => validate_node_selector(required, &at, errors),
            None => errors.required(&at, "must specify required node constraints"),
        }
    }
    validate_sources(spec, name, at, errors);
    let root = spec.str_at(&["hostPath", "path"]).is_some_and(is_root);
    if root && policy == "Recycle" {
        errors.forbidden(&policy_at, "may not be 'recycle' for a hostPath mount of '/'");
    }
    if !spec.text("storageClassName").is_empty() {
        validate_class_name(spec.text("storageClassName"), &at.field("storageClassName"), errors);
    }
    validate_volume_mode(spec, at, errors);
    if spec.has("volumeAttributesClassName") {
        validate_attributes_class(spec, at, errors);
    }
}

/// The spec of a volume that an attachment holds instead of the name of one: it has a CSI source and is nobody's.
pub(crate) fn validate_inline(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["claimRef", "capacity"] {
        if spec.present(field).is_some_and(|value| value.as_object().is_none_or(|map| !map.is_empty())) {
            errors.forbidden(&at.field(field), NOT_INLINE);
        }
    }
    if !spec.has("csi") {
        errors.required(&at.field("csi"), "has to be specified in the context of inline volumes");
    }
    validate_modes(spec, at, errors);
    let policy = spec.text("persistentVolumeReclaimPolicy");
    if !policy.is_empty() && policy != "Retain" {
        let detail = "may only be Retain in the context of inline volumes";
        errors.forbidden(&at.field("persistentVolumeReclaimPolicy"), detail);
    }
    if spec.has("nodeAffinity") {
        errors.forbidden(&at.field("nodeAffinity"), NOT_INLINE);
    }
    validate_sources(spec, "", at, errors);
    if !spec.text("storageClassName").is_empty() {
        errors.forbidden(&at.field("storageClassName"), NOT_INLINE);
    }
    if spec.has("volumeMode") && spec.text("volumeMode") != "Filesystem" {
        let detail = "may not specify volumeMode other than Filesystem in the context of inline volumes";
        errors.forbidden(&at.field("volumeMode"), detail);
    }
    if spec.has("volumeAttributesClassName") {
        validate_attributes_class(spec, at, errors);
    }
}

fn validate_modes(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = at.field("accessModes");
    if spec.items("accessModes").is_empty() {
        errors.required(&at, "");
    }
    validate_known_modes(spec, &at, errors);
}

/// Modes are known ones, and the one for a single pod stands alone.
pub(super) fn validate_known_modes(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for mode in spec.texts("accessModes").filter(|mode| !SUPPORTED_MODES.contains(mode)) {
        errors.unsupported(at, mode, &SUPPORTED_MODES);
    }
    let single = |mode: &str| mode == "ReadWriteOncePod";
    let other = |mode: &str| !single(mode) && SUPPORTED_MODES.contains(&mode);
    if spec.texts("accessModes").any(single) && spec.texts("accessModes").any(other) {
        errors.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

/// A file system, or a raw device.
pub(super) fn validate_volume_mode(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mode = spec.text("volumeMode");
    if spec.has("volumeMode") && !VOLUME_MODES.contains(&mode) {
        errors.unsupported(&at.field("volumeMode"), mode, &VOLUME_MODES);
    }
}

fn validate_capacity(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let capacity = spec.entries("capacity");
    if capacity.is_empty() {
        errors.required(at, "");
    }
    if !capacity.contains_key("storage") || capacity.len() > 1 {
        let shown = spec.present("capacity").unwrap_or(&Value::Null);
        errors.unsupported(at, Json(shown), &["storage"]);
    }
    for (resource, value) in capacity.iter() {
        let Some(amount) = quantity(value) else { continue };
        let at = at.key(resource);
        if amount.sign() < 0 {
            errors.invalid(&at, amount.value(), "must be a valid resource quantity");
        }
        if amount.sign() <= 0 {
            errors.invalid(&at, amount.to_string(), "must be greater than zero");
        }
    }
}

fn validate_sources(spec: &Value, name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut found = false;
    for (kind, required) in SOURCES {
        let Some(source) = spec.present(kind) else { continue };
        // Upstream counts flexVolume without looking at what was there before.
        if found && kind != "flexVolume" {
            let shown = if kind == "cephfs" { "cephFS" } else { kind };
            errors.forbidden(&at.field(shown), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        let place = at.field(if kind == "gcePersistentDisk" { "persistentDisk" } else { kind });
        for field in required.iter().filter(|field| source.text(field).is_empty()) {
            errors.required(&place.field(field), "");
        }
        match kind {
            "hostPath" => validate_host_path(source, &place, errors),
            "local" if has_backsteps(source.text("path")) => {
                errors.invalid(&place.field("path"), source.text("path"), "must not contain '..'");
            }
            "csi" => validate_csi(source, &place, errors),
            _ => vendor_volumes::validate(kind, source, Owner::PersistentVolume(name), &place, errors),
        }
    }
    if !found {
        errors.required(at, "must specify a volume type");
    }
}

fn validate_csi(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_driver(source.text("driver"), &at.field("driver"), errors);
    if source.text("volumeHandle").is_empty() {
        errors.required(&at.field("volumeHandle"), "");
    }
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let Some(secret) = source.present(field) else { continue };
        let at = at.field(field);
        for part in ["name", "namespace"] {
            let (text, at) = (secret.text(part), at.field(part));
            if text.is_empty() {
                errors.required(&at, "");
            } else if part == "name" {
                errors.invalid_each(&at, text, names::dns1123_subdomain(text));
            } else {
                errors.invalid_each(&at, text, names::dns1123_label(text));
            }
        }
    }
}

/// The name of a CSI driver (or of a driver of devices, which looks the same).
pub(crate) fn validate_driver(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if name.is_empty() {
        errors.required(at, "");
    }
    if name.len() > names::DNS_LABEL_LENGTH_MAX {
        errors.too_long(at, names::DNS_LABEL_LENGTH_MAX);
    }
    errors.invalid_each(at, name, names::dns1123_subdomain(&name.to_lowercase()));
}

fn validate_attributes_class(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (name, place) = (spec.text("volumeAttributesClassName"), at.field("volumeAttributesClassName"));
    if name.is_empty() {
        errors.required(&place, "an empty string is disallowed");
    } else {
        validate_class_name(name, &place, errors);
    }
    if !spec.has("csi") {
        errors.required(&at.field("csi"), "has to be specified when using volumeAttributesClassName");
    }
}

/// Whether a path is the root, once it is cleaned.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

/// `RWO,RWX`
pub(super) fn short_modes(of: &Value) -> String {
    let has = |mode: &str| of.texts("accessModes").any(|m| m == mode);
    let short: Vec<&str> = MODES.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect();
    short.join(",")
}

/// The amount at a path; `0` when there is none.
pub(super) fn amount(object: &Value, path: &[&str]) -> String {
    object.at(path).and_then(quantity).map_or_else(|| "0".to_owned(), |amount| amount.to_string())
}

/// The phase, unless the object is on its way out.
pub(super) fn phase(object: &Value) -> &str {
    match object.str_at(&["metadata", "deletionTimestamp"]) {
        Some(_) => "Terminating",
        None => object.str_at(&["status", "phase"]).unwrap_or_default(),
    }
}

/// The storage class: of the old annotation, or of the spec.
pub(super) fn class(object: &Value) -> &str {
    let annotation = object.str_at(&["metadata", "annotations", CLASS_ANNOTATION]);
    annotation.or_else(|| object.str_at(&["spec", "storageClassName"])).unwrap_or_default()
}

/// The class of attributes, or `<unset>`.
pub(super) fn attributes_class(object: &Value, _now: Timestamp) -> Value {
    object.str_at(&["spec", "volumeAttributesClassName"]).unwrap_or(cells::UNSET).into()
}

/// The volume's mode, or `<unset>`.
pub(super) fn mode_cell(object: &Value, _now: Timestamp) -> Value {
    object.str_at(&["spec", "volumeMode"]).unwrap_or(cells::UNSET).into()
}

/// The old annotation that names a class.
pub(super) fn class_annotation(object: &Value) -> Option<&str> {
    object.str_at(&["metadata", "annotations", CLASS_ANNOTATION])
}

/// Of the old annotation.
pub(super) fn class_warnings(object: &Value) -> Vec<String> {
    let text = "deprecated since v1.8; use \"storageClassName\" attribute instead";
    class_annotation(object).map(|_| format!("metadata.annotations[{CLASS_ANNOTATION}]: {text}")).into_iter().collect()
}

/// The old annotation may not change.
pub(super) fn validate_class_annotation(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let now = class_annotation(object).unwrap_or_default();
    if now != class_annotation(old).unwrap_or_default() {
        let field = format!("annotations.{CLASS_ANNOTATION}");
        errors.invalid(&Place::root("metadata").field(&field), now, crate::checks::IMMUTABLE);
    }
}
