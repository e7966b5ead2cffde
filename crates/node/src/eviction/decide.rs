//! What is short, since when, and what is to be done about it. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::observe::{Observations, Observed};
use super::{Eviction, Pressure, Signal, Threshold, whole};
use crate::quantity;

/// A threshold that was crossed for as long as it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    pub signal: Signal,
    /// How it is told: what must be left, and what is.
    pub threshold: String,
    pub available: String,
    /// Bytes, inodes or processes that are missing.
    pub missing: u64,
    /// No hard threshold: containers get some time.
    pub soft: bool,
}

impl Shortage {
    fn of(threshold: &Threshold, seen: Observed) -> Self {
        let signal = threshold.signal;
        let binary = |amount: u64| quantity::of_bytes(whole(amount)).0;
        let own = |amount: u64| if signal.is_bytes() { binary(amount) } else { quantity::of_value(whole(amount)).0 };
        let least = threshold.least.of(seen.all);
        Self {
            signal,
            threshold: if threshold.least.is_share() { binary(least) } else { own(least) },
            available: own(seen.available),
            missing: enough(threshold, seen).saturating_sub(seen.available),
            soft: threshold.grace.is_some(),
        }
    }
}

/// What must be there so that a threshold that was crossed is no more.
fn enough(threshold: &Threshold, seen: Observed) -> u64 {
    let reclaim = threshold.reclaim.map_or(0, |amount| amount.of(seen.all));
    threshold.least.of(seen.all).saturating_add(reclaim)
}

/// Whether less is left than `needed` says.
fn lacks(threshold: &Threshold, seen: &Observations, needed: fn(&Threshold, Observed) -> u64) -> bool {
    seen.get(&threshold.signal).is_some_and(|seen| seen.available < needed(threshold, *seen))
}

/// What was seen so far.
#[derive(Debug, Clone, Default)]
pub struct Watch {
    /// Since when thresholds are crossed, by their place in the options.
    first_seen: BTreeMap<usize, Timestamp>,
    /// Thresholds that drove something away: they hold until the minimum is freed.
    met: Vec<usize>,
    /// When each condition was last seen: memory, disk, processes.
    last_seen: [Option<Timestamp>; 3],
}

/// Which condition a shortage makes.
fn condition(signal: Signal) -> usize {
    match signal {
        Signal::Memory | Signal::PodMemory => 0,
        Signal::Pids => 2,
        _ => 1,
    }
}

impl Watch {
    /// Takes in what was seen: the node's conditions, and all that something must be done about, memory first.
    pub fn update(&mut self, options: &Eviction, seen: &Observations, now: Timestamp) -> (Pressure, Vec<Shortage>) {
        let crossed = |(index, threshold): &(usize, &Threshold)| {
            lacks(threshold, seen, |t, seen| t.least.of(seen.all))
                || self.met.contains(index) && lacks(threshold, seen, enough)
        };
        let crossed: Vec<(usize, &Threshold)> = options.thresholds.iter().enumerate().filter(crossed).collect();
        let known = std::mem::take(&mut self.first_seen);
        self.first_seen = crossed.iter().map(|(i, _)| (*i, known.get(i).copied().unwrap_or(now))).collect();
        for (_, threshold) in &crossed {
            self.last_seen[condition(threshold.signal)] = Some(now);
        }
        let past = |since: Timestamp| Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let lately = |at: Option<Timestamp>| at.is_some_and(|at| past(at) < options.transition || at == now);
        let [memory, disk, pids] = self.last_seen.map(lately);
        let due = |(i, t): &(usize, &Threshold)| past(self.first_seen[i]) >= t.grace.unwrap_or_default();
        let due: Vec<(usize, &Threshold)> = crossed.into_iter().filter(due).collect();
        self.met = due.iter().map(|(index, _)| *index).collect();
        let mut list: Vec<Shortage> =
            due.iter().filter_map(|(_, t)| Some(Shortage::of(t, *seen.get(&t.signal)?))).collect();
        list.sort_by_key(|shortage| !shortage.signal.is_memory());
        (Pressure { memory, disk, pids }, list)
    }
}

/// Whether nothing is short any more, whatever time it has.
pub fn is_relieved(options: &Eviction, seen: &Observations) -> bool {
    !options.thresholds.iter().any(|t| lacks(t, seen, |t, seen| t.least.of(seen.all)))
}

#[cfg(test)]
pub mod tests {
    use super::super::observe::disk;
    use super::*;
    use crate::disk::Space;
    use crate::eviction::{GracePeriods, Reclaims, Thresholds};

    /// What these hard thresholds lead to with so much memory left.
    pub fn memory(least: &str, available: u64) -> Shortage {
        let options = hard(least);
        let seen = [(Signal::Memory, Observed { available, all: 1 << 30 })].into();
        let (_, list) = Watch::default().update(&options, &seen, Timestamp::UNIX_EPOCH);
        list.into_iter().next().unwrap()
    }

    fn hard(text: &str) -> Eviction {
        let (soft, graces, reclaims) = (Thresholds::default(), GracePeriods::default(), Reclaims::default());
        Eviction::new(&text.parse().unwrap(), &soft, &graces, &reclaims).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn left(signal: Signal, available: u64) -> Observations {
        [(signal, Observed { available, all: 1000 })].into()
    }

    #[test]
    fn what_is_left_is_held_against_the_thresholds() {
        let upstream = hard("nodefs.available<10%,memory.available<100Mi,nodefs.inodesFree<5%,pid.available<7");
        let seen = |memory: u64, bytes_free, inodes_free, pids| {
            let mut seen: Observations = [
                (Signal::Memory, Observed { available: memory, all: 1 << 30 }),
                (Signal::Pids, Observed { available: pids, all: 100 }),
            ]
            .into();
            let space = Space { bytes: 1000, bytes_free, inodes: 1000, inodes_free };
            disk(&mut seen, &space, [Signal::NodeBytes, Signal::NodeInodes]);
            let (pressure, list) = Watch::default().update(&upstream, &seen, at(0));
            (pressure.names(), list.iter().map(|s| s.signal.resource()).collect::<Vec<_>>())
        };
        assert_eq!(seen(100 << 20, 100, 50, 7), (vec![], vec![]));
        let all = vec!["MemoryPressure", "DiskPressure", "PIDPressure"];
        let order = vec!["memory", "ephemeral-storage", "inodes", "pids"];
        assert_eq!(seen((100 << 20) - 1, 99, 49, 6), (all, order));
        let pods = [(Signal::PodMemory, Observed { available: 99 << 20, all: 1 << 30 })].into();
        let (pressure, list) = Watch::default().update(&upstream, &pods, at(0));
        assert_eq!((pressure.names(), list[0].signal.resource()), (vec!["MemoryPressure"], "memory"));
        assert_eq!((list[0].threshold.as_str(), list[0].available.as_str()), ("100Mi", "99Mi"));
        let mut none = Observations::new();
        disk(
            &mut none,
            &Space { bytes: 10, bytes_free: 10, ..Space::default() },
            [Signal::NodeBytes, Signal::NodeInodes],
        );
        assert!(is_relieved(&upstream, &none));
        // A large disk that is nearly full still has room for pods.
        let large = Space { bytes: 250 << 30, bytes_free: 2 << 30, inodes: 1000, inodes_free: 900 };
        disk(&mut none, &large, [Signal::NodeBytes, Signal::NodeInodes]);
        assert!(is_relieved(&hard(Thresholds::DEFAULT), &none));
    }

    #[test]
    fn a_soft_threshold_gives_time() {
        let soft = "memory.available<50%".parse().unwrap();
        let graces = "memory.available=30s".parse().unwrap();
        let options = Eviction::new(&Thresholds::default(), &soft, &graces, &Reclaims::default()).unwrap();
        let mut watch = Watch::default();
        let mut look = |available, second| watch.update(&options, &left(Signal::Memory, available), at(second));
        let (pressure, list) = look(499, 0);
        assert_eq!((pressure.names(), list.len()), (vec!["MemoryPressure"], 0));
        assert_eq!(look(499, 29).1.len(), 0);
        let list = look(499, 30).1;
        assert!(list[0].soft);
        assert_eq!(list[0].threshold, "500");
        // Better for a moment: the time begins anew.
        assert_eq!(look(500, 31).1.len(), 0);
        assert_eq!(look(499, 32).1.len(), 0);
    }

    #[test]
    fn once_crossed_the_minimum_is_freed() {
        let hard = "nodefs.available<100".parse().unwrap();
        let reclaims = "nodefs.available=50".parse().unwrap();
        let options = Eviction::new(&hard, &Thresholds::default(), &GracePeriods::default(), &reclaims).unwrap();
        let mut watch = Watch::default();
        let mut missing = |available, second| {
            let (_, list) = watch.update(&options, &left(Signal::NodeBytes, available), at(second));
            list.first().map(|s| s.missing)
        };
        assert_eq!(missing(120, 0), None, "not crossed yet");
        assert_eq!(missing(99, 10), Some(51));
        assert_eq!(missing(149, 20), Some(1));
        assert_eq!(missing(150, 30), None);
        assert_eq!(missing(149, 40), None);
    }

    #[test]
    fn a_shortage_is_told_for_a_while() {
        let options = hard("pid.available<10");
        let mut watch = Watch::default();
        let mut told = |available, second| watch.update(&options, &left(Signal::Pids, available), at(second)).0.names();
        assert_eq!(told(9, 0), ["PIDPressure"]);
        assert_eq!(told(10, 299), ["PIDPressure"]);
        assert_eq!(told(10, 300), [""; 0]);
    }
}
