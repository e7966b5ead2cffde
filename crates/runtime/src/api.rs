//! What the node agent asks of a runtime. The words and the semantics are CRI v1's; paths are the host's.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// Why a runtime call failed. The text is shown to users in pod status and events.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuntimeError {
    /// The sandbox, container or image does not exist.
    #[error("{0} not found")]
    NotFound(String),
    /// The request cannot be fulfilled as it is (bad reference, unknown user, missing executable …).
    #[error("{0}")]
    Invalid(String),
    /// The image could not be pulled; `ErrImagePull` or a more precise reason shown to users.
    #[error("{message}")]
    Pull {
        /// `ErrImagePull`, `InvalidImageName`
        reason: &'static str,
        /// The whole story in one line.
        message: String,
    },
    /// The call took too long.
    #[error("{0}: deadline exceeded")]
    Timeout(String),
    /// The runtime still holds the name: a call that its caller gave up, or did not outlive, is under way, or left something.
    #[error("{0}")]
    Busy(String),
    /// Anything else; it may go away by itself.
    #[error("{0}")]
    Failed(String),
}

/// Shorthand for what every call returns.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// Whose namespace a process joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// Shared by the containers of the pod.
    #[default]
    Pod,
    /// The container's own.
    Container,
    /// The host's.
    Node,
}

/// What a pod's sandbox is made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod UID.
    pub uid: String,
    /// Grows by one with each new sandbox of the same pod.
    pub attempt: u32,
    /// The hostname seen inside.
    pub hostname: String,
    /// Directory for the containers' logs; each container's `log_path` is relative to it.
    pub log_directory: PathBuf,
    /// Ports to open on the host.
    pub host_ports: Vec<PortMapping>,
    /// Opaque to the runtime, kept and returned.
    pub labels: BTreeMap<String, String>,
    /// Opaque to the runtime, kept and returned.
    pub annotations: BTreeMap<String, String>,
    /// The pod's cgroup, for example `/kubepods/burstable/pod<uid>`; containers get a child each. Made by the runtime.
    pub cgroup_parent: String,
    /// Limits of the pod's cgroup as a whole.
    pub resources: Resources,
    /// Network namespace: `Pod` or `Node`.
    pub network: NamespaceMode,
    /// PID namespace: `Container` (default in Kubernetes), `Pod` (shareProcessNamespace) or `Node`.
    pub pid: NamespaceMode,
    /// IPC namespace: `Pod` or `Node`.
    pub ipc: NamespaceMode,
    /// Which of its handlers the runtime runs the pod with; empty is the default one.
    pub runtime_handler: String,
    /// The pod has a user namespace of its own, with these users and groups of the host.
    pub users: Option<IdRange>,
    /// Kernel parameters of the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Whether a container of the pod is privileged. Some runtimes want to know it of the whole pod.
    pub privileged: bool,
}

/// Ids of the host that stand for those from 0 in a user namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The host's number of id 0.
    pub first: u32,
    /// How many.
    pub length: u32,
}

/// One host port of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port in the pod.
    pub container_port: u16,
    /// Port on the host.
    pub host_port: u16,
    /// Host address to bind to; `None` is all.
    pub host_ip: Option<IpAddr>,
}

/// Limits for one cgroup. `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU weight in cgroup v1 terms (2..=262144); converted for v2.
    pub cpu_shares: Option<u64>,
    /// CPU time per period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// The period, in microseconds.
    pub cpu_period: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit: Option<i64>,
    /// Protected memory (v2 `memory.min`/`memory.low`) in bytes.
    pub memory_request: Option<i64>,
    /// Above it, processes are slowed down and memory is taken from them (v2 `memory.high`), in bytes.
    pub memory_high: Option<i64>,
    /// Most processes.
    pub pids_limit: Option<i64>,
    /// The CPUs it may run on: `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// The NUMA nodes whose memory it may use: `0-1`.
    pub cpuset_mems: Option<String>,
    /// Hugepage limits by page size (`2MB`), in bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// For processes of this cgroup, -1000..=1000.
    pub oom_score_adj: Option<i32>,
}

/// What a container is made of.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Container name.
    pub name: String,
    /// How many times it was restarted.
    pub attempt: u32,
    /// The image: an id as [`ImageStatus::id`], already present.
    pub image: String,
    /// The reference the user wrote, kept and returned.
    pub image_reference: String,
    /// Overrides the image's entrypoint when not empty.
    pub command: Vec<String>,
    /// Overrides the image's command when not empty (or when `command` is set).
    pub args: Vec<String>,
    /// Overrides the image's working directory when set. Made when missing.
    pub working_dir: Option<String>,
    /// Environment over the image's.
    pub env: Vec<(String, String)>,
    /// Mounts over the image's root, in order.
    pub mounts: Vec<Mount>,
    /// Host devices to show.
    pub devices: Vec<Device>,
    /// Devices that the runtime knows by a name of its own (`vendor.com/class=name`).
    pub cdi_devices: Vec<String>,
    /// Opaque to the runtime, kept and returned.
    pub labels: BTreeMap<String, String>,
    /// Opaque to the runtime, kept and returned.
    pub annotations: BTreeMap<String, String>,
    /// Where CRI-format logs go, relative to the sandbox's log directory.
    pub log_path: PathBuf,
    /// Keep stdin open.
    pub stdin: bool,
    /// Close stdin after the first attach ends.
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: Resources,
    /// The running container of the same sandbox whose processes it shares, instead of the sandbox's PID mode.
    pub pid_target: Option<String>,
    /// Security.
    pub security: Security,
    /// The signal that asks it to stop, when it is not the image's (else SIGTERM).
    pub stop_signal: Option<String>,
}

/// One mount into a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host. Unused with an image.
    pub host_path: PathBuf,
    /// The image, as an id, whose files are mounted instead of a path: read-only, and nothing there can be executed.
    pub image: Option<String>,
    /// The part of the image that is mounted; empty for all of it.
    pub image_sub_path: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Read-only for all mounts below it too.
    pub recursive_read_only: bool,
    /// How mounts made later travel.
    pub propagation: Propagation,
}

/// Mount propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Propagation {
    /// `None` in the API: private.
    #[default]
    Private,
    /// `HostToContainer`: slave.
    HostToContainer,
    /// `Bidirectional`: shared.
    Bidirectional,
}

/// One host device in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Device {
    /// Path in the container.
    pub container_path: String,
    /// Path on the host.
    pub host_path: PathBuf,
    /// `r`, `w`, `m`.
    pub permissions: String,
}

/// A container's security settings, resolved from pod and container security contexts.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// All capabilities, all devices, no masks.
    pub privileged: bool,
    /// Capabilities to add, without `CAP_`; `ALL` is known.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop, without `CAP_`; `ALL` is known.
    pub drop_capabilities: Vec<String>,
    /// UID to run as; else the image's user.
    pub run_as_user: Option<i64>,
    /// GID to run as; else the image's.
    pub run_as_group: Option<i64>,
    /// Further groups (fsGroup among them).
    pub supplemental_groups: Vec<i64>,
    /// `Strict`: the image's /etc/group does not add groups.
    pub supplemental_groups_strict: bool,
    /// The root file system is read-only.
    pub read_only_rootfs: bool,
    /// Set no_new_privs.
    pub no_new_privileges: bool,
    /// Which seccomp filter.
    pub seccomp: Seccomp,
    /// Which AppArmor profile, when the pod asks for one.
    pub app_armor: Option<AppArmor>,
    /// Show /proc without masks.
    pub unmasked_proc: bool,
}

/// A seccomp profile.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seccomp {
    /// The runtime's default profile.
    #[default]
    RuntimeDefault,
    /// No filter.
    Unconfined,
    /// A profile file on the host (OCI JSON form).
    Localhost(PathBuf),
}

/// An AppArmor profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppArmor {
    /// The runtime's default profile.
    RuntimeDefault,
    /// No profile.
    Unconfined,
    /// A profile that the kernel knows by this name.
    Localhost(String),
}

/// Where a sandbox stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxState {
    /// Its shim lives and its network is set.
    Ready,
    /// Its shim died, or it was stopped.
    NotReady,
}

/// A sandbox as it was last seen.
#[derive(Debug, Clone)]
pub struct SandboxStatus {
    /// The runtime's id.
    pub id: String,
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod UID.
    pub uid: String,
    /// Its attempt.
    pub attempt: u32,
    /// Its state.
    pub state: SandboxState,
    /// When it was made.
    pub created_at: Timestamp,
    /// The pod's addresses, the main one first; empty on the host's network.
    pub ips: Vec<IpAddr>,
    /// As given.
    pub labels: BTreeMap<String, String>,
    /// As given.
    pub annotations: BTreeMap<String, String>,
}

/// Where a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended.
    Exited,
    /// The runtime lost it (its shim died before the exit code was written).
    Unknown,
}

/// The numbers that a container's first process began with, as the container sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserIds {
    /// User.
    pub uid: i64,
    /// Main group.
    pub gid: i64,
    /// Supplementary groups.
    pub groups: Vec<i64>,
}

/// What the runtime can do under one of the names that a RuntimeClass may give.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Handler {
    /// Empty for the default one.
    pub name: String,
    /// Mounts that are read-only with all below them.
    pub recursive_read_only: bool,
    /// Pods with users of their own.
    pub user_namespaces: bool,
}

/// A container as it was last seen.
#[derive(Debug, Clone)]
pub struct ContainerStatus {
    /// The runtime's id.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// Container name.
    pub name: String,
    /// Its attempt.
    pub attempt: u32,
    /// Its state.
    pub state: ContainerState,
    /// The process on the host, while it runs.
    pub pid: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process ended.
    pub finished_at: Option<Timestamp>,
    /// Exit code (128 + signal when killed), when it ended.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`, `StartError` …
    pub reason: String,
    /// More about a failure.
    pub message: String,
    /// The reference the user wrote.
    pub image_reference: String,
    /// Id of the image.
    pub image_id: String,
    /// Name and digest of the image in the repository that it was pulled from, else its id.
    pub image_ref: String,
    /// Whom its first process ran as, when the runtime tells.
    pub user: Option<UserIds>,
    /// Absolute path of its log.
    pub log_path: PathBuf,
    /// As given.
    pub labels: BTreeMap<String, String>,
    /// As given.
    pub annotations: BTreeMap<String, String>,
}

/// An image in the store.
#[derive(Debug, Clone)]
pub struct ImageStatus {
    /// Digest of its configuration: `sha256:…`.
    pub id: String,
    /// Names with tags, normalized (`docker.io/library/nginx:latest`).
    pub repo_tags: Vec<String>,
    /// Names with digests.
    pub repo_digests: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// The numeric user it runs as, when it names one.
    pub uid: Option<i64>,
    /// The user name it runs as, when it is not a number.
    pub username: String,
}

/// The file system of the images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilesystem {
    /// A directory on it.
    pub mountpoint: PathBuf,
    /// Bytes that images take.
    pub used_bytes: u64,
    /// Inodes that images take; 0 when the runtime does not count them.
    pub inodes_used: u64,
}

/// Credentials for a pull.
#[derive(Clone, Default, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: String,
    /// An identity token, instead of both.
    pub identity_token: String,
}

/// What a pull brought.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub image: ImageStatus,
    /// Which of the credentials that were given the registry took; nothing when it asked for none.
    pub credentials: Option<usize>,
}

/// A stream of bytes from a process.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;
/// A stream of bytes to a process.
pub type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}
/// A connection into a pod's network.
pub type PodConnection = Pin<Box<dyn Duplex>>;

/// What to run in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The command line.
    pub command: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// Open its stdin.
    pub stdin: bool,
}

/// A process's streams: of a new one (exec) or of the container's own (attach).
pub struct ProcessStreams {
    /// Its stdin, when asked for.
    pub stdin: Option<Writer>,
    /// Its stdout; with a terminal, everything.
    pub stdout: Option<Reader>,
    /// Its stderr; none with a terminal.
    pub stderr: Option<Reader>,
    /// Sets the terminal's size (columns, rows).
    pub resize: tokio::sync::mpsc::Sender<(u16, u16)>,
    /// Resolves with the exit code when the process ends. Dropping it does not kill the process.
    pub exit: BoxFuture<'static, Result<i32>>,
}

/// What a finished [`Runtime::exec_sync`] gave.
#[derive(Debug, Clone, Default)]
pub struct ExecOutput {
    /// Its stdout, cut at 16 MiB.
    pub stdout: Vec<u8>,
    /// Its stderr, cut at 16 MiB.
    pub stderr: Vec<u8>,
    /// Its exit code.
    pub exit_code: i32,
}

/// Use of a container or pod, read from its cgroup.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// CPU time used since the start, in nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Memory in use without inactive file cache, in bytes.
    pub memory_working_set: u64,
    /// All memory in use, in bytes.
    pub memory_usage: u64,
    /// Anonymous memory, in bytes.
    pub memory_rss: u64,
    /// File cache, in bytes.
    pub memory_cache: u64,
    /// Page faults since the start, and those of them that had to read from disk.
    pub page_faults: u64,
    /// See `page_faults`.
    pub major_page_faults: u64,
    /// Periods of the CPU limit that ran, those in which it was reached, and how long was waited for the next, in nanoseconds.
    pub cpu_periods: u64,
    /// See `cpu_periods`.
    pub cpu_periods_throttled: u64,
    /// See `cpu_periods`.
    pub cpu_throttled_nanoseconds: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// What one network interface of a sandbox has carried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    /// `eth0`
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Errors on receiving.
    pub rx_errors: u64,
    /// Packets that were dropped on receiving.
    pub rx_dropped: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Errors on sending.
    pub tx_errors: u64,
    /// Packets that were dropped on sending.
    pub tx_dropped: u64,
}

impl InterfaceUsage {
    /// Reads the kernel's table (`/proc/PID/net/dev`), loopback left out.
    pub fn read(table: &str) -> Vec<Self> {
        let one = |line: &str| {
            let (name, numbers) = line.split_once(':')?;
            let n: Vec<u64> = numbers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            let at = |index: usize| n.get(index).copied().unwrap_or(0);
            let name = name.trim().to_owned();
            let (rx_bytes, rx_packets, rx_errors, rx_dropped) = (at(0), at(1), at(2), at(3));
            let (tx_bytes, tx_packets, tx_errors, tx_dropped) = (at(8), at(9), at(10), at(11));
            let all =
                Self { name, rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped };
            (all.name != "lo").then_some(all)
        };
        table.lines().filter_map(one).collect()
    }
}

/// A change that the runtime saw. Only a hint: state is read anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container started or ended.
    Container {
        /// Its sandbox.
        sandbox_id: String,
        /// The pod's UID.
        pod_uid: String,
        /// The container.
        container_id: String,
    },
    /// A sandbox went away (its shim died or it was stopped).
    Sandbox {
        /// The sandbox.
        sandbox_id: String,
        /// The pod's UID.
        pod_uid: String,
    },
}

/// How a runtime gives a pod its network. The built-in runtime calls this with the pod's network namespace; `skiff`
/// plugs the pod network in.
pub trait PodNetwork: Send + Sync + 'static {
    /// Connects the namespace at `netns` and opens the host ports. Asking again for the same sandbox changes nothing.
    fn setup<'a>(
        &'a self,
        sandbox_id: &'a str,
        netns: &'a std::path::Path,
        config: &'a SandboxConfig,
    ) -> BoxFuture<'a, Result<Vec<IpAddr>>>;

    /// Whether pods can be connected now; the text says what is missing.
    fn status(&self) -> Result<()> {
        Ok(())
    }

    /// Gives everything back. No error when nothing is there.
    fn teardown<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<()>>;
}

/// A container runtime. Every call may be repeated: stop and remove of what is gone succeed.
pub trait Runtime: Send + Sync + 'static {
    /// Name and version, for `status.nodeInfo.containerRuntimeVersion` (`skiff://0.1.0`).
    fn version(&self) -> String;
    /// Whether `supplementalGroupsPolicy: Strict` is honoured, for `status.features` of the Node.
    fn has_strict_groups(&self) -> bool {
        true
    }

    /// What it can do, for `status.runtimeHandlers` of the Node; nothing when it does not tell.
    fn handlers(&self) -> Vec<Handler> {
        Vec::new()
    }

    /// Whether the runtime can work; the text says what is missing on this machine, and begins as upstream's kubelet has it
    /// in the node's Ready condition (`container runtime not ready: `, `container runtime network not ready: `,
    /// `container runtime is down`).
    fn status(&self) -> BoxFuture<'_, Result<()>>;

    /// Makes a sandbox with its network and returns its status.
    fn run_pod_sandbox(&self, config: SandboxConfig) -> BoxFuture<'_, Result<SandboxStatus>>;
    /// Kills what runs in the sandbox and takes its network down.
    fn stop_pod_sandbox<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Removes a sandbox with its containers.
    fn remove_pod_sandbox<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// All sandboxes, those of earlier lives of this process too.
    fn list_pod_sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>>>;

    /// Makes a container in a sandbox and returns its id.
    fn create_container<'a>(&'a self, sandbox_id: &'a str, config: ContainerConfig) -> BoxFuture<'a, Result<String>>;
    /// Starts it. An executable that cannot be started is an error here and ends the container (`StartError`, 128).
    fn start_container<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Sends the stop signal, waits up to `grace`, then kills. Returns when the process is gone.
    fn stop_container<'a>(&'a self, container_id: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>>;
    /// Removes a container that does not run; a running one is killed first.
    fn remove_container<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>>;
    /// All containers.
    fn list_containers(&self) -> BoxFuture<'_, Result<Vec<ContainerStatus>>>;
    /// One container.
    fn container_status<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>>;
    /// Changes the limits of a running container.
    fn update_resources<'a>(&'a self, container_id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>>;
    /// Makes a cgroup above pods (`/kubepods/burstable`) when it is missing, and sets its limits.
    fn update_group<'a>(&'a self, group: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>>;
    /// Use of such a cgroup.
    fn group_usage<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Usage>>;
    /// Changes the limits of a sandbox's cgroup.
    fn update_pod_sandbox<'a>(&'a self, sandbox_id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>>;
    /// Closes and opens the container's log file again, after a rotation.
    fn reopen_log<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>>;

    /// Runs a command in a container to its end (probes, hooks).
    fn exec_sync<'a>(
        &'a self,
        container_id: &'a str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> BoxFuture<'a, Result<ExecOutput>>;
    /// Starts a command in a container with its streams connected.
    fn exec<'a>(&'a self, container_id: &'a str, request: ExecRequest) -> BoxFuture<'a, Result<ProcessStreams>>;
    /// Connects to the container's own process. `stdin` asks for its stdin.
    fn attach<'a>(&'a self, container_id: &'a str, stdin: bool) -> BoxFuture<'a, Result<ProcessStreams>>;
    /// Connects to a TCP port on loopback inside the sandbox's network namespace. A runtime that learns later that nobody
    /// listens there says so as an error of the first read.
    fn connect<'a>(&'a self, sandbox_id: &'a str, port: u16) -> BoxFuture<'a, Result<PodConnection>>;

    /// Use of a container.
    fn container_usage<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<Usage>>;
    /// Bytes that a container's writable layer takes on disk. Walks over all its files.
    fn container_disk_usage<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<u64>>;
    /// What a sandbox's network interfaces have carried; empty where it is on the host's network or nobody counts.
    fn network_usage<'a>(&'a self, _sandbox_id: &'a str) -> BoxFuture<'a, Result<Vec<InterfaceUsage>>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    /// Use of a whole pod.
    fn sandbox_usage<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<Usage>>;

    /// Fetches an image. `credentials` are tried in order, then none. The registry is asked even if all of it is there.
    /// DIVERGES: upstream does not try without any, so that a wrong secret keeps a public image from starting.
    fn pull_image<'a>(&'a self, reference: &'a str, credentials: Vec<Credentials>) -> BoxFuture<'a, Result<Pulled>>;
    /// Looks an image up by reference or id.
    fn image_status<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<ImageStatus>>>;
    /// All images.
    fn list_images(&self) -> BoxFuture<'_, Result<Vec<ImageStatus>>>;
    /// Removes an image (layers that others use stay).
    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Takes in the images of a `docker save` or OCI archive.
    fn import_images<'a>(&'a self, archive: &'a Path) -> BoxFuture<'a, Result<Vec<ImageStatus>>>;
    /// Where images lie, and how much they take there.
    fn image_filesystem(&self) -> BoxFuture<'_, Result<ImageFilesystem>>;

    /// Changes as they happen. A reader that is too slow misses some; all state can be listed anew.
    fn events(&self) -> BoxStream<'static, RuntimeEvent>;
}
