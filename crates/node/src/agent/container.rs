//! One container's whole configuration, and its last words.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use client::Api;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use runtime::{ContainerConfig, ContainerStatus, ImageStatus, Mount, SandboxStatus};

use super::Agent;
use crate::admission::features;
use crate::config::env::{self, References};
use crate::config::fields::NodeFacts;
use crate::config::{env_file, expand, files, resources, security};
use crate::plan::{HASH_ANNOTATION, RESIZE_ANNOTATION};
use crate::status::containers::IMAGES_ANNOTATION;
use crate::volumes::{self, Mounted};
use crate::wanted::{Member, Wanted};

/// Kept with each container, so that it can be stopped properly when its pod is gone from the API.
pub const GRACE_ANNOTATION: &str = "io.kubernetes.pod.terminationGracePeriod";
const MESSAGE_PATH_ANNOTATION: &str = "io.kubernetes.container.terminationMessageHostPath";
const MESSAGE_POLICY_ANNOTATION: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The longest last words, and how much of the log stands in for them.
const MESSAGE_BYTES_MAX: usize = 4096;
const LOG_BYTES_MAX: usize = 2048;
const LOG_LINES_MAX: usize = 80;

impl Agent {
    /// Where a pod's files are.
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.options.data_dir.join("pods").join(uid)
    }

    /// Where a pod's logs are.
    pub fn pod_log_dir(&self, wanted: &Wanted) -> PathBuf {
        self.options.log_dir.join(format!("{}_{}_{}", wanted.namespace(), wanted.name(), wanted.uid()))
    }

    /// The hostname that a pod sees. On the host's network it is the host's.
    pub fn hostname(&self, wanted: &Wanted) -> String {
        if wanted.host_network() {
            let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
            return own.unwrap_or_else(|| self.options.node_name.clone());
        }
        files::host_names(wanted, &self.options.cluster_domain).0
    }

    /// A container's cgroup.
    pub fn container_resources(&self, wanted: &Wanted, member: &Member) -> runtime::Resources {
        let mut resources = resources::of_container(wanted, member, self.machine.memory_bytes);
        if let Some(memory) = self.options.limits.memory_qos {
            memory.container(member, self.machine.allocatable().memory_bytes, &mut resources);
        }
        self.managers.bind(wanted.uid(), member.name(), &mut resources);
        resources
    }

    /// A pod's cgroup.
    pub fn pod_resources(&self, wanted: &Wanted) -> runtime::Resources {
        let mut resources = resources::of_pod(wanted, self.options.limits.pod_pids);
        if let Some(memory) = self.options.limits.memory_qos {
            memory.pod(wanted, &mut resources);
        }
        self.managers.bind_pod(wanted, &mut resources);
        resources
    }

    /// What only the node knows about a pod.
    pub fn node_facts(&self, pod_ips: &[IpAddr]) -> NodeFacts {
        NodeFacts {
            host_ip: Some(self.options.node_ip),
            pod_ips: pod_ips.to_vec(),
            allocatable_milli_cpu: self.machine.allocatable().milli_cpu,
            allocatable_memory: self.machine.allocatable().memory_bytes,
            allocatable_storage: self.machine.allocatable().storage_bytes,
        }
    }
}

/// The labels by which the runtime's objects are known to belong to a pod.
pub fn pod_labels(wanted: &Wanted) -> BTreeMap<String, String> {
    let mut labels = wanted.pod.metadata.labels.clone().unwrap_or_default();
    labels.insert("io.kubernetes.pod.name".to_owned(), wanted.name().to_owned());
    labels.insert("io.kubernetes.pod.namespace".to_owned(), wanted.namespace().to_owned());
    labels.insert("io.kubernetes.pod.uid".to_owned(), wanted.uid().to_owned());
    labels
}

/// The ConfigMaps, Secrets and files that a container's environment names.
async fn references(
    agent: &Agent,
    wanted: &Wanted,
    member: &Member,
    volumes: &BTreeMap<String, Mounted>,
) -> Result<References, String> {
    let (maps, secrets) = env::names(member);
    let mut found = References::default();
    let namespace = wanted.namespace();
    for name in maps {
        let map = Api::<ConfigMap>::namespaced(&agent.options.client, namespace).get_opt(&name).await;
        let data = map.map_err(|e| e.to_string())?.map(|m| m.data.clone().unwrap_or_default());
        found.config_maps.insert(name, data);
    }
    for name in secrets {
        let secret = Api::<Secret>::namespaced(&agent.options.client, namespace).get_opt(&name).await;
        let data = secret
            .map_err(|e| e.to_string())?
            .map(|s| s.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect());
        found.secrets.insert(name, data);
    }
    for (volume, path) in env::files(member) {
        let mounted = volumes.get(volume);
        let mounted = mounted.ok_or_else(|| format!("cannot find the volume {volume:?} referenced by FileKeyRef"))?;
        let variables = volumes::read_file(&mounted.host_path, path, env_file::FILE_BYTES_MAX)
            .and_then(|text| text.as_deref().map(env_file::parse).transpose())
            .map_err(|e| format!("couldn't parse env file {path:?} of volume {volume:?}: {e}"))?;
        found.files.insert((volume.to_owned(), path.to_owned()), variables);
    }
    Ok(found)
}

/// The configuration of one container. An error is the message of `CreateContainerConfigError`.
pub async fn config(
    agent: &Agent,
    wanted: &Wanted,
    member: &Member,
    sandbox: &SandboxStatus,
    image: &ImageStatus,
    attempt: u32,
    volumes: &volumes::Ready<'_>,
) -> Result<ContainerConfig, String> {
    if let Some(what) = features::unsupported_container(member) {
        return Err(what);
    }
    security::check_non_root(wanted, member, image)?;
    let facts = agent.node_facts(&sandbox.ips);
    let references = references(agent, wanted, member, volumes.mounted).await?;
    let links = wanted.spec().enable_service_links.unwrap_or(true);
    let services = agent.service_variables(wanted.namespace(), links, !wanted.is_static()).await;
    let given = agent.managers.settings(wanted, member).await?;
    let mut env = env::environment(wanted, member, &facts, &references, services)?;
    // What a device brings along stands before the pod's own variables, which win.
    let fresh = given.env.into_iter().filter(|(name, _)| env.iter().all(|(own, _)| own != name));
    env = fresh.collect::<Vec<_>>().into_iter().chain(env.iter().cloned()).collect();
    let of = |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let all = |list: &Option<Vec<String>>| list.iter().flatten().map(|text| expand(text, &of)).collect::<Vec<_>>();
    let spec = &member.spec;
    let (message_file, mut mounts) = own_files(agent, wanted, member, sandbox, attempt)?;
    mounts.extend(given.mounts);
    mounts.extend(volumes::mounts(agent, wanted, member, volumes, &of).await?);
    let mut labels = pod_labels(wanted);
    labels.insert("io.kubernetes.container.name".to_owned(), spec.name.clone());
    let images: BTreeMap<&str, &str> =
        volumes.images.iter().map(|(name, image)| (name.as_str(), image.reference.as_str())).collect();
    let images = if images.is_empty() { None } else { serde_json::to_string(&images).ok() };
    let mut annotations = given.annotations;
    annotations.extend([
        (HASH_ANNOTATION.to_owned(), member.hash.clone()),
        (RESIZE_ANNOTATION.to_owned(), member.resize_hash.clone()),
        (GRACE_ANNOTATION.to_owned(), wanted.grace().as_secs().to_string()),
        (MESSAGE_PATH_ANNOTATION.to_owned(), message_file.display().to_string()),
        (MESSAGE_POLICY_ANNOTATION.to_owned(), spec.termination_message_policy.clone().unwrap_or_default()),
    ]);
    annotations.extend(images.map(|text| (IMAGES_ANNOTATION.to_owned(), text)));
    let mut security = security::security(wanted, member, &agent.options.data_dir.join("seccomp"));
    security.supplemental_groups.extend(volumes.mounted.values().filter_map(|volume| volume.group));
    let log_path = PathBuf::from(&spec.name).join(format!("{attempt}.log"));
    std::fs::create_dir_all(agent.pod_log_dir(wanted).join(&spec.name)).map_err(|e| e.to_string())?;
    Ok(ContainerConfig {
        name: spec.name.clone(),
        attempt,
        image: image.id.clone(),
        image_reference: spec.image.clone().unwrap_or_default(),
        command: all(&spec.command),
        args: all(&spec.args),
        working_dir: spec.working_dir.clone().filter(|d| !d.is_empty()),
        mounts,
        devices: given.devices.into_iter().chain(volumes::devices(member, volumes.mounted)?).collect(),
        cdi_devices: given.cdi_devices,
        labels,
        annotations,
        log_path,
        stdin: spec.stdin == Some(true),
        stdin_once: spec.stdin_once == Some(true),
        tty: spec.tty == Some(true),
        pid_target: target(agent, member, sandbox).await?,
        resources: agent.container_resources(wanted, member),
        security,
        stop_signal: spec.lifecycle.as_ref().and_then(|l| l.stop_signal.clone()),
        env,
    })
}

/// The running container whose processes an ephemeral container sees.
async fn target(agent: &Agent, member: &Member, sandbox: &SandboxStatus) -> Result<Option<String>, String> {
    let Some(name) = &member.target else { return Ok(None) };
    let all = agent.options.runtime.list_containers().await.map_err(|e| e.to_string())?;
    let running = |c: &&ContainerStatus| {
        c.sandbox_id == sandbox.id && c.name == *name && c.state == runtime::ContainerState::Running
    };
    let found = all.iter().find(running).map(|c| c.id.clone());
    found.map(Some).ok_or_else(|| format!("unable to find target container {name:?}"))
}

/// /etc/hosts, /etc/resolv.conf, /etc/hostname and the file for last words.
fn own_files(
    agent: &Agent,
    wanted: &Wanted,
    member: &Member,
    sandbox: &SandboxStatus,
    attempt: u32,
) -> Result<(PathBuf, Vec<Mount>), String> {
    let directory = agent.pod_dir(wanted.uid());
    let domain = &agent.options.cluster_domain;
    let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let own = directory.join("containers").join(member.name());
    std::fs::create_dir_all(&own).map_err(|e| format!("{}: {e}", own.display()))?;
    let message_file = own.join(format!("{attempt}-{:08x}", seams::random::number() as u32));
    let files = [
        ("/etc/hosts", "etc-hosts", files::hosts(wanted, &sandbox.ips, domain, &host("/etc/hosts"))),
        (
            "/etc/resolv.conf",
            "etc-resolv.conf",
            files::resolv_conf(wanted, &agent.options.cluster_dns, domain, &host("/etc/resolv.conf")).0,
        ),
        ("/etc/hostname", "etc-hostname", format!("{}\n", agent.hostname(wanted))),
    ];
    let mut mounts = Vec::new();
    let taken = |path: &str| member.spec.volume_mounts.iter().flatten().any(|m| m.mount_path == path);
    for (path, name, text) in files {
        let file = directory.join(name);
        write(&file, &text, 0o644)?;
        if !taken(path) {
            mounts.push(Mount { container_path: path.to_owned(), host_path: file, ..Mount::default() });
        }
    }
    let path = member.spec.termination_message_path.as_deref().unwrap_or("/dev/termination-log");
    if !path.is_empty() {
        write(&message_file, "", 0o666)?;
        let host_path = message_file.clone();
        mounts.push(Mount { container_path: path.to_owned(), host_path, ..Mount::default() });
    }
    Ok((message_file, mounts))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), String> {
    // Running containers see this very file, so it is written in place, and only when it differs.
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, permissions).map_err(|e| format!("{}: {e}", path.display()))
}

/// What an ended container left in its message file, or the end of its log.
pub async fn last_words(wanted: &Wanted, status: &ContainerStatus) -> String {
    let path = status.annotations.get(MESSAGE_PATH_ANNOTATION).cloned().unwrap_or_default();
    let policy = status.annotations.get(MESSAGE_POLICY_ANNOTATION).cloned().unwrap_or_default();
    let (log, failed) = (status.log_path.clone(), status.exit_code.is_some_and(|c| c != 0));
    let read = move || {
        let words = read_start(Path::new(&path), MESSAGE_BYTES_MAX);
        if words.is_empty() && failed && policy == "FallbackToLogsOnError" {
            return crate::logs::read::tail_text(&log, LOG_LINES_MAX, LOG_BYTES_MAX);
        }
        words
    };
    let words = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    tracing::trace!(pod = wanted.name(), container = status.name, bytes = words.len(), "last words read");
    words
}

fn read_start(path: &Path, most: usize) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            let _ = file.take(most as u64).read_to_end(&mut bytes);
        }
        Err(_) => return String::new(),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
