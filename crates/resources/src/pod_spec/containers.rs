//! Validation of containers: regular, init and ephemeral ones.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{env, mounts, probes, resources, security};
use crate::addresses::{PROTOCOLS, validate_ip};
use crate::place::{Place, Report};
use crate::read::{Read, is_empty};

/// What containers need to know of their pod.
pub(super) struct Pod<'a> {
    /// The whole spec.
    pub spec: &'a Value,
    /// Valid volumes by name.
    pub volumes: Vec<(&'a str, &'a Value)>,
    /// `terminationGracePeriodSeconds`
    pub grace_period_seconds: Option<i64>,
    /// Whether the pod shares the host's user namespace.
    pub host_users: bool,
    /// Whether this is a pod, not a template.
    pub is_pod: bool,
}

/// What ephemeral containers may not have.
const NOT_EPHEMERAL: [&str; 8] = [
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resizePolicy",
    "restartPolicy",
];
const NOT_INIT: [&str; 4] = ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"];
const RESTART_RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// All containers of a pod.
pub(super) fn validate(pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_regular(pod, &at.field("containers"), errors);
    validate_init(pod, &at.field("initContainers"), errors);
    validate_ephemeral(pod, &at.field("ephemeralContainers"), errors);
}

fn validate_regular(pod: &Pod<'_>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let containers = pod.spec.items("containers");
    if containers.is_empty() {
        errors.required(list, "");
        return;
    }
    for (index, container) in containers.iter().enumerate() {
        let at = list.index(index);
        validate_common(container, pod, &at, errors);
        let name = container.text("name");
        if containers[..index].iter().any(|c| c.text("name") == name) {
            errors.duplicate(&at.field("name"), name);
        }
        probes::validate_all(container, pod, &at, errors);
        validate_restart(container, &at, errors);
    }
    validate_host_ports(containers, list, errors);
}

fn validate_init(pod: &Pod<'_>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let containers = pod.spec.items("initContainers");
    for (index, container) in containers.iter().enumerate() {
        let at = list.index(index);
        validate_common(container, pod, &at, errors);
        validate_restart(container, &at, errors);
        let name = container.text("name");
        let mut others = pod.spec.items("containers").iter().chain(&containers[..index]);
        if !name.is_empty() && others.any(|c| c.text("name") == name) {
            errors.duplicate(&at.field("name"), name);
        }
        validate_host_ports(std::slice::from_ref(container), list, errors);
        if container.text("restartPolicy") == "Always" {
            probes::validate_all(container, pod, &at, errors);
            continue;
        }
        for field in NOT_INIT.iter().filter(|field| container.has(field)) {
            errors.forbidden(&at.field(field), "may not be set for init containers without restartPolicy=Always");
        }
    }
}

fn validate_ephemeral(pod: &Pod<'_>, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let containers = pod.spec.items("ephemeralContainers");
    let others = || pod.spec.items("containers").iter().chain(pod.spec.items("initContainers"));
    for (index, container) in containers.iter().enumerate() {
        let at = list.index(index);
        validate_common(container, pod, &at, errors);
        let name = container.text("name");
        if others().chain(&containers[..index]).any(|c| c.text("name") == name) {
            errors.duplicate(&at.field("name"), name);
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others().any(|c| c.text("name") == target) {
            errors.not_found(&at.field("targetContainerName"), target);
        }
        for field in NOT_EPHEMERAL.iter().filter(|field| container.get(field).is_some_and(|v| !is_empty(v))) {
            errors.forbidden(&at.field(field), "cannot be set for an Ephemeral Container");
        }
        let mounts = at.field("volumeMounts");
        for (index, mount) in container.items("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"].iter().filter(|field| !mount.text(field).is_empty()) {
                errors.forbidden(&mounts.index(index).field(field), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

fn validate_common(container: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (name, image) = (container.text("name"), container.text("image"));
    if name.is_empty() {
        errors.required(&at.field("name"), "");
    } else {
        errors.invalid_each(&at.field("name"), name, names::dns1123_label(name));
    }
    if image.is_empty() {
        errors.required(&at.field("image"), "");
    } else if pod.is_pod && image.trim() != image {
        errors.invalid(&at.field("image"), image, "must not have leading or trailing whitespace");
    }
    validate_choice(container, "terminationMessagePolicy", &["File", "FallbackToLogsOnError"], at, errors);
    validate_ports(container, &at.field("ports"), errors);
    env::validate(container, pod, at, errors);
    mounts::validate(container, pod, at, errors);
    validate_choice(container, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], at, errors);
    if let Some(resources) = container.present("resources") {
        resources::validate_container(resources, pod.spec, &at.field("resources"), errors);
    }
    validate_resize_policy(container, pod, &at.field("resizePolicy"), errors);
    if let Some(context) = container.present("securityContext") {
        security::validate_container(context, pod.host_users, &at.field("securityContext"), errors);
    }
}

/// A required text out of a few.
pub(super) fn validate_choice(
    tree: &Value,
    field: &str,
    choices: &[&str],
    at: &Place<'_>,
    errors: &mut Vec<FieldError>,
) {
    let text = tree.text(field);
    if text.is_empty() {
        errors.required(&at.field(field), "");
    } else if !choices.contains(&text) {
        errors.unsupported(&at.field(field), text, choices);
    }
}

fn validate_ports(container: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let ports = container.items("ports");
    for (index, port) in ports.iter().enumerate() {
        let at = list.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && ports[..index].iter().any(|p| p.text("name") == name) {
                errors.duplicate(&at.field("name"), name);
            }
            errors.invalid_each(&at.field("name"), name, wrong);
        }
        let number = port.int("containerPort").unwrap_or(0);
        if number == 0 {
            errors.required(&at.field("containerPort"), "");
        } else {
            for message in names::port_number(number) {
                errors.invalid(&at.field("containerPort"), number, &message);
            }
        }
        if let Some(number) = port.int("hostPort").filter(|n| *n != 0) {
            for message in names::port_number(number) {
                errors.invalid(&at.field("hostPort"), number, &message);
            }
        }
        validate_choice(port, "protocol", &PROTOCOLS, &at, errors);
        if !port.text("hostIP").is_empty() {
            validate_ip(port.text("hostIP"), &at.field("hostIP"), errors);
        }
    }
}

fn validate_host_ports(containers: &[Value], list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mut seen: Vec<String> = Vec::new();
    for (c, container) in containers.iter().enumerate() {
        for (p, port) in container.items("ports").iter().enumerate() {
            let Some(number) = port.int("hostPort").filter(|n| *n != 0) else { continue };
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if seen.contains(&key) {
                errors.duplicate(&list.index(c).field("ports").index(p).field("hostPort"), &key);
            } else {
                seen.push(key);
            }
        }
    }
}

fn validate_resize_policy(container: &Value, pod: &Pod<'_>, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let policies = container.items("resizePolicy");
    for (index, policy) in policies.iter().enumerate() {
        let resource = policy.text("resourceName");
        if policies[..index].iter().any(|p| p.text("resourceName") == resource) {
            errors.duplicate(&at.index(index), resource);
        }
        match resource {
            "cpu" | "memory" => {}
            "" => errors.required(at, ""),
            _ => errors.unsupported(at, resource, &["cpu", "memory"]),
        }
        let restart = policy.text("restartPolicy");
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(at, ""),
            _ => errors.unsupported(at, restart, &["NotRequired", "RestartContainer"]),
        }
        if pod.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            errors.invalid(at, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

/// A container's own restart policy and rules (KEP-5307).
fn validate_restart(container: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let policy = container.text("restartPolicy");
    let supported = ["Always", "Never", "OnFailure"];
    if !policy.is_empty() && !supported.contains(&policy) {
        errors.unsupported(&at.field("restartPolicy"), policy, &supported);
    }
    let rules = container.items("restartPolicyRules");
    let list = at.field("restartPolicyRules");
    if !rules.is_empty() && policy.is_empty() {
        errors.required(&at.field("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    if rules.len() > RESTART_RULES_MAX {
        errors.too_long(&list, RESTART_RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = list.index(index);
        validate_choice(rule, "action", &["Restart", "RestartAllContainers"], &at, errors);
        let Some(codes) = rule.present("exitCodes") else {
            errors.required(&at.field("exitCodes"), "must be specified");
            continue;
        };
        let at = at.field("exitCodes");
        validate_choice(codes, "operator", &["In", "NotIn"], &at, errors);
        let values = codes.items("values").len();
        if values == 0 {
            errors.required(&at.field("values"), "must not be empty");
        } else if values > EXIT_CODES_MAX {
            errors.too_long(&at.field("values"), EXIT_CODES_MAX);
        }
    }
}
