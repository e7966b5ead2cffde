//! When probes are made: one task per probe of a running container.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Probe};
use runtime::{ContainerState, ContainerStatus, SandboxStatus};
use tokio::sync::mpsc;

use super::worker::Note;
use super::{Agent, listening};
use crate::plan::Health;
use crate::probes::{self, Kind, Target};
use crate::wanted::{Member, Wanted};

/// First wait between early attempts of a container that just started; it doubles up to the probe's period.
const EARLY_WAIT: Duration = Duration::from_millis(25);
/// A liveness probe never asks sooner than this after the start: upstream never does either, by its own latency.
const LIVENESS_WAIT: Duration = Duration::from_secs(1);

struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The probes of one pod.
pub struct Probing {
    agent: Arc<Agent>,
    notes: mpsc::Sender<Note>,
    tasks: BTreeMap<(String, Kind), Task>,
}

impl Probing {
    /// Without any probe.
    pub fn new(agent: Arc<Agent>, notes: mpsc::Sender<Note>) -> Self {
        Self { agent, notes, tasks: BTreeMap::new() }
    }

    /// Makes the tasks fit the running containers.
    pub fn keep(
        &mut self,
        wanted: &Wanted,
        containers: &[ContainerStatus],
        sandboxes: &[SandboxStatus],
        health: &mut BTreeMap<String, Health>,
        alive: bool,
    ) {
        let running = |id: &str| containers.iter().any(|c| c.id == id && c.state == ContainerState::Running);
        health.retain(|id, h| running(id) || h.post_start_running);
        let deleted = !alive;
        // While the pod ends only readiness goes on, as upstream does.
        self.tasks.retain(|(id, kind), _| running(id) && (!deleted || *kind == Kind::Readiness));
        if deleted {
            return;
        }
        for container in containers.iter().filter(|c| c.state == ContainerState::Running) {
            let Some(member) = wanted.member(&container.name) else { continue };
            let started = container.started_at.unwrap_or(container.created_at);
            let target = || Target::new(&self.agent, wanted, member, &container.id, sandboxes.first());
            let own = health.entry(container.id.clone()).or_default();
            if !own.listening_asked {
                own.listening_asked = true;
                let ports = self.ports(wanted, member, started);
                if !ports.is_empty() {
                    own.readiness = Some(false);
                    let wait = self.wait(listening::wait(target(), ports, started), container.id.clone());
                    self.tasks.insert((container.id.clone(), Kind::Readiness), wait);
                }
            }
            let own = *own;
            let passed = member.spec.startup_probe.is_none() || own.startup == Some(true);
            for (kind, probe) in wanted_probes(member, passed, own) {
                let key = (container.id.clone(), kind);
                if self.tasks.contains_key(&key) {
                    continue;
                }
                let (probe, reference) = (probe.clone(), wanted.member_reference(member.name()));
                let pod = (wanted.uid().to_owned(), container.name.clone());
                let run = Run { kind, probe, target: target(), reference, pod, started };
                let task = tokio::spawn(run.go(self.agent.clone(), self.notes.clone()));
                self.tasks.insert(key, Task(task));
            }
        }
    }
}

impl Probing {
    /// The ports that a container which has just started is waited for.
    fn ports(&self, wanted: &Wanted, member: &Member, started: Timestamp) -> Vec<u16> {
        if !listening::is_young(started) {
            return Vec::new();
        }
        let services = self.agent.services(wanted.namespace());
        listening::ports(wanted, member, services.iter().map(Arc::as_ref))
    }

    /// A container is ready when a wait is over.
    fn wait(&self, over: impl Future<Output = ()> + Send + 'static, id: String) -> Task {
        let notes = self.notes.clone();
        Task(tokio::spawn(async move {
            over.await;
            // Nobody listens when the pod is gone.
            let _ = notes.send(Note::Probe(id, Kind::Readiness, true)).await;
        }))
    }
}

fn wanted_probes(member: &Member, passed: bool, health: Health) -> Vec<(Kind, &Probe)> {
    let mut list = Vec::new();
    match &member.spec.startup_probe {
        Some(probe) if !passed && health.startup.is_none() => list.push((Kind::Startup, probe)),
        Some(_) if !passed => {}
        _ => {
            list.extend(member.spec.readiness_probe.as_ref().map(|p| (Kind::Readiness, p)));
            list.extend(member.spec.liveness_probe.as_ref().map(|p| (Kind::Liveness, p)));
        }
    }
    list
}

struct Run {
    kind: Kind,
    probe: Probe,
    target: Target,
    reference: ObjectReference,
    /// The pod's UID, and the container's name.
    pod: (String, String),
    started: Timestamp,
}

impl Run {
    /// One attempt, counted.
    async fn attempt(&self, agent: &Agent) -> Result<Option<String>, String> {
        let result = probes::attempt(&self.target, &self.probe).await;
        agent.probe_counts.count(probes::Key {
            uid: self.pod.0.clone(),
            namespace: self.reference.namespace.clone().unwrap_or_default(),
            pod: self.reference.name.clone().unwrap_or_default(),
            container: self.pod.1.clone(),
            kind: self.kind,
            passed: result.is_ok(),
        });
        result
    }

    async fn go(self, agent: Arc<Agent>, notes: mpsc::Sender<Note>) {
        let whole = |n: Option<i32>, least: u64, default: u64| {
            n.and_then(|n| u64::try_from(n).ok()).unwrap_or(default).max(least)
        };
        let period = Duration::from_secs(whole(self.probe.period_seconds, 1, 10));
        let delay = Duration::from_secs(whole(self.probe.initial_delay_seconds, 0, 0));
        let delay = if self.kind == Kind::Liveness { delay.max(LIVENESS_WAIT) } else { delay };
        tokio::time::sleep(delay.saturating_sub(seams::clock::since(self.started))).await;
        if self.kind != Kind::Liveness && seams::clock::since(self.started) < delay + period {
            let passed = self.early(&agent, &notes, period).await;
            if passed && self.kind == Kind::Startup {
                return;
            }
        }
        let failures_max = whole(self.probe.failure_threshold, 1, 3);
        let successes_max = whole(self.probe.success_threshold, 1, 1);
        let (mut successes, mut failures, mut told) = (0, 0, None);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let verdict = match self.attempt(&agent).await {
                Ok(warning) => {
                    if let Some(text) = warning {
                        let text = format!("{} probe warning: {text}", self.kind.as_str());
                        agent.event(&self.reference, EventType::Warning, "ProbeWarning", text);
                    }
                    (successes, failures) = (successes + 1, 0);
                    (successes >= successes_max).then_some(true)
                }
                Err(message) => {
                    (successes, failures) = (0, failures + 1);
                    let text = format!("{} probe failed: {message}", self.kind.as_str());
                    agent.event(&self.reference, EventType::Warning, "Unhealthy", text);
                    (failures >= failures_max).then_some(false)
                }
            };
            if verdict.is_some() && verdict != told {
                told = verdict;
                let id = self.target.container_id.clone();
                if notes.send(Note::Probe(id, self.kind, verdict == Some(true))).await.is_err() {
                    return;
                }
            }
            if self.kind == Kind::Startup && told.is_some() {
                return;
            }
        }
    }

    /// DIVERGES: until the first period is over, readiness and startup are asked more often than every period, and
    /// early failures count for nothing. A server that is up after 100 ms is so ready after 100 ms, not after 10 s.
    async fn early(&self, agent: &Agent, notes: &mpsc::Sender<Note>, period: Duration) -> bool {
        if self.probe.success_threshold.unwrap_or(1) > 1 {
            return false;
        }
        let (mut wait, mut total) = (EARLY_WAIT, Duration::ZERO);
        while total + wait < period {
            if self.attempt(agent).await.is_ok() {
                let _ = notes.send(Note::Probe(self.target.container_id.clone(), self.kind, true)).await;
                if self.kind != Kind::Startup {
                    tokio::time::sleep(period).await;
                }
                return true;
            }
            tokio::time::sleep(wait).await;
            total += wait;
            wait *= 2;
        }
        false
    }
}
