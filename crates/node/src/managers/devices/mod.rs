//! Devices of plugins (upstream: "Device Plugins", API v1beta1): which there are, who has which, and what a container gets
//! with them.

mod checkpoint;
mod choose;
pub mod fake;
#[allow(missing_docs, reason = "names and field numbers are the API's")]
pub mod proto;
pub mod registry;
mod server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grpc::Channel;
use k8s_openapi::api::core::v1::{ResourceHealth, ResourceStatus};
use tokio::sync::{OwnedMutexGuard, mpsc, watch};
use tokio::time::Instant;

use super::topology::{Hints, Mask};
use crate::lock;
use crate::quantity;
use crate::wanted::{Member, Role};
use choose::Request;
use proto::{ContainerAllocateResponse, DevicePluginOptions};
pub use server::is_extended;

/// How long the devices of a plugin that went still count towards the node's capacity (upstream's grace).
const STOP_GRACE: Duration = Duration::from_secs(300);
/// How long a plugin may take to make its devices ready before a container starts (the API's own limit).
const PRE_START_MAX: Duration = Duration::from_secs(30);
/// Plugins that registered and are not followed yet.
const REGISTERED_MAX: usize = 16;

/// What is known of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Whether it can be given out.
    pub healthy: bool,
    /// Its NUMA nodes.
    pub nodes: Vec<i64>,
}

/// Devices of one resource that a container has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Allocation {
    /// The devices, by NUMA node; -1 for those that have none.
    pub devices: BTreeMap<i64, Vec<String>>,
    /// What the plugin told to give to the container; nothing while it is asked.
    pub answer: Option<ContainerAllocateResponse>,
}

impl Allocation {
    /// The devices, each once.
    pub fn ids(&self) -> BTreeSet<String> {
        self.devices.values().flatten().cloned().collect()
    }
}

/// Who has what: by pod, container and resource.
pub type Held = BTreeMap<String, BTreeMap<String, BTreeMap<String, Allocation>>>;

/// Devices of init containers that later containers of the pod may have too, by resource.
pub type Reuse = BTreeMap<String, BTreeSet<String>>;

struct Plugin {
    channel: Arc<Channel>,
    options: DevicePluginOptions,
    /// Tells plugins of one resource that came after each other apart.
    number: u64,
}

#[derive(Default)]
struct Resource {
    plugin: Option<Plugin>,
    /// Since when there is no plugin.
    stopped: Option<Instant>,
    devices: BTreeMap<String, Known>,
}

impl Resource {
    fn healthy(&self) -> BTreeSet<String> {
        self.devices.iter().filter(|(_, device)| device.healthy).map(|(id, _)| id.clone()).collect()
    }
}

#[derive(Default)]
struct State {
    resources: BTreeMap<String, Resource>,
    held: Held,
    /// Resources that the node had: its status shows them with 0.
    gone: BTreeSet<String>,
    /// Pods of whose devices one became better or worse, and nobody was told yet.
    affected: BTreeSet<String>,
    plugins: u64,
}

impl State {
    fn in_use(&self, resource: &str) -> BTreeSet<String> {
        let containers = self.held.values().flat_map(BTreeMap::values);
        containers.filter_map(|resources| resources.get(resource)).flat_map(Allocation::ids).collect()
    }

    fn of(&self, uid: &str, container: &str) -> Option<&BTreeMap<String, Allocation>> {
        self.held.get(uid)?.get(container)
    }

    fn is_known(&self, resource: &str) -> bool {
        let held = || self.held.values().flat_map(BTreeMap::values).any(|resources| resources.contains_key(resource));
        self.resources.contains_key(resource) || held()
    }

    fn touch(&mut self, resource: &str) {
        let has = |containers: &BTreeMap<String, BTreeMap<String, Allocation>>| {
            containers.values().any(|resources| resources.contains_key(resource))
        };
        self.affected.extend(self.held.iter().filter(|(_, containers)| has(containers)).map(|(uid, _)| uid.clone()));
    }
}

/// What a container is given with its devices.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Variables; those of the pod's spec win.
    pub env: Vec<(String, String)>,
    /// Files and directories of the host.
    pub mounts: Vec<runtime::Mount>,
    /// Device nodes.
    pub devices: Vec<runtime::Device>,
    /// Words to the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Names of devices that the runtime knows by itself.
    pub cdi_devices: Vec<String>,
}

/// All devices of the node.
pub struct Devices {
    directory: PathBuf,
    state: Mutex<State>,
    /// One pod at a time takes devices of a resource: its plugin is asked meanwhile.
    turns: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    registered: (mpsc::Sender<server::Follow>, Mutex<Option<mpsc::Receiver<server::Follow>>>),
    /// There was no checkpoint: what the node told of extended resources is of another life.
    pub is_fresh: bool,
    /// Counts or health changed.
    pub changed: watch::Sender<()>,
}

/// What a container asks for of extended resources. Requests equal limits, so upstream looks at these alone.
fn limits(member: &Member) -> impl Iterator<Item = (&String, usize)> {
    let limits = member.spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let amount = |amount| usize::try_from(quantity::value(amount)).unwrap_or(0);
    limits.into_iter().flatten().map(move |(name, value)| (name, amount(value))).filter(|(_, count)| *count > 0)
}

impl Devices {
    /// The devices of the plugins in a directory, with what was given out before.
    pub fn open(directory: &Path) -> Self {
        let mut state = State::default();
        let mut is_fresh = false;
        match checkpoint::read(directory) {
            Ok(Some((held, names))) => {
                state.held = held;
                let stopped = Some(Instant::now());
                let known = names.into_iter().map(|name| (name, Resource { stopped, ..Resource::default() }));
                state.resources = known.collect();
            }
            Ok(None) => is_fresh = true,
            Err(error) => tracing::warn!(%error, "which container has which device is not known from before"),
        }
        let (sender, receiver) = mpsc::channel(REGISTERED_MAX);
        Self {
            directory: directory.to_owned(),
            state: Mutex::new(state),
            turns: Mutex::default(),
            registered: (sender, Mutex::new(Some(receiver))),
            is_fresh,
            changed: watch::Sender::default(),
        }
    }

    /// Writes down who has what.
    fn save(&self, state: &State) {
        let healthy = |resource: &Resource| resource.healthy().into_iter().collect();
        let healthy = state.resources.iter().map(|(name, resource)| (name.clone(), healthy(resource))).collect();
        if let Err(error) = checkpoint::write(&self.directory, &state.held, healthy) {
            tracing::warn!(%error, "which container has which device was not written down");
        }
    }

    /// The devices of plugins that a container asks for.
    pub fn asked(&self, member: &Member) -> Vec<(String, usize)> {
        let state = lock(&self.state);
        limits(member).filter(|(name, _)| state.is_known(name)).map(|(name, count)| (name.clone(), count)).collect()
    }

    /// Waits until no other pod takes devices of these resources; none will while the answer is kept.
    pub async fn turns(&self, resources: BTreeSet<String>) -> Vec<OwnedMutexGuard<()>> {
        let mutexes: Vec<_> = {
            let mut turns = lock(&self.turns);
            resources.into_iter().map(|name| turns.entry(name).or_default().clone()).collect()
        };
        let mut taken = Vec::with_capacity(mutexes.len());
        for mutex in mutexes {
            taken.push(mutex.lock_owned().await);
        }
        taken
    }

    /// From which NUMA nodes the devices can come. Resources whose devices have none do not care.
    pub fn hints(&self, asked: &BTreeMap<String, usize>, reuse: &Reuse, nodes: &[usize]) -> Hints {
        let state = lock(&self.state);
        let empty = BTreeSet::new();
        let list = |name: &String, count: usize| {
            let resource = state.resources.get(name)?;
            if resource.devices.values().all(|device| device.nodes.is_empty()) {
                return None;
            }
            let available = &resource.healthy() - &state.in_use(name);
            let reusable = reuse.get(name).unwrap_or(&empty);
            Some(choose::hints(&resource.devices, &available, reusable, count, nodes))
        };
        asked.iter().map(|(name, count)| (name.clone(), list(name, *count))).collect()
    }

    /// Gives a container its devices. An error is what the pod is rejected with.
    pub async fn allocate(
        &self,
        uid: &str,
        member: &Member,
        reuse: &mut Reuse,
        affinity: Option<Mask>,
    ) -> Result<(), String> {
        for (resource, count) in self.asked(member) {
            let reusable = reuse.entry(resource.clone()).or_default();
            self.allocate_one(uid, member.name(), &resource, count, reusable, affinity).await?;
        }
        let state = lock(&self.state);
        for (resource, allocation) in state.of(uid, member.name()).into_iter().flatten() {
            let reusable = reuse.entry(resource.clone()).or_default();
            match member.role {
                Role::Init => reusable.extend(allocation.ids()),
                _ => *reusable = &*reusable - &allocation.ids(),
            }
        }
        Ok(())
    }

    async fn allocate_one(
        &self,
        uid: &str,
        container: &str,
        resource: &str,
        count: usize,
        reusable: &BTreeSet<String>,
        affinity: Option<Mask>,
    ) -> Result<(), String> {
        let Some(partial) = self.begin(uid, container, resource, count, reusable, affinity)? else { return Ok(()) };
        let plugin = |state: &State| {
            let plugin = state.resources.get(resource).and_then(|known| known.plugin.as_ref());
            plugin.map(|plugin| (plugin.channel.clone(), plugin.options))
        };
        let found = plugin(&lock(&self.state));
        let (channel, options) = found.ok_or_else(|| format!("endpoint of {resource} has been stopped"))?;
        let preferred = match partial.question().filter(|_| options.get_preferred_allocation_available) {
            Some((among, with)) => preferred(&channel, among, with, count).await?,
            None => Vec::new(),
        };
        let ids = partial.finish(&preferred)?;
        {
            let mut state = lock(&self.state);
            let allocation = Allocation { devices: by_node(&state, resource, &ids), answer: None };
            let containers = state.held.entry(uid.to_owned()).or_default();
            containers.entry(container.to_owned()).or_default().insert(resource.to_owned(), allocation);
        }
        let request = proto::ContainerAllocateRequest { devices_ids: ids.into_iter().collect() };
        let request = proto::AllocateRequest { container_requests: vec![request] };
        let asked = channel.call::<proto::AllocateResponse>("v1beta1.DevicePlugin/Allocate", &request, None).await;
        let answer = asked.map_err(|status| status.as_go_prints_it()).and_then(|answer| {
            let none = format!("no containers return in allocation response {answer:?}");
            answer.container_responses.into_iter().next().ok_or(none)
        });
        let mut state = lock(&self.state);
        let place = state.held.get_mut(uid).and_then(|c| c.get_mut(container)).and_then(|r| r.get_mut(resource));
        match (place, answer) {
            (Some(allocation), Ok(answer)) => allocation.answer = Some(answer),
            (None, Ok(_)) => return Err("the pod is gone".to_owned()),
            (_, Err(error)) => {
                if let Some(resources) = state.held.get_mut(uid).and_then(|containers| containers.get_mut(container)) {
                    resources.remove(resource);
                }
                return Err(error);
            }
        }
        self.save(&state);
        Ok(())
    }

    /// Checks what upstream checks, and takes the devices for which no plugin is asked. Nothing is left to do when the container
    /// has its devices.
    fn begin(
        &self,
        uid: &str,
        container: &str,
        name: &str,
        count: usize,
        reusable: &BTreeSet<String>,
        affinity: Option<Mask>,
    ) -> Result<Option<choose::Partial>, String> {
        let state = lock(&self.state);
        let has = state.of(uid, container).and_then(|resources| resources.get(name)).map(Allocation::ids);
        if let Some(has) = has.as_ref().filter(|has| has.len() != count) {
            let had = has.len();
            return Err(format!(
                "pod {uid:?} container {container:?} changed request for resource {name:?} from {had} to {count}"
            ));
        }
        let Some(resource) = state.resources.get(name) else {
            return Err(format!("cannot allocate unregistered device {name}"));
        };
        let healthy = resource.healthy();
        if healthy.is_empty() {
            return Err(format!("no healthy devices present; cannot allocate unhealthy devices {name}"));
        }
        if let Some(has) = has {
            let lost = "previously allocated devices are no longer healthy; cannot allocate unhealthy devices";
            return if has.is_subset(&healthy) { Ok(None) } else { Err(format!("{lost} {name}")) };
        }
        let available = &healthy - &state.in_use(name);
        let known = &resource.devices;
        Request { resource: name, known, available, reusable, count, affinity }.begin().map(Some)
    }

    /// What a container gets with its devices; where two plugins disagree, the first one wins, as upstream has it.
    pub fn settings(&self, uid: &str, container: &str) -> Settings {
        let state = lock(&self.state);
        let mut all = Settings::default();
        let answers = state.of(uid, container).into_iter().flat_map(BTreeMap::values).filter_map(|a| a.answer.as_ref());
        for answer in answers {
            for (name, value) in &answer.envs {
                if all.env.iter().all(|(known, _)| known != name) {
                    all.env.push((name.clone(), value.clone()));
                }
            }
            for device in &answer.devices {
                if all.devices.iter().all(|known| known.container_path != device.container_path) {
                    all.devices.push(runtime::Device {
                        container_path: device.container_path.clone(),
                        host_path: PathBuf::from(&device.host_path),
                        permissions: device.permissions.clone(),
                    });
                }
            }
            for mount in &answer.mounts {
                if all.mounts.iter().all(|known| known.container_path != mount.container_path) {
                    all.mounts.push(runtime::Mount {
                        container_path: mount.container_path.clone(),
                        host_path: PathBuf::from(&mount.host_path),
                        read_only: mount.read_only,
                        ..runtime::Mount::default()
                    });
                }
            }
            for (name, value) in &answer.annotations {
                all.annotations.entry(name.clone()).or_insert_with(|| value.clone());
            }
            let fresh = answer.cdi_devices.iter().map(|device| &device.name);
            let fresh: Vec<String> = fresh.filter(|name| !all.cdi_devices.contains(name)).cloned().collect();
            all.cdi_devices.extend(fresh);
        }
        all
    }

    /// Lets plugins that asked for it make a container's devices ready.
    pub async fn before_start(&self, uid: &str, container: &str) -> Result<(), String> {
        let mut asked = Vec::new();
        {
            let state = lock(&self.state);
            for (name, allocation) in state.of(uid, container).into_iter().flatten() {
                let plugin = state.resources.get(name).and_then(|known| known.plugin.as_ref());
                if let Some(plugin) = plugin.filter(|plugin| plugin.options.pre_start_required) {
                    asked.push((plugin.channel.clone(), allocation.ids().into_iter().collect()));
                }
            }
        }
        for (channel, devices_ids) in asked {
            let request = proto::PreStartContainerRequest { devices_ids };
            let method = "v1beta1.DevicePlugin/PreStartContainer";
            let answer = channel.call::<proto::Empty>(method, &request, Some(PRE_START_MAX)).await;
            let failed = |status: grpc::Status| {
                format!("device plugin PreStartContainer rpc failed with err: {}", status.as_go_prints_it())
            };
            answer.map_err(failed)?;
        }
        Ok(())
    }

    /// Whether a container that asks for devices has none of them: it was taken before its plugin was known.
    pub fn is_missing(&self, uid: &str, member: &Member) -> bool {
        let asked = self.asked(member);
        let state = lock(&self.state);
        let held = state.of(uid, member.name());
        let has = |name: &String| held.and_then(|held| held.get(name)).is_some_and(|held| held.answer.is_some());
        asked.iter().any(|(name, _)| !has(name))
    }

    /// Takes a pod's devices back.
    pub fn release(&self, uid: &str) {
        let mut state = lock(&self.state);
        if state.held.remove(uid).is_some() {
            self.save(&state);
        }
    }

    /// The pods that have devices.
    pub fn holders(&self) -> Vec<String> {
        lock(&self.state).held.keys().cloned().collect()
    }

    /// How many devices are taken, by resource, when the pod has some.
    pub fn taken_with(&self, uid: &str) -> BTreeMap<String, i64> {
        let state = lock(&self.state);
        if !state.held.contains_key(uid) {
            return BTreeMap::new();
        }
        let names: BTreeSet<&String> =
            state.held.values().flat_map(BTreeMap::values).flat_map(BTreeMap::keys).collect();
        let count = |name: &str| i64::try_from(state.in_use(name).len()).unwrap_or(i64::MAX);
        names.into_iter().map(|name| (name.clone(), count(name))).collect()
    }

    /// How many devices there are and how many can be given out, by resource. What is gone counts 0.
    pub fn counts(&self) -> BTreeMap<String, (i64, i64)> {
        let mut state = lock(&self.state);
        let over = |resource: &Resource| resource.stopped.is_some_and(|since| since.elapsed() > STOP_GRACE);
        let ended: Vec<String> =
            state.resources.iter().filter(|(_, r)| over(r)).map(|(name, _)| name.clone()).collect();
        for name in &ended {
            state.resources.remove(name);
        }
        if !ended.is_empty() {
            state.gone.extend(ended);
            self.save(&state);
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let mut counts: BTreeMap<String, (i64, i64)> = state.gone.iter().map(|name| (name.clone(), (0, 0))).collect();
        let known = state.resources.iter();
        counts.extend(known.map(|(name, r)| (name.clone(), (number(r.devices.len()), number(r.healthy().len())))));
        counts
    }

    /// Pods of whose devices one became better or worse since it was asked last.
    pub fn affected(&self) -> BTreeSet<String> {
        std::mem::take(&mut lock(&self.state).affected)
    }

    /// How well a container's devices are (`allocatedResourcesStatus`).
    pub fn health(&self, uid: &str, container: &str) -> Option<Vec<ResourceStatus>> {
        let state = lock(&self.state);
        let status = |(name, allocation): (&String, &Allocation)| {
            let known = state.resources.get(name);
            let one = |id: String| {
                let health = match known.and_then(|known| known.devices.get(&id)) {
                    Some(device) if device.healthy => "Healthy",
                    Some(_) => "Unhealthy",
                    None => "Unknown",
                };
                ResourceHealth { resource_id: id, health: Some(health.to_owned()), ..ResourceHealth::default() }
            };
            let resources = Some(allocation.ids().into_iter().map(one).collect());
            ResourceStatus { name: name.clone(), resources }
        };
        state.of(uid, container).filter(|held| !held.is_empty()).map(|held| held.iter().map(status).collect())
    }

    /// What a container has, by resource, for those who ask by the pod-resources API.
    pub fn held(&self, uid: &str, container: &str) -> BTreeMap<String, Allocation> {
        lock(&self.state).of(uid, container).cloned().unwrap_or_default()
    }

    /// All healthy devices, by resource.
    pub fn allocatable(&self) -> BTreeMap<String, BTreeMap<String, Known>> {
        let state = lock(&self.state);
        let healthy = |r: &Resource| r.devices.clone().into_iter().filter(|(_, device)| device.healthy).collect();
        state.resources.iter().map(|(name, resource)| (name.clone(), healthy(resource))).collect()
    }
}

/// Which of the devices a plugin would rather give.
async fn preferred(
    channel: &Channel,
    among: Vec<String>,
    with: Vec<String>,
    count: usize,
) -> Result<Vec<String>, String> {
    let request = proto::ContainerPreferredAllocationRequest {
        available_device_ids: among,
        must_include_device_ids: with,
        allocation_size: i32::try_from(count).unwrap_or(i32::MAX),
    };
    let request = proto::PreferredAllocationRequest { container_requests: vec![request] };
    let method = "v1beta1.DevicePlugin/GetPreferredAllocation";
    let answer = channel.call::<proto::PreferredAllocationResponse>(method, &request, None).await;
    let failed = |status: grpc::Status| {
        format!("device plugin GetPreferredAllocation rpc failed with err: {}", status.as_go_prints_it())
    };
    let first = answer.map_err(failed)?.container_responses.into_iter().next();
    Ok(first.map(|answer| answer.device_ids).unwrap_or_default())
}

fn by_node(state: &State, resource: &str, ids: &BTreeSet<String>) -> BTreeMap<i64, Vec<String>> {
    let known = state.resources.get(resource).map(|resource| &resource.devices);
    let mut map: BTreeMap<i64, Vec<String>> = BTreeMap::new();
    for id in ids {
        let nodes = known.and_then(|known| known.get(id)).map(|device| device.nodes.as_slice()).unwrap_or_default();
        for node in if nodes.is_empty() { &[-1] } else { nodes } {
            map.entry(*node).or_default().push(id.clone());
        }
    }
    map
}
