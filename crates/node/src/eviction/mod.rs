//! Eviction: what the node is short of, and which pods must go for it (upstream's hard thresholds and wording).

mod limits;
mod rank;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::agent::Agent;
use crate::config::resources::is_critical;
use crate::disk::Space;
use crate::images::{self, Uses};
use crate::quantity;
use rank::{Measure, Using};

/// The node is short of memory below this.
pub const MEMORY_AVAILABLE_MIN: u64 = 100 << 20;
/// The node is short of disk below these shares. DIVERGES: upstream's `imagefs.available<15%` holds only where images have
/// a file system of their own; here they share the node's.
pub const NODE_DISK_FREE_PERCENT_MIN: u64 = 10;
const NODE_INODES_FREE_PERCENT_MIN: u64 = 5;
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
    /// `memory`, `ephemeral-storage` or `inodes`.
    resource: &'static str,
    threshold: String,
    available: String,
    /// Bytes that are missing.
    missing: u64,
}

impl Shortage {
    fn is_memory(&self) -> bool {
        self.resource == "memory"
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// All crossed thresholds, memory first.
fn shortages(memory_available: u64, disk: &Space) -> Vec<Shortage> {
    let mut list = Vec::new();
    if memory_available < MEMORY_AVAILABLE_MIN {
        list.push(Shortage {
            resource: "memory",
            threshold: quantity::of_bytes(whole(MEMORY_AVAILABLE_MIN)).0,
            available: quantity::of_bytes(whole(memory_available)).0,
            missing: MEMORY_AVAILABLE_MIN - memory_available,
        });
    }
    let bytes_min = disk.bytes / 100 * NODE_DISK_FREE_PERCENT_MIN;
    if disk.bytes_free < bytes_min {
        list.push(Shortage {
            resource: "ephemeral-storage",
            threshold: quantity::of_value(whole(bytes_min)).0,
            available: quantity::of_bytes(whole(disk.bytes_free)).0,
            missing: bytes_min - disk.bytes_free,
        });
    }
    let inodes_min = disk.inodes / 100 * NODE_INODES_FREE_PERCENT_MIN;
    if disk.inodes_free < inodes_min {
        list.push(Shortage {
            resource: "inodes",
            threshold: quantity::of_value(whole(inodes_min)).0,
            available: quantity::of_value(whole(disk.inodes_free)).0,
            missing: 0,
        });
    }
    list
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
    shortages(crate::register::meminfo("MemAvailable"), &Space::of(&agent.options.data_dir))
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
        let wanted = if shortage.missing == 0 { u64::MAX } else { shortage.missing };
        images::collect(agent, uses, wanted).await;
        if look(agent).iter().all(|still| still.resource != shortage.resource) {
            return;
        }
    }
    let measure = if shortage.is_memory() { Measure::Memory } else { Measure::Disk };
    let mut using = Vec::new();
    for wanted in agent.pods().into_iter().filter(|w| !w.is_terminal() && !is_critical(w)) {
        using.push(Using::of(agent, wanted, measure).await);
    }
    tracing::warn!(resource = shortage.resource, available = shortage.available, "the node is short of a resource");
    if let Some(first) = rank::first(&using, shortage.resource) {
        let message = rank::message(first, &shortage);
        tracing::warn!(pod = first.wanted.full_name(), message, "evicting a pod");
        agent.evict(first.wanted.uid(), message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_upstreams() {
        let disk = |bytes_free, inodes_free| Space { bytes: 1000, bytes_free, inodes: 1000, inodes_free };
        let names = |memory, space: &Space| shortages(memory, space).iter().map(|s| s.resource).collect::<Vec<_>>();
        assert_eq!(names(100 << 20, &disk(100, 50)), [""; 0]);
        assert_eq!(names((100 << 20) - 1, &disk(99, 49)), ["memory", "ephemeral-storage", "inodes"]);
        // A file system that does not count inodes is never short of them.
        assert_eq!(names(1 << 30, &Space { bytes: 10, bytes_free: 10, ..Space::default() }), [""; 0]);
        assert_eq!(shortages(50 << 20, &disk(100, 50))[0].available, "50Mi");
    }

    #[test]
    fn a_shortage_is_told_for_a_while() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut seen = LastSeen::default();
        let short = shortages(0, &Space::default());
        assert_eq!(seen.update(&short, at(0)).names(), ["MemoryPressure"]);
        assert_eq!(seen.update(&[], at(299)).names(), ["MemoryPressure"]);
        assert_eq!(seen.update(&[], at(300)).names(), [""; 0]);
    }
}
