//! Eviction: what the node is short of, and which pods must go for it (upstream's order and wording).

mod limits;
mod rank;
mod thresholds;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::Agent;
use crate::config::resources::is_critical;
use crate::disk::Space;
use crate::images::{self, Uses};
use crate::quantity;
use rank::{Measure, Using};
pub use thresholds::{Signal, Thresholds};

/// How often is looked, and how long a shortage is told after it was last seen.
const PERIOD: Duration = Duration::from_secs(10);
const TRANSITION: Duration = Duration::from_secs(300);

/// What the node is short of: its conditions of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// MemoryPressure
    pub memory: bool,
    /// DiskPressure
    pub disk: bool,
}

impl Pressure {
    /// The conditions that hold.
    pub fn names(self) -> Vec<&'static str> {
        let all = [("MemoryPressure", self.memory), ("DiskPressure", self.disk)];
        all.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
    }
}

/// A threshold that was crossed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shortage {
    signal: Signal,
    threshold: String,
    available: String,
    /// Bytes or inodes that are missing.
    missing: u64,
}

impl Shortage {
    fn of(signal: Signal, least: u64, available: u64) -> Option<Self> {
        let text = |amount: u64| match signal {
            Signal::Inodes => quantity::of_value(whole(amount)).0,
            Signal::Memory | Signal::Disk => quantity::of_bytes(whole(amount)).0,
        };
        let short = || Self { signal, threshold: text(least), available: text(available), missing: least - available };
        (available < least).then(short)
    }

    fn is_memory(&self) -> bool {
        self.signal == Signal::Memory
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// All crossed thresholds, memory first. `memory` is what is available, and all there is.
fn shortages(thresholds: &Thresholds, memory: (u64, u64), disk: &Space) -> Vec<Shortage> {
    let (bytes, inodes) = thresholds.least_of(disk);
    let all = [
        Shortage::of(Signal::Memory, thresholds.least(Signal::Memory, memory.1), memory.0),
        Shortage::of(Signal::Disk, bytes, disk.bytes_free),
        // A file system that does not count inodes is never short of them.
        Shortage::of(Signal::Inodes, if disk.inodes == 0 { 0 } else { inodes }, disk.inodes_free),
    ];
    all.into_iter().flatten().collect()
}

/// When each kind of shortage was last seen.
#[derive(Debug, Clone, Copy, Default)]
struct LastSeen {
    memory: Option<Timestamp>,
    disk: Option<Timestamp>,
}

impl LastSeen {
    fn update(&mut self, shortages: &[Shortage], now: Timestamp) -> Pressure {
        if shortages.iter().any(Shortage::is_memory) {
            self.memory = Some(now);
        }
        if shortages.iter().any(|s| !s.is_memory()) {
            self.disk = Some(now);
        }
        let lately = |at: Option<Timestamp>| {
            at.is_some_and(|at| Duration::try_from(now.duration_since(at)).is_ok_and(|past| past < TRANSITION))
        };
        Pressure { memory: lately(self.memory), disk: lately(self.disk) }
    }
}

fn look(agent: &Agent) -> Vec<Shortage> {
    let memory = (crate::register::meminfo("MemAvailable"), crate::register::meminfo("MemTotal"));
    shortages(&agent.options.eviction, memory, &Space::of(&agent.options.data_dir))
}

/// Watches over the node for ever.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let (mut seen, mut uses) = (LastSeen::default(), Uses::new());
    loop {
        let found = look(&agent);
        let pressure = seen.update(&found, seams::clock::now());
        agent.pressure.send_if_modified(|known| std::mem::replace(known, pressure) != pressure);
        if let Some(shortage) = found.into_iter().next() {
            relieve(&agent, shortage, &mut uses).await;
        }
        limits::enforce(&agent).await;
        tokio::time::sleep(PERIOD).await;
    }
}

/// Frees what is missing: unused images first, then one pod. The next look decides whether another must go.
async fn relieve(agent: &Arc<Agent>, shortage: Shortage, uses: &mut Uses) {
    if !shortage.is_memory() {
        let wanted = if shortage.signal == Signal::Inodes { u64::MAX } else { shortage.missing };
        images::collect(agent, uses, wanted).await;
        if look(agent).iter().all(|still| still.signal != shortage.signal) {
            return;
        }
    }
    let measure = if shortage.is_memory() { Measure::Memory } else { Measure::Disk };
    let mut using = Vec::new();
    for wanted in agent.pods().into_iter().filter(|w| !w.is_terminal() && !is_critical(w)) {
        using.push(Using::of(agent, wanted, measure).await);
    }
    tracing::warn!(resource = %shortage.signal, available = shortage.available, "the node is short of a resource");
    if let Some(first) = rank::first(&using, shortage.signal) {
        let message = rank::message(first, &shortage);
        tracing::warn!(pod = first.wanted.full_name(), message, "evicting a pod");
        agent.evict(first.wanted.uid(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_held_against_the_thresholds() {
        let upstream = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%".parse().unwrap();
        let disk = |bytes_free, inodes_free| Space { bytes: 1000, bytes_free, inodes: 1000, inodes_free };
        let names = |memory: u64, space: &Space| {
            shortages(&upstream, (memory, 1 << 30), space).iter().map(|s| s.signal.resource()).collect::<Vec<_>>()
        };
        assert_eq!(names(100 << 20, &disk(100, 50)), [""; 0]);
        assert_eq!(names((100 << 20) - 1, &disk(99, 49)), ["memory", "ephemeral-storage", "inodes"]);
        assert_eq!(names(1 << 30, &Space { bytes: 10, bytes_free: 10, ..Space::default() }), [""; 0]);
        assert_eq!(shortages(&upstream, (50 << 20, 1 << 30), &disk(100, 50))[0].available, "50Mi");
        // A large disk that is nearly full still has room for pods.
        let large = Space { bytes: 250 << 30, bytes_free: 2 << 30, inodes: 1000, inodes_free: 900 };
        assert_eq!(shortages(&Thresholds::DEFAULT.parse().unwrap(), (1 << 30, 1 << 30), &large), []);
    }

    #[test]
    fn a_shortage_is_told_for_a_while() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut seen = LastSeen::default();
        let short = shortages(&"memory.available<1".parse().unwrap(), (0, 1), &Space::default());
        assert_eq!(seen.update(&short, at(0)).names(), ["MemoryPressure"]);
        assert_eq!(seen.update(&[], at(299)).names(), ["MemoryPressure"]);
        assert_eq!(seen.update(&[], at(300)).names(), [""; 0]);
    }
}
