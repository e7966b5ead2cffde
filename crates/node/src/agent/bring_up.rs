//! What brings a pod up: volumes, sandbox, images, containers. Runs beside the worker and tells it the results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::Api;
use client::events::EventType;
use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::api::node::v1::RuntimeClass;
use runtime::{
    ContainerState, ContainerStatus, IdRange, NamespaceMode, PortMapping, RuntimeError, SandboxConfig, SandboxStatus,
};
use tokio::sync::{mpsc, watch};

use super::image::image;
use super::worker::Note;
use super::{Agent, container, hooks};
use crate::admission::features;
use crate::config::{files, resources, users};
use crate::meter;
use crate::volumes::{self, Mounted, VolumeImage};
use crate::wanted::{Member, Wanted};

/// What these tasks need.
pub struct Up {
    pub agent: Arc<Agent>,
    pub wanted: Arc<Wanted>,
    pub notes: mpsc::Sender<Note>,
    /// Becomes true when the pod ends.
    pub cancel: watch::Receiver<bool>,
}

/// What kept a container from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its configuration, or its process.
    Container,
    /// Its image, in a way that no registry can mend.
    Image,
    /// The pull of its image, which is tried again and again, less and less often.
    Pull,
    /// What an earlier start left, and the runtime does not give up yet.
    Busy,
}

/// Why a container did not start.
pub struct StartError {
    /// The waiting reason in the pod's status.
    pub reason: &'static str,
    /// More, for people.
    pub message: String,
    /// What it was.
    pub fault: Fault,
    /// The container, when it was made and ended at once.
    pub status: Option<ContainerStatus>,
}

impl StartError {
    /// One of the container itself.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), fault: Fault::Container, status: None }
    }

    /// Nothing failed: it is not wanted any more, or not possible yet.
    fn is_no_failure(&self) -> bool {
        self.message == POD_ENDS || self.fault == Fault::Busy
    }
}

/// What is said of work that was given up.
pub const POD_ENDS: &str = "the pod ends";

/// What comes of some work; `None` when the pod ends before. What hangs must not keep a pod from its end.
async fn unless_ended<T>(up: &Up, work: impl Future<Output = T>) -> Option<T> {
    let mut cancel = up.cancel.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        _ = cancel.wait_for(|cancelled| *cancelled) => None,
    }
}

/// Mounts all volumes, or brings them up to date.
pub async fn mount(up: Up) {
    let result = unless_ended(&up, volumes::mount_all(&up.agent, &up.wanted)).await;
    let result = result.unwrap_or_else(|| Err(POD_ENDS.to_owned()));
    let _ = up.notes.send(Note::Mounted(result)).await;
}

/// Makes the sandbox.
pub async fn sandbox(up: Up, attempt: u32) {
    let mut config = sandbox_config(&up.agent, &up.wanted, attempt);
    let (options, host) = (&up.agent.options, std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let (_, warnings) = files::resolv_conf(&up.wanted, &options.cluster_dns, &options.cluster_domain, &host);
    for warning in warnings {
        up.agent.event(&up.wanted.reference(), EventType::Warning, "DNSConfigForming", warning);
    }
    let made = std::fs::create_dir_all(&config.log_directory);
    up.agent.weigh_classes().await;
    let handler = runtime_handler(&up).await;
    let result = match (features::unsupported_pod(&up.wanted), handler, made) {
        (Some(what), ..) => Err(RuntimeError::Invalid(what)),
        (None, Err(error), _) => Err(error),
        (None, Ok(handler), Ok(())) => match users(&up) {
            Ok(users) => {
                (config.runtime_handler, config.users) = (handler, users);
                up.agent.options.runtime.run_pod_sandbox(config).await
            }
            Err(error) => Err(RuntimeError::Failed(error)),
        },
        (None, _, Err(e)) => Err(RuntimeError::Failed(format!("the log directory was not made: {e}"))),
    };
    up.agent.meter.count(&meter::STARTED_PODS, &[]);
    if result.is_err() {
        up.agent.meter.count(&meter::STARTED_PODS_ERRORS, &[]);
    }
    let _ = up.notes.send(Note::Sandbox(result)).await;
}

/// What the pod's RuntimeClass asks the runtime for; empty without a class.
async fn runtime_handler(up: &Up) -> Result<String, RuntimeError> {
    let name = up.wanted.spec().runtime_class_name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Ok(String::new());
    }
    let class = Api::<RuntimeClass>::all(&up.agent.options.client).get(name).await;
    let failed = |e| RuntimeError::Invalid(format!("failed to get runtime handler from class {name:?}: {e}"));
    class.map(|class| class.handler.clone()).map_err(failed)
}

/// The users of the pod's own user namespace, when it asks for one.
fn users(up: &Up) -> Result<Option<IdRange>, String> {
    if up.wanted.spec().host_users != Some(false) {
        return Ok(None);
    }
    users::range(&up.agent.options.data_dir.join("pods"), &up.agent.pod_dir(up.wanted.uid())).map(Some)
}

fn sandbox_config(agent: &Agent, wanted: &Wanted, attempt: u32) -> SandboxConfig {
    let spec = wanted.spec();
    let mode = |host: Option<bool>| if host == Some(true) { NamespaceMode::Node } else { NamespaceMode::Pod };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    let sysctls = spec.security_context.as_ref().and_then(|s| s.sysctls.as_ref()).into_iter().flatten();
    SandboxConfig {
        name: wanted.name().to_owned(),
        namespace: wanted.namespace().to_owned(),
        uid: wanted.uid().to_owned(),
        attempt,
        hostname: agent.hostname(wanted),
        log_directory: agent.pod_log_dir(wanted),
        host_ports: if wanted.host_network() { Vec::new() } else { host_ports(wanted) },
        labels: container::pod_labels(wanted),
        annotations: wanted.pod.metadata.annotations.clone().unwrap_or_default(),
        cgroup_parent: resources::cgroup_parent(wanted),
        resources: agent.pod_resources(wanted),
        network: mode(spec.host_network),
        pid,
        ipc: mode(spec.host_ipc),
        runtime_handler: String::new(),
        users: None,
        sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
        privileged: wanted
            .members
            .iter()
            .any(|m| m.spec.security_context.as_ref().is_some_and(|s| s.privileged == Some(true))),
    }
}

fn host_ports(wanted: &Wanted) -> Vec<PortMapping> {
    let ports = wanted.members.iter().flat_map(|m| m.spec.ports.iter().flatten());
    let mapping = |p: &k8s_openapi::api::core::v1::ContainerPort| {
        let host_port = u16::try_from(p.host_port?).ok().filter(|p| *p != 0)?;
        Some(PortMapping {
            protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            container_port: u16::try_from(p.container_port).ok()?,
            host_port,
            host_ip: p.host_ip.as_deref().and_then(|ip| ip.parse().ok()),
        })
    };
    ports.filter_map(mapping).collect()
}

/// One start of a container.
pub struct Start {
    /// Which.
    pub name: String,
    /// How many ended before.
    pub attempt: u32,
    /// A container of the same attempt that never ran.
    pub replaces: Option<String>,
}

/// Starts containers, one after the other.
pub async fn starts(up: Up, sandbox: SandboxStatus, list: Vec<Start>, mounts: Arc<BTreeMap<String, Mounted>>) {
    for wanted in list {
        let Some(member) = up.wanted.member(&wanted.name).cloned() else { continue };
        if *up.cancel.borrow() {
            break;
        }
        let result = start(&up, &sandbox, &member, &wanted, &mounts).await;
        count_start(&up, &member, &result);
        if let Err(error) = result.as_ref().map(drop)
            && !error.is_no_failure()
        {
            let reference = up.wanted.member_reference(member.name());
            let text = if error.fault == Fault::Container { &error.message } else { error.reason };
            up.agent.event(&reference, EventType::Warning, "Failed", format!("Error: {text}"));
        }
        let started = result.as_ref().ok().map(|s| s.id.clone());
        let hook = member.spec.lifecycle.as_ref().and_then(|l| l.post_start.clone());
        if let (Some(id), Some(_)) = (&started, &hook) {
            let _ = up.notes.send(Note::PostStart(id.clone(), true)).await;
        }
        let _ = up.notes.send(Note::Started(wanted.name, Box::new(result))).await;
        if let (Some(id), Some(hook)) = (started, hook) {
            post_start(&up, &sandbox, &member, &id, &hook).await;
        }
    }
    let _ = up.notes.send(Note::BroughtUp).await;
}

fn count_start(up: &Up, member: &Member, result: &Result<ContainerStatus, StartError>) {
    let kind = ("container_type", member.role.container_type());
    match result {
        Err(error) if error.is_no_failure() => {}
        result => {
            up.agent.meter.count(&meter::STARTED_CONTAINERS, &[kind]);
            if let Err(error) = result {
                up.agent.meter.count(&meter::STARTED_CONTAINERS_ERRORS, &[kind, ("code", error.reason)]);
            }
        }
    }
}

async fn post_start(
    up: &Up,
    sandbox: &SandboxStatus,
    member: &Member,
    id: &str,
    hook: &k8s_openapi::api::core::v1::LifecycleHandler,
) {
    let context = hooks::Context::new(&up.agent, &up.wanted, member, id, Some(sandbox));
    let ended = unless_ended(up, hooks::run(&context, hook, Duration::from_secs(3600))).await;
    if let Some(Err(_)) = ended {
        let reference = up.wanted.member_reference(member.name());
        up.agent.event(&reference, EventType::Warning, "FailedPostStartHook", "PostStartHook failed");
        up.agent.event(&reference, EventType::Normal, "Killing", "FailedPostStartHook");
        let _ = up.agent.options.runtime.stop_container(id, up.wanted.grace()).await;
        let _ = up.notes.send(Note::Container(id.to_owned())).await;
    }
    let _ = up.notes.send(Note::PostStart(id.to_owned(), false)).await;
}

async fn start(
    up: &Up,
    sandbox: &SandboxStatus,
    member: &Member,
    wanted: &Start,
    mounts: &BTreeMap<String, Mounted>,
) -> Result<ContainerStatus, StartError> {
    let name = member.spec.image.as_deref().unwrap_or_default();
    let policy = member.spec.image_pull_policy.as_deref();
    let image = image(up, member, name, policy).await?;
    let images = volume_images(up, member).await?;
    let volumes = volumes::Ready { mounted: mounts, images: &images };
    let config = container::config(&up.agent, &up.wanted, member, sandbox, &image, wanted.attempt, &volumes);
    let Some(config) = unless_ended(up, config).await else {
        return Err(StartError::new("ContainerCreating", POD_ENDS));
    };
    let config = config.map_err(|message| StartError::new("CreateContainerConfigError", message))?;
    if *up.cancel.borrow() {
        return Err(StartError::new("ContainerCreating", POD_ENDS));
    }
    let runtime = &up.agent.options.runtime;
    let reference = up.wanted.member_reference(member.name());
    if let Some(old) = &wanted.replaces {
        make_way(up, old).await?;
    }
    let made = runtime.create_container(&sandbox.id, config).await;
    let id = made.map_err(|e| match e {
        RuntimeError::Busy(_) => not_created(Fault::Busy, &e),
        _ => not_created(Fault::Container, &e),
    })?;
    up.agent.event(&reference, EventType::Normal, "Created", "Container created");
    let started = unless_ended(up, runtime.start_container(&id)).await;
    let started = started.unwrap_or_else(|| Err(RuntimeError::Failed(POD_ENDS.to_owned())));
    let status = runtime.container_status(&id).await;
    match (started, status) {
        (Ok(()), Ok(status)) => {
            up.agent.event(&reference, EventType::Normal, "Started", "Container started");
            Ok(status)
        }
        (Ok(()), Err(error)) => Err(StartError::new("RunContainerError", error.to_string())),
        (Err(error), status) => {
            Err(StartError { status: status.ok(), ..StartError::new("RunContainerError", error.to_string()) })
        }
    }
}

/// Removes a container that never ran. A start that a dead agent asked for may still be under way, and even come to a good end.
async fn make_way(up: &Up, id: &str) -> Result<(), StartError> {
    let runtime = &up.agent.options.runtime;
    if runtime.container_status(id).await.is_ok_and(|status| status.state != ContainerState::Created) {
        return Err(StartError { fault: Fault::Busy, ..StartError::new("ContainerCreating", "") });
    }
    runtime.remove_container(id).await.map_err(|e| not_created(Fault::Busy, &e))
}

fn not_created(fault: Fault, error: &RuntimeError) -> StartError {
    StartError { fault, ..StartError::new("CreateContainerError", error.to_string()) }
}

/// Makes sure that the images are there which a container mounts as volumes; them by volume.
async fn volume_images(up: &Up, member: &Member) -> Result<BTreeMap<String, VolumeImage>, StartError> {
    let mounted = |volume: &Volume| member.spec.volume_mounts.iter().flatten().any(|m| m.name == volume.name);
    let mut images = BTreeMap::new();
    for volume in up.wanted.spec().volumes.iter().flatten().filter(|v| mounted(v)) {
        let Some(source) = &volume.image else { continue };
        let name = source.reference.as_deref().unwrap_or_default();
        let found = image(up, member, name, source.pull_policy.as_deref()).await?;
        // The name of the repository that it was asked from, when it has a digest there.
        let repository =
            |digest: &&String| digest.split('@').next().is_some_and(|repository| name.contains(repository));
        let digest = found.repo_digests.iter().find(repository).or(found.repo_digests.first());
        let reference = digest.unwrap_or(&found.id).clone();
        images.insert(volume.name.clone(), VolumeImage { id: found.id, reference });
    }
    Ok(images)
}
