//! Memory of NUMA nodes that a container has for itself (upstream: "Memory Manager", static): the containers of Guaranteed pods
//! are bound to as few nodes as hold what they ask for.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::{Deserialize, Serialize};

use super::checksum::{fnv32a, list, map, unusable};
use super::machine::Topology;
use super::topology::{Hint, Hints, Mask};
use crate::config::resources::{Qos, over_time, qos};
use crate::files::replace_file;
use crate::quantity;
use crate::wanted::{Member, Role, Wanted};

/// The state file's name.
pub const NAME: &str = "memory_manager_state";

/// What the system keeps of each NUMA node, by resource: `0:memory=1Gi,hugepages-1Gi=1Gi;1:memory=2Gi`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReservedMemory(pub BTreeMap<usize, BTreeMap<String, u64>>);

impl FromStr for ReservedMemory {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        for node in text.split(';').filter(|part| !part.is_empty()) {
            let (number, amounts) =
                node.split_once(':').ok_or_else(|| format!("{node:?} is not of the form NODE:RESOURCE=AMOUNT,…"))?;
            let number = number.trim().parse().map_err(|_| format!("{number:?} is not the number of a NUMA node"))?;
            for part in amounts.split(',') {
                let (name, amount) =
                    part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form RESOURCE=AMOUNT"))?;
                if name != "memory" && !name.starts_with("hugepages-") {
                    return Err(format!("memory type {name:?} is invalid"));
                }
                machinery::quantity::Quantity::parse(amount).map_err(|_| format!("{amount:?} is not a quantity"))?;
                let bytes = u64::try_from(quantity::value(&Quantity(amount.to_owned())));
                let bytes = bytes.map_err(|_| format!("{part:?} must not be negative"))?;
                all.0.entry(number).or_default().insert(name.to_owned(), bytes);
            }
        }
        Ok(all)
    }
}

/// One kind of memory of one node, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    total: u64,
    system_reserved: u64,
    allocatable: u64,
    reserved: u64,
    free: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    /// How many blocks lie on it.
    number_of_assignments: i64,
    memory_map: BTreeMap<String, Table>,
    /// The nodes that are used together with it, itself among them.
    cells: Vec<usize>,
}

/// Memory of one kind that a container has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The NUMA nodes.
    pub numa_affinity: Vec<usize>,
    /// `memory`, `hugepages-2Mi`
    #[serde(rename = "type")]
    pub kind: String,
    /// Bytes.
    pub size: u64,
}

type Nodes = BTreeMap<usize, Node>;
type Entries = BTreeMap<String, BTreeMap<String, Vec<Block>>>;
type Amounts = BTreeMap<String, u64>;
/// Memory of init containers that later ones may have too, by nodes and kind.
pub type Reuse = BTreeMap<(Mask, String), u64>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    policy_name: String,
    machine_state: Nodes,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: Entries,
    checksum: u64,
}

impl File {
    fn sum(&self) -> u64 {
        let table = |(name, t): (&String, &Table)| {
            let text = format!(
                "<*>{{TotalMemSize:(uint64){} SystemReserved:(uint64){} Allocatable:(uint64){} Reserved:(uint64){} \
                 Free:(uint64){}}}",
                t.total, t.system_reserved, t.allocatable, t.reserved, t.free
            );
            (name.clone(), text)
        };
        let node = |(number, node): (&usize, &Node)| {
            let text = format!(
                "<*>{{NumberOfAssignments:(int){} MemoryMap:(map[v1.ResourceName]*state.MemoryTable){} Cells:([]int){}}}",
                node.number_of_assignments,
                map(node.memory_map.iter().map(table)),
                list(&node.cells)
            );
            (*number, text)
        };
        let block = |block: &Block| {
            format!(
                "{{NUMAAffinity:([]int){} Type:(v1.ResourceName){} Size:(uint64){}}}",
                list(&block.numa_affinity),
                block.kind,
                block.size
            )
        };
        let container = |(name, blocks): (&String, &Vec<Block>)| (name.clone(), list(blocks.iter().map(block)));
        let entries = self.entries.iter().map(|(pod, containers)| (pod, map(containers.iter().map(container))));
        u64::from(fnv32a(&format!(
            "(*state.MemoryManagerCheckpoint){{PolicyName:(string){} MachineState:(state.NUMANodeMap){} \
             Entries:(state.ContainerMemoryAssignments){} Checksum:(checksum.Checksum)0}}",
            self.policy_name,
            map(self.machine_state.iter().map(node)),
            map(entries)
        )))
    }
}

/// Who has which memory.
pub struct Memory {
    file: PathBuf,
    nodes: Nodes,
    entries: Entries,
}

/// What a container asks for of memory and huge pages.
fn requested(member: &Member) -> Amounts {
    let requests = member.spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let kinds = requests.into_iter().flatten().filter(|(name, _)| is_memory(name));
    kinds.map(|(name, amount)| (name.clone(), u64::try_from(quantity::value(amount)).unwrap_or(0))).collect()
}

fn is_memory(name: &str) -> bool {
    name == "memory" || name.starts_with("hugepages-")
}

fn requested_by_pod(wanted: &Wanted) -> Amounts {
    let kinds = wanted.members.iter().flat_map(requested).map(|(name, _)| name);
    let sum = |name: &String| {
        let of =
            |member: &Member| requested(member).get(name).map_or(0, |bytes| i64::try_from(*bytes).unwrap_or(i64::MAX));
        u64::try_from(over_time(wanted, &of)).unwrap_or(0)
    };
    kinds.map(|name| (name.clone(), sum(&name))).collect()
}

/// Whether a container's memory is bound to nodes.
fn is_bound(wanted: &Wanted, member: &Member) -> bool {
    qos(wanted) == Qos::Guaranteed && wanted.spec().resources.is_none() && member.role != Role::Ephemeral
}

fn machine_state(machine: &Topology, reserved: &ReservedMemory) -> Nodes {
    let state = |(number, memory): (&usize, &super::machine::NodeMemory)| {
        let kept = |name: &str| reserved.0.get(number).and_then(|r| r.get(name)).copied().unwrap_or(0);
        let table = |name: &str, total: u64, others: u64| {
            let free = total.saturating_sub(kept(name)).saturating_sub(others);
            (name.to_owned(), Table { total, system_reserved: kept(name), allocatable: free, reserved: 0, free })
        };
        let huge = memory.hugepages.values().sum();
        let mut memory_map: BTreeMap<String, Table> =
            memory.hugepages.iter().map(|(name, bytes)| table(name, *bytes, 0)).collect();
        memory_map.extend([table("memory", memory.total, huge)]);
        (*number, Node { number_of_assignments: 0, memory_map, cells: vec![*number] })
    };
    machine.memory.iter().map(state).collect()
}

impl Memory {
    /// The policy for a machine, with what a state file says. What is reserved of all nodes together must be what the node keeps
    /// from pods: `kept` bytes.
    pub fn open(
        machine: &Arc<Topology>,
        reserved: &ReservedMemory,
        kept: i64,
        directory: &Path,
    ) -> Result<Self, String> {
        let sum: u64 = reserved.0.values().filter_map(|kinds| kinds.get("memory")).sum();
        if sum == 0 {
            return Err("[memorymanager] you should specify the system reserved memory".to_owned());
        }
        if let Some(node) = reserved.0.keys().find(|node| !machine.memory.contains_key(node)) {
            return Err(format!(
                "the reserved memory configuration references a NUMA node {node} that does not exist on this \
                                machine"
            ));
        }
        if u64::try_from(kept) != Ok(sum) {
            let shown = |bytes: i64| quantity::of_bytes(bytes).0;
            return Err(format!(
                "the total amount {:?} of type \"memory\" is not equal to the value {:?} determined by Node Allocatable feature",
                shown(i64::try_from(sum).unwrap_or(i64::MAX)),
                shown(kept)
            ));
        }
        let nodes = machine_state(machine, reserved);
        let mut memory = Self { file: directory.join(NAME), nodes, entries: Entries::new() };
        memory.restore()?;
        Ok(memory)
    }

    fn restore(&mut self) -> Result<(), String> {
        let text = match std::fs::read(&self.file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return self.save().map_err(|error| format!("{}: {error}", self.file.display()));
            }
            Err(error) => return Err(format!("{}: {error}", self.file.display())),
        };
        let path = self.file.clone();
        let advice = |why: String| unusable("memory", &path, &why);
        let file: File = serde_json::from_slice(&text).map_err(|error| advice(error.to_string()))?;
        if file.checksum != file.sum() {
            return Err(advice("checkpoint is corrupted".to_owned()));
        }
        if file.policy_name != "Static" {
            let name = file.policy_name;
            return Err(advice(format!(
                "[memorymanager] configured policy \"Static\" differs from state checkpoint policy {name:?}"
            )));
        }
        for block in file.entries.values().flat_map(BTreeMap::values).flatten() {
            if block.numa_affinity.iter().any(|node| !self.nodes.contains_key(node)) {
                return Err(advice(
                    "[memorymanager] the memory assignment uses the NUMA that does not exist".to_owned(),
                ));
            }
            self.occupy(block, block.size);
        }
        if self.nodes != file.machine_state {
            return Err(advice("[memorymanager] the expected machine state is different from the real one".to_owned()));
        }
        self.entries = file.entries;
        Ok(())
    }

    fn save(&self) -> io::Result<()> {
        let (machine_state, entries) = (self.nodes.clone(), self.entries.clone());
        let mut file = File { policy_name: "Static".to_owned(), machine_state, entries, checksum: 0 };
        file.checksum = file.sum();
        replace_file(&self.file, &serde_json::to_vec(&file)?)
    }

    fn save_or_warn(&self) {
        if let Err(error) = self.save() {
            tracing::warn!(%error, "which container has which memory was not written down");
        }
    }

    /// Counts a block on its nodes, `size` bytes of which are not counted yet.
    fn occupy(&mut self, block: &Block, mut size: u64) {
        for number in &block.numa_affinity {
            let Some(node) = self.nodes.get_mut(number) else { continue };
            node.number_of_assignments += 1;
            node.cells.clone_from(&block.numa_affinity);
            let Some(table) = node.memory_map.get_mut(&block.kind) else { continue };
            let part = size.min(table.free);
            (table.free, table.reserved, size) = (table.free - part, table.reserved + part, size - part);
        }
    }

    fn vacate(&mut self, block: &Block) {
        let mut size = block.size;
        for number in &block.numa_affinity {
            let Some(node) = self.nodes.get_mut(number) else { continue };
            node.number_of_assignments -= 1;
            if node.number_of_assignments == 0 {
                node.cells = vec![*number];
            }
            let Some(table) = node.memory_map.get_mut(&block.kind) else { continue };
            let part = size.min(table.reserved);
            (table.free, table.reserved, size) = (table.free + part, table.reserved - part, size - part);
        }
    }

    fn sum(&self, mask: Mask, kind: &str, of: fn(&Table) -> u64) -> u64 {
        let tables = mask.nodes().into_iter().filter_map(|node| self.nodes.get(&node)?.memory_map.get(kind));
        tables.map(of).fold(0, u64::saturating_add)
    }

    /// Nodes that are used together for one container are not used in other groups, nor by themselves.
    fn may_be_used(&self, mask: Mask) -> bool {
        let nodes = mask.nodes();
        if let [node] = nodes[..] {
            return self.nodes[&node].cells.len() <= 1;
        }
        nodes.iter().map(|node| &self.nodes[node]).all(|node| node.number_of_assignments == 0 || node.cells == nodes)
    }

    fn masks(&self, asked: &Amounts, reuse: &Reuse) -> Vec<Hint> {
        let nodes: Vec<usize> = self.nodes.keys().copied().collect();
        let (mut least, mut masks) = (nodes.len(), Vec::new());
        for mask in Mask::all_of(&nodes) {
            if asked.iter().any(|(kind, size)| self.sum(mask, kind, |table| table.allocatable) < *size) {
                continue;
            }
            least = least.min(mask.count());
            let again = |kind: &String| reuse.get(&(mask, kind.clone())).copied().unwrap_or(0);
            let enough =
                |(kind, size): (&String, &u64)| self.sum(mask, kind, |table| table.free) + again(kind) >= *size;
            if self.may_be_used(mask) && asked.iter().all(enough) {
                masks.push(mask);
            }
        }
        Hint::among(masks, least)
    }

    /// From which NUMA nodes the memory can come: of a container, or of the whole pod.
    pub fn hints(&self, wanted: &Wanted, member: Option<&Member>, reuse: &Reuse) -> Hints {
        if !wanted.members.iter().any(|member| is_bound(wanted, member)) {
            return Hints::new();
        }
        let asked = member.map_or_else(|| requested_by_pod(wanted), requested);
        let masks = self.masks(&asked, reuse);
        asked.into_keys().map(|kind| (kind, Some(masks.clone()))).collect()
    }

    /// Binds a container's memory to nodes. An error is what the pod is rejected with.
    pub fn allocate(&mut self, wanted: &Wanted, member: &Member, reuse: &mut Reuse, hint: Hint) -> Result<(), String> {
        if !is_bound(wanted, member) {
            return Ok(());
        }
        let asked = requested(member);
        let mask = self.choose(&asked, reuse, hint)?;
        let numa_affinity = mask.nodes();
        let blocks: Vec<Block> =
            asked.into_iter().map(|(kind, size)| Block { numa_affinity: numa_affinity.clone(), kind, size }).collect();
        for block in &blocks {
            let again = reuse.get(&(mask, block.kind.clone())).copied().unwrap_or(0);
            self.occupy(block, block.size.saturating_sub(again));
            let left = match member.role {
                Role::Init => again.max(block.size),
                _ => again.saturating_sub(block.size),
            };
            reuse.insert((mask, block.kind.clone()), left);
            self.shrink_earlier(wanted, member, block);
        }
        self.entries.entry(wanted.uid().to_owned()).or_default().insert(member.name().to_owned(), blocks);
        self.save_or_warn();
        Ok(())
    }

    /// The nodes that the hint names, or those that must join them; without a hint the best there are.
    fn choose(&self, asked: &Amounts, reuse: &Reuse, hint: Hint) -> Result<Mask, String> {
        let hints = self.masks(asked, reuse);
        let best = |mask: Mask| -> Option<Hint> {
            let fitting = hints.iter().copied().filter(|hint| hint.affinity.is_some_and(|wide| wide.holds(mask)));
            fitting.reduce(|best, hint| {
                let narrower = hint.affinity.zip(best.affinity).is_some_and(|(a, b)| a.is_narrower_than(b));
                if hint.preferred && !best.preferred || hint.preferred == best.preferred && narrower {
                    hint
                } else {
                    best
                }
            })
        };
        let (found, none, unpreferred) = match hint.affinity {
            Some(mask) if asked.iter().all(|(kind, size)| self.sum(mask, kind, |table| table.free) >= *size) => {
                return Ok(mask);
            }
            Some(mask) => (
                best(mask),
                "failed to find NUMA nodes to extend the current topology hint",
                "failed to find the extended preferred hint",
            ),
            None => (
                best(Mask::default()),
                "failed to get the default NUMA affinity, no NUMA nodes with enough memory is available",
                "failed to find the default preferred hint",
            ),
        };
        let found = found.ok_or_else(|| format!("[memorymanager] {none}"))?;
        if hint.preferred && !found.preferred {
            return Err(format!("[memorymanager] {unpreferred}"));
        }
        found.affinity.ok_or_else(|| format!("[memorymanager] {none}"))
    }

    /// What a container has again of init containers before it is counted once: as its own.
    fn shrink_earlier(&mut self, wanted: &Wanted, member: &Member, block: &Block) {
        let Some(entries) = self.entries.get_mut(wanted.uid()) else { return };
        let mut size = block.size;
        for earlier in wanted.of_role(Role::Init).take_while(|earlier| earlier.name() != member.name()) {
            let same = |other: &&mut Block| other.kind == block.kind && other.numa_affinity == block.numa_affinity;
            for other in entries.get_mut(earlier.name()).into_iter().flatten().filter(same) {
                let part = size.min(other.size);
                (other.size, size) = (other.size - part, size - part);
            }
        }
    }

    /// Takes a pod's memory back.
    pub fn release(&mut self, uid: &str) {
        let Some(containers) = self.entries.remove(uid) else { return };
        containers.values().flatten().for_each(|block| self.vacate(block));
        self.save_or_warn();
    }

    /// The pods that have memory.
    pub fn holders(&self) -> Vec<String> {
        self.entries.keys().cloned().collect()
    }

    /// What a container has.
    pub fn of(&self, uid: &str, container: &str) -> &[Block] {
        self.entries.get(uid).and_then(|containers| containers.get(container)).map(Vec::as_slice).unwrap_or_default()
    }

    /// What there is to give, by node and kind.
    pub fn allocatable(&self) -> Vec<Block> {
        let all = self.nodes.iter().flat_map(|(number, node)| node.memory_map.iter().map(move |pair| (*number, pair)));
        let block = |(number, (kind, table)): (usize, (&String, &Table))| Block {
            numa_affinity: vec![number],
            kind: kind.clone(),
            size: table.allocatable,
        };
        all.map(block).filter(|block| block.size > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::pod;
    use crate::managers::machine::tests::machine;

    fn asking(uid: &str, memory: &str) -> Arc<Wanted> {
        let resources = format!(r#"{{"cpu":"1","memory":"{memory}"}}"#);
        let resources = format!(r#"{{"requests":{resources},"limits":{resources}}}"#);
        pod(uid, &format!(r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#))
    }

    fn open(machine: &Arc<Topology>, directory: &Path) -> Result<Memory, String> {
        Memory::open(machine, &"0:memory=100Mi;1:memory=100Mi".parse()?, 200 << 20, directory)
    }

    fn give(memory: &mut Memory, wanted: &Wanted, hint: Hint) -> Result<Vec<usize>, String> {
        memory.allocate(wanted, &wanted.members[0], &mut Reuse::new(), hint)?;
        Ok(memory.of(wanted.uid(), "a")[0].numa_affinity.clone())
    }

    #[test]
    fn containers_are_bound_to_as_few_nodes_as_hold_them() {
        let directory = tempfile::tempdir().unwrap();
        // Each node has 1100 MiB: 8 of them are huge pages, 100 are reserved, 992 can be given.
        let machine = Arc::new(machine(2, 2, 4, 1, 1100));
        let mut memory = open(&machine, directory.path()).unwrap();
        let one = Hint { affinity: Some(Mask::of([1])), preferred: true };
        let none =
            "[memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available";
        let unpreferred = "[memorymanager] failed to find the default preferred hint";
        for (uid, amount, hint, wanted) in [
            ("a", "600Mi", Hint::ANY, Ok(vec![0])),
            ("b", "600Mi", Hint::ANY, Ok(vec![1])),
            ("c", "300Mi", one, Ok(vec![1])),
            ("d", "600Mi", Hint::ANY, Err(none)),
            ("e", "3Gi", Hint::ANY, Err(none)),
        ] {
            let got = give(&mut memory, &asking(uid, amount), hint);
            assert_eq!(got, wanted.map_err(str::to_owned), "{uid}");
        }
        assert_eq!(memory.nodes[&1].memory_map["memory"].free, 92 << 20);
        let again = open(&machine, directory.path()).unwrap();
        assert_eq!((again.nodes.clone(), again.entries.clone()), (memory.nodes.clone(), memory.entries.clone()));
        for uid in ["a", "b", "c"] {
            memory.release(uid);
        }
        assert_eq!(give(&mut memory, &asking("wide", "1500Mi"), Hint::ANY), Ok(vec![0, 1]));
        // A node of a group is not used by itself; only the group is left, which is wider than need be.
        assert_eq!(give(&mut memory, &asking("f", "10Mi"), Hint::ANY), Err(unpreferred.to_owned()));
        assert_eq!(memory.allocatable().len(), 4);
    }

    #[test]
    fn init_containers_leave_their_memory_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Arc::new(machine(2, 2, 4, 1, 1100));
        let mut memory = open(&machine, directory.path()).unwrap();
        let container = |name: &str, size: &str| {
            let amounts = format!(r#"{{"cpu":"1","memory":"{size}"}}"#);
            format!(r#"{{"name":"{name}","resources":{{"requests":{amounts},"limits":{amounts}}}}}"#)
        };
        let (init, main) = (container("i", "900Mi"), container("a", "600Mi"));
        let wanted = pod("p", &format!(r#"{{"initContainers":[{init}],"containers":[{main}]}}"#));
        let mut reuse = Reuse::new();
        for member in &wanted.members {
            memory
                .allocate(&wanted, member, &mut reuse, Hint { affinity: Some(Mask::of([0])), preferred: true })
                .unwrap();
        }
        assert_eq!(memory.nodes[&0].memory_map["memory"].reserved, 900 << 20);
        assert_eq!((memory.of("p", "i")[0].size, memory.of("p", "a")[0].size), (300 << 20, 600 << 20));
        memory.release("p");
        assert_eq!(memory.nodes, machine_state(&machine, &"0:memory=100Mi;1:memory=100Mi".parse().unwrap()));
    }

    #[test]
    fn reservations_must_fit() {
        let directory = tempfile::tempdir().unwrap();
        let machine = Arc::new(machine(1, 1, 2, 1, 1100));
        for (text, kept, why) in [
            ("", 1, "[memorymanager] you should specify the system reserved memory"),
            ("0:memory=1Gi;3:memory=1", 1, "references a NUMA node 3 that does not exist"),
            ("0:memory=1Gi", 1, "the total amount \"1Gi\" of type \"memory\" is not equal to the value \"1\""),
        ] {
            let error = Memory::open(&machine, &text.parse().unwrap(), kept, directory.path()).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
        for bad in ["0", "x:memory=1", "0:cpu=1", "0:memory=x", "0:memory=-1"] {
            assert!(bad.parse::<ReservedMemory>().is_err(), "{bad}");
        }
    }

    /// The checksums are those of upstream's own tests.
    #[test]
    fn the_state_file_is_upstreams() {
        let text = r#"{"policyName":"static","machineState":{"0":{"numberOfAssignments":0,"memoryMap":{"memory":{"total":2048,
            "systemReserved":512,"allocatable":1536,"reserved":512,"free":1024}},"cells":[]}},
            "entries":{"pod":{"container1":[{"numaAffinity":[0],"type":"memory","size":512}]}},"checksum":4215593881}"#;
        let file: File = serde_json::from_str(text).unwrap();
        assert_eq!(file.sum(), file.checksum);
    }
}
