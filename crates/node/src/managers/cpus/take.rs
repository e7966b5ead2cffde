//! Which CPUs are taken: whole NUMA nodes and sockets first, then whole cores, then single threads (upstream's best fit), or
//! evenly from several NUMA nodes (KEP-2902).

use std::collections::{BTreeMap, BTreeSet};

use crate::managers::cpu_set::CpuSet;
use crate::managers::machine::{Cpu, Topology};
use crate::managers::topology::combinations;

/// The number of the group that a CPU is in.
type Grouping = fn(&Cpu) -> usize;

struct Taker<'a> {
    machine: &'a Topology,
    free: CpuSet,
    missing: usize,
    taken: CpuSet,
}

impl<'a> Taker<'a> {
    fn new(machine: &'a Topology, free: &CpuSet, count: usize) -> Result<Self, String> {
        let free = free.and(&machine.all());
        if count > free.len() {
            return Err("not enough cpus available to satisfy request".to_owned());
        }
        Ok(Self { machine, free, missing: count, taken: CpuSet::default() })
    }

    fn take(&mut self, cpus: &CpuSet) {
        self.missing = self.missing.saturating_sub(cpus.len());
        self.free = self.free.without(cpus);
        self.taken = self.taken.or(cpus);
    }

    /// The groups that the free CPUs among `within` are in: those with the fewest free CPUs first.
    fn groups(&self, within: &dyn Fn(&Cpu) -> bool, of: Grouping) -> Vec<usize> {
        let places = self.free.0.iter().filter_map(|cpu| self.machine.cpus.get(cpu));
        let ids: BTreeSet<usize> = places.filter(|place| within(place)).map(of).collect();
        let mut ids: Vec<usize> = ids.into_iter().collect();
        ids.sort_by_key(|id| (self.machine.cpus_where(|cpu| of(cpu) == *id).and(&self.free).len(), *id));
        ids
    }

    /// The larger of both groupings stands first.
    fn levels(&self) -> [Grouping; 2] {
        let mut levels: [Grouping; 2] = [|cpu| cpu.node, |cpu| cpu.socket];
        if self.machine.sockets() < self.machine.cpu_nodes() {
            levels.reverse();
        }
        levels
    }

    fn first(&self) -> Vec<usize> {
        self.groups(&|_| true, self.levels()[0])
    }

    fn second(&self) -> Vec<usize> {
        let [first, second] = self.levels();
        self.first().into_iter().flat_map(|id| self.groups(&|cpu| first(cpu) == id, second)).collect()
    }

    fn cores(&self) -> Vec<usize> {
        let second = self.levels()[1];
        self.second().into_iter().flat_map(|id| self.groups(&|cpu| second(cpu) == id, |cpu| cpu.core)).collect()
    }

    /// Takes those of the groups that are wholly free and not too large.
    fn take_whole(&mut self, groups: Vec<usize>, of: Grouping) {
        for id in groups {
            let cpus = self.machine.cpus_where(|cpu| of(cpu) == id);
            if cpus.and(&self.free) == cpus && cpus.len() <= self.missing {
                self.take(&cpus);
            }
        }
    }
}

/// Takes CPUs that lie close together.
pub fn packed(machine: &Topology, free: &CpuSet, count: usize) -> Result<CpuSet, String> {
    let mut taker = Taker::new(machine, free, count)?;
    let [first, second] = taker.levels();
    taker.take_whole(taker.first(), first);
    taker.take_whole(taker.second(), second);
    taker.take_whole(taker.cores(), |cpu| cpu.core);
    for core in taker.cores() {
        let cpus = machine.cpus_where(|cpu| cpu.core == core).and(&taker.free);
        let some: CpuSet = cpus.0.into_iter().take(taker.missing).collect();
        taker.take(&some);
    }
    Ok(taker.taken)
}

/// Free CPUs by NUMA node.
type Free = BTreeMap<usize, usize>;

/// Takes as many CPUs from each of as few NUMA nodes as can be, in groups of `group` CPUs; without such nodes, CPUs that lie
/// close together.
pub fn distributed(machine: &Topology, free: &CpuSet, count: usize, group: usize) -> Result<CpuSet, String> {
    if count == 0 || !count.is_multiple_of(group) {
        return packed(machine, free, count);
    }
    let mut taker = Taker::new(machine, free, count)?;
    let nodes = if machine.sockets() >= machine.cpu_nodes() { taker.first() } else { taker.second() };
    let on = |free: &CpuSet, node: usize| machine.cpus_where(|cpu| cpu.node == node).and(free);
    let have: Free = nodes.iter().map(|node| (*node, on(&taker.free, *node).len())).collect();
    let per_node = machine.cpus.len().div_ceil(group).div_ceil(machine.cpu_nodes());
    let groups = count / group;
    for size in groups.div_ceil(per_node)..=groups.min(nodes.len()) {
        let Some((chosen, rest)) = balanced(&have, &nodes, size, count, group) else { continue };
        let each = count / size / group * group;
        for node in &chosen {
            let cpus = packed(machine, &on(&taker.free, *node), each)?;
            taker.take(&cpus);
        }
        for node in rest.iter().cycle().take(if rest.is_empty() { 0 } else { nodes.len() * groups }) {
            let cpus = on(&taker.free, *node);
            if taker.missing > 0 && cpus.len() >= group {
                let cpus = packed(machine, &cpus, group)?;
                taker.take(&cpus);
            }
        }
        return Ok(taker.taken);
    }
    packed(machine, free, count)
}

/// Of all ways to take `size` nodes, the one that leaves the nodes most alike; and on which of these nodes what cannot be
/// divided goes.
fn balanced(have: &Free, nodes: &[usize], size: usize, count: usize, group: usize) -> Option<(Vec<usize>, Vec<usize>)> {
    let each = count / size / group * group;
    let rest = count - each * size;
    let mut best: Option<(u64, Vec<usize>, Vec<usize>)> = None;
    for chosen in combinations(nodes, size) {
        let whole: usize = chosen.iter().map(|node| have[node] / group * group).sum();
        if whole < count || chosen.iter().any(|node| have[node] < each) {
            continue;
        }
        let mut left = have.clone();
        chosen.iter().for_each(|node| *left.entry(*node).or_default() -= each);
        let Some((score, extra)) = place_rest(&left, &chosen, rest, group) else { continue };
        if best.as_ref().is_none_or(|(known, ..)| score < *known) {
            best = Some((score, chosen, extra));
        }
    }
    best.map(|(_, chosen, extra)| (chosen, extra))
}

/// Where the rest goes so that the nodes are left most alike, and how unlike they then are.
fn place_rest(left: &Free, chosen: &[usize], rest: usize, group: usize) -> Option<(u64, Vec<usize>)> {
    if rest == 0 {
        return Some((unlikeness(left), Vec::new()));
    }
    let able: Vec<usize> = chosen.iter().copied().filter(|node| left[node] >= group).collect();
    let mut best: Option<(u64, Vec<usize>)> = None;
    for subset in (1..=able.len()).rev().flat_map(|size| combinations(&able, size)) {
        if subset.iter().map(|node| left[node] / group * group).sum::<usize>() < rest {
            continue;
        }
        let (mut after, mut open) = (left.clone(), rest);
        while open > 0 {
            for node in &subset {
                let free = after.entry(*node).or_default();
                if open > 0 && *free >= group {
                    *free -= group;
                    open = open.saturating_sub(group);
                }
            }
        }
        let score = unlikeness(&after);
        if best.as_ref().is_none_or(|(known, _)| score < *known) {
            best = Some((score, subset));
        }
    }
    best
}

/// The standard deviation, in thousandths.
fn unlikeness(free: &Free) -> u64 {
    let number = free.len().max(1) as f64;
    let thousandths = |value: f64| (value * 1000.0).round() / 1000.0;
    let mean = thousandths(free.values().sum::<usize>() as f64 / number);
    let squares: f64 = free.values().map(|value| (*value as f64 - mean).powi(2)).sum();
    ((squares / number).sqrt() * 1000.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::managers::machine::tests::machine;

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    #[test]
    fn close_cpus_are_taken_together() {
        // Two sockets of three cores with two threads each, as in upstream's tests: the threads of core n are n and n+6.
        let two = machine(2, 2, 6, 2, 1024);
        let four = machine(1, 1, 4, 2, 1024);
        for (on, free, count, wanted) in [
            (&four, "0-7", 1, "0"),
            (&four, "1-7", 1, "4"),
            (&four, "0,1,3,5-7", 2, "1,5"),
            (&four, "0-7", 3, "0-1,4"),
            (&four, "0-7", 8, "0-7"),
            (&two, "0-11", 6, "0-2,6-8"),
            (&two, "1-11", 6, "3-5,9-11"),
            (&two, "0-11", 8, "0-3,6-9"),
            (&two, "0-1,3-11", 2, "0,6"),
            (&two, "0-3,6-9", 1, "3"),
        ] {
            let got = packed(on, &set(free), count).unwrap();
            assert_eq!((got.to_string().as_str(), got.len()), (wanted, count), "{count} of {free}");
        }
        assert_eq!(packed(&four, &set("0-2"), 4).unwrap_err(), "not enough cpus available to satisfy request");
    }

    #[test]
    fn cpus_come_evenly_from_nodes() {
        let two = machine(2, 2, 6, 2, 1024);
        // Two sockets with two NUMA nodes each, ten cores and twenty threads per node.
        let four = machine(2, 4, 40, 2, 1024);
        for (on, free, count, group, wanted) in [
            (&two, "0-11", 6, 1, "0-2,6-8"),
            (&two, "0-11", 8, 1, "0-1,3-4,6-7,9-10"),
            (&two, "0-11", 8, 2, "0-1,3-4,6-7,9-10"),
            (&two, "0-1,3-4", 4, 1, "0-1,3-4"),
            (&four, "0-79", 20, 1, "0-9,40-49"),
            (&four, "0-79", 30, 1, "0-7,10-16,40-46,50-57"),
            (&four, "0-79", 7, 2, "0-3,40-42"),
        ] {
            let got = distributed(on, &set(free), count, group).unwrap();
            let nodes: BTreeMap<usize, usize> = got.0.iter().fold(BTreeMap::new(), |mut nodes, cpu| {
                *nodes.entry(on.cpus[cpu].node).or_default() += 1;
                nodes
            });
            let wanted: BTreeMap<usize, usize> = set(wanted).0.iter().fold(BTreeMap::new(), |mut nodes, cpu| {
                *nodes.entry(on.cpus[cpu].node).or_default() += 1;
                nodes
            });
            assert_eq!((nodes, got.len()), (wanted, count), "{count} of {free}: {got}");
        }
    }
}
