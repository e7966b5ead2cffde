//! Sources of volumes that pods and persistent volumes share: those of networks and of vendors.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::place::{Json, Place, Report};
use crate::read::Read;

const REGISTRY: &str = "must be a host:port pair or multiple pairs separated by commas";
const TENANT_LENGTH_MAX: usize = 64;
/// Longest `NAME:PORTAL` of a persistent volume whose initiator is named.
const PORTAL_LENGTH_MAX: usize = 64;
const CACHING_MODES: [&str; 3] = ["None", "ReadOnly", "ReadWrite"];
const DISK_KINDS: [&str; 3] = ["Dedicated", "Managed", "Shared"];
const MANAGED_URI: &str =
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
const BLOB_URI: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";

/// Whose source it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// A pod's volume: secrets are of its namespace.
    Pod,
    /// A persistent volume of this name: secrets are named with their namespace.
    PersistentVolume(&'a str),
}

/// What is wrong with a source, besides texts that are missing and named in the tables of pods and persistent volumes.
pub(crate) fn validate(kind: &str, source: &Value, owner: Owner<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match kind {
        "gcePersistentDisk" | "awsElasticBlockStore" => validate_partition(source, at, errors),
        "nfs" if !source.text("path").starts_with('/') => {
            errors.invalid(&at.field("path"), source.text("path"), "must be an absolute path");
        }
        "iscsi" => validate_iscsi(source, owner, at, errors),
        "glusterfs" if owner != Owner::Pod => validate_endpoints_namespace(source, at, errors),
        "flocker" => validate_flocker(source, at, errors),
        "fc" => validate_fibre_channel(source, at, errors),
        "rbd" | "cephfs" => {
            if source.items("monitors").is_empty() {
                errors.required(&at.field("monitors"), "");
            }
            if kind == "rbd" && source.text("image").is_empty() {
                errors.required(&at.field("image"), "");
            }
        }
        "quobyte" => validate_quobyte(source, at, errors),
        "cinder" => validate_secret(source, owner, at, errors),
        "flexVolume" => validate_options(source, &at.field("options"), errors),
        "azureFile" => {
            let named = owner != Owner::Pod && source.has("secretNamespace");
            if named && source.text("secretNamespace").is_empty() {
                errors.required(&at.field("secretNamespace"), "");
            }
        }
        "azureDisk" => validate_azure_disk(source, at, errors),
        "storageos" => validate_storage_os(source, owner, at, errors),
        _ => {}
    }
}

fn validate_partition(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let number = source.int("partition").unwrap_or(0);
    if !(0..=255).contains(&number) {
        errors.invalid(&at.field("partition"), number, "must be between 1 and 255, inclusive");
    }
}

fn validate_iscsi(source: &Value, owner: Owner<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let portal = source.text("targetPortal");
    if portal.is_empty() {
        errors.required(&at.field("targetPortal"), "");
    }
    if let Owner::PersistentVolume(name) = owner
        && source.has("initiatorName")
        && name.len() + 1 + portal.len() > PORTAL_LENGTH_MAX
    {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        errors.invalid(&at.field("targetportal"), portal, detail);
    }
    if source.text("iqn").is_empty() {
        errors.required(&at.field("iqn"), "");
    } else {
        validate_initiator(source.text("iqn"), owner, &at.field("iqn"), errors);
    }
    let lun = source.int("lun").unwrap_or(0);
    if !(0..=255).contains(&lun) {
        errors.invalid(&at.field("lun"), lun, "must be between 0 and 255, inclusive");
    }
    let authenticates = source.flag("chapAuthDiscovery") || source.flag("chapAuthSession");
    match source.present("secretRef") {
        None if authenticates => errors.required(&at.field("secretRef"), ""),
        Some(secret) if owner != Owner::Pod && secret.text("name").is_empty() => {
            errors.required(&at.field("secretRef.name"), "");
        }
        _ => {}
    }
    if source.has("initiatorName") {
        validate_initiator(source.text("initiatorName"), owner, &at.field("initiatorname"), errors);
    }
}

/// A name of one of the three forms of RFC 3720.
fn validate_initiator(name: &str, owner: Owner<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let right = match name.get(..3) {
        Some("iqn") => is_qualified_initiator(name),
        Some("eui") => is_coded(name, 16),
        Some("naa") => is_coded(name, 32),
        _ if owner == Owner::Pod => {
            errors.invalid(at, name, "must be valid format starting with iqn, eui, or naa");
            return;
        }
        _ => false,
    };
    if !right {
        errors.invalid(at, name, "must be valid format");
    }
}

/// `iqn.2001-04.com.example:storage`
fn is_qualified_initiator(name: &str) -> bool {
    let Some((authority, target)) = name.strip_prefix("iqn.").and_then(|rest| rest.split_once(':')) else {
        return false;
    };
    let (date, domain) = authority.split_once('.').unwrap_or((authority, ""));
    let dated = date.len() == 7
        && date.bytes().enumerate().all(|(index, b)| if index == 4 { b == b'-' } else { b.is_ascii_digit() });
    let named = !domain.is_empty() && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
    dated && named && !target.is_empty() && !target.contains(|c: char| ",;*&$|".contains(c) || c.is_ascii_whitespace())
}

fn is_coded(name: &str, letters: usize) -> bool {
    name.len() == letters + 4 && name.is_char_boundary(4) && name[4..].bytes().all(|b| b.is_ascii_alphanumeric())
}

fn validate_endpoints_namespace(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !source.has("endpointsNamespace") {
        return;
    }
    let (namespace, at) = (source.text("endpointsNamespace"), at.field("endpointsNamespace"));
    if namespace.is_empty() {
        errors.invalid(&at, namespace, "if the endpointnamespace is set, it must be a valid namespace name");
    } else {
        errors.invalid_each(&at, namespace, names::dns1123_label(namespace));
    }
}

fn validate_flocker(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (name, uuid) = (source.text("datasetName"), source.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        errors.required(at, "one of datasetName and datasetUUID is required");
    }
    if !name.is_empty() && !uuid.is_empty() {
        errors.invalid(at, "resource", "datasetName and datasetUUID can not be specified simultaneously");
    }
    if name.contains('/') {
        errors.invalid(&at.field("datasetName"), name, "must not contain '/'");
    }
}

fn validate_fibre_channel(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (names, ids) = (source.items("targetWWNs"), source.items("wwids"));
    let place = at.field("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.required(&place, "must specify either targetWWNs or wwids, but not both");
    }
    if !names.is_empty() && !ids.is_empty() {
        let value = Json(source.get("targetWWNs").unwrap_or(&Value::Null));
        errors.invalid(&place, value, "targetWWNs and wwids can not be specified simultaneously");
    }
    if !names.is_empty() {
        match source.int("lun") {
            None => errors.required(&at.field("lun"), "lun is required if targetWWNs is specified"),
            Some(0..=255) => {}
            Some(lun) => errors.invalid(&at.field("lun"), lun, "must be between 0 and 255, inclusive"),
        }
    }
}

fn validate_quobyte(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let registry = source.text("registry");
    if registry.is_empty() {
        errors.required(&at.field("registry"), REGISTRY);
    } else if source.text("tenant").len() > TENANT_LENGTH_MAX {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.required(&at.field("tenant"), detail);
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_port(pair)) {
            errors.invalid(&at.field("registry"), registry, REGISTRY);
        }
    }
    if source.text("volume").is_empty() {
        errors.required(&at.field("volume"), "");
    }
}

/// `host:port` or `[address]:port`, as Go splits them.
fn is_host_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let bare = |text: &str| !text.contains(['[', ']']);
    bare(port) && inner.map_or(bare(host) && !host.contains(':'), bare)
}

/// A secret that is referred to has a name, and of persistent volumes a namespace.
fn validate_secret(source: &Value, owner: Owner<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(secret) = source.present("secretRef") else { return };
    if secret.text("name").is_empty() {
        errors.required(&at.field("secretRef.name"), "");
    }
    if owner != Owner::Pod && secret.text("namespace").is_empty() {
        errors.required(&at.field("secretRef.namespace"), "");
    }
}

fn validate_options(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for key in source.entries("options").keys() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let namespace = format!(".{}", namespace.to_lowercase());
        if namespace.ends_with(".kubernetes.io") || namespace.ends_with(".k8s.io") {
            errors.invalid(&at.key(key), key, "kubernetes.io and k8s.io namespaces are reserved");
        }
    }
}

fn validate_azure_disk(source: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (field, known) in [("cachingMode", CACHING_MODES), ("kind", DISK_KINDS)] {
        if source.has(field) && !known.contains(&source.text(field)) {
            errors.unsupported(&at.field(field), source.text(field), &known);
        }
    }
    if !source.has("kind") {
        return;
    }
    let (start, form) =
        if source.text("kind") == "Managed" { ("/subscriptions/", MANAGED_URI) } else { ("https://", BLOB_URI) };
    if !source.text("diskURI").starts_with(start) {
        errors.unsupported(&at.field("diskURI"), source.text("diskURI"), &[form]);
    }
}

fn validate_storage_os(source: &Value, owner: Owner<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (volume, namespace) = (source.text("volumeName"), source.text("volumeNamespace"));
    if volume.is_empty() {
        errors.required(&at.field("volumeName"), "");
    } else {
        errors.invalid_each(&at.field("volumeName"), volume, names::dns1123_label(volume));
    }
    if !namespace.is_empty() {
        errors.invalid_each(&at.field("volumeNamespace"), namespace, names::dns1123_label(namespace));
    }
    validate_secret(source, owner, at, errors);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(kind: &str, source: &str, owner: Owner<'_>) -> Vec<String> {
        let source = Value::parse(source.as_bytes()).expect("the test's own text");
        let mut errors = Vec::new();
        validate(kind, &source, owner, &Place::root(kind), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn sources_are_judged_in_upstreams_words() {
        let volume = Owner::PersistentVolume("pv");
        let none: &[&str] = &[];
        let cases = [
            ("iscsi", r#"{"targetPortal":"p","iqn":"iqn.2001-04.com.example:storage.disk1","lun":0}"#, volume, none),
            (
                "iscsi",
                r#"{"targetPortal":"p","iqn":"eui.0123456789ABCDEF","initiatorName":"naa.1"}"#,
                volume,
                &["iscsi.initiatorname: Invalid value: \"naa.1\": must be valid format"],
            ),
            (
                "iscsi",
                r#"{"iqn":"x","lun":256,"chapAuthSession":true}"#,
                Owner::Pod,
                &[
                    "iscsi.targetPortal: Required value",
                    "iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa",
                    "iscsi.lun: Invalid value: 256: must be between 0 and 255, inclusive",
                    "iscsi.secretRef: Required value",
                ],
            ),
            (
                "quobyte",
                r#"{"registry":"a:1,[::1]:2,b","volume":"v"}"#,
                volume,
                &[
                    "quobyte.registry: Invalid value: \"a:1,[::1]:2,b\": must be a host:port pair or multiple pairs separated by commas",
                ],
            ),
            ("cinder", r#"{"secretRef":{}}"#, Owner::Pod, &["cinder.secretRef.name: Required value"]),
            ("cinder", r#"{"secretRef":{"name":"a"}}"#, volume, &["cinder.secretRef.namespace: Required value"]),
            (
                "flexVolume",
                r#"{"options":{"a.k8s.io/b":"c","example.com/b":"c"}}"#,
                volume,
                &[
                    "flexVolume.options[a.k8s.io/b]: Invalid value: \"a.k8s.io/b\": kubernetes.io and k8s.io namespaces are reserved",
                ],
            ),
            (
                "azureDisk",
                r#"{"kind":"Managed","cachingMode":"x","diskURI":"/subscriptions/a"}"#,
                volume,
                &[
                    "azureDisk.cachingMode: Unsupported value: \"x\": supported values: \"None\", \"ReadOnly\", \"ReadWrite\"",
                ],
            ),
            (
                "glusterfs",
                r#"{"endpointsNamespace":""}"#,
                volume,
                &[
                    "glusterfs.endpointsNamespace: Invalid value: \"\": if the endpointnamespace is set, it must be a valid namespace name",
                ],
            ),
            (
                "storageos",
                r#"{"volumeName":"A.b"}"#,
                Owner::Pod,
                &[
                    "storageos.volumeName: Invalid value: \"A.b\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                ],
            ),
        ];
        for (kind, source, owner, wanted) in cases {
            assert_eq!(problems(kind, source, owner), wanted, "{kind} {source}");
        }
    }
}
