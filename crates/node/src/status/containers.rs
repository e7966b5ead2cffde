//! The status of one container: its state, the one before, readiness.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::{ContainerState, ContainerStatus};

use super::Seen;
use crate::wanted::{Member, Role};

/// The status of one container.
pub fn status(seen: &Seen<'_>, member: &Member) -> api::ContainerStatus {
    let mut all: Vec<&ContainerStatus> = seen.containers.iter().filter(|c| c.name == member.name()).collect();
    all.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_at)));
    let before = before(seen, member);
    let newest = all.first().copied().filter(|c| c.state != ContainerState::Created);
    let older = all.iter().skip(1).find(|c| c.state == ContainerState::Exited);
    let mut out = api::ContainerStatus {
        name: member.name().to_owned(),
        image: member.spec.image.clone().unwrap_or_default(),
        ..api::ContainerStatus::default()
    };
    match newest {
        Some(container) => from_runtime(seen, member, container, &mut out),
        None => never_seen(seen, member, before, older.is_some(), &mut out),
    }
    if out.last_state.is_none() {
        out.last_state = older.map(|c| terminated(seen, c)).or_else(|| {
            let older = before.filter(|b| b.restart_count < out.restart_count && newest.is_some());
            if let Some(ended) = older.and_then(|b| b.state.clone()).filter(|s| s.terminated.is_some()) {
                return Some(ended);
            }
            let same = before.filter(|b| b.restart_count == out.restart_count || newest.is_none());
            same.and_then(|b| b.last_state.clone())
        });
    }
    out.last_state = out.last_state.or_else(|| Some(api::ContainerState::default()));
    out
}

fn before<'a>(seen: &Seen<'a>, member: &Member) -> Option<&'a api::ContainerStatus> {
    let list = match member.role {
        Role::Init | Role::Sidecar => &seen.before.init_container_statuses,
        Role::Main => &seen.before.container_statuses,
        Role::Ephemeral => &seen.before.ephemeral_container_statuses,
    };
    list.iter().flatten().find(|s| s.name == member.name())
}

fn time(at: Option<Timestamp>) -> Option<Time> {
    let second = at?.as_second();
    Timestamp::from_second(second).ok().map(Time)
}

fn waiting(reason: &str, message: &str) -> api::ContainerState {
    let filled = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    let waiting = api::ContainerStateWaiting { reason: filled(reason), message: filled(message) };
    api::ContainerState { waiting: Some(waiting), ..api::ContainerState::default() }
}

/// The runtime has no container of it that ever ran, but for one that ended if `ended` says so.
fn never_seen(
    seen: &Seen<'_>,
    member: &Member,
    before: Option<&api::ContainerStatus>,
    ended: bool,
    out: &mut api::ContainerStatus,
) {
    // What ended and was removed since stays as it was reported.
    if let Some(before) = before.filter(|b| b.state.as_ref().is_some_and(|s| s.terminated.is_some())) {
        *out = before.clone();
        out.ready = member.role == Role::Init && before.ready;
        return;
    }
    out.restart_count = before.map_or(0, |b| b.restart_count);
    out.started = Some(false);
    if let Some(before) = before.filter(|b| b.state.as_ref().is_some_and(|s| s.running.is_some())) {
        out.restart_count += 1;
        out.last_state = Some(lost(before)).filter(|_| !ended);
    }
    let wait = seen.waiting.get(member.name());
    // With init containers all of them wait for that, the first one too, as upstream has it.
    let default = if seen.wanted.initial().next().is_some() { "PodInitializing" } else { "ContainerCreating" };
    out.state = Some(wait.map_or_else(|| waiting(default, ""), |w| waiting(&w.reason, &w.message)));
}

/// The end of a container that the runtime forgot while it ran, in upstream's words.
fn lost(before: &api::ContainerStatus) -> api::ContainerState {
    let running = before.state.as_ref().and_then(|s| s.running.as_ref());
    let message =
        "The container could not be located when the pod was deleted.  The container used to be Running".to_owned();
    let terminated = api::ContainerStateTerminated {
        container_id: before.container_id.clone(),
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".to_owned()),
        message: Some(message),
        started_at: running.and_then(|r| r.started_at.clone()),
        ..api::ContainerStateTerminated::default()
    };
    api::ContainerState { terminated: Some(terminated), ..api::ContainerState::default() }
}

fn started(seen: &Seen<'_>, member: &Member, container: &ContainerStatus) -> bool {
    let health = seen.health.get(&container.id).copied().unwrap_or_default();
    let passed = member.spec.startup_probe.is_none() || health.startup == Some(true);
    container.state == ContainerState::Running && passed && !health.post_start_running
}

fn from_runtime(seen: &Seen<'_>, member: &Member, container: &ContainerStatus, out: &mut api::ContainerStatus) {
    out.container_id = Some(format!("{}://{}", seen.runtime, container.id));
    out.image_id = container.image_ref.clone();
    out.restart_count = i32::try_from(container.attempt).unwrap_or(i32::MAX);
    let started = started(seen, member, container);
    out.started = Some(started);
    match container.state {
        ContainerState::Running => {
            let running = api::ContainerStateRunning { started_at: time(container.started_at) };
            out.state = Some(api::ContainerState { running: Some(running), ..api::ContainerState::default() });
            let health = seen.health.get(&container.id).copied().unwrap_or_default();
            out.ready = started && health.readiness.unwrap_or(!member.has_readiness_probe());
        }
        ContainerState::Exited | ContainerState::Unknown | ContainerState::Created => {
            let ended = terminated(seen, container);
            out.ready = member.role == Role::Init && container.exit_code == Some(0);
            match seen.waiting.get(member.name()) {
                Some(wait) => {
                    out.last_state = Some(ended);
                    out.state = Some(waiting(&wait.reason, &wait.message));
                }
                None => out.state = Some(ended),
            }
        }
    }
    let resources = member.spec.resources.clone().unwrap_or_default();
    out.allocated_resources = resources.requests.clone();
    out.allocated_resources_status = seen.devices.get(member.name()).cloned();
    let given = seen.actuated.containers.get(member.name()).filter(|_| container.state == ContainerState::Running);
    out.resources = Some(given.cloned().unwrap_or(resources));
    out.stop_signal = member.spec.lifecycle.as_ref().and_then(|l| l.stop_signal.clone());
    let images: BTreeMap<String, String> = container
        .annotations
        .get(IMAGES_ANNOTATION)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let status = |mount: &api::VolumeMount| mount_status(mount, images.get(&mount.name));
    out.volume_mounts = member.spec.volume_mounts.as_ref().map(|list| list.iter().map(status).collect());
    out.user = container.user.as_ref().map(|user| api::ContainerUser {
        linux: Some(api::LinuxContainerUser {
            uid: user.uid,
            gid: user.gid,
            supplemental_groups: (!user.groups.is_empty()).then(|| user.groups.clone()),
        }),
    });
}

/// The label under which a container keeps the images that are its volumes: their references by the volumes' names.
pub const IMAGES_ANNOTATION: &str = "io.kubernetes.container.imageVolumes";

/// How a volume is mounted, and which image it is, if it is one. Whether read-only holds below it too is said only of what is read-only (KEP-3857).
fn mount_status(mount: &api::VolumeMount, image: Option<&String>) -> api::VolumeMountStatus {
    let read_only = mount.read_only == Some(true);
    let recursive = match mount.recursive_read_only.as_deref() {
        Some("Enabled" | "IfPossible") => "Enabled",
        _ => "Disabled",
    };
    api::VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: read_only.then_some(true),
        recursive_read_only: read_only.then(|| recursive.to_owned()),
        volume_status: image.map(|reference| api::VolumeStatus {
            image: Some(api::ImageVolumeStatus { image_ref: reference.clone() }),
        }),
    }
}

fn terminated(seen: &Seen<'_>, container: &ContainerStatus) -> api::ContainerState {
    let lost = container.state == ContainerState::Unknown;
    let code = container.exit_code.unwrap_or(if lost { 137 } else { 0 });
    let reason = match container.reason.as_str() {
        "" if lost => "ContainerStatusUnknown",
        "" if code == 0 => "Completed",
        "" => "Error",
        own => own,
    };
    let words = seen.last_words.get(&container.id).filter(|w| !w.is_empty()).unwrap_or(&container.message);
    let terminated = api::ContainerStateTerminated {
        container_id: Some(format!("{}://{}", seen.runtime, container.id)),
        exit_code: code,
        finished_at: time(container.finished_at),
        started_at: time(container.started_at),
        message: (!words.is_empty()).then(|| words.clone()),
        reason: Some(reason.to_owned()),
        // The exit code of a killed process already says the signal; upstream's runtimes leave this empty.
        signal: None,
    };
    api::ContainerState { terminated: Some(terminated), ..api::ContainerState::default() }
}
