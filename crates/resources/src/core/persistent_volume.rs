//! PersistentVolumes.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::{names, time};

use super::volume_rules::{self as rules, SOURCES};
use crate::checks::IMMUTABLE;
use crate::difference::{diff, normalized};
use crate::place::{Json, Place, Report};
use crate::pod_spec::{defaults, warnings};
use crate::read::{Read, present_mut, selectable, set_default};
use crate::row::{Column, Resource, SelectableField, Strategy, Subresource, Target};

/// Sources whose mounts take the options of [`MOUNT_OPTIONS`].
const WITH_MOUNT_OPTIONS: [&str; 13] = [
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
/// Sources that are going or gone: since when deprecated, since when without effect.
const DEPRECATED: [(&str, &str, &str, &str); 6] = [
    ("cephfs", "cephfs", "v1.28", "v1.31+"),
    ("photonPersistentDisk", "photonPersistentDisk", "v1.11", "v1.16+"),
    ("scaleIO", "scaleIO", "v1.16", "v1.22+"),
    ("storageos", "storageOS", "v1.22", "v1.25+"),
    ("glusterfs", "glusterfs", "v1.25", "v1.26+"),
    ("rbd", "rbd", "v1.28", "v1.31+"),
];
const RECYCLE: &str = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                       recommended approach is to use dynamic provisioning.";

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "PersistentVolume", "persistentvolumes")
        .cluster_scoped()
        .short_names(&["pv"])
        .subresources(&[Subresource::Status])
        .columns(columns())
        .selectable(vec![SelectableField::new("name", |object| selectable(object, &["metadata", "name"]))])
        .strategy(PersistentVolume)
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("Capacity", "How much it holds.", |object, _| {
            rules::amount(object, &["spec", "capacity", "storage"]).into()
        }),
        Column::text("Access Modes", "Ways in which it can be mounted.", |object, _| {
            rules::short_modes(object.get("spec").unwrap_or(&Value::Null)).into()
        }),
        Column::text("Reclaim Policy", "What happens to it once its claim is gone.", |object, _| {
            spec_text(object, "persistentVolumeReclaimPolicy")
        }),
        Column::text("Status", "Whether it is free, bound or released.", |object, _| rules::phase(object).into()),
        Column::text("Claim", "The claim it is bound to.", claim),
        Column::text("StorageClass", "The class it belongs to.", |object, _| rules::class(object).into()),
        Column::text("VolumeAttributesClass", "The class of attributes it has.", rules::attributes_class),
        Column::text("Reason", "Why it failed.", |object, _| {
            object.str_at(&["status", "reason"]).unwrap_or_default().into()
        }),
        Column::age(),
        Column::text("VolumeMode", "A file system, or a raw device.", rules::mode_cell).wide(),
    ]
}

fn spec_text(object: &Value, field: &str) -> Value {
    object.str_at(&["spec", field]).unwrap_or_default().into()
}

fn claim(object: &Value, _now: Timestamp) -> Value {
    match object.at(&["spec", "claimRef"]).filter(|claim| !claim.is_null()) {
        Some(claim) => format!("{}/{}", claim.text("namespace"), claim.text("name")).into(),
        None => "".into(),
    }
}

struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, object: &mut Value) {
        if object.str_at(&["status", "phase"]).unwrap_or_default().is_empty() {
            object.set_at(&["status", "phase"], "Pending");
        }
        let Some(spec) = present_mut(object, "spec") else { return };
        if spec.text("persistentVolumeReclaimPolicy").is_empty() {
            spec.set_at(&["persistentVolumeReclaimPolicy"], "Retain");
        }
        set_default(spec, "volumeMode", "Filesystem");
        defaults::volume_source(spec);
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let made = object.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default().to_owned();
        object.set_at(&["status", "phase"], "Pending");
        if !made.is_empty() {
            object.set_at(&["status", "lastPhaseTransitionTime"], made);
        }
    }

    /// Keeps when the phase changed.
    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        const CHANGED: [&str; 2] = ["status", "lastPhaseTransitionTime"];
        if target != Target::Subresource("status") {
            return;
        }
        let (given, before) = (object.at(&CHANGED).cloned(), old.at(&CHANGED).cloned());
        let moved = object.str_at(&["status", "phase"]) != old.str_at(&["status", "phase"]);
        match (moved, given) {
            (false, None) => {
                if let Some(before) = before {
                    object.set_at(&CHANGED, before);
                }
            }
            (true, given) if given.is_none() || given == before => {
                object.set_at(&CHANGED, time::format(seams::clock::now_seconds()));
            }
            _ => {}
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        rules::validate_volume(spec, name, &Place::root("spec"), &mut errors);
        let annotated = object.at(&["metadata", "annotations"]).is_some_and(|all| all.has(MOUNT_OPTIONS));
        if annotated && !WITH_MOUNT_OPTIONS.iter().any(|kind| spec.has(kind)) {
            let at = format!("annotations.{MOUNT_OPTIONS}");
            errors.forbidden(&Place::root("metadata").field(&at), "may not specify mount options for this volume type");
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return Vec::new();
        }
        let mut errors = self.validate(object);
        let empty = Value::object();
        let (new, old) = (object.get("spec").unwrap_or(&empty), old.get("spec").unwrap_or(&empty));
        validate_same_source(new, old, &mut errors);
        if new.text("volumeMode") != old.text("volumeMode") {
            errors.invalid(&Place::root("volumeMode"), new.text("volumeMode"), IMMUTABLE);
        }
        validate_same_affinity(new, old, &mut errors);
        if old.has("volumeAttributesClassName") && !new.has("volumeAttributesClassName") {
            let at = Place::root("spec");
            errors.forbidden(&at.field("volumeAttributesClassName"), "update from non-nil value to nil is forbidden");
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let mut all = rules::class_warnings(object);
        let empty = Value::object();
        let spec = object.get("spec").unwrap_or(&empty);
        if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
            all.push(RECYCLE.to_owned());
        }
        let terms =
            spec.at(&["nodeAffinity", "required"]).map_or(&[][..], |required| required.items("nodeSelectorTerms"));
        for (index, term) in terms.iter().enumerate() {
            let at = format!("spec.nodeAffinity.required.nodeSelectorTerms[{index}].matchExpressions");
            warnings::of_node_expressions(term, &at, &mut all);
        }
        for (kind, shown, since, until) in DEPRECATED.iter().filter(|(kind, ..)| spec.has(kind)) {
            debug_assert!(SOURCES.iter().any(|(known, _)| known == kind));
            all.push(format!("spec.{shown}: deprecated in {since}, non-functional in {until}"));
        }
        all
    }
}

/// The source stays; a secret for expansion may be added.
fn validate_same_source(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let only_source = |spec: &Value| {
        let map = spec.as_object().into_iter().flat_map(|spec| spec.iter());
        let kept = map.filter(|(key, _)| SOURCES.iter().any(|(kind, _)| kind == key));
        normalized(&Value::Object(kept.map(|(key, value)| (key, value.clone())).collect()))
    };
    let (mut new, old) = (only_source(new), only_source(old));
    let secret = ["csi", "controllerExpandSecretRef"];
    if old.get("csi").is_some() && old.at(&secret).is_none() {
        new.remove_at(&secret);
    }
    if new != old {
        let detail = format!(
            "spec.persistentvolumesource is immutable after creation\n{}",
            diff("core.PersistentVolumeSource", &old, &new)
        );
        errors.forbidden(&Place::root("spec").field("persistentvolumesource"), &detail);
    }
}

/// Affinity that was there stays, but for labels that got another name.
fn validate_same_affinity(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    let Some(before) = old.present("nodeAffinity") else { return };
    let renamed = |affinity: &Value, new: &Value| {
        let mut affinity = normalized(affinity);
        rename_labels(&mut affinity, new);
        affinity
    };
    let after = new.get("nodeAffinity").unwrap_or(&Value::Null);
    if normalized(after) != renamed(before, after) {
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        errors.invalid(&Place::root("nodeAffinity"), Json(after), &detail);
    }
}

/// Where the other tree names a label's new form at the same place, the old form is replaced by it.
fn rename_labels(tree: &mut Value, other: &Value) {
    match tree {
        Value::Array(list) => {
            let others = other.as_array().map_or(&[][..], Vec::as_slice);
            for (own, other) in list.iter_mut().zip(others) {
                rename_labels(own, other);
            }
        }
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                let there = other.get(key).unwrap_or(&Value::Null);
                match (key, value.as_str()) {
                    ("key", Some(label))
                        if warnings::renamed_label(label).is_some_and(|l| there.as_str() == Some(l)) =>
                    {
                        *value = there.clone();
                    }
                    _ => rename_labels(value, there),
                }
            }
        }
        _ => {}
    }
}

/// A class's name.
pub(crate) fn validate_class_name(name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    errors.invalid_each(at, name, names::dns1123_subdomain(name));
}
