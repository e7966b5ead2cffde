//! Security contexts of pod and container, merged.

use std::path::Path;

use k8s_openapi::api::core::v1::SeccompProfile;
use runtime::{ImageStatus, Seccomp, Security};

use super::app_armor;
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
        app_armor: app_armor::profile(wanted, member),
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
