//! The machine's CPUs, NUMA nodes and their memory, as sysfs tells of them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::cpu_set::CpuSet;
use super::topology::Mask;

/// Where a CPU is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Its core: the lowest number of the CPUs that share it.
    pub core: usize,
    /// Its socket.
    pub socket: usize,
    /// Its NUMA node.
    pub node: usize,
}

/// Memory of one NUMA node, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeMemory {
    /// All of it.
    pub total: u64,
    /// Of it, huge pages by resource name (`hugepages-2Mi`).
    pub hugepages: BTreeMap<String, u64>,
}

/// How far NUMA nodes are from each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Distances(BTreeMap<usize, BTreeMap<usize, u64>>);

impl Distances {
    /// From a table whose rows and columns are `nodes` in order.
    pub fn new(nodes: &[usize], table: Vec<Vec<u64>>) -> Self {
        let row = |row: Vec<u64>| nodes.iter().copied().zip(row).collect();
        Self(nodes.iter().copied().zip(table.into_iter().map(row)).collect())
    }

    /// All as far from each other.
    pub fn even(nodes: &[usize]) -> Self {
        Self::new(nodes, vec![vec![10; nodes.len()]; nodes.len()])
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied()
    }

    /// The average distance between the nodes of a set, in thousandths: small is close.
    pub fn average(&self, mask: Mask) -> u64 {
        let nodes = mask.nodes();
        let of =
            |a: &usize, b: &usize| self.0.get(a).and_then(|row| row.get(b)).copied().unwrap_or(u64::MAX / 1_000_000);
        let sum: u64 = nodes.iter().flat_map(|a| nodes.iter().map(move |b| of(a, b))).fold(0, u64::saturating_add);
        sum.saturating_mul(1000) / (nodes.len() as u64).pow(2).max(1)
    }
}

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// Its CPUs that are on.
    pub cpus: BTreeMap<usize, Cpu>,
    /// Its NUMA nodes.
    pub memory: BTreeMap<usize, NodeMemory>,
    /// How far they are from each other.
    pub distances: Distances,
}

fn text(path: &Path) -> io::Result<String> {
    let read = std::fs::read_to_string(path);
    read.map_err(|error| io::Error::new(error.kind(), format!("read {}: {error}", path.display())))
}

fn number(path: &Path) -> Option<usize> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn set(path: &Path) -> io::Result<CpuSet> {
    text(path)?.parse().map_err(|error: String| io::Error::other(format!("{}: {error}", path.display())))
}

impl Topology {
    /// Reads `/sys`, or a tree like it. A machine that tells of no NUMA nodes is one, with `memory` bytes.
    pub fn read(sysfs: &Path, memory: u64) -> io::Result<Self> {
        let (cpu_dir, node_dir) = (sysfs.join("devices/system/cpu"), sysfs.join("devices/system/node"));
        let online = set(&cpu_dir.join("online"))?;
        let nodes = match std::fs::read_to_string(node_dir.join("online")) {
            Ok(text) => text.parse::<CpuSet>().map_err(io::Error::other)?,
            Err(_) => CpuSet::from_iter([0]),
        };
        let (mut node_of, mut memories) = (BTreeMap::new(), BTreeMap::new());
        for node in &nodes.0 {
            let directory = node_dir.join(format!("node{node}"));
            let cpus = set(&directory.join("cpulist")).unwrap_or_default();
            node_of.extend(cpus.0.into_iter().map(|cpu| (cpu, *node)));
            memories
                .insert(*node, node_memory(&directory).unwrap_or(NodeMemory { total: memory, ..Default::default() }));
        }
        let mut cpus = BTreeMap::new();
        let mut first_of_core = BTreeMap::new();
        for cpu in online.0 {
            let directory = cpu_dir.join(format!("cpu{cpu}/topology"));
            let socket = number(&directory.join("physical_package_id")).unwrap_or(0);
            let core = number(&directory.join("core_id")).unwrap_or(cpu);
            let core = *first_of_core.entry((socket, core)).or_insert(cpu);
            cpus.insert(cpu, Cpu { core, socket, node: node_of.get(&cpu).copied().unwrap_or(0) });
        }
        let nodes: Vec<usize> = nodes.0.into_iter().collect();
        Ok(Self { cpus, memory: memories, distances: distances(&node_dir, &nodes) })
    }

    /// All CPUs.
    pub fn all(&self) -> CpuSet {
        self.cpus.keys().copied().collect()
    }

    /// The NUMA nodes, in order.
    pub fn nodes(&self) -> Vec<usize> {
        self.memory.keys().copied().collect()
    }

    /// CPUs for which this holds.
    pub fn cpus_where(&self, holds: impl Fn(&Cpu) -> bool) -> CpuSet {
        self.cpus.iter().filter(|(_, place)| holds(place)).map(|(cpu, _)| *cpu).collect()
    }

    fn count(&self, of: impl Fn(&Cpu) -> usize) -> usize {
        self.cpus.values().map(of).collect::<BTreeSet<_>>().len().max(1)
    }

    /// How many sockets have CPUs.
    pub fn sockets(&self) -> usize {
        self.count(|cpu| cpu.socket)
    }

    /// How many NUMA nodes have CPUs.
    pub fn cpu_nodes(&self) -> usize {
        self.count(|cpu| cpu.node)
    }

    /// CPUs of each core.
    pub fn cpus_per_core(&self) -> usize {
        (self.cpus.len() / self.count(|cpu| cpu.core)).max(1)
    }
}

fn node_memory(directory: &Path) -> Option<NodeMemory> {
    let table = std::fs::read_to_string(directory.join("meminfo")).ok()?;
    let line = table.lines().find(|line| line.contains("MemTotal:"))?;
    let total = line.split_whitespace().rev().nth(1)?.parse::<u64>().ok()? * 1024;
    let hugepages = crate::register::hugepages_of(&directory.join("hugepages"));
    let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
    let hugepages = hugepages.into_iter().map(|(size, all)| (format!("hugepages-{size}"), bytes(all))).collect();
    Some(NodeMemory { total, hugepages })
}

fn distances(node_dir: &Path, nodes: &[usize]) -> Distances {
    let row = |node: &usize| -> Option<Vec<u64>> {
        let text = std::fs::read_to_string(node_dir.join(format!("node{node}/distance"))).ok()?;
        text.split_whitespace().map(|word| word.parse().ok()).collect()
    };
    let table: Option<Vec<Vec<u64>>> = nodes.iter().map(row).collect();
    table.map_or_else(|| Distances::even(nodes), |table| Distances::new(nodes, table))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A made-up machine, read from the sysfs that it would have. Threads of a core are as far from each other as there are
    /// cores, as Linux numbers them; each node has `mib` of memory.
    pub fn machine(sockets: usize, nodes: usize, cores: usize, threads: usize, mib: u64) -> Topology {
        Topology::read(sysfs(sockets, nodes, cores, threads, mib).path(), 0).unwrap()
    }

    /// The sysfs of such a machine.
    pub fn sysfs(sockets: usize, nodes: usize, cores: usize, threads: usize, mib: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let put = |path: String, text: String| {
            let path = root.join("devices/system").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("cpu/online".to_owned(), format!("0-{}\n", cores * threads - 1));
        put("node/online".to_owned(), format!("0-{}\n", nodes - 1));
        for cpu in 0..cores * threads {
            let core = cpu % cores;
            put(format!("cpu/cpu{cpu}/topology/core_id"), format!("{}\n", core % (cores / sockets)));
            put(format!("cpu/cpu{cpu}/topology/physical_package_id"), format!("{}\n", core / (cores / sockets)));
        }
        for node in 0..nodes {
            let cpus: CpuSet = (0..cores * threads).filter(|cpu| cpu % cores / (cores / nodes) == node).collect();
            put(format!("node/node{node}/cpulist"), format!("{cpus}\n"));
            put(format!("node/node{node}/meminfo"), format!("Node {node} MemTotal:       {} kB\n", mib << 10));
            put(format!("node/node{node}/hugepages/hugepages-2048kB/nr_hugepages"), "4\n".to_owned());
            let row: Vec<String> = (0..nodes).map(|other| if other == node { "10" } else { "20" }.to_owned()).collect();
            put(format!("node/node{node}/distance"), row.join(" "));
        }
        directory
    }

    #[test]
    fn machines_are_read_from_sysfs() {
        let two = machine(2, 2, 4, 2, 1024);
        assert_eq!(two.cpus[&6], Cpu { core: 2, socket: 1, node: 1 });
        assert_eq!((two.cpus_per_core(), two.sockets(), two.cpu_nodes()), (2, 2, 2));
        assert_eq!(two.memory[&1].total, 1 << 30);
        assert_eq!(two.memory[&1].hugepages["hugepages-2Mi"], 8 << 20);
        assert_eq!(two.distances.average(Mask::of([0, 1])), 15_000);
        let plain = tempfile::tempdir().unwrap();
        assert!(Topology::read(plain.path(), 0).is_err());
        std::fs::create_dir_all(plain.path().join("devices/system/cpu")).unwrap();
        std::fs::write(plain.path().join("devices/system/cpu/online"), "0-1").unwrap();
        let plain = Topology::read(plain.path(), 77).unwrap();
        assert_eq!((plain.nodes(), plain.memory[&0].total, plain.cpus_per_core()), (vec![0], 77, 1));
    }

    #[test]
    fn this_machine_is_read_too() {
        let own = Topology::read(Path::new("/sys"), 1).unwrap();
        assert!(!own.cpus.is_empty() && own.cpus.values().all(|cpu| own.memory.contains_key(&cpu.node)), "{own:?}");
    }
}
