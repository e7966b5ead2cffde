//! Eviction: what the node is short of, and which pods must go for it (upstream's order and wording).

mod decide;
mod limits;
mod observe;
mod rank;
mod thresholds;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;

use crate::agent::Agent;
use crate::config::resources::is_critical;
use crate::images::{self, Uses};
use crate::{meter, volumes};
use decide::{Shortage, Watch, is_relieved};
use observe::observe;
pub use observe::of_pods;
use rank::{Measure, Using};
pub use thresholds::{Eviction, GracePeriods, Reclaims, Signal, Threshold, Thresholds};

/// How often is looked.
const PERIOD: Duration = Duration::from_secs(10);
/// How long is waited for an evicted pod to be gone, as upstream does, and how often is looked.
const CLEANUP_MAX: Duration = Duration::from_secs(30);
const CLEANUP_LOOK: Duration = Duration::from_millis(200);
/// How long containers of an evicted pod get at least, as upstream's hard thresholds have it.
pub const GRACE_MIN: Duration = Duration::from_secs(1);

/// What the node is short of: its conditions of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// MemoryPressure
    pub memory: bool,
    /// DiskPressure
    pub disk: bool,
    /// PIDPressure
    pub pids: bool,
}

impl Pressure {
    /// The conditions that hold.
    pub fn names(self) -> Vec<&'static str> {
        let all = [("MemoryPressure", self.memory), ("DiskPressure", self.disk), ("PIDPressure", self.pids)];
        all.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect()
    }
}

/// Whether nothing of a pod runs any more and its volumes are away. What it frees counts before another pod is chosen.
async fn is_cleaned_up(agent: &Agent, uid: &str) -> bool {
    let Ok(sandboxes) = agent.options.runtime.list_pod_sandboxes().await else { return false };
    let stopped = sandboxes.iter().all(|s| s.uid != uid || s.state != runtime::SandboxState::Ready);
    stopped && volumes::mounts_below(&agent.pod_dir(uid)).is_empty()
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Watches over the node for ever.
pub(crate) async fn keep(agent: Arc<Agent>) {
    let (mut watch, mut uses) = (Watch::default(), Uses::new());
    // The runtime may come up later than this.
    let mut images: Option<PathBuf> = None;
    loop {
        if images.is_none() {
            images = agent.options.runtime.image_filesystem().await.ok().map(|found| found.mountpoint);
        }
        let place = images.as_ref().unwrap_or(&agent.options.data_dir);
        let seen = observe(&agent, place).await;
        let (pressure, short) = watch.update(&agent.options.eviction, &seen, seams::clock::now());
        agent.pressure.send_if_modified(|known| std::mem::replace(known, pressure) != pressure);
        // Who breaks a limit of its own goes first, and that may be enough.
        let evicted = limits::enforce(&agent).await;
        if let Some(shortage) = short.into_iter().next().filter(|_| !evicted) {
            relieve(&agent, shortage, &mut uses, place).await;
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// Frees what is missing: unused images first, then one pod. The next look decides whether another must go.
async fn relieve(agent: &Arc<Agent>, shortage: Shortage, uses: &mut Uses, images: &std::path::Path) {
    let resource = shortage.signal.resource();
    let about = crate::register::reference(agent);
    agent.event(&about, EventType::Warning, "EvictionThresholdMet", format!("Attempting to reclaim {resource}"));
    let measure = match shortage.signal {
        signal if signal.is_memory() => Measure::Memory,
        Signal::Pids => Measure::Pids,
        _ => Measure::Disk,
    };
    if measure == Measure::Disk {
        let wanted = if shortage.signal.is_bytes() { shortage.missing } else { u64::MAX };
        images::collect(agent, uses, wanted).await;
        if is_relieved(&agent.options.eviction, &observe(agent, images).await) {
            return;
        }
    }
    let mut using = Vec::new();
    for wanted in agent.pods().into_iter().filter(|w| !w.is_terminal() && !is_critical(w)) {
        using.push(Using::of(agent, wanted, measure).await);
    }
    tracing::warn!(resource, available = shortage.available, "the node is short of a resource");
    if let Some(first) = rank::first(&using) {
        let message = rank::message(first, &shortage);
        tracing::warn!(pod = first.wanted.full_name(), message, "evicting a pod");
        let grace = if shortage.soft { agent.options.eviction.max_pod_grace } else { GRACE_MIN };
        agent.meter.count(&meter::EVICTIONS, &[("eviction_signal", shortage.signal.name())]);
        agent.evict(first.wanted.uid(), message, grace.min(first.wanted.grace()).max(GRACE_MIN));
        let cleaned_up = async {
            while !is_cleaned_up(agent, first.wanted.uid()).await {
                tokio::time::sleep(CLEANUP_LOOK).await;
            }
        };
        let _ = tokio::time::timeout(CLEANUP_MAX, cleaned_up).await;
    }
}
