//! Validation of environment variables and downward API references.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::containers::Pod;
use super::qos::quantity;
use crate::place::{Place, Report};
use crate::read::Read;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that files of the downward API may show.
pub(super) const FILE_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZE_DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// `env` and `envFrom` of a container.
pub(super) fn validate(container: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("env");
    for (index, variable) in container.items("env").iter().enumerate() {
        let at = list.index(index);
        let name = variable.text("name");
        if name.is_empty() {
            errors.required(&at.field("name"), "");
        } else {
            errors.invalid_each(&at.field("name"), name, relaxed_name(name));
        }
        if let Some(source) = variable.present("valueFrom") {
            validate_source(source, !variable.text("value").is_empty(), pod, &at.field("valueFrom"), errors);
        }
    }
    validate_env_from(container, &at.field("envFrom"), errors);
}

/// Any printable ASCII but `=` (KEP-4369).
fn relaxed_name(name: &str) -> Vec<String> {
    let fine = name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=');
    if fine {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

fn validate_source(source: &Value, has_value: bool, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut sources = 0;
    if let Some(field) = source.present("fieldRef") {
        sources += 1;
        validate_field_ref(field, &ENV_FIELDS, &at.field("fieldRef"), errors);
    }
    if let Some(resource) = source.present("resourceFieldRef") {
        sources += 1;
        validate_resource_ref(resource, false, &at.field("resourceFieldRef"), errors);
    }
    for reference in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(key) = source.present(reference) {
            sources += 1;
            validate_key_ref(key, &at.field(reference), errors);
        }
    }
    if let Some(file) = source.present("fileKeyRef") {
        sources += 1;
        validate_file_ref(file, pod, &at.field("fileKeyRef"), errors);
    }
    if sources == 0 {
        let detail =
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.invalid(at, "", detail);
    } else if has_value {
        errors.invalid(at, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(at, "", "may not have more than one field specified at a time");
    }
}

fn validate_file_ref(file: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (key, volume, path) = (file.text("key"), file.text("volumeName"), file.text("path"));
    if key.is_empty() {
        errors.required(&at.field("key"), "");
    } else {
        errors.invalid_each(&at.field("key"), key, relaxed_name(key));
    }
    if volume.is_empty() {
        errors.required(&at.field("volumeName"), "");
    } else if let Some((_, source)) = pod.volumes.iter().find(|(name, _)| *name == volume) {
        if !source.has("emptyDir") {
            errors.invalid(&at.field("volumeName"), volume, "referenced volume must be of type emptyDir");
        }
    } else {
        errors.not_found(&at.field("volumeName"), volume);
    }
    if path.is_empty() {
        errors.required(&at.field("path"), "");
    } else {
        super::volumes::validate_local_path(path, &at.field("path"), errors);
    }
}

/// A reference to a field of the pod.
pub(super) fn validate_field_ref(field: &Value, known: &[&str], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (version, path) = (field.text("apiVersion"), field.text("fieldPath"));
    if version.is_empty() {
        errors.required(&at.field("apiVersion"), "");
        return;
    }
    if path.is_empty() {
        errors.required(&at.field("fieldPath"), "");
        return;
    }
    let place = at.field("fieldPath");
    if version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        errors.invalid(&place, path, &detail);
        return;
    }
    let subscripted = path.strip_suffix("']").and_then(|p| p.split_once("['"));
    match subscripted {
        Some(("metadata.annotations", key)) => errors.invalid_each(at, key, names::qualified_name(&key.to_lowercase())),
        Some(("metadata.labels", key)) => errors.invalid_each(at, key, names::qualified_name(key)),
        Some((other, _)) if convertible(other) => errors.invalid(at, other, "does not support subscript"),
        None if known.contains(&path) => {}
        None if convertible(path) => errors.unsupported(&place, path, known),
        _ => errors.invalid(&place, path, &format!("error converting fieldPath: field label not supported: {path}")),
    }
}

fn convertible(path: &str) -> bool {
    let more = ["spec.restartPolicy", "spec.schedulerName", "status.phase", "spec.host"];
    ENV_FIELDS.contains(&path) || FILE_FIELDS.contains(&path) || more.contains(&path)
}

/// A reference to a resource of a container.
pub(super) fn validate_resource_ref(reference: &Value, in_volume: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let resource = reference.text("resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && reference.text("containerName").is_empty() {
        errors.required(&at.field("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&at.field("resource"), "");
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.unsupported(&at.field("resource"), resource, &RESOURCES);
    }
    let Some(divisor) = reference.get("divisor").and_then(quantity).filter(|d| !d.is_zero()) else { return };
    let (text, place) = (divisor.to_string(), at.field("divisor"));
    let kind = match resource.split_once('.').map_or("", |(_, kind)| kind) {
        "cpu" => {
            if !matches!(text.as_str(), "1m" | "1") {
                errors.invalid(&place, resource, "only divisor's values 1m and 1 are supported with the cpu resource");
            }
            return;
        }
        "memory" => "memory",
        "ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !SIZE_DIVISORS.contains(&text.as_str()) {
        let detail =
            format!("only divisor's values {} are supported with the {kind} resource", SIZE_DIVISORS.join(", "));
        errors.invalid(&place, resource, &detail);
    }
}

fn validate_key_ref(reference: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (name, key) = (reference.text("name"), reference.text("key"));
    errors.invalid_each(&at.field("name"), name, names::dns1123_subdomain(name));
    if key.is_empty() {
        errors.required(&at.field("key"), "");
    } else {
        errors.invalid_each(&at.field("key"), key, names::config_map_key(key));
    }
}

fn validate_env_from(container: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, source) in container.items("envFrom").iter().enumerate() {
        let at = list.index(index);
        let prefix = source.text("prefix");
        errors.invalid_each(&at.field("prefix"), prefix, relaxed_name(prefix));
        let mut sources = 0;
        for reference in ["configMapRef", "secretRef"] {
            let Some(target) = source.present(reference) else { continue };
            sources += 1;
            let (name, at) = (target.text("name"), at.field(reference));
            if name.is_empty() {
                errors.required(&at.field("name"), "");
            } else {
                let wrong = names::as_prefix(name, names::dns1123_subdomain);
                errors.invalid_each(&at.field("name"), name, wrong);
            }
        }
        match sources {
            0 => errors.invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(list, "", "may not have more than one field specified at a time"),
        }
    }
}
