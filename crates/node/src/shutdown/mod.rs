//! The machine's end in order: while it is delayed, pods stop one priority after the other (KEP-2000, KEP-2712).

mod bus;
mod groups;
mod logind;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use runtime::ContainerState;

use crate::agent::Agent;
use crate::wanted::Wanted;
pub use groups::Periods;
use logind::Logind;

/// Why pods are not taken any more.
pub const REFUSAL: (&str, &str) = ("NodeShutdown", "Pod was rejected as the node is shutting down.");
/// What pods that ended are told.
const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// How long is waited before logind is asked again, at first and at most.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(60);
/// How often is looked whether pods ended.
const LOOK: Duration = Duration::from_millis(50);
/// How long is waited for the API to know that pods ended.
const TOLD: Duration = Duration::from_secs(2);

/// Options of the machine's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownOptions {
    /// How long pods get. None: the machine ends without waiting for pods.
    pub periods: Periods,
    /// Where the message bus is, if not in its usual place.
    pub bus: Option<String>,
    /// Where logind's settings may be laid over.
    pub logind_settings: PathBuf,
}

impl Default for ShutdownOptions {
    fn default() -> Self {
        Self { periods: Periods::default(), bus: None, logind_settings: logind::SETTINGS.into() }
    }
}

/// Waits for the machine's end for ever. A machine without logind or message bus ends without waiting for pods.
pub(crate) async fn keep(agent: Arc<Agent>) {
    if agent.options.shutdown.periods.is_empty() {
        return;
    }
    let (mut wait, mut told) = (AGAIN_MIN, String::new());
    loop {
        let begun = tokio::time::Instant::now();
        let Err(error) = watch(&agent).await else { continue };
        agent.shutting_down.send_if_modified(|known| std::mem::replace(known, false));
        if begun.elapsed() > AGAIN_MAX {
            wait = AGAIN_MIN;
        }
        let text = error.to_string();
        if text != told {
            tracing::warn!(error = text, "a shutdown of this machine is not delayed for its pods");
            told = text;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN_MAX);
    }
}

async fn watch(agent: &Arc<Agent>) -> io::Result<()> {
    let options = &agent.options.shutdown;
    let total = options.periods.total();
    let mut logind = Logind::connect(options.bus.as_deref(), &options.logind_settings, total).await?;
    let mut lock = Some(logind.lock().await?);
    tracing::debug!(?total, "a shutdown of this machine waits for its pods");
    let about = crate::register::reference(agent);
    let event = |text: &str| agent.event(&about, EventType::Normal, "NodeShutdown", text);
    loop {
        let ends = logind.shutdown().await?;
        agent.shutting_down.send_replace(ends);
        if ends {
            event("Shutdown manager detected shutdown event");
            tracing::info!("the machine shuts down: pods end");
            end_pods(agent).await;
            tracing::info!("all pods had their time");
            drop(lock.take());
        } else {
            event("Shutdown manager detected shutdown cancellation");
            lock = Some(logind.lock().await?);
        }
    }
}

/// Ends pods, one period after the other.
async fn end_pods(agent: &Arc<Agent>) {
    let pods: Vec<Arc<Wanted>> = agent.pods().into_iter().filter(|pod| !pod.is_terminal()).collect();
    for (period, pods) in agent.options.shutdown.periods.groups(&pods) {
        for pod in &pods {
            agent.drive_away(pod.uid(), REASON, MESSAGE.to_owned(), period.grace.min(pod.grace()));
        }
        if !pods.is_empty() && tokio::time::timeout(period.grace, ended(agent, &pods)).await.is_err() {
            tracing::warn!(priority = period.priority, grace = ?period.grace, "pods did not end in time");
        }
    }
}

/// Resolves when nothing of the pods runs and the API was told, as far as it listens.
async fn ended(agent: &Agent, pods: &[Arc<Wanted>]) {
    while runs(agent, pods).await {
        tokio::time::sleep(LOOK).await;
    }
    let told = async {
        let known =
            |pod: &Arc<Wanted>| agent.asked(pod.uid()).is_none_or(|asked| asked.is_terminal() || asked.is_static());
        while !pods.iter().all(known) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let _ = tokio::time::timeout(TOLD, told).await;
}

async fn runs(agent: &Agent, pods: &[Arc<Wanted>]) -> bool {
    let runtime = &agent.options.runtime;
    let (Ok(sandboxes), Ok(containers)) = (runtime.list_pod_sandboxes().await, runtime.list_containers().await) else {
        return true;
    };
    let own = |id: &str| sandboxes.iter().any(|s| s.id == id && pods.iter().any(|pod| pod.uid() == s.uid));
    containers.iter().any(|c| c.state == ContainerState::Running && own(&c.sandbox_id))
}
