//! Resources that containers have for themselves (upstream's container manager): devices of plugins, CPUs, memory of NUMA
//! nodes; given when a pod is taken, side by side where the topology policy asks for it, and taken back when it is over.

mod checksum;
mod cpu_set;
mod cpus;
pub mod devices;
mod follow;
mod machine;
mod memory;
pub mod pod_resources;
#[cfg(test)]
mod tests;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::core::v1::ResourceStatus;
use tokio::sync::watch;

use crate::admission::Refusal;
use crate::config::resources;
use crate::lock;
use crate::register::Machine;
use crate::wanted::{Member, Role, Wanted};
pub use cpu_set::CpuSet;
pub use cpus::CpuOptions;
use cpus::Cpus;
use devices::{Devices, Settings};
pub use follow::keep;
use machine::Topology;
use memory::Memory;
pub use memory::ReservedMemory;
use topology::{Hint, Hints, Merger};
pub use topology::{Policy, Scope};

/// Most NUMA nodes whose combinations are tried (upstream's limit).
const NODES_MAX: usize = 8;

/// How resources are given out, as kubelet's flags of the same names say it.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// `--cpu-manager-policy=static`, with its options.
    pub cpu: Option<CpuOptions>,
    /// `--reserved-cpus`: CPUs that no container has for itself.
    pub reserved_cpus: CpuSet,
    /// `--memory-manager-policy=Static`, with `--reserved-memory`.
    pub memory: Option<ReservedMemory>,
    /// `--topology-manager-policy`
    pub topology: Policy,
    /// `--topology-manager-scope`
    pub scope: Scope,
    /// The option `prefer-closest-numa-nodes`.
    pub closest: bool,
}

/// What is given out by the machine itself, and changes together.
struct Local {
    cpus: Option<Cpus>,
    memory: Option<Memory>,
}

/// All of it.
pub struct Managers {
    /// Devices of plugins.
    pub devices: Arc<Devices>,
    policies: Policies,
    machine: Option<Arc<Topology>>,
    local: Mutex<Local>,
    /// Which CPUs are shared has changed.
    shared: watch::Sender<()>,
    root: PathBuf,
}

/// What init containers leave to those after them.
#[derive(Default)]
struct Reuse {
    devices: devices::Reuse,
    cpus: CpuSet,
    memory: memory::Reuse,
}

/// A failure that the scheduler should have kept from the node, in upstream's words.
fn unexpected(why: impl std::fmt::Display) -> Refusal {
    ("UnexpectedAdmissionError".to_owned(), format!("Allocate failed due to {why}, which is unexpected"))
}

impl Managers {
    /// What the policies ask for, with what was given out before. Sockets and state files are below `root`.
    pub fn open(policies: &Policies, root: &Path, sysfs: &Path, machine: &Machine) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        if policies.topology == Policy::SingleNumaNode && policies.cpu.is_some_and(|options| options.by_socket) {
            return Err(io::Error::other(
                "Topolgy manager single-numa-node policy is incompatible with CPUManager align-by-socket policy option",
            ));
        }
        let reads = policies.cpu.is_some() || policies.memory.is_some() || policies.topology != Policy::None;
        let memory = u64::try_from(machine.memory_bytes).unwrap_or(0);
        let topology = if reads { Some(Arc::new(Topology::read(sysfs, memory)?)) } else { None };
        let nodes = topology.as_ref().map_or(0, |topology| topology.memory.len());
        if nodes > NODES_MAX && (policies.memory.is_some() || policies.topology != Policy::None) {
            return Err(io::Error::other(format!("unsupported on machines with more than {NODES_MAX} NUMA Nodes")));
        }
        let (mut cpus, mut bound) = (None, None);
        if let Some(topology) = &topology {
            if let Some(options) = policies.cpu {
                let reserved = (&policies.reserved_cpus, machine.kept.milli_cpu);
                let opened = Cpus::open(topology.clone(), options, reserved.0, reserved.1, root);
                cpus = Some(opened.map_err(io::Error::other)?);
            }
            if let Some(reserved) = &policies.memory {
                let opened = Memory::open(topology, reserved, machine.kept.memory, root);
                bound = Some(opened.map_err(io::Error::other)?);
            }
        }
        Ok(Self {
            devices: Arc::new(Devices::open(&root.join("device-plugins"))),
            policies: policies.clone(),
            machine: topology,
            local: Mutex::new(Local { cpus, memory: bound }),
            shared: watch::Sender::default(),
            root: root.to_owned(),
        })
    }

    /// Gives a new pod what its containers have for themselves. Where that fails the pod is rejected, and has nothing.
    pub async fn admit(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let asked = |member: &Member| self.devices.asked(member).into_iter().map(|(name, _)| name);
        let names: BTreeSet<String> = given(wanted).flat_map(asked).collect();
        if names.is_empty() && self.machine.is_none() {
            return Ok(());
        }
        let _turns = self.devices.turns(names).await;
        self.release(wanted.uid());
        let result = match self.policies.scope {
            Scope::Pod => self.admit_together(wanted).await,
            Scope::Container => self.admit_one_by_one(wanted).await,
        };
        if result.is_err() {
            self.release(wanted.uid());
        }
        self.shared.send_replace(());
        result
    }

    async fn admit_one_by_one(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let mut reuse = Reuse::default();
        for member in given(wanted) {
            let hint = {
                let mut local = lock(&self.local);
                let hint = self.hint(&local, wanted, Some(member), &reuse)?;
                allocate(&mut local, wanted, member, &mut reuse, hint)?;
                hint
            };
            let devices = self.devices.allocate(wanted.uid(), member, &mut reuse.devices, hint.affinity);
            devices.await.map_err(unexpected)?;
        }
        Ok(())
    }

    async fn admit_together(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let mut reuse = Reuse::default();
        let hint = {
            let mut local = lock(&self.local);
            let hint = self.hint(&local, wanted, None, &reuse)?;
            given(wanted).try_for_each(|member| allocate(&mut local, wanted, member, &mut reuse, hint))?;
            hint
        };
        for member in given(wanted) {
            let devices = self.devices.allocate(wanted.uid(), member, &mut reuse.devices, hint.affinity);
            devices.await.map_err(unexpected)?;
        }
        Ok(())
    }

    /// Where the resources of a container, or of the whole pod, should come from.
    fn hint(&self, local: &Local, wanted: &Wanted, member: Option<&Member>, reuse: &Reuse) -> Result<Hint, Refusal> {
        let Some(machine) = self.machine.as_ref().filter(|_| self.policies.topology != Policy::None) else {
            return Ok(Hint::ANY);
        };
        let asked = self.asked(wanted, member);
        let mut givers = vec![self.devices.hints(&asked, &reuse.devices, &machine.nodes())];
        givers.push(local.cpus.as_ref().map_or_else(Hints::new, |cpus| cpus.hints(wanted, member, &reuse.cpus)));
        givers
            .push(local.memory.as_ref().map_or_else(Hints::new, |memory| memory.hints(wanted, member, &reuse.memory)));
        let (policy, closest) = (self.policies.topology, self.policies.closest);
        let merged = Merger { policy, distances: &machine.distances, closest }.merge(&givers);
        let refused = "Resources cannot be allocated with Topology locality";
        merged.ok_or_else(|| ("TopologyAffinityError".to_owned(), refused.to_owned()))
    }

    fn asked(&self, wanted: &Wanted, member: Option<&Member>) -> BTreeMap<String, usize> {
        if let Some(member) = member {
            return self.devices.asked(member).into_iter().collect();
        }
        let names = given(wanted).flat_map(|member| self.devices.asked(member)).map(|(name, _)| name);
        let sum = |name: &String| {
            let of = |member: &Member| {
                let asked = self.devices.asked(member).into_iter().find(|(other, _)| other == name);
                asked.map_or(0, |(_, count)| i64::try_from(count).unwrap_or(i64::MAX))
            };
            usize::try_from(resources::over_time(wanted, &of)).unwrap_or(0)
        };
        names.map(|name| (name.clone(), sum(&name))).collect()
    }

    /// Takes back what a pod has.
    pub fn release(&self, uid: &str) {
        self.devices.release(uid);
        let mut local = lock(&self.local);
        if let Some(memory) = &mut local.memory {
            memory.release(uid);
        }
        if local.cpus.as_mut().is_some_and(|cpus| cpus.release(uid)) {
            self.shared.send_replace(());
        }
    }

    /// Takes back what those pods have that are not `alive`.
    pub fn sweep(&self, alive: impl Fn(&str) -> bool) {
        let mut holders = self.devices.holders();
        {
            let local = lock(&self.local);
            holders.extend(local.cpus.iter().flat_map(Cpus::holders));
            holders.extend(local.memory.iter().flat_map(Memory::holders));
        }
        holders.iter().filter(|uid| !alive(uid)).for_each(|uid| self.release(uid));
    }

    /// What a container that is about to start gets with its devices.
    pub async fn settings(&self, wanted: &Wanted, member: &Member) -> Result<Settings, String> {
        let uid = wanted.uid();
        if self.devices.is_missing(uid, member) {
            let names = self.devices.asked(member).into_iter().map(|(name, _)| name).collect();
            let _turns = self.devices.turns(names).await;
            self.devices.allocate(uid, member, &mut devices::Reuse::new(), None).await?;
        }
        self.devices.before_start(uid, member.name()).await?;
        Ok(self.devices.settings(uid, member.name()))
    }

    /// Binds a container's cgroup to its CPUs and memory.
    pub fn bind(&self, uid: &str, container: &str, resources: &mut runtime::Resources) {
        let local = lock(&self.local);
        if let Some(cpus) = &local.cpus {
            resources.cpuset_cpus = Some(cpus.of(uid, container).to_string()).filter(|cpus| !cpus.is_empty());
            if cpus.own(uid, container).is_some() {
                // Who has CPUs for itself may use them wholly, as upstream has it since 1.33.
                resources.cpu_quota = resources.cpu_quota.map(|_| -1);
            }
        }
        if let Some(memory) = &local.memory {
            let nodes = memory.of(uid, container).iter().flat_map(|block| block.numa_affinity.iter().copied());
            let nodes: CpuSet = nodes.collect();
            resources.cpuset_mems = Some(nodes.to_string()).filter(|nodes| !nodes.is_empty());
        }
    }

    /// The same for the pod's cgroup: no limit stands over CPUs that a container has for itself.
    pub fn bind_pod(&self, wanted: &Wanted, resources: &mut runtime::Resources) {
        let local = lock(&self.local);
        let Some(cpus) = &local.cpus else { return };
        if wanted.members.iter().any(|member| cpus.own(wanted.uid(), member.name()).is_some()) {
            resources.cpu_quota = resources.cpu_quota.map(|_| -1);
        }
    }

    /// The CPUs on which a container may run now; `None` without a policy for them.
    fn cpus(&self, uid: &str, container: &str) -> Option<String> {
        let local = lock(&self.local);
        local.cpus.as_ref().map(|cpus| cpus.of(uid, container).to_string())
    }

    /// Why a running pod cannot have other resources: what it has for itself stays as it is, as upstream has it.
    pub fn refuses_resize(&self, wanted: &Wanted) -> Option<(&'static str, String)> {
        let name = match (self.policies.cpu, &self.policies.memory) {
            (Some(_), _) => "CPU Manager static policy",
            (None, Some(_)) => "Memory Manager static policy",
            (None, None) => return None,
        };
        let guaranteed = resources::qos(wanted) == resources::Qos::Guaranteed;
        guaranteed.then(|| ("Infeasible", format!("Resize is infeasible for Guaranteed Pods alongside {name}")))
    }

    /// How well the devices of the pod's containers are, by container.
    pub fn health(&self, wanted: &Wanted) -> BTreeMap<String, Vec<ResourceStatus>> {
        let of = |member: &Member| Some((member.name().to_owned(), self.devices.health(wanted.uid(), member.name())?));
        wanted.members.iter().filter_map(of).collect()
    }
}

/// The containers that are given something: all but those that were added later.
fn given(wanted: &Wanted) -> impl Iterator<Item = &Member> {
    wanted.members.iter().filter(|member| member.role != Role::Ephemeral)
}

fn allocate(local: &mut Local, wanted: &Wanted, member: &Member, reuse: &mut Reuse, hint: Hint) -> Result<(), Refusal> {
    if let Some(cpus) = &mut local.cpus {
        cpus.allocate(wanted, member, &mut reuse.cpus, hint.affinity)?;
    }
    if let Some(memory) = &mut local.memory {
        memory.allocate(wanted, member, &mut reuse.memory, hint).map_err(unexpected)?;
    }
    Ok(())
}
