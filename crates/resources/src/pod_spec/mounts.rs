//! Validation of volume mounts and block devices of containers.

use machinery::field::FieldError;
use machinery::json::Value;

use super::containers::Pod;
use super::volumes::{has_backsteps, validate_descending};
use crate::place::{Place, Report};
use crate::read::Read;

const PROPAGATIONS: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
const RECURSIVE: [&str; 3] = ["Disabled", "Enabled", "IfPossible"];

/// `volumeMounts` and `volumeDevices` of a container.
pub(super) fn validate(container: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("volumeMounts");
    for (index, mount) in container.items("volumeMounts").iter().enumerate() {
        validate_mount(mount, index, container, pod, &list, errors);
    }
    let list = at.field("volumeDevices");
    for (index, device) in container.items("volumeDevices").iter().enumerate() {
        validate_device(device, index, container, pod, &list, errors);
    }
}

fn volume<'a>(pod: &Pod<'a>, name: &str) -> Option<&'a Value> {
    pod.volumes.iter().find(|(known, _)| *known == name).map(|(_, volume)| *volume)
}

fn validate_mount(
    mount: &Value,
    index: usize,
    container: &Value,
    pod: &Pod<'_>,
    list: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let at = list.index(index);
    let (name, path) = (mount.text("name"), mount.text("mountPath"));
    if name.is_empty() {
        errors.required(&at.field("name"), "");
    }
    let source = volume(pod, name);
    if source.is_none() {
        errors.not_found(&at.field("name"), name);
    }
    if path.is_empty() {
        errors.required(&at.field("mountPath"), "");
    }
    if container.items("volumeMounts")[..index].iter().any(|m| m.text("mountPath") == path) {
        errors.invalid(&at.field("mountPath"), path, "must be unique");
    }
    let devices = container.items("volumeDevices");
    if devices.iter().any(|d| d.text("name") == name) {
        errors.invalid(&at.field("name"), name, "must not already exist in volumeDevices");
    }
    if devices.iter().any(|d| d.text("devicePath") == path) {
        errors.invalid(&at.field("mountPath"), path, "must not already exist as a path in volumeDevices");
    }
    validate_sub_paths(mount, source.is_some_and(|s| s.has("image")), &at, list, errors);
    validate_propagation(mount, container, list, errors);
}

fn validate_sub_paths(mount: &Value, image: bool, at: &Place<'_>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (sub_path, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    for (field, path) in [("subPath", sub_path), ("subPathExpr", expression)] {
        if !path.is_empty() && image {
            errors.invalid(&at.field(field), path, "not allowed in image volume sources");
        }
    }
    if !sub_path.is_empty() {
        validate_descending(sub_path, &list.field("subPath"), errors);
    }
    if !expression.is_empty() {
        if !sub_path.is_empty() {
            errors.invalid(&at.field("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        validate_descending(expression, &list.field("subPathExpr"), errors);
    }
}

fn validate_propagation(mount: &Value, container: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let propagation = mount.text("mountPropagation");
    let at = list.field("mountPropagation");
    if mount.has("mountPropagation") && !PROPAGATIONS.contains(&propagation) {
        errors.unsupported(&at, propagation, &PROPAGATIONS);
    }
    let privileged = container.at(&["securityContext", "privileged"]).and_then(Value::as_bool) == Some(true);
    if propagation == "Bidirectional" && !privileged {
        errors.forbidden(&at, "Bidirectional mount propagation is available only to privileged containers");
    }
    let at = list.field("recursiveReadOnly");
    match mount.present("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.flag("readOnly") {
                errors.forbidden(&at, "may only be specified when readOnly is true");
            }
            if !matches!(propagation, "" | "None") {
                errors.forbidden(&at, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.unsupported(&at, other, &RECURSIVE),
    }
}

fn validate_device(
    device: &Value,
    index: usize,
    container: &Value,
    pod: &Pod<'_>,
    list: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let at = list.index(index);
    let (name, path) = (device.text("name"), device.text("devicePath"));
    let earlier = &container.items("volumeDevices")[..index];
    if name.is_empty() {
        errors.required(&at.field("name"), "");
    } else if earlier.iter().any(|d| d.text("name") == name) {
        errors.invalid(&at.field("name"), name, "must be unique");
    }
    match volume(pod, name) {
        None => errors.not_found(&at.field("name"), name),
        Some(source) if !source.has("persistentVolumeClaim") && !source.has("ephemeral") => {
            let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
            errors.invalid(&at.field("name"), name, detail);
        }
        Some(_) => {}
    }
    if path.is_empty() {
        errors.required(&at.field("devicePath"), "");
    }
    if earlier.iter().any(|d| d.text("devicePath") == path) {
        errors.invalid(&at.field("devicePath"), path, "must be unique");
    }
    if has_backsteps(path) {
        errors.invalid(&at.field("devicePath"), path, "can not contain backsteps ('..')");
    }
    let mounts = container.items("volumeMounts");
    if mounts.iter().any(|m| m.text("name") == name) {
        errors.invalid(&at.field("name"), name, "must not already exist in volumeMounts");
    }
    if mounts.iter().any(|m| m.text("mountPath") == path) {
        errors.invalid(&at.field("devicePath"), path, "must not already exist as a path in volumeMounts");
    }
}
