//! Defaults of pod specs (`pkg/apis/core/v1/defaults.go`). All of them are idempotent.

use machinery::json::Value;

use crate::read::{Read, items_mut, present_mut, set_default};

/// Files of projected volumes, by default: 0644.
const FILE_MODE: i64 = 0o644;

const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];
const VOLUME_SOURCES: [&str; 30] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "persistentVolumeClaim",
    "photonPersistentDisk",
    "portworxVolume",
    "projected",
    "quobyte",
    "rbd",
    "scaleIO",
    "secret",
    "storageos",
    "vsphereVolume",
];

/// A template: `{metadata, spec}`.
pub fn template(template: &mut Value) {
    if !template.has("metadata") {
        template.set_at(&["metadata"], Value::object());
    }
    set_default(template, "spec", Value::object());
    if let Some(spec) = present_mut(template, "spec") {
        pod_spec(spec);
    }
}

/// The spec of a pod or of a template.
pub fn pod_spec(spec: &mut Value) {
    set_default(spec, "restartPolicy", "Always");
    set_default(spec, "dnsPolicy", "ClusterFirst");
    set_default(spec, "terminationGracePeriodSeconds", 30);
    // Pods with a negative one were stored once; it has always been read as 1.
    if spec.int("terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        spec.set_at(&["terminationGracePeriodSeconds"], 1);
    }
    set_default(spec, "schedulerName", "default-scheduler");
    set_default(spec, "securityContext", Value::object());
    mirror_service_account(spec);
    for volume in items_mut(spec, "volumes") {
        default_volume(volume);
    }
    for list in CONTAINER_LISTS {
        for container in items_mut(spec, list) {
            default_container(container);
        }
    }
}

/// What only pods get, not templates: service links, requests out of limits, the host's ports in its network.
pub fn pod_only(spec: &mut Value) {
    set_default(spec, "enableServiceLinks", true);
    let host_network = spec.flag("hostNetwork");
    for list in ["initContainers", "containers"] {
        for container in items_mut(spec, list) {
            if host_network {
                default_host_ports(container);
            }
            if let Some(resources) = present_mut(container, "resources") {
                default_requests(resources);
            }
        }
    }
    if let Some(resources) = present_mut(spec, "resources") {
        default_requests(resources);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; the API keeps both alike.
fn mirror_service_account(spec: &mut Value) {
    let name = spec.text("serviceAccountName").to_owned();
    let old = spec.text("serviceAccount").to_owned();
    match (name.is_empty(), old.is_empty()) {
        (false, _) if name != old => spec.set_at(&["serviceAccount"], name),
        (true, false) => spec.set_at(&["serviceAccountName"], old),
        _ => {}
    }
}

fn default_requests(resources: &mut Value) {
    let limits = resources.entries("limits").clone();
    for (resource, limit) in limits {
        set_default(resources, "requests", Value::object());
        if let Some(requests) = present_mut(resources, "requests") {
            set_default(requests, &resource, limit);
        }
    }
}

fn default_host_ports(container: &mut Value) {
    for port in items_mut(container, "ports") {
        let number = port.int("containerPort").unwrap_or(0);
        if number != 0 && port.int("hostPort").unwrap_or(0) == 0 {
            port.set_at(&["hostPort"], number);
        }
    }
}

fn default_container(container: &mut Value) {
    if container.text("imagePullPolicy").is_empty() {
        let policy = if follows_latest(container.text("image")) { "Always" } else { "IfNotPresent" };
        container.set_at(&["imagePullPolicy"], policy);
    }
    set_default(container, "terminationMessagePath", "/dev/termination-log");
    set_default(container, "terminationMessagePolicy", "File");
    set_default(container, "resources", Value::object());
    for port in items_mut(container, "ports") {
        set_default(port, "protocol", "TCP");
    }
    for variable in items_mut(container, "env") {
        let Some(source) = present_mut(variable, "valueFrom") else { continue };
        default_field_refs(source);
        if let Some(file) = present_mut(source, "fileKeyRef") {
            set_default(file, "optional", false);
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = present_mut(container, probe) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(http) = container.at_mut(&["lifecycle", hook, "httpGet"]).filter(|h| !h.is_null()) {
            default_http(http);
        }
    }
}

/// Whether upstream takes an image's reference for one that moves: its tag is `latest`, or it has neither tag nor digest.
fn follows_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none(),
    }
}

fn default_field_refs(source: &mut Value) {
    if let Some(field) = present_mut(source, "fieldRef") {
        set_default(field, "apiVersion", "v1");
    }
    if let Some(resource) = present_mut(source, "resourceFieldRef") {
        set_default(resource, "divisor", "0");
    }
}

fn default_probe(probe: &mut Value) {
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.int(field).unwrap_or(0) == 0 {
            probe.set_at(&[field], value);
        }
    }
    if let Some(http) = present_mut(probe, "httpGet") {
        default_http(http);
    }
    if let Some(grpc) = present_mut(probe, "grpc") {
        set_default(grpc, "service", "");
    }
}

fn default_http(http: &mut Value) {
    for (field, value) in [("path", "/"), ("scheme", "HTTP")] {
        if http.text(field).is_empty() {
            http.set_at(&[field], value);
        }
    }
}

fn default_volume(volume: &mut Value) {
    if !VOLUME_SOURCES.iter().any(|source| volume.has(source)) {
        volume.set_at(&["emptyDir"], Value::object());
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = present_mut(volume, source) {
            set_default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(downward) = present_mut(volume, "downwardAPI") {
        items_mut(downward, "items").iter_mut().for_each(default_field_refs);
    }
    if let Some(projected) = present_mut(volume, "projected") {
        items_mut(projected, "sources").iter_mut().for_each(default_projection);
    }
    if let Some(image) = present_mut(volume, "image")
        && image.text("pullPolicy").is_empty()
    {
        let policy = if follows_latest(image.text("reference")) { "Always" } else { "IfNotPresent" };
        image.set_at(&["pullPolicy"], policy);
    }
    if let Some(spec) = volume.at_mut(&["ephemeral", "volumeClaimTemplate", "spec"]) {
        set_default(spec, "volumeMode", "Filesystem");
    }
    volume_source(volume);
}

fn default_projection(source: &mut Value) {
    if let Some(token) = present_mut(source, "serviceAccountToken") {
        set_default(token, "expirationSeconds", 3600);
    }
    if let Some(downward) = present_mut(source, "downwardAPI") {
        items_mut(downward, "items").iter_mut().for_each(default_field_refs);
    }
}

/// Defaults of sources that pods and persistent volumes share.
pub fn volume_source(volume: &mut Value) {
    if let Some(path) = present_mut(volume, "hostPath") {
        set_default(path, "type", "");
    }
    let defaults: [(&str, &[(&str, &str)]); 4] = [
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (source, fields) in defaults {
        let Some(source) = present_mut(volume, source) else { continue };
        for (field, value) in fields {
            set_default(source, field, *value);
        }
    }
    if let Some(disk) = present_mut(volume, "azureDisk") {
        set_default(disk, "readOnly", false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_move() {
        for (image, moves) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.2", false),
            ("localhost:5000/nginx", true),
            ("localhost:5000/nginx:1", false),
            ("nginx@sha256:00", false),
            ("nginx:1@sha256:00", false),
            ("nginx:latest@sha256:00", true),
        ] {
            assert_eq!(follows_latest(image), moves, "{image}");
        }
    }
}
