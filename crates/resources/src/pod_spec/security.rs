//! Validation of security contexts.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::volumes::validate_descending;
use crate::place::{Json, Place, Report};
use crate::read::Read;

const LOCALHOST_PROFILE_LENGTH_MAX: usize = 4095;
const SYSCTL_LENGTH_MAX: usize = 253;
const PROFILE_TYPES: [&str; 3] = ["Localhost", "RuntimeDefault", "Unconfined"];

fn validate_ids(context: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (field, check) in [
        ("fsGroup", names::group_id as fn(i64) -> Vec<String>),
        ("runAsUser", names::user_id),
        ("runAsGroup", names::group_id),
    ] {
        if let Some(id) = context.int(field) {
            for message in check(id) {
                errors.invalid(&at.field(field), id, &message);
            }
        }
    }
}

fn validate_known(context: &Value, field: &str, known: &[&str], at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(text) = context.present(field).and_then(Value::as_str).filter(|text| !known.contains(text)) {
        errors.unsupported(&at.field(field), text, known);
    }
}

/// `securityContext` of a container.
pub(super) fn validate_container(context: &Value, host_users: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_ids(context, at, errors);
    validate_known(context, "procMount", &["Default", "Unmasked"], at, errors);
    if host_users && context.text("procMount") == "Unmasked" {
        errors.invalid(&at.field("procMount"), "Unmasked", "`hostUsers` must be false to use `Unmasked`");
    }
    validate_profiles(context, at, errors);
    if context.present("allowPrivilegeEscalation").and_then(Value::as_bool) == Some(false) {
        if context.flag("privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(at, Json(context), detail);
        }
        let added = context.get("capabilities").unwrap_or(&Value::Null);
        if added.texts("add").any(|capability| capability == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(at, Json(context), detail);
        }
    }
    validate_windows(context, at, errors);
}

/// `securityContext` of a pod.
pub(super) fn validate_pod(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_host_users(spec, at, errors);
    let Some(context) = spec.present("securityContext") else { return };
    let at = at.field("securityContext");
    validate_ids(context, &at, errors);
    for (index, group) in context.items("supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
        for message in names::group_id(group) {
            errors.invalid(&at.field("supplementalGroups").index(index), group, &message);
        }
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.field("shareProcessNamespace"), true, detail);
    }
    validate_sysctls(context, spec, &at.field("sysctls"), errors);
    validate_known(context, "fsGroupChangePolicy", &["Always", "OnRootMismatch"], &at, errors);
    validate_profiles(context, &at, errors);
    validate_windows(context, &at, errors);
    validate_known(context, "supplementalGroupsPolicy", &["Merge", "Strict"], &at, errors);
    validate_known(context, "seLinuxChangePolicy", &["MountOption", "Recursive"], &at, errors);
}

fn validate_host_users(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if spec.present("hostUsers").and_then(Value::as_bool) != Some(false) {
        return;
    }
    for (field, shown) in [("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) {
            errors.forbidden(&at.field(shown), "when `pod.Spec.HostUsers` is false");
        }
    }
    if spec.flag("hostNetwork") {
        errors.forbidden(&at.field("hostNetwork"), "when `pod.Spec.HostUsers` is false");
    }
}

fn validate_profiles(context: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(profile) = context.present("seccompProfile") {
        validate_seccomp(profile, &at.field("seccompProfile"), errors);
    }
    if let Some(profile) = context.present("appArmorProfile") {
        validate_app_armor(profile, &at.field("appArmorProfile"), errors);
    }
}

fn validate_seccomp(profile: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = profile.text("type");
    if kind.is_empty() {
        errors.required(&at.field("type"), "type is required when seccompProfile is set");
    } else if !PROFILE_TYPES.contains(&kind) {
        errors.unsupported(&at.field("type"), kind, &PROFILE_TYPES);
    }
    let field = at.field("localhostProfile");
    match (kind, profile.present("localhostProfile").and_then(Value::as_str)) {
        ("Localhost", None) => errors.required(&field, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(path)) => validate_descending(path, &field, errors),
        (_, Some(_)) => errors.invalid(&field, Json(profile), "can only be set when seccomp type is Localhost"),
        _ => {}
    }
}

fn validate_app_armor(profile: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = profile.text("type");
    let name = profile.present("localhostProfile").and_then(Value::as_str);
    let field = at.field("localhostProfile");
    match (kind, name) {
        ("Localhost", None | Some("")) => errors.required(&field, "must be set when AppArmor type is Localhost"),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.invalid(&field, name, "must not be padded with whitespace");
            }
            if name.len() > LOCALHOST_PROFILE_LENGTH_MAX {
                errors.too_long(&field, LOCALHOST_PROFILE_LENGTH_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&field, name, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.required(&at.field("type"), "type is required when appArmorProfile is set"),
        _ => errors.unsupported(&at.field("type"), kind, &PROFILE_TYPES),
    }
}

fn validate_sysctls(context: &Value, spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let sysctls = context.items("sysctls");
    for (index, sysctl) in sysctls.iter().enumerate() {
        let name = sysctl.text("name");
        let place = list.index(index);
        let at = place.field("name");
        if name.is_empty() {
            errors.required(&at, "");
        } else if !is_sysctl_name(name) {
            let detail = format!(
                "must have at most {SYSCTL_LENGTH_MAX} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            errors.invalid(&at, name, &detail);
        } else if sysctls[..index].iter().any(|s| s.text("name") == name) {
            errors.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|p| dotted.starts_with(p));
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if spec.flag("hostIPC") && ipc {
            errors.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let segment = |part: &str| {
        let bytes = part.as_bytes();
        edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.len() <= SYSCTL_LENGTH_MAX && name.split(['.', '/']).all(segment)
}

fn validate_windows(context: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(options) = context.present("windowsOptions") else { return };
    let at = at.field("windowsOptions");
    if let Some(name) = options.present("gmsaCredentialSpecName").and_then(Value::as_str) {
        errors.invalid_each(&at.field("gmsaCredentialSpecName"), name, names::dns1123_subdomain(name));
    }
    if let Some("") = options.present("gmsaCredentialSpec").and_then(Value::as_str) {
        errors.invalid(&at.field("gmsaCredentialSpec"), "", "gmsaCredentialSpec cannot be an empty string");
    }
    if let Some("") = options.present("runAsUserName").and_then(Value::as_str) {
        errors.invalid(&at.field("runAsUserName"), "", "runAsUserName cannot be an empty string");
    }
}
