//! The pod's conditions, with upstream's reasons and messages.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::SandboxState;

use super::{Cause, Seen};
use crate::wanted::Role;

/// The reason of DisruptionTarget when the node agent wrote it.
pub const DISRUPTED_BY_NODE: &str = "TerminationByKubelet";

/// A change of resources waits.
pub const PENDING: &str = "PodResizePending";
/// A change of resources is carried out.
pub const IN_PROGRESS: &str = "PodResizeInProgress";

struct Verdict {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
    /// Of which generation of the pod it is said; of the present one when absent.
    generation: Option<i64>,
}

impl Verdict {
    fn yes(kind: &'static str) -> Self {
        Self { kind, holds: true, reason: "", message: String::new(), generation: None }
    }

    fn no(kind: &'static str, reason: &'static str, message: String) -> Self {
        Self { kind, holds: false, reason, message, generation: None }
    }
}

/// Where changes of resources stand. These conditions go when there is nothing to say (KEP-1287).
fn resizes(seen: &Seen<'_>, list: &mut Vec<PodCondition>) {
    let pending = seen.pending.map(|p| Verdict {
        reason: p.reason,
        message: p.message.clone(),
        generation: p.generation,
        ..Verdict::yes(PENDING)
    });
    let progress = seen.progress.map(|p| Verdict {
        reason: if p.error.is_some() { "Error" } else { "" },
        message: p.error.clone().unwrap_or_default(),
        generation: p.generation,
        ..Verdict::yes(IN_PROGRESS)
    });
    for (kind, verdict) in [(PENDING, pending), (IN_PROGRESS, progress)] {
        match verdict {
            Some(verdict) => set(list, verdict, seen),
            None => list.retain(|c| c.type_ != kind),
        }
    }
}

/// All conditions: those of others stay, ours are renewed; times change only when the status does.
pub fn conditions(seen: &Seen<'_>, status: &PodStatus) -> Vec<PodCondition> {
    let mut list = seen.before.conditions.clone().unwrap_or_default();
    let containers = containers_ready(seen, status);
    let ready = ready(seen, &containers, &list);
    let sandbox_ready = seen.sandboxes.iter().any(|s| s.state == SandboxState::Ready);
    let network = match sandbox_ready {
        true => Verdict::yes("PodReadyToStartContainers"),
        false => Verdict::no("PodReadyToStartContainers", "", String::new()),
    };
    if let Some(failure) = seen.failure.filter(|failure| failure.cause == Cause::Evicted) {
        let disrupted = Verdict::yes("DisruptionTarget");
        set(&mut list, Verdict { reason: DISRUPTED_BY_NODE, message: failure.message.clone(), ..disrupted }, seen);
    }
    let kind = "AllContainersRestarting";
    match seen.restarting {
        Some(why) => {
            let verdict = Verdict { reason: "ContainerExited", message: why.to_owned(), ..Verdict::yes(kind) };
            set(&mut list, verdict, seen);
        }
        None if list.iter().any(|c| c.type_ == kind) => set(&mut list, Verdict::no(kind, "", String::new()), seen),
        None => {}
    }
    for verdict in [network, initialized(seen, status), ready, containers, Verdict::yes("PodScheduled")] {
        set(&mut list, verdict, seen);
    }
    resizes(seen, &mut list);
    list
}

fn set(list: &mut Vec<PodCondition>, verdict: Verdict, seen: &Seen<'_>) {
    let text = if verdict.holds { "True" } else { "False" };
    let filled = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let before = list.iter_mut().find(|c| c.type_ == verdict.kind);
    let since = match &before {
        Some(c) if c.status == text => c.last_transition_time.clone(),
        _ => None,
    };
    let condition = PodCondition {
        type_: verdict.kind.to_owned(),
        status: text.to_owned(),
        reason: filled(verdict.reason),
        message: filled(&verdict.message),
        last_probe_time: None,
        last_transition_time: since.or(Some(Time(seen.now))),
        observed_generation: verdict.generation.or(seen.wanted.pod.metadata.generation),
    };
    match before {
        Some(place) => *place = condition,
        None => list.push(condition),
    }
}

fn initialized(seen: &Seen<'_>, status: &PodStatus) -> Verdict {
    let mut incomplete = Vec::new();
    for s in status.init_container_statuses.iter().flatten() {
        let sidecar = seen.wanted.member(&s.name).is_some_and(|m| m.role == Role::Sidecar);
        let succeeded = s.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0);
        if !(if sidecar { s.started == Some(true) || succeeded } else { succeeded }) {
            incomplete.push(s.name.as_str());
        }
    }
    let main_began = status.container_statuses.iter().flatten().any(|s| s.container_id.is_some());
    match (incomplete.is_empty() || main_began, status.phase.as_deref()) {
        (true, Some("Succeeded")) => Verdict { reason: "PodCompleted", ..Verdict::yes("Initialized") },
        (true, _) => Verdict::yes("Initialized"),
        (false, _) => Verdict::no(
            "Initialized",
            "ContainersNotInitialized",
            format!("containers with incomplete status: [{}]", incomplete.join(" ")),
        ),
    }
}

fn containers_ready(seen: &Seen<'_>, status: &PodStatus) -> Verdict {
    let kind = "ContainersReady";
    match status.phase.as_deref() {
        Some("Succeeded") => return Verdict::no(kind, "PodCompleted", String::new()),
        Some("Failed") => return Verdict::no(kind, "PodFailed", String::new()),
        _ => {}
    }
    let sidecars = status.init_container_statuses.iter().flatten();
    let sidecars = sidecars.filter(|s| seen.wanted.member(&s.name).is_some_and(|m| m.role == Role::Sidecar));
    let all = sidecars.chain(status.container_statuses.iter().flatten());
    let unready: Vec<&str> = all.filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    if unready.is_empty() {
        return Verdict::yes(kind);
    }
    Verdict::no(kind, "ContainersNotReady", format!("containers with unready status: [{}]", unready.join(" ")))
}

fn ready(seen: &Seen<'_>, containers: &Verdict, list: &[PodCondition]) -> Verdict {
    if !containers.holds {
        return Verdict::no("Ready", containers.reason, containers.message.clone());
    }
    let mut messages = Vec::new();
    for gate in seen.wanted.spec().readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match list.iter().find(|c| c.type_ == *kind) {
            None => messages.push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c.status != "True" => {
                messages.push(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status));
            }
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        return Verdict::yes("Ready");
    }
    Verdict::no("Ready", "ReadinessGatesNotReady", messages.join(", "))
}
