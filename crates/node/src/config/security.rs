//! Security contexts of pod and container, merged; and what this node cannot honour.

use std::path::Path;

use k8s_openapi::api::core::v1::SeccompProfile;
use runtime::{ImageStatus, Seccomp, Security};

use crate::wanted::{Member, Wanted};

/// The merged settings of one container.
pub fn security(wanted: &Wanted, member: &Member, seccomp_root: &Path) -> Security {
    let pod = wanted.spec().security_context.clone().unwrap_or_default();
    let own = member.spec.security_context.clone().unwrap_or_default();
    let capabilities = own.capabilities.unwrap_or_default();
    let privileged = own.privileged == Some(true);
    let groups = pod.supplemental_groups.iter().flatten().chain(pod.fs_group.iter()).copied();
    let profile = own.seccomp_profile.or(pod.seccomp_profile);
    Security {
        privileged,
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        run_as_user: own.run_as_user.or(pod.run_as_user),
        run_as_group: own.run_as_group.or(pod.run_as_group),
        supplemental_groups: groups.collect(),
        supplemental_groups_strict: pod.supplemental_groups_policy.as_deref() == Some("Strict"),
        read_only_rootfs: own.read_only_root_filesystem == Some(true),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
        seccomp: if privileged { Seccomp::Unconfined } else { seccomp(profile.as_ref(), seccomp_root) },
        unmasked_proc: own.proc_mount.as_deref() == Some("Unmasked"),
    }
}

/// DIVERGES: without a profile, upstream runs unconfined unless `seccompDefault` is set; here the default profile holds.
fn seccomp(profile: Option<&SeccompProfile>, root: &Path) -> Seccomp {
    match profile {
        Some(p) if p.type_ == "Unconfined" => Seccomp::Unconfined,
        Some(p) if p.type_ == "Localhost" => {
            Seccomp::Localhost(root.join(p.localhost_profile.as_deref().unwrap_or_default()))
        }
        _ => Seccomp::RuntimeDefault,
    }
}

/// Refuses what would run as root although the pod forbids it. The error is that of `CreateContainerConfigError`.
pub fn check_non_root(wanted: &Wanted, member: &Member, image: &ImageStatus) -> Result<(), String> {
    let pod = wanted.spec().security_context.as_ref();
    let own = member.spec.security_context.as_ref();
    let non_root = own.and_then(|s| s.run_as_non_root).or_else(|| pod.and_then(|s| s.run_as_non_root));
    if non_root != Some(true) {
        return Ok(());
    }
    let place = format!("(pod: \"{}\", container: {})", wanted.full_name(), member.name());
    let user = own.and_then(|s| s.run_as_user).or_else(|| pod.and_then(|s| s.run_as_user));
    match (user, image.uid) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {place}")),
        (Some(_), _) => Ok(()),
        (None, Some(0)) => Err(format!("container has runAsNonRoot and image will run as root {place}")),
        (None, Some(_)) => Ok(()),
        (None, None) if image.username.is_empty() => {
            Err(format!("container has runAsNonRoot and image will run as root {place}"))
        }
        (None, None) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({}), cannot verify user is non-root {place}",
            image.username
        )),
    }
}

/// Kernel parameters that belong to the pod's own namespaces and can hurt nobody else (upstream's safe set).
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Why this node refuses the pod: `(reason, message)`. Nothing that it cannot honour is ignored silently.
pub fn refusal(wanted: &Wanted) -> Option<(&'static str, String)> {
    let spec = wanted.spec();
    let context = spec.security_context.clone().unwrap_or_default();
    if let Some(bad) = context.sysctls.iter().flatten().find(|s| !SAFE_SYSCTLS.contains(&s.name.as_str())) {
        return Some(("SysctlForbidden", format!("forbidden sysctl: {:?} not allowlisted", bad.name)));
    }
    let windows = spec.os.as_ref().is_some_and(|os| os.name != "linux") || context.windows_options.is_some();
    if windows {
        return Some(("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS".to_owned()));
    }
    let unsupported = |what: &str| Some(("UnsupportedPodFeature", format!("this node does not support {what}")));
    if spec.host_users == Some(false) {
        return unsupported("user namespaces (spec.hostUsers: false)");
    }
    if spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()) {
        return unsupported("dynamic resource allocation (spec.resourceClaims)");
    }
    if spec.runtime_class_name.as_deref().is_some_and(|r| !r.is_empty()) {
        return unsupported("runtime classes (spec.runtimeClassName)");
    }
    let app_armor =
        |p: &Option<k8s_openapi::api::core::v1::AppArmorProfile>| p.as_ref().is_some_and(|p| p.type_ == "Localhost");
    if app_armor(&context.app_armor_profile) {
        return unsupported("AppArmor profiles (spec.securityContext.appArmorProfile)");
    }
    wanted.members.iter().find_map(|m| refused_member(m, &app_armor))
}

fn refused_member(
    member: &Member,
    app_armor: &dyn Fn(&Option<k8s_openapi::api::core::v1::AppArmorProfile>) -> bool,
) -> Option<(&'static str, String)> {
    let own = member.spec.security_context.clone().unwrap_or_default();
    let restart_all = member.spec.restart_policy_rules.iter().flatten().any(|r| r.action != "Restart");
    let file_keys = member.spec.env.iter().flatten().filter_map(|e| e.value_from.as_ref());
    let what = if app_armor(&own.app_armor_profile) {
        "AppArmor profiles (securityContext.appArmorProfile)"
    } else if own.windows_options.is_some() {
        "Windows options (securityContext.windowsOptions)"
    } else if member.spec.volume_devices.as_ref().is_some_and(|d| !d.is_empty()) {
        "block devices (volumeDevices)"
    } else if restart_all {
        "restarting all containers (restartPolicyRules)"
    } else if file_keys.into_iter().any(|s| s.file_key_ref.is_some()) {
        "environment from files (env.valueFrom.fileKeyRef)"
    } else {
        return None;
    };
    Some(("UnsupportedPodFeature", format!("container {}: this node does not support {what}", member.name())))
}
