//! The Node object and its heartbeat.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use client::Api;
use client::events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeFeatures,
    NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus, NodeSwapStatus, NodeSystemInfo, ObjectReference,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use machinery::ApiError;

use crate::agent::Agent;
use crate::capacity::Reserved;
use crate::eviction::Signal;
use crate::managers::devices::is_extended;
use crate::options::NodeOptions;
use crate::quantity;

/// What the API shows as the agent's version: the API level and our name.
pub const VERSION: &str = "v1.36.0+skiff";
/// How often the lease is renewed, and how long it holds (upstream's defaults).
const LEASE_RENEW: Duration = Duration::from_secs(10);
const LEASE_SECONDS: i32 = 40;
/// First and longest wait between looks at a runtime that was never ready yet: its network comes up in a moment.
const READY_WAIT_MIN: Duration = Duration::from_millis(10);
const READY_WAIT_MAX: Duration = Duration::from_secs(2);
/// How long the node's status stays as it was while the runtime is not ready after a start.
const RUNTIME_WAIT: Duration = Duration::from_secs(3);
/// How often the status is written even if nothing changed.
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// Most images listed in the status.
const IMAGES_MAX: usize = 50;
/// The machine, read once.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// CPUs that may be used, in thousandths.
    pub milli_cpu: i64,
    /// Memory, in bytes.
    pub memory_bytes: i64,
    /// The file system of the data directory, in bytes.
    pub storage_bytes: i64,
    /// Pods that it takes at most.
    pub pods_max: i64,
    /// What pods cannot have of it: reservations, and what the thresholds of eviction keep free.
    pub kept: Reserved,
    /// Pages of each huge page size (`2Mi`), in bytes.
    pub hugepages: BTreeMap<String, i64>,
    /// What `status.nodeInfo` says of it.
    pub info: NodeSystemInfo,
}

fn text(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A line of /proc/meminfo, in bytes.
pub fn meminfo(name: &str) -> u64 {
    let table = text("/proc/meminfo");
    let line = table.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

impl Machine {
    /// Reads the machine; the data directory stands for its disk.
    pub fn read(options: &NodeOptions) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, |n| i64::try_from(n.get()).unwrap_or(1));
        let storage = crate::disk::Space::of(&options.data_dir).bytes;
        let os = text("/etc/os-release");
        let pretty = os.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let info = NodeSystemInfo {
            architecture: architecture.to_owned(),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel_version: text("/proc/sys/kernel/osrelease"),
            kubelet_version: VERSION.to_owned(),
            machine_id: text("/etc/machine-id"),
            operating_system: "linux".to_owned(),
            os_image: pretty.to_owned(),
            system_uuid: text("/sys/class/dmi/id/product_uuid"),
            swap: Some(meminfo("SwapTotal"))
                .filter(|bytes| *bytes > 0)
                .map(|bytes| NodeSwapStatus { capacity: i64::try_from(bytes).ok() }),
            ..NodeSystemInfo::default()
        };
        let bytes = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let memory = meminfo("MemTotal");
        Self {
            milli_cpu: cpus * 1000,
            memory_bytes: bytes(memory),
            storage_bytes: bytes(storage),
            pods_max: options.limits.pods,
            kept: reserved(options).and(Reserved {
                milli_cpu: 0,
                memory: bytes(options.eviction.least(Signal::Memory, memory)),
                storage: bytes(options.eviction.least(Signal::NodeBytes, storage)),
            }),
            hugepages: hugepages_of(Path::new("/sys/kernel/mm/hugepages")),
            info,
        }
    }

    fn capacity(&self) -> BTreeMap<String, Quantity> {
        let mut map = BTreeMap::from([
            ("cpu".to_owned(), quantity::of_milli(self.milli_cpu)),
            ("memory".to_owned(), quantity::of_bytes(self.memory_bytes)),
            ("pods".to_owned(), quantity::of_value(self.pods_max)),
            ("ephemeral-storage".to_owned(), quantity::of_bytes(self.storage_bytes)),
        ]);
        map.extend(
            self.hugepages.iter().map(|(size, bytes)| (format!("hugepages-{size}"), quantity::of_bytes(*bytes))),
        );
        map
    }
}

impl Machine {
    /// What pods may ask for, as upstream computes it.
    pub fn allocatable(&self) -> Self {
        let huge: i64 = self.hugepages.values().sum();
        Self {
            milli_cpu: self.milli_cpu.saturating_sub(self.kept.milli_cpu).max(0),
            memory_bytes: self.memory_bytes.saturating_sub(self.kept.memory).saturating_sub(huge).max(0),
            storage_bytes: self.storage_bytes.saturating_sub(self.kept.storage).max(0),
            ..self.clone()
        }
    }
}

/// What is reserved for others than pods. Named CPUs stand in the place of an amount of them, as upstream has it.
pub fn reserved(options: &NodeOptions) -> Reserved {
    let named = i64::try_from(options.policies.reserved_cpus.len()).unwrap_or(i64::MAX);
    let amount = options.limits.reserved;
    if named == 0 { amount } else { Reserved { milli_cpu: named.saturating_mul(1000), ..amount } }
}

/// Bytes of the huge pages of each size, from a directory of sysfs.
pub fn hugepages_of(directory: &Path) -> BTreeMap<String, i64> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeMap::new() };
    let one = |entry: std::fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let kib: i64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages: i64 = text(&entry.path().join("nr_hugepages").to_string_lossy()).parse().ok()?;
        let size = if kib % (1 << 20) == 0 { format!("{}Gi", kib >> 20) } else { format!("{}Mi", kib >> 10) };
        Some((size, pages * kib * 1024))
    };
    entries.flatten().filter_map(one).collect()
}

/// Registers the node at once and keeps it alive.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let mut wait = Duration::from_millis(20);
    while let Err(error) = register(&agent).await {
        tracing::debug!(%error, "the node is not registered yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
    }
    tokio::spawn(renew(agent.clone()));
    let name = &agent.options.node_name;
    let about = reference(&agent);
    agent.event(&about, EventType::Normal, "Starting", "Starting kubelet.");
    let (mut told, mut ready) = (seams::clock::now(), false);
    let (mut wait, begun) = (READY_WAIT_MIN, tokio::time::Instant::now());
    let (mut pressure, mut shutting_down) = (agent.pressure.subscribe(), agent.shutting_down.subscribe());
    let mut devices = agent.managers.devices.changed.subscribe();
    loop {
        if !ready && agent.options.runtime.status().await.is_ok() {
            ready = true;
            agent.event(&about, EventType::Normal, "NodeReady", format!("Node {name} status is now: NodeReady"));
        } else {
            tokio::select! {
                () = tokio::time::sleep(if ready { LEASE_RENEW } else { wait }) => {}
                _ = pressure.changed() => {}
                _ = shutting_down.changed() => {}
                _ = devices.changed() => {}
            }
            wait = (wait * 2).min(READY_WAIT_MAX);
        }
        // A node that was ready before this start is not told to be otherwise while its runtime comes up.
        if !ready && begun.elapsed() < RUNTIME_WAIT {
            continue;
        }
        let due = seams::clock::since(told) >= STATUS_PERIOD;
        match refresh(&agent, due).await {
            Ok(true) => told = seams::clock::now(),
            Ok(false) => {}
            Err(error) if error.is_not_found() => {
                let _ = register(&agent).await;
            }
            Err(error) => tracing::debug!(%error, "node status not written"),
        }
    }
}

/// The node in events. It carries the name as UID: upstream's kubelet does not know the object's own.
pub(crate) fn reference(agent: &Agent) -> ObjectReference {
    let name = Some(agent.options.node_name.clone());
    ObjectReference { kind: Some("Node".to_owned()), name: name.clone(), uid: name, ..ObjectReference::default() }
}

fn labels(agent: &Agent) -> BTreeMap<String, String> {
    let mut labels = agent.options.labels.clone();
    labels.insert("kubernetes.io/hostname".to_owned(), agent.options.node_name.clone());
    labels.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
    labels.insert("kubernetes.io/arch".to_owned(), agent.machine.info.architecture.clone());
    labels
}

async fn register(agent: &Agent) -> Result<(), ApiError> {
    let api = Api::<Node>::all(&agent.options.client);
    let name = &agent.options.node_name;
    let metadata = ObjectMeta { name: Some(name.clone()), labels: Some(labels(agent)), ..ObjectMeta::default() };
    let node = match api.get_opt(name).await? {
        Some(node) => node,
        None => {
            let status = status(agent, &NodeStatus::default()).await;
            api.create(&Node { metadata, status: Some(status), ..Node::default() }).await?
        }
    };
    let mut wanted = node.as_ref().clone();
    let own = wanted.metadata.labels.get_or_insert_default();
    let missing = labels(agent).into_iter().any(|(k, v)| own.insert(k, v.clone()) != Some(v));
    let node = if missing { api.replace(name, &wanted).await? } else { node };
    // What the last life said holds until the runtime is up.
    if agent.options.runtime.status().await.is_err() {
        return Ok(());
    }
    let mut node = node.as_ref().clone();
    if agent.managers.devices.is_fresh {
        // Nothing is known of devices of an earlier life: until its plugin is back a resource has none.
        let capacity = node.status.iter_mut().filter_map(|status| status.capacity.as_mut()).flatten();
        capacity.filter(|(name, _)| is_extended(name)).for_each(|(_, amount)| *amount = quantity::of_value(0));
    }
    write(agent, &api, &node).await.map(|_| ())
}

async fn write(agent: &Agent, api: &Api<Node>, node: &Node) -> Result<Arc<Node>, ApiError> {
    let mut wanted = node.clone();
    wanted.status = Some(status(agent, &node.status.clone().unwrap_or_default()).await);
    api.replace_status(&agent.options.node_name, &wanted).await
}

/// Writes the status when it changed, or when it is due.
async fn refresh(agent: &Agent, due: bool) -> Result<bool, ApiError> {
    let api = Api::<Node>::all(&agent.options.client);
    let node = api.get(&agent.options.node_name).await?;
    let before = node.status.clone().unwrap_or_default();
    let fresh = status(agent, &before).await;
    let quiet = |s: &NodeStatus| {
        let mut s = s.clone();
        s.conditions.iter_mut().flatten().for_each(|c| c.last_heartbeat_time = None);
        s
    };
    if !due && quiet(&fresh) == quiet(&before) {
        return Ok(false);
    }
    write(agent, &api, &node).await.map(|_| true)
}

async fn status(agent: &Agent, before: &NodeStatus) -> NodeStatus {
    let (capacity, allocatable) = amounts(agent, before);
    let address = |kind: &str, address: String| NodeAddress { type_: kind.to_owned(), address };
    let mut info = agent.machine.info.clone();
    info.container_runtime_version = agent.options.runtime.version();
    info.kube_proxy_version = String::new();
    NodeStatus {
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        addresses: Some(vec![
            address("InternalIP", agent.options.node_ip.to_string()),
            address("Hostname", agent.options.node_name.clone()),
        ]),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(agent.options.listen.port()) }),
        }),
        node_info: Some(info),
        images: images(agent).await,
        conditions: Some(conditions(agent, before).await),
        runtime_handlers: runtime_handlers(agent),
        declared_features: Some(declared_features(agent.options.policies.cpu.is_some())),
        features: Some(NodeFeatures { supplemental_groups_policy: Some(agent.options.runtime.has_strict_groups()) }),
        ..before.clone()
    }
}

/// What this node can of what not every node of a cluster may know yet (KEP-5328), sorted. CPUs of a container's own do not
/// change while it runs.
fn declared_features(own_cpus: bool) -> Vec<String> {
    let always = [
        "ExtendWebSocketsToKubelet",
        "InPlacePodLevelResourcesVerticalScaling",
        "RestartAllContainersOnContainerExits",
    ];
    let mut all: Vec<String> = always.iter().map(|name| (*name).to_owned()).collect();
    all.extend((!own_cpus).then(|| "GuaranteedQoSPodCPUResize".to_owned()));
    all.sort();
    all
}

fn runtime_handlers(agent: &Agent) -> Option<Vec<NodeRuntimeHandler>> {
    let handlers = agent.options.runtime.handlers().into_iter().map(|handler| NodeRuntimeHandler {
        name: Some(handler.name),
        features: Some(NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(handler.recursive_read_only),
            user_namespaces: Some(handler.user_namespaces),
        }),
    });
    let list: Vec<_> = handlers.collect();
    (!list.is_empty()).then_some(list)
}

/// Capacity and allocatable: of the machine, of what somebody else said that it has (upstream: "Advertise Extended Resources for
/// a Node"), and of plugins' devices.
fn amounts(agent: &Agent, before: &NodeStatus) -> (BTreeMap<String, Quantity>, BTreeMap<String, Quantity>) {
    let (mut capacity, mut allocatable) = (agent.machine.capacity(), agent.machine.allocatable().capacity());
    for (name, amount) in before.capacity.iter().flatten().filter(|(name, _)| is_extended(name)) {
        capacity.insert(name.clone(), amount.clone());
        allocatable.insert(name.clone(), amount.clone());
    }
    for (name, (all, healthy)) in agent.managers.devices.counts() {
        capacity.insert(name.clone(), quantity::of_value(all));
        allocatable.insert(name, quantity::of_value(healthy));
    }
    (capacity, allocatable)
}

async fn images(agent: &Agent) -> Option<Vec<ContainerImage>> {
    let mut images = agent.options.runtime.list_images().await.ok()?;
    images.sort_by_key(|i| std::cmp::Reverse(i.size));
    let list: Vec<ContainerImage> = images
        .into_iter()
        .take(IMAGES_MAX)
        .map(|i| ContainerImage {
            names: Some(i.repo_digests.into_iter().chain(i.repo_tags).collect()),
            size_bytes: i64::try_from(i.size).ok(),
        })
        .collect();
    (!list.is_empty()).then_some(list)
}

async fn conditions(agent: &Agent, before: &NodeStatus) -> Vec<NodeCondition> {
    let mut list = before.conditions.clone().unwrap_or_default();
    let under = *agent.pressure.borrow();
    let pressure = |kind, under: bool, yes: (&'static str, &str), no: (&'static str, &str)| {
        let (reason, message) = if under { yes } else { no };
        (kind, if under { "True" } else { "False" }, reason, message.to_owned())
    };
    let runtime = agent.options.runtime.status().await.err().map(|error| error.to_string());
    let ends = agent.shutting_down.borrow().then(|| "node is shutting down".to_owned());
    let ready = match (runtime, ends) {
        (None, None) => ("Ready", "True", "KubeletReady", "kubelet is posting ready status".to_owned()),
        (Some(why), None) | (None, Some(why)) => ("Ready", "False", "KubeletNotReady", why),
        (Some(runtime), Some(ends)) => ("Ready", "False", "KubeletNotReady", format!("[{runtime}, {ends}]")),
    };
    let all = [
        pressure(
            "MemoryPressure",
            under.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            under.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            under.pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    let now = Time(seams::clock::now_seconds());
    for (kind, status, reason, message) in all {
        let old = list.iter().find(|c| c.type_ == kind && c.status == status);
        let since = old.and_then(|c| c.last_transition_time.clone()).unwrap_or_else(|| now.clone());
        list.retain(|c| c.type_ != kind);
        list.push(NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(now.clone()),
            last_transition_time: Some(since),
        });
    }
    list
}

/// Renews the node's lease for ever.
async fn renew(agent: Arc<Agent>) {
    let api = Api::<Lease>::namespaced(&agent.options.client, "kube-node-lease");
    let name = agent.options.node_name.clone();
    let mut known: Option<Arc<Lease>> = None;
    loop {
        let result = renew_once(&agent, &api, &name, known.take()).await;
        let wait = match result {
            Ok(lease) => {
                known = Some(lease);
                LEASE_RENEW
            }
            Err(error) => {
                tracing::debug!(%error, "the node's lease was not renewed");
                Duration::from_millis(500)
            }
        };
        tokio::time::sleep(wait).await;
    }
}

async fn renew_once(
    agent: &Agent,
    api: &Api<Lease>,
    name: &str,
    known: Option<Arc<Lease>>,
) -> Result<Arc<Lease>, ApiError> {
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        renew_time: Some(MicroTime(micros(seams::clock::now()))),
        ..LeaseSpec::default()
    };
    let known = match known {
        Some(lease) => Some(lease),
        None => api.get_opt(name).await?,
    };
    if let Some(lease) = known {
        let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
        return api.replace(name, &lease).await;
    }
    let node = Api::<Node>::all(&agent.options.client).get(name).await?;
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: name.to_owned(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    };
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some("kube-node-lease".to_owned()),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    api.create(&Lease { metadata, spec: Some(spec) }).await
}

/// Cut to microseconds, the precision of `metav1.MicroTime`.
fn micros(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}
