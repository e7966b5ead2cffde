//! Validation of a pod spec as a whole.

use std::net::IpAddr;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::containers::{self, Pod, validate_choice};
use super::{resources, scheduling, security, volumes};
use crate::addresses::validate_ip;
use crate::place::{Json, Place, Report};
use crate::read::Read;

const NAMESERVERS_MAX: usize = 3;
const SEARCH_PATHS_MAX: usize = 32;
const SEARCH_LENGTH_MAX: usize = 2048;
const DNS_POLICIES: [&str; 4] = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
const HOSTNAME_LENGTH_MAX: usize = 64;

/// The spec of a pod (then with the pod's name) or of a template.
pub(crate) fn validate(spec: &Value, pod_name: Option<&str>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !spec.has("terminationGracePeriodSeconds") {
        errors.required(&at.field("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::validate(spec, pod_name.unwrap_or_default(), &at.field("volumes"), errors);
    validate_resource_claims(spec, &at.field("resourceClaims"), errors);
    let pod = Pod {
        spec,
        volumes,
        grace_period_seconds: spec.int("terminationGracePeriodSeconds"),
        host_users: spec.present("hostUsers").and_then(Value::as_bool).unwrap_or(true),
        is_pod: pod_name.is_some(),
    };
    containers::validate(&pod, at, errors);
    resources::validate_pod(spec, at, errors);
    validate_host_network(&pod, &at.field("containers"), errors);
    validate_choice(spec, "restartPolicy", &["Always", "OnFailure", "Never"], at, errors);
    validate_choice(spec, "dnsPolicy", &DNS_POLICIES, at, errors);
    security::validate_pod(spec, at, errors);
    validate_dns(spec, &at.field("dnsConfig"), errors);
    scheduling::validate(spec, at, errors);
    validate_names(spec, at, errors);
    validate_rest(spec, at, errors);
}

fn validate_resource_claims(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let claims = spec.items("resourceClaims");
    for (index, claim) in claims.iter().enumerate() {
        let at = list.index(index);
        let name = claim.text("name");
        if name.is_empty() {
            errors.required(&at.field("name"), "");
        } else if claims[..index].iter().any(|c| c.text("name") == name) {
            errors.duplicate(&at.field("name"), name);
        } else {
            errors.invalid_each(&at.field("name"), name, names::dns1123_label(name));
        }
        let fields = ["resourceClaimName", "resourceClaimTemplateName"];
        match fields.iter().filter(|field| claim.has(field)).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&at, Json(claim), detail);
            }
            1 => {}
            _ => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&at, Json(claim), detail);
            }
        }
        for field in fields.iter().filter(|field| claim.has(field)) {
            errors.invalid_each(&at.field(field), claim.text(field), names::dns1123_subdomain(claim.text(field)));
        }
    }
}

/// In the host's network a container's port is the host's port.
fn validate_host_network(pod: &Pod<'_>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    if !pod.spec.flag("hostNetwork") {
        return;
    }
    for (c, container) in pod.spec.items("containers").iter().enumerate() {
        for (p, port) in container.items("ports").iter().enumerate() {
            let (host, own) = (port.int("hostPort").unwrap_or(0), port.int("containerPort").unwrap_or(0));
            if (pod.is_pod || host != 0) && host != own {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&list.index(c).field("ports").index(p).field("hostPort"), host, detail);
            }
        }
    }
}

fn validate_dns(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let none = spec.text("dnsPolicy") == "None";
    let Some(config) = spec.present("dnsConfig") else {
        if none {
            errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let servers: Vec<&str> = config.texts("nameservers").collect();
    let list = at.field("nameservers");
    if none && servers.is_empty() {
        errors.required(&list, "must provide at least one DNS nameserver when `dnsPolicy` is None");
        return;
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        errors.invalid(&list, Json(config.get("nameservers").unwrap_or(&Value::Null)), &detail);
    }
    for (index, server) in servers.iter().enumerate() {
        validate_canonical_ip(server, &list.index(index), errors);
    }
    validate_searches(config, &at.field("searches"), errors);
    for (index, option) in config.items("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.required(&at.field("options").index(index), "must not be empty");
        }
    }
}

fn validate_canonical_ip(text: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    validate_ip(text, at, errors);
    if errors.len() == before
        && let Ok(ip) = text.parse::<IpAddr>()
        && ip.to_string() != text
    {
        errors.invalid(at, text, &format!("must be in canonical form ({:?})", ip.to_string()));
    }
}

fn validate_searches(config: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let searches: Vec<&str> = config.texts("searches").collect();
    let value = || Json(config.get("searches").unwrap_or(&Value::Null));
    if searches.len() > SEARCH_PATHS_MAX {
        errors.invalid(list, value(), &format!("must not have more than {SEARCH_PATHS_MAX} search paths"));
    }
    if searches.join(" ").len() > SEARCH_LENGTH_MAX {
        let detail =
            format!("must not have more than {SEARCH_LENGTH_MAX} characters (including spaces) in the search list");
        errors.invalid(list, value(), &detail);
    }
    for (index, search) in searches.iter().enumerate().filter(|(_, search)| **search != ".") {
        // Underscores are fine in search paths (KEP-4427); the rest is a subdomain.
        let bare = search.strip_suffix('.').unwrap_or(search);
        let plain = bare.replace('_', "a");
        if !names::dns1123_subdomain(&plain).is_empty() {
            errors.invalid(&list.index(index), bare, SEARCH_MESSAGE);
        }
    }
}

const SEARCH_MESSAGE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' \
     or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

/// What is wrong with a name.
type Check = fn(&str) -> Vec<String>;

fn validate_names(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let checks: [(&str, Check); 7] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
        ("hostnameOverride", names::dns1123_subdomain),
    ];
    for (field, check) in checks {
        let name = spec.text(field);
        let set = if field == "runtimeClassName" { spec.has(field) } else { !name.is_empty() };
        if set {
            errors.invalid_each(&at.field(field), name, check(name));
        }
    }
    if let Some(name) = spec.present("hostnameOverride").and_then(Value::as_str) {
        let at = at.field("hostnameOverride");
        if name.len() > HOSTNAME_LENGTH_MAX {
            errors.invalid(&at, name, "must be no more than 64 characters");
        }
        if spec.flag("hostNetwork") {
            errors.forbidden(&at, "may not be specified when hostNetwork is true");
        }
        if spec.flag("setHostnameAsFQDN") {
            errors.forbidden(&at, "may not be specified when setHostnameAsFQDN is true");
        }
    }
}

fn validate_rest(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(seconds) = spec.int("activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        errors.invalid(&at.field("activeDeadlineSeconds"), seconds, "must be between 1 and 2147483647, inclusive");
    }
    let list = at.field("hostAliases");
    for (index, alias) in spec.items("hostAliases").iter().enumerate() {
        let at = list.index(index);
        validate_canonical_ip(alias.text("ip"), &at.field("ip"), errors);
        for (index, hostname) in alias.texts("hostnames").enumerate() {
            errors.invalid_each(&at.field("hostnames").index(index), hostname, names::dns1123_subdomain(hostname));
        }
    }
    if spec.has("preemptionPolicy") {
        validate_choice(spec, "preemptionPolicy", &["PreemptLowerPriority", "Never"], at, errors);
    }
    for (name, value) in spec.entries("overhead").iter() {
        resources::validate_entry(name, value, &at.field("overhead.limits").key(name), errors);
    }
    if let Some(os) = spec.present("os") {
        validate_os(spec, os.text("name"), at, errors);
    }
}

fn validate_os(spec: &Value, os: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match os {
        "" => errors.required(&at.field("os.name"), ""),
        "linux" => {
            let detail = "windows options cannot be set for a linux pod";
            forbid_fields(spec, &["windowsOptions"], &["windowsOptions"], detail, at, errors);
        }
        "windows" => {
            let detail = "cannot be set for a windows pod";
            for field in ["hostUsers", "hostPID", "hostIPC", "shareProcessNamespace"].iter().filter(|f| spec.has(f)) {
                errors.forbidden(&at.field(field), detail);
            }
            forbid_fields(spec, &NOT_WINDOWS_POD, &NOT_WINDOWS_CONTAINER, detail, at, errors);
        }
        _ => errors.unsupported(&at.field("os"), os, &["linux", "windows"]),
    }
}

const NOT_WINDOWS_POD: [&str; 11] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
];
const NOT_WINDOWS_CONTAINER: [&str; 10] = [
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
];

/// Fields that the security contexts of a pod and of its containers may not have.
fn forbid_fields(
    spec: &Value,
    of_pod: &[&str],
    of_containers: &[&str],
    detail: &str,
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    if let Some(context) = spec.present("securityContext") {
        for field in of_pod.iter().filter(|field| context.has(field)) {
            errors.forbidden(&at.field("securityContext").field(field), detail);
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let place = at.field(list);
        for (index, container) in spec.items(list).iter().enumerate() {
            let Some(context) = container.present("securityContext") else { continue };
            for field in of_containers.iter().filter(|field| context.has(field)) {
                errors.forbidden(&place.index(index).field("securityContext").field(field), detail);
            }
        }
    }
}
