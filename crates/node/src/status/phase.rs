//! The pod's phase from its containers' states (upstream's getPhase).

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

use super::Seen;
use crate::wanted::{Member, RestartPolicy, Role};

fn exit_code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code)
}

fn last_exit_code(status: &ContainerStatus) -> Option<i32> {
    status.last_state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code)
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// `Pending`, `Running`, `Succeeded` or `Failed`.
pub fn phase(seen: &Seen<'_>, status: &PodStatus) -> &'static str {
    let wanted = seen.wanted;
    let main = status.container_statuses.as_deref().unwrap_or_default();
    if main.iter().all(|s| !is_running(s))
        && (seen.restarting.is_some() || main.iter().any(|s| seen.reset.contains(&s.name)))
    {
        return "Pending";
    }
    let main_began = main.iter().any(|s| is_running(s) || exit_code(s).is_some() || last_exit_code(s).is_some());
    let initial = status.init_container_statuses.as_deref().unwrap_or_default();
    let of = |s: &ContainerStatus| wanted.member(&s.name);
    let failed = |s: &&ContainerStatus| {
        of(s).is_some_and(|m| m.role == Role::Init && exit_code(s).is_some_and(|c| c != 0 && !m.restarts_after(c)))
    };
    if initial.iter().any(|s| failed(&s)) {
        return "Failed";
    }
    if !main_began && initial.iter().any(|s| of(s).is_some_and(|m| is_pending(m, s))) {
        return "Pending";
    }
    let running = main.iter().filter(|s| is_running(s)).count();
    let ended: Vec<i32> = main.iter().filter_map(|s| exit_code(s).or_else(|| last_exit_code(s))).collect();
    let stopped = main.iter().filter(|s| !is_running(s)).filter_map(|s| exit_code(s).or_else(|| last_exit_code(s)));
    let stopped = stopped.count();
    if running + stopped < main.len() || main.is_empty() {
        return "Pending";
    }
    if running > 0 {
        return "Running";
    }
    let all_well = ended.iter().all(|code| *code == 0);
    if seen.over || wanted.restart_policy() == RestartPolicy::Never && main.iter().all(|s| exit_code(s).is_some()) {
        let sidecars = initial.iter().filter(|s| of(s).is_some_and(|m| m.role == Role::Sidecar));
        // The pod is over only when its sidecars have gone too (KEP-753).
        if sidecars.clone().any(is_running) {
            return "Running";
        }
        return if all_well { "Succeeded" } else { "Failed" };
    }
    "Running"
}

fn is_pending(member: &Member, status: &ContainerStatus) -> bool {
    match member.role {
        Role::Sidecar => status.started != Some(true),
        _ => exit_code(status) != Some(0),
    }
}
