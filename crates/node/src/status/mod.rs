//! The pure status of one pod: phase, conditions, container statuses, from what was seen.

pub mod conditions;
pub mod containers;
mod phase;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{HostIP, PodIP, PodStatus, ResourceRequirements, ResourceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::{ContainerStatus, SandboxStatus};

use crate::allocation::Pending;
use crate::config::resources;
use crate::plan::Health;
use crate::wanted::{Role, Wanted};

/// Why a container waits: reason and message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// `CrashLoopBackOff` …
    pub reason: String,
    /// More, for people.
    pub message: String,
}

/// Why the pod as a whole failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `DeadlineExceeded`, `OutOfcpu` …
    pub reason: String,
    /// More, for people.
    pub message: String,
    /// What kind of failure it is.
    pub cause: Cause,
}

/// What kind of failure ends a pod as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was never taken: nothing is said of its containers.
    Rejected,
    /// Its time is over.
    Deadline,
    /// The node drove it away: the condition DisruptionTarget says so.
    Evicted,
}

/// What a pod and its running containers were really given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Actuated {
    /// By container name. Those that are not in here have what they should.
    pub containers: BTreeMap<String, ResourceRequirements>,
    /// The pod's own.
    pub pod: Option<ResourceRequirements>,
}

/// A change of resources that was taken on and is not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// `metadata.generation` of the change.
    pub generation: Option<i64>,
    /// Why it does not get on.
    pub error: Option<String>,
}

/// All that a status depends on.
pub struct Seen<'a> {
    /// The pod.
    pub wanted: &'a Wanted,
    /// Its sandboxes, newest attempt first.
    pub sandboxes: &'a [SandboxStatus],
    /// Its containers in all sandboxes.
    pub containers: &'a [ContainerStatus],
    /// What probes say, by container id.
    pub health: &'a BTreeMap<String, Health>,
    /// Why containers wait, by name.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// What ended containers left as their last words, by container id.
    pub last_words: &'a BTreeMap<String, String>,
    /// How well the devices are that containers have, by name.
    pub devices: &'a BTreeMap<String, Vec<ResourceStatus>>,
    /// Containers that start anew with all others, and did not yet.
    pub reset: &'a BTreeSet<String>,
    /// All containers are on their way to start anew, and why.
    pub restarting: Option<&'a str>,
    /// Why it was not given the resources that it asks for.
    pub pending: Option<&'a Pending>,
    /// How far the change of its resources is that was taken on.
    pub progress: Option<&'a Progress>,
    /// What it was really given.
    pub actuated: &'a Actuated,
    /// The pod failed as a whole.
    pub failure: Option<&'a Failure>,
    /// All containers ended and none will start again.
    pub over: bool,
    /// The status before.
    pub before: &'a PodStatus,
    /// The node's address.
    pub host_ip: Option<IpAddr>,
    /// Name of the container runtime: the scheme of container ids in the API.
    pub runtime: &'a str,
    /// When the agent first saw the pod.
    pub started: Timestamp,
    /// Now, in whole seconds.
    pub now: Timestamp,
}

/// The status as it should stand in the API.
pub fn status(seen: &Seen<'_>) -> PodStatus {
    let of = |roles: &[Role]| -> Option<Vec<_>> {
        let members = seen.wanted.members.iter().filter(|m| roles.contains(&m.role));
        let list: Vec<_> = members.map(|m| containers::status(seen, m)).collect();
        (!list.is_empty()).then_some(list)
    };
    // An agent that came later finds such a pod ended, without a word on its containers.
    let before = seen.before;
    let was_rejected = before.phase.as_deref() == Some("Failed") && before.container_statuses.is_none();
    let rejected = was_rejected || seen.failure.is_some_and(|f| f.cause == Cause::Rejected);
    let of = |roles: &[Role]| if rejected { None } else { of(roles) };
    let mut status = PodStatus {
        init_container_statuses: of(&[Role::Init, Role::Sidecar]),
        container_statuses: of(&[Role::Main]),
        ephemeral_container_statuses: of(&[Role::Ephemeral]),
        ..seen.before.clone()
    };
    // An ended pod stays ended, whatever is seen later.
    let ended = matches!(seen.before.phase.as_deref(), Some("Succeeded" | "Failed"));
    if !ended {
        status.phase = Some(phase::phase(seen, &status).to_owned());
        if let Some(failure) = seen.failure {
            status.phase = Some("Failed".to_owned());
            status.reason = Some(failure.reason.clone());
            status.message = Some(failure.message.clone());
        }
    }
    status.observed_generation = seen.wanted.pod.metadata.generation;
    status.qos_class = status.qos_class.or_else(|| Some(resources::qos(seen.wanted).as_str().to_owned()));
    status.start_time = status.start_time.or(Some(Time(seen.started)));
    addresses(seen, &mut status);
    given(seen, &mut status);
    status.conditions = Some(conditions::conditions(seen, &status));
    status
}

/// The attempts with which containers go on that a status says have run: one more than their restarts.
pub fn attempts_after(status: &PodStatus) -> BTreeMap<String, u32> {
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let ran = lists.into_iter().flatten().flatten().filter(|s| s.container_id.is_some());
    ran.map(|s| (s.name.clone(), u32::try_from(s.restart_count).unwrap_or(0) + 1)).collect()
}

/// What the node gave the pod as a whole: its requests, and its own limits where it has some (KEP-5419).
fn given(seen: &Seen<'_>, status: &mut PodStatus) {
    let requests = resources::pod_requests(seen.wanted);
    status.allocated_resources = (!requests.is_empty()).then_some(requests);
    let own = seen.wanted.spec().resources.clone();
    status.resources = own.map(|own| seen.actuated.pod.clone().unwrap_or(own));
}

fn addresses(seen: &Seen<'_>, status: &mut PodStatus) {
    if let Some(host) = seen.host_ip {
        status.host_ip = Some(host.to_string());
        status.host_ips = Some(vec![HostIP { ip: host.to_string() }]);
    }
    let ips: Vec<String> = match seen.sandboxes.first() {
        Some(_) if seen.wanted.host_network() => seen.host_ip.iter().map(ToString::to_string).collect(),
        Some(sandbox) => sandbox.ips.iter().map(ToString::to_string).collect(),
        None => return,
    };
    // A pod that ended keeps the address it had; only a new sandbox brings a new one.
    if let Some(first) = ips.first() {
        status.pod_ip = Some(first.clone());
        status.pod_ips = Some(ips.into_iter().map(|ip| PodIP { ip }).collect());
    }
}
