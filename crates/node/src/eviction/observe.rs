//! How much there is of everything, and what of it is left.

use std::collections::BTreeMap;
use std::path::Path;

use runtime::Usage;

use super::Signal;
use crate::agent::Agent;
use crate::config::resources::ALL_PODS;
use crate::disk::Space;

/// Of one signal: what is left, and all there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    pub available: u64,
    pub all: u64,
}

/// What was seen of each signal. What cannot be told is not in here, and is never short.
pub type Observations = BTreeMap<Signal, Observed>;

/// Looks at memory, that of all pods together, processes, and the file systems of pods and of images.
pub async fn observe(agent: &Agent, images: &Path) -> Observations {
    let mut seen = Observations::new();
    let meminfo = crate::register::meminfo;
    seen.insert(Signal::Memory, Observed { available: meminfo("MemAvailable"), all: meminfo("MemTotal") });
    seen.extend(of_pods(agent).await.map(|(_, memory)| (Signal::PodMemory, memory)));
    disk(&mut seen, &Space::of(&agent.options.data_dir), [Signal::NodeBytes, Signal::NodeInodes]);
    disk(&mut seen, &Space::of(images), [Signal::ImageBytes, Signal::ImageInodes]);
    seen.extend(processes().map(|observed| (Signal::Pids, observed)));
    seen
}

/// What all pods together use, and how much memory is left to them. Nothing before the first: there is no such group then.
pub async fn of_pods(agent: &Agent) -> Option<(Usage, Observed)> {
    let usage = agent.options.runtime.group_usage(ALL_PODS).await.ok()?;
    let all = u64::try_from(agent.share_of_pods().memory_limit?).ok()?;
    let available = all.saturating_sub(usage.memory_working_set);
    Some((usage, Observed { available, all }))
}

pub fn disk(seen: &mut Observations, space: &Space, signals: [Signal; 2]) {
    let both = [(space.bytes_free, space.bytes), (space.inodes_free, space.inodes)];
    for (signal, (available, all)) in signals.into_iter().zip(both) {
        // A file system that does not count inodes is never short of them; one that cannot be asked of nothing.
        if all > 0 {
            seen.insert(signal, Observed { available, all });
        }
    }
}

/// Processes and threads: the lower of the kernel's two limits, less those that there are.
fn processes() -> Option<Observed> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"].into_iter().filter_map(number);
    let all = limits.min()?;
    let load = std::fs::read_to_string("/proc/loadavg").ok()?;
    // `0.20 0.18 0.12 1/80 11206`: the fourth word counts those that run and all.
    let tasks: u64 = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Observed { available: all.saturating_sub(tasks), all })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_processes_and_room_for_more() {
        let seen = processes().unwrap();
        assert!(seen.available > 0 && seen.available < seen.all);
    }
}
