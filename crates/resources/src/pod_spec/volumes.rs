//! Validation of volumes.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::containers::validate_choice;
use super::env::{FILE_FIELDS, validate_field_ref, validate_resource_ref};
use super::qos::quantity;
use super::vendor_volumes::{self, Owner};
use crate::core::claim_rules;
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::Read;

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const DUPLICATE_PATHS: &str = "conflicting duplicate paths";
const TOKEN_SECONDS_MIN: i64 = 600;
const TOKEN_SECONDS_MAX: i64 = 1 << 32;
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
/// Sources in the order in which upstream looks at them, with the texts that each requires.
const SOURCES: [(&str, &[&str]); 30] = [
    ("emptyDir", &[]),
    ("hostPath", &["path"]),
    ("gitRepo", &["repository"]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("secret", &["secretName"]),
    ("nfs", &["server", "path"]),
    ("iscsi", &[]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("persistentVolumeClaim", &["claimName"]),
    ("rbd", &[]),
    ("cinder", &["volumeID"]),
    ("cephfs", &[]),
    ("quobyte", &[]),
    ("downwardAPI", &[]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("configMap", &["name"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("storageos", &[]),
    ("projected", &[]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("csi", &["driver"]),
    ("ephemeral", &[]),
    ("image", &[]),
];

/// All volumes; gives back those that are valid, by name.
pub(super) fn validate<'a>(
    spec: &'a Value,
    pod_name: &str,
    list: &Place<'_>,
    errors: &mut Vec<FieldError>,
) -> Vec<(&'a str, &'a Value)> {
    let mut valid: Vec<(&str, &Value)> = Vec::new();
    for (index, volume) in spec.items("volumes").iter().enumerate() {
        let at = list.index(index);
        let before = errors.len();
        let name = volume.text("name");
        validate_source(volume, pod_name, &at, errors);
        if name.is_empty() {
            errors.required(&at.field("name"), "");
        } else {
            errors.invalid_each(&at.field("name"), name, names::dns1123_label(name));
        }
        if valid.iter().any(|(known, _)| *known == name) {
            errors.duplicate(&at.field("name"), name);
        }
        if errors.len() == before {
            valid.push((name, volume));
        }
        let claim = volume.str_at(&["persistentVolumeClaim", "claimName"]).unwrap_or_default();
        let made = |v: &Value| v.has("ephemeral") && claim == format!("{pod_name}-{}", v.text("name"));
        if !claim.is_empty() && !pod_name.is_empty() && spec.items("volumes").iter().any(made) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&at.field("persistentVolumeClaim.claimName"), claim, detail);
        }
    }
    valid
}

fn validate_source(volume: &Value, pod_name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut found = false;
    for (kind, required) in sources_of(volume) {
        let Some(source) = volume.present(kind) else { continue };
        let place = at.field(kind);
        if found {
            errors.forbidden(&place, "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        for field in required.iter().filter(|field| source.text(field).is_empty()) {
            errors.required(&place.field(field), "");
        }
        validate_kind(kind, source, &place, errors);
        let name = volume.text("name");
        if kind == "ephemeral" && !pod_name.is_empty() && !name.is_empty() {
            validate_claim_name(name, pod_name, at, errors);
        }
    }
    if !found {
        errors.required(at, "must specify a volume type");
    }
}

/// The kinds of source that a volume names, in upstream's order. Volumes have few keys, so those are what is looked up.
fn sources_of(volume: &Value) -> Vec<(&'static str, &'static [&'static str])> {
    let keys = volume.as_object().into_iter().flat_map(|volume| volume.keys());
    let mut places: Vec<usize> = keys.filter_map(|key| SOURCES.iter().position(|(kind, _)| *kind == key)).collect();
    places.sort_unstable();
    places.into_iter().map(|place| SOURCES[place]).collect()
}

fn validate_kind(kind: &str, source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match kind {
        "emptyDir" => validate_empty_dir(source, at, errors),
        "hostPath" => validate_host_path(source, at, errors),
        "gitRepo" => validate_descending(source.text("directory"), &at.field("directory"), errors),
        "secret" | "configMap" => {
            validate_mode(source, "defaultMode", at, errors);
            validate_items(source, at, errors);
        }
        "downwardAPI" => {
            validate_mode(source, "defaultMode", at, errors);
            for file in source.items("items") {
                validate_downward_file(file, at, errors);
            }
        }
        "projected" => {
            validate_mode(source, "defaultMode", at, errors);
            validate_projections(source, at, errors);
        }
        "csi" => validate_csi(source, at, errors),
        "ephemeral" => match source.present("volumeClaimTemplate") {
            Some(template) => claim_rules::validate_template(template, &at.field("volumeClaimTemplate"), errors),
            None => errors.required(&at.field("volumeClaimTemplate"), ""),
        },
        "image" => {
            if source.text("reference").is_empty() {
                errors.required(&at.field("reference"), "");
            }
            validate_choice(source, "pullPolicy", &["Always", "IfNotPresent", "Never"], at, errors);
        }
        _ => vendor_volumes::validate(kind, source, Owner::Pod, at, errors),
    }
}

fn validate_claim_name(volume: &str, pod: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let claim = format!("{pod}-{volume}");
    for message in names::dns1123_subdomain(&claim) {
        errors.invalid(&at.field("name"), volume, &format!("PVC name {claim:?}: {message}"));
    }
}

fn validate_empty_dir(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if source.get("sizeLimit").and_then(quantity).is_some_and(|q| q.sign() < 0) {
        errors.forbidden(&at.field("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

pub(crate) fn validate_host_path(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let path = source.text("path");
    if path.is_empty() {
        return;
    }
    if has_backsteps(path) {
        errors.invalid(&at.field("path"), path, "must not contain '..'");
    }
    let kind = source.text("type");
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.unsupported(&at.field("type"), kind, &HOST_PATH_TYPES);
    }
}

fn validate_csi(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let driver = source.text("driver");
    if driver.len() > 63 {
        errors.too_long(&at.field("driver"), 63);
    }
    errors.invalid_each(&at.field("driver"), driver, names::dns1123_subdomain(&driver.to_lowercase()));
    if let Some(secret) = source.present("nodePublishSecretRef") {
        let (name, at) = (secret.text("name"), at.field("nodePublishSecretRef.name"));
        if name.is_empty() {
            errors.required(&at, "");
        } else {
            errors.invalid_each(&at, name, names::dns1123_subdomain(name));
        }
    }
}

fn validate_mode(tree: &Value, field: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(mode) = tree.int(field).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(&at.field(field), mode, MODE);
    }
}

fn validate_items(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("items");
    for (index, item) in source.items("items").iter().enumerate() {
        let at = list.index(index);
        for field in ["key", "path"].iter().filter(|field| item.text(field).is_empty()) {
            errors.required(&at.field(field), "");
        }
        validate_local_path(item.text("path"), &at.field("path"), errors);
        validate_mode(item, "mode", &at, errors);
    }
}

fn validate_downward_file(file: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if file.text("path").is_empty() {
        errors.required(&at.field("path"), "");
    }
    validate_local_path(file.text("path"), &at.field("path"), errors);
    match (file.present("fieldRef"), file.present("resourceFieldRef")) {
        (Some(field), resource) => {
            validate_field_ref(field, &FILE_FIELDS, &at.field("fieldRef"), errors);
            if resource.is_some() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                errors.invalid(at, "resource", detail);
            }
        }
        (None, Some(resource)) => validate_resource_ref(resource, true, &at.field("resourceFieldRef"), errors),
        (None, None) => errors.required(at, "one of fieldRef and resourceFieldRef is required"),
    }
    validate_mode(file, "mode", at, errors);
}

fn validate_projections(projected: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut paths: Vec<&str> = Vec::new();
    let list = at.field("sources");
    for (index, source) in projected.items("sources").iter().enumerate() {
        let place = list.index(index);
        let mut kinds = 0;
        for kind in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            let Some(part) = source.present(kind) else { continue };
            kinds += 1;
            validate_projection(kind, part, &place.field(kind), at, errors);
            for (path, owner) in projected_paths(kind, part) {
                if paths.contains(&path) {
                    errors.invalid(at, owner, DUPLICATE_PATHS);
                } else {
                    paths.push(path);
                }
            }
        }
        if kinds > 1 {
            errors.forbidden(&place, "may not specify more than 1 volume type per source");
        }
    }
}

/// Paths that a projection makes, with what upstream's message shows for each.
fn projected_paths<'a>(kind: &str, part: &'a Value) -> Vec<(&'a str, &'a str)> {
    let named = |item: &'a Value| Some(item.text("path")).filter(|p| !p.is_empty());
    match kind {
        "secret" | "configMap" => {
            part.items("items").iter().filter_map(named).map(|path| (path, part.text("name"))).collect()
        }
        "downwardAPI" => part.items("items").iter().filter_map(named).map(|path| (path, path)).collect(),
        "clusterTrustBundle" => vec![(part.text("path"), part.text("path"))],
        "podCertificate" => ["credentialBundlePath", "keyPath", "certificateChainPath"]
            .iter()
            .map(|field| part.text(field))
            .filter(|path| !path.is_empty())
            .map(|path| (path, path))
            .collect(),
        _ => Vec::new(),
    }
}

fn validate_projection(kind: &str, part: &Value, at: &Place<'_>, volume: &Place<'_>, errors: &mut Vec<FieldError>) {
    match kind {
        "secret" | "configMap" => {
            if part.text("name").is_empty() {
                errors.required(&at.field("name"), "");
            }
            validate_items(part, at, errors);
        }
        "downwardAPI" => {
            for file in part.items("items") {
                validate_downward_file(file, at, errors);
            }
        }
        "serviceAccountToken" => validate_token(part, at, volume, errors),
        "clusterTrustBundle" => validate_trust_bundle(part, at, errors),
        _ => validate_certificate(part, at, errors),
    }
}

fn validate_token(part: &Value, at: &Place<'_>, volume: &Place<'_>, errors: &mut Vec<FieldError>) {
    let seconds = part.int("expirationSeconds").unwrap_or(0);
    if seconds < TOKEN_SECONDS_MIN {
        errors.invalid(&at.field("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > TOKEN_SECONDS_MAX {
        errors.invalid(&at.field("expirationSeconds"), seconds, "may not specify a duration larger than 2^32 seconds");
    }
    let path = part.text("path");
    if path.is_empty() {
        errors.required(&volume.field("path"), "");
    } else {
        validate_local_path(path, &volume.field("path"), errors);
    }
}

fn validate_trust_bundle(part: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match (part.present("name"), part.present("signerName")) {
        (Some(_), Some(_)) => errors.invalid(at, Json(part), "only one of name and signerName may be used"),
        (Some(name), None) => {
            if name.as_str().unwrap_or_default().is_empty() {
                errors.required(&at.field("name"), "must be a valid object name");
            }
            if let Some(selector) = part.present("labelSelector") {
                let detail = "labelSelector must be unset if name is specified";
                errors.invalid(&at.field("labelSelector"), Json(selector), detail);
            }
        }
        (None, Some(signer)) => {
            if signer.as_str().unwrap_or_default().is_empty() {
                errors.required(&at.field("signerName"), "must be a valid signer name");
            }
            if let Some(selector) = part.present("labelSelector") {
                validate_label_selector(selector, &at.field("labelSelector"), errors);
            }
        }
        (None, None) => errors.required(at, "either name or signerName must be specified"),
    }
    if part.text("path").is_empty() {
        errors.required(&at.field("path"), "");
    }
    validate_local_path(part.text("path"), &at.field("path"), errors);
}

fn validate_certificate(part: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if part.text("signerName").is_empty() {
        errors.required(&at.field("signerName"), "");
    }
    let keys = ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519", "RSA3072", "RSA4096"];
    let kind = part.text("keyType");
    if !keys.contains(&kind) {
        errors.unsupported(&at.field("keyType"), kind, &keys);
    }
    let paths = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    if paths.iter().all(|field| part.text(field).is_empty()) {
        errors.required(at, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath");
    }
    for field in paths.iter().filter(|field| !part.text(field).is_empty()) {
        validate_local_path(part.text(field), &at.field(field), errors);
    }
}

/// Whether a path has a `..` among its parts.
pub(crate) fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}

/// A relative path without `..`.
pub(super) fn validate_descending(path: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if path.starts_with('/') {
        errors.invalid(at, path, "must be a relative path");
    }
    if has_backsteps(path) {
        errors.invalid(at, path, "must not contain '..'");
    }
}

/// A relative path without `..` which does not start with the dots that atomic updates use.
pub(super) fn validate_local_path(path: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_descending(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.invalid(at, path, "must not start with '..'");
    }
}
