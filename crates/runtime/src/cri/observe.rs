//! What is there: sandboxes and containers, as the trait tells them.
//!
//! CRI's lists leave out addresses and exit codes: each object is asked for once more, and what it said is kept as long as
//! it cannot change.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::translate::{CONTAINER_ANNOTATION, Kept, OWN_ANNOTATIONS, SANDBOX_ANNOTATION};
use super::*;
use crate::record::timestamp;

/// Questions to the runtime at a time.
const QUESTIONS_MAX: usize = 16;

/// What does not change while a sandbox is ready.
#[derive(Debug, Clone)]
pub struct KnownSandbox {
    /// With labels and annotations.
    pub config: SandboxConfig,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
}

/// So long after its end a container's status may still change: its runtime may learn late that it was out of memory.
pub const FINAL_AFTER: Duration = Duration::from_secs(10);

/// A container's status, which holds as long as its state does, and what CRI does not tell of it.
#[derive(Debug, Clone)]
pub struct KnownContainer {
    /// As last told.
    pub status: ContainerStatus,
    /// Of its making.
    pub kept: Kept,
}

fn foreign(annotations: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = |name: &String| OWN_ANNOTATIONS.contains(&name.as_str());
    annotations.iter().filter(|(name, _)| !own(name)).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn known(status: &proto::PodSandboxStatus) -> Option<KnownSandbox> {
    let own = status.annotations.get(SANDBOX_ANNOTATION)?;
    let mut config: SandboxConfig = serde_json::from_str(own).ok()?;
    config.labels = status.labels.clone();
    config.annotations = foreign(&status.annotations);
    let network = status.network.clone().unwrap_or_default();
    let texts = std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Some(KnownSandbox { config, ips: texts.filter_map(|text| text.parse().ok()).collect() })
}

fn describe(id: &str, ready: bool, created_at: i64, known: KnownSandbox) -> SandboxStatus {
    SandboxStatus {
        id: id.to_owned(),
        name: known.config.name,
        namespace: known.config.namespace,
        uid: known.config.uid,
        attempt: known.config.attempt,
        state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
        created_at: timestamp(created_at),
        // On the host's network the runtime tells the host's addresses, or none.
        ips: if known.config.network == NamespaceMode::Node { Vec::new() } else { known.ips },
        labels: known.config.labels,
        annotations: known.config.annotations,
    }
}

fn state(number: i32) -> ContainerState {
    match number {
        0 => ContainerState::Created,
        1 => ContainerState::Running,
        2 => ContainerState::Exited,
        _ => ContainerState::Unknown,
    }
}

fn has_just_ended(known: &ContainerStatus) -> bool {
    known.finished_at.is_some_and(|at| seams::clock::since(at) < FINAL_AFTER)
}

/// What containerd says when it cancels a start, and when it kills the program that starts its shim for it.
const CUT_OFF: [&str; 2] = ["context canceled", "start failed: : signal: killed"];

/// Whether a container only counts as ended because whoever started it went away meanwhile. It never ran, and a pod of which
/// no container starts twice must not fail by it.
/// DIVERGES: upstream's kubelet counts it as an end with code 128, and so as a restart.
fn was_cut_off(told: &proto::ContainerStatus) -> bool {
    state(told.state) == ContainerState::Exited
        && told.reason == "StartError"
        && told.started_at == 0
        && CUT_OFF.iter().any(|words| told.message.contains(words))
}

fn container_status(sandbox_id: String, told: proto::ContainerStatus) -> KnownContainer {
    let time = |nanoseconds: i64| (nanoseconds > 0).then(|| timestamp(nanoseconds));
    let state = if was_cut_off(&told) { ContainerState::Created } else { state(told.state) };
    let metadata = told.metadata.unwrap_or_default();
    let kept = told.annotations.get(CONTAINER_ANNOTATION).and_then(|text| serde_json::from_str(text).ok());
    let kept: Kept = kept.unwrap_or_default();
    let status = ContainerStatus {
        sandbox_id,
        name: metadata.name,
        attempt: metadata.attempt,
        state,
        pid: None,
        created_at: timestamp(told.created_at),
        started_at: time(told.started_at),
        finished_at: time(told.finished_at),
        exit_code: (state == ContainerState::Exited).then_some(told.exit_code),
        signal: None,
        reason: told.reason,
        message: told.message,
        image_reference: kept.image_name.clone(),
        image_id: kept.image_id.clone(),
        image_ref: told.image_ref,
        user: told.user.and_then(|user| user.linux).map(|user| UserIds {
            uid: user.uid,
            gid: user.gid,
            groups: user.supplemental_groups,
        }),
        log_path: told.log_path.into(),
        labels: told.labels,
        annotations: foreign(&told.annotations),
        id: told.id,
    };
    KnownContainer { status, kept }
}

impl CriRuntime {
    /// What is known of a sandbox of ours.
    pub(super) async fn known(&self, id: &str) -> Result<KnownSandbox> {
        if let Some(known) = lock(&self.0.sandboxes).get(id) {
            return Ok(known.clone());
        }
        self.ask_sandbox(id).await.map(|(_, known)| known)
    }

    async fn ask_sandbox(&self, id: &str) -> Result<(proto::PodSandboxStatus, KnownSandbox)> {
        let request = proto::PodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let told: proto::PodSandboxStatusResponse = self.0.runtime("PodSandboxStatus", &request).await?;
        let none = || RuntimeError::NotFound(format!("sandbox {id}"));
        let status = told.status.ok_or_else(none)?;
        let known = known(&status).ok_or_else(none)?;
        if status.state == 0 {
            lock(&self.0.sandboxes).insert(id.to_owned(), known.clone());
        }
        Ok((status, known))
    }

    /// One sandbox, asked anew.
    pub(super) async fn sandbox(&self, id: &str) -> Result<SandboxStatus> {
        let (status, known) = self.ask_sandbox(id).await?;
        Ok(describe(id, status.state == 0, status.created_at, known))
    }

    /// All sandboxes of ours.
    pub(super) async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        let listed = self.0.list_sandboxes().await?;
        let ids: HashSet<&str> = listed.iter().map(|s| s.id.as_str()).collect();
        lock(&self.0.sandboxes).retain(|id, _| ids.contains(id.as_str()));
        let asked = stream::iter(listed).map(|found| async move {
            match self.known(&found.id).await {
                Ok(known) => Ok(Some(describe(&found.id, found.state == 0, found.created_at, known))),
                Err(RuntimeError::NotFound(_)) => Ok(None),
                Err(error) => Err(error),
            }
        });
        asked.buffered(QUESTIONS_MAX).try_filter_map(|found| async { Ok(found) }).try_collect().await
    }

    /// One container, asked anew.
    pub(super) async fn container(&self, id: &str) -> Result<ContainerStatus> {
        let known = lock(&self.0.containers).get(id).map(|known| known.status.sandbox_id.clone());
        let sandbox_id = match known {
            Some(sandbox_id) => sandbox_id,
            None => {
                let all = self.0.list_containers().await?;
                let found = all.into_iter().find(|container| container.id == id);
                found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?.pod_sandbox_id
            }
        };
        self.ask_container(id, sandbox_id).await
    }

    /// Whether a container that was asked for before has a terminal.
    pub(super) fn has_terminal(&self, id: &str) -> bool {
        lock(&self.0.containers).get(id).is_some_and(|known| known.kept.tty)
    }

    async fn ask_container(&self, id: &str, sandbox_id: String) -> Result<ContainerStatus> {
        let request = proto::ContainerRequest { container_id: id.to_owned() };
        let told: proto::ContainerStatusResponse = self.0.runtime("ContainerStatus", &request).await?;
        let told = told.status.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        let known = container_status(sandbox_id, told);
        let status = known.status.clone();
        lock(&self.0.containers).insert(id.to_owned(), known);
        Ok(status)
    }

    /// All containers of ours.
    pub(super) async fn containers(&self) -> Result<Vec<ContainerStatus>> {
        let listed = self.0.list_containers().await?;
        let ids: HashSet<&str> = listed.iter().map(|c| c.id.as_str()).collect();
        lock(&self.0.containers).retain(|id, _| ids.contains(id.as_str()));
        let asked = stream::iter(listed).map(|found| async move {
            let known = lock(&self.0.containers).get(&found.id).map(|known| known.status.clone());
            match known.filter(|known| known.state == state(found.state) && !has_just_ended(known)) {
                Some(known) => Ok(Some(known)),
                None => match self.ask_container(&found.id, found.pod_sandbox_id).await {
                    Ok(status) => Ok(Some(status)),
                    Err(RuntimeError::NotFound(_)) => Ok(None),
                    Err(error) => Err(error),
                },
            }
        });
        asked.buffered(QUESTIONS_MAX).try_filter_map(|found| async { Ok(found) }).try_collect().await
    }
}

impl Inner {
    /// Sandboxes that skiff made, as the runtime lists them.
    pub async fn list_sandboxes(&self) -> Result<Vec<proto::PodSandbox>> {
        let told: proto::ListPodSandboxResponse =
            self.runtime("ListPodSandbox", &proto::ListPodSandboxRequest {}).await?;
        Ok(told.items.into_iter().filter(|s| s.annotations.contains_key(SANDBOX_ANNOTATION)).collect())
    }

    /// Containers that skiff made, as the runtime lists them.
    pub async fn list_containers(&self) -> Result<Vec<proto::Container>> {
        let told: proto::ListContainersResponse =
            self.runtime("ListContainers", &proto::ListContainersRequest {}).await?;
        Ok(told.containers.into_iter().filter(|c| c.annotations.contains_key(CONTAINER_ANNOTATION)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_of_others_are_not_ours() {
        assert!(known(&proto::PodSandboxStatus::default()).is_none());
        let config = SandboxConfig { name: "p".to_owned(), uid: "u".to_owned(), ..SandboxConfig::default() };
        let made = translate::sandbox(&config, "/x").expect("valid");
        let network = proto::PodSandboxNetworkStatus {
            ip: "10.0.0.1".to_owned(),
            additional_ips: vec![proto::PodIp { ip: "fd00::1".to_owned() }],
        };
        let status = proto::PodSandboxStatus {
            annotations: made.annotations,
            network: Some(network),
            ..proto::PodSandboxStatus::default()
        };
        let known = known(&status).expect("ours");
        assert_eq!((known.config.name.as_str(), known.ips.len()), ("p", 2));
        assert!(known.config.annotations.is_empty(), "our own annotation is not shown");
    }

    #[test]
    fn a_start_that_was_cut_off_is_no_end() {
        let of = |reason: &str, started_at, message: &str| {
            let (reason, message) = (reason.to_owned(), message.to_owned());
            let told =
                proto::ContainerStatus { state: 2, exit_code: 128, reason, started_at, message, ..Default::default() };
            let status = container_status("s".to_owned(), told).status;
            (status.state, status.exit_code)
        };
        let text = "failed to create containerd task: failed to create shim task: context canceled: unknown";
        assert_eq!(of("StartError", 0, text), (ContainerState::Created, None));
        let killed = "failed to create containerd task: failed to start shim: start failed: : signal: killed: unknown";
        assert_eq!(of("StartError", 0, killed), (ContainerState::Created, None));
        assert_eq!(of("StartError", 0, "exec: \"nothing\": not found"), (ContainerState::Exited, Some(128)));
        assert_eq!(of("Error", 5, text), (ContainerState::Exited, Some(128)));
    }

    #[test]
    fn only_ended_containers_have_an_exit_code() {
        let of = |state| {
            let told = proto::ContainerStatus { state, started_at: 5, ..proto::ContainerStatus::default() };
            container_status("s".to_owned(), told).status
        };
        assert_eq!((of(1).exit_code, of(1).finished_at), (None, None));
        assert_eq!((of(2).exit_code, of(2).state), (Some(0), ContainerState::Exited));
        assert_eq!(of(3).state, ContainerState::Unknown);
    }
}
