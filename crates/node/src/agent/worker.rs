//! One pod's worker: sees, plans, acts, reports; woken by the API, the runtime, probes and timers.

mod brought_up;
mod report;
mod reset;
mod resize;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use runtime::{ContainerState, ContainerStatus, RuntimeError, SandboxStatus};
use tokio::sync::{mpsc, watch};

use super::backoff::{Backoff, CRASH_FORGOTTEN, CRASH_WAIT_MIN, backoff, go_duration};
use super::bring_up::{Fault, StartError};
use super::probing::Probing;
use super::writer::{Writer, merged};
use super::{Agent, Desired, bring_up, container, hooks};
use crate::admission::{self, Question, Refusal};
use crate::allocation::Pending;
use crate::plan::{self, Action, Ending, Facts, Health, Hook, Plan, Stopping, Volumes};
use crate::probes::Kind;
use crate::status::{Cause, Failure, Waiting};
use crate::volumes::{self, Mounted};
use crate::wanted::{Member, Wanted, seconds};
use resize::{Resized, Resizing};

/// Notes that wait for one worker.
pub const NOTES_MAX: usize = 64;
/// How often a worker looks at everything anew, even if nobody woke it.
const RESYNC: Duration = Duration::from_secs(60);
/// How long a stop that failed rests before it is tried again.
const STOP_WAIT: Duration = Duration::from_secs(1);
/// The reason of pods that the node drove away because it ran short, and of the event.
pub const EVICTED: &str = "Evicted";

/// What wakes a worker.
pub enum Note {
    /// The runtime saw a change of this container.
    Container(String),
    /// Look at everything anew.
    Relist,
    /// The volumes are mounted, or why not.
    Mounted(Result<BTreeMap<String, Mounted>, String>),
    /// The sandbox was made, or why not.
    Sandbox(Result<SandboxStatus, RuntimeError>),
    /// A container was started, or why not.
    Started(String, Box<Result<ContainerStatus, StartError>>),
    /// A postStart hook began (`true`) or ended.
    PostStart(String, bool),
    /// All that was to be started was tried.
    BroughtUp,
    /// A preStop hook ended.
    HookDone(String),
    /// A container did not end although it was told to: it is told again.
    StopFailed(String),
    /// A sandbox was stopped, or why not.
    SandboxStopped(Result<(), RuntimeError>),
    /// A probe changed its mind about a container.
    Probe(String, Kind, bool),
    /// The pod is static, and the API shows it anew.
    Mirrored,
    /// A ConfigMap or Secret of the pod's volumes changed.
    Contents,
    /// A change of resources was carried out, or why not.
    Resized(Box<Resized>),
    /// The node needs the pod to go: the reason, what to tell, and how long its containers get.
    DriveAway(&'static str, String, Duration),
}

/// One pod's worker.
pub struct Worker {
    agent: Arc<Agent>,
    desired: watch::Receiver<Desired>,
    notes: mpsc::Sender<Note>,
    inbox: mpsc::Receiver<Note>,
    wanted: Arc<Wanted>,
    removed: bool,
    sandboxes: Vec<SandboxStatus>,
    containers: Vec<ContainerStatus>,
    health: BTreeMap<String, Health>,
    stopping: BTreeMap<String, Stopping>,
    /// The attempts of containers that ran before the runtime forgot them.
    earlier: BTreeMap<String, u32>,
    /// Containers that are to start anew with all others, and did not yet.
    reset: BTreeSet<String>,
    /// How the containers ended that are to start anew was reported.
    reset_told: bool,
    crashes: BTreeMap<String, Backoff>,
    start_waits: BTreeMap<String, Timestamp>,
    /// Since when the runtime holds the names of containers that are to start.
    held: BTreeMap<String, Timestamp>,
    failures: BTreeMap<String, Waiting>,
    pulls: BTreeMap<String, (Backoff, Timestamp)>,
    sandbox_failures: u32,
    sandbox_wait: Option<Timestamp>,
    volumes: Volumes,
    volume_failures: u32,
    mounts: Arc<BTreeMap<String, Mounted>>,
    refresh_at: Option<Timestamp>,
    ending: Option<Ending>,
    failure: Option<Failure>,
    bringing_up: bool,
    cancel: watch::Sender<bool>,
    stopping_sandbox: bool,
    probing: Probing,
    last_words: BTreeMap<String, String>,
    told: BTreeMap<String, u32>,
    over: bool,
    reported: PodStatus,
    writer: Writer,
    started: Timestamp,
    seen: tokio::time::Instant,
    settled: bool,
    pending: Option<Pending>,
    resizing: Resizing,
}

impl Worker {
    /// A worker that knows nothing of the runtime yet.
    pub fn new(
        agent: Arc<Agent>,
        mut desired: watch::Receiver<Desired>,
        notes: mpsc::Sender<Note>,
        inbox: mpsc::Receiver<Note>,
    ) -> Self {
        let Desired { wanted, removed, pending, accepted, .. } = desired.borrow_and_update().clone();
        let reported = wanted.pod.status.clone().unwrap_or_default();
        let earlier = crate::status::attempts_after(&reported);
        let writer = Writer::new(&agent.options.client, wanted.pod.clone());
        let probing = Probing::new(agent.clone(), notes.clone());
        let mut resizing = Resizing::known(&reported);
        resizing.accepted(accepted);
        Self {
            agent,
            desired,
            notes,
            inbox,
            wanted,
            removed,
            sandboxes: Vec::new(),
            containers: Vec::new(),
            health: BTreeMap::new(),
            stopping: BTreeMap::new(),
            earlier,
            reset: BTreeSet::new(),
            reset_told: false,
            crashes: BTreeMap::new(),
            start_waits: BTreeMap::new(),
            held: BTreeMap::new(),
            failures: BTreeMap::new(),
            pulls: BTreeMap::new(),
            sandbox_failures: 0,
            sandbox_wait: None,
            volumes: Volumes::Missing,
            volume_failures: 0,
            mounts: Arc::default(),
            refresh_at: None,
            ending: None,
            failure: None,
            bringing_up: false,
            cancel: watch::Sender::new(false),
            stopping_sandbox: false,
            probing,
            last_words: BTreeMap::new(),
            told: BTreeMap::new(),
            over: false,
            reported,
            writer,
            started: seams::clock::now_seconds(),
            seen: tokio::time::Instant::now(),
            settled: false,
            pending,
            resizing,
        }
    }

    /// Works until the pod is gone, or the agent stops.
    pub async fn run(mut self) {
        let mut stop = self.agent.shutdown.clone();
        // What is not known must not be taken for gone.
        while !self.relist().await {
            tokio::select! {
                () = tokio::time::sleep(super::RUNTIME_WAIT) => {}
                () = client::stopped(stop.clone()) => return,
            }
        }
        // The pod runs since before this agent: its volumes' contents and tokens are renewed from here on.
        self.refresh_at = (!self.sandboxes.is_empty()).then(seams::clock::now);
        if !self.admit(&mut stop).await {
            return;
        }
        loop {
            let plan = self.step();
            if plan.gone && self.finish().await {
                return;
            }
            if !self.wait(&plan, &mut stop).await {
                return;
            }
        }
    }

    /// Plans until nothing is left to do at once, then reports.
    fn step(&mut self) -> Plan {
        let mut wake = None;
        let mut plan = Plan::default();
        // Deciding that a container ends leads to its hook, that to its signal: a few rounds at most.
        for _ in 0..6 {
            let now = seams::clock::now();
            wake = self.decide(now);
            plan = self.plan(now);
            if plan.over && self.ending.is_none() {
                self.over = true;
                self.ending = Some(Ending { since: now, grace: self.wanted.grace() });
                continue;
            }
            let again = self.act(&plan, now);
            if !again {
                break;
            }
        }
        let again = self.resize(seams::clock::now());
        for at in wake.into_iter().chain(again) {
            plan.wake(at);
        }
        let alive = self.ending.is_none();
        self.probing.keep(&self.wanted, &self.containers, &self.sandboxes, &mut self.health, alive);
        match self.replaced_until(seams::clock::now()) {
            Some(at) => plan.wake(at),
            None => self.report(&plan),
        }
        plan
    }

    fn plan(&mut self, now: Timestamp) -> Plan {
        let crash_waits = self.crash_waits();
        plan::plan(&Facts {
            wanted: &self.wanted,
            sandboxes: &self.sandboxes,
            containers: &self.containers,
            health: &self.health,
            stopping: &self.stopping,
            earlier: &self.earlier,
            bringing_up: self.bringing_up,
            stopping_sandbox: self.stopping_sandbox,
            crash_waits: &crash_waits,
            start_waits: &self.start_waits,
            sandbox_wait: self.sandbox_wait,
            volumes: self.volumes,
            ending: self.ending.as_ref(),
            now,
        })
    }

    /// Until when each crashed container waits: its last end plus its back-off.
    fn crash_waits(&self) -> BTreeMap<String, Timestamp> {
        let mut waits = BTreeMap::new();
        for (name, backoff) in &self.crashes {
            let ended = plan::latest(&self.containers, name).and_then(|c| c.finished_at);
            let Some(ended) = ended else { continue };
            if ended.duration_since(backoff.updated) <= CRASH_FORGOTTEN.try_into().unwrap_or_default() {
                waits.insert(name.clone(), ended + backoff.wait);
            }
        }
        waits
    }

    /// Asks whether the pod may run here, once, and never of a pod that already ran. `false` when the agent stops meanwhile.
    async fn admit(&mut self, stop: &mut client::Shutdown) -> bool {
        let ran = !self.sandboxes.is_empty() || self.reported.start_time.is_some();
        if self.wanted.is_terminal() || self.removed {
            return true;
        }
        let agent = self.agent.clone();
        if ran {
            agent.allocate(&self.wanted);
            return true;
        }
        if *agent.shutting_down.borrow() {
            let (reason, message) = crate::shutdown::REFUSAL;
            self.reject(reason, message);
            return true;
        }
        let mut refusal = self.asked(admission::at_first);
        if refusal.is_none() {
            let wanted = self.wanted.clone();
            let given = tokio::select! {
                biased;
                given = agent.managers.admit(&wanted) => Some(given),
                // A plugin that does not answer must not hold a pod that is to go.
                () = self.going() => None,
                () = client::stopped(stop.clone()) => return false,
            };
            match given {
                Some(given) => refusal = given.err().or_else(|| self.asked(admission::at_last)),
                None => return true,
            }
        }
        match refusal {
            Some((reason, message)) => {
                agent.managers.release(self.wanted.uid());
                self.reject(&reason, &message);
            }
            None => agent.allocate(&self.wanted),
        }
        true
    }

    fn reject(&mut self, reason: &str, message: &str) {
        self.agent.event(&self.wanted.reference(), EventType::Warning, reason, message);
        self.fail(reason, format!("Pod was rejected: {message}"), Cause::Rejected);
    }

    fn asked(&self, ask: fn(&Question<'_>) -> Option<Refusal>) -> Option<Refusal> {
        let (pods, node) = (self.agent.pods(), self.agent.node());
        let (machine, pressure) = (&self.agent.machine, *self.agent.pressure.borrow());
        let taken = self.agent.managers.devices.taken_with(self.wanted.uid());
        let (wanted, node) = (&self.wanted, node.as_deref());
        ask(&Question { wanted, pods: &pods, machine, node, pressure, taken: &taken })
    }

    /// Waits until the pod is to go.
    async fn going(&mut self) {
        let goes = |desired: &Desired| desired.removed || desired.wanted.pod.metadata.deletion_timestamp.is_some();
        let waited = self.desired.wait_for(goes).await.is_ok();
        if !waited {
            std::future::pending::<()>().await;
        }
        self.take_desired();
    }

    fn fail(&mut self, reason: &str, message: String, cause: Cause) {
        self.failure = Some(Failure { reason: reason.to_owned(), message, cause });
        self.ending = Some(Ending { since: seams::clock::now(), grace: self.wanted.grace() });
    }

    /// Whether the whole pod must end; when to ask again.
    fn decide(&mut self, now: Timestamp) -> Option<Timestamp> {
        let meta = &self.wanted.pod.metadata;
        if self.removed || meta.deletion_timestamp.is_some() {
            let grace = meta.deletion_grace_period_seconds.map_or_else(|| self.wanted.grace(), seconds);
            let grace = grace.max(Duration::from_secs(1));
            match &mut self.ending {
                Some(ending) if ending.grace <= grace => {}
                Some(ending) => *ending = Ending { since: now, grace },
                None => self.ending = Some(Ending { since: now, grace }),
            }
        } else if self.wanted.is_terminal() && self.ending.is_none() {
            self.over = true;
            self.ending = Some(Ending { since: now, grace: self.wanted.grace() });
        }
        if self.ending.is_some() {
            let _ = self.cancel.send_replace(true);
            return None;
        }
        let limit = seconds(self.wanted.spec().active_deadline_seconds?);
        let since = self.reported.start_time.as_ref().map_or(self.started, |t| t.0);
        if since + limit > now {
            return Some(since + limit);
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.agent.event(&self.wanted.reference(), EventType::Normal, "DeadlineExceeded", message);
        self.fail("DeadlineExceeded", message.to_owned(), Cause::Deadline);
        None
    }

    /// Carries a plan out. `true` when the next plan may follow at once.
    fn act(&mut self, plan: &Plan, now: Timestamp) -> bool {
        let mut again = false;
        let mut starts = Vec::new();
        for action in &plan.actions {
            match action.clone() {
                Action::MountVolumes => self.spawn_up(bring_up::mount(self.up())),
                Action::CreateSandbox { attempt, replaces } => {
                    if replaces {
                        let text = "Pod sandbox changed, it will be killed and re-created.";
                        self.agent.event(&self.wanted.reference(), EventType::Normal, "SandboxChanged", text);
                    }
                    self.spawn_up(bring_up::sandbox(self.up(), attempt));
                }
                Action::StopSandbox { id } => self.stop_sandbox(id),
                Action::Start { name, attempt, restart, replaces } => {
                    if restart {
                        let next = Backoff::next(self.crashes.get(&name).copied(), now);
                        self.crashes.insert(name.clone(), next);
                    }
                    self.starts(&name);
                    self.containers.retain(|c| Some(&c.id) != replaces.as_ref());
                    starts.push(bring_up::Start { name, attempt, replaces });
                }
                Action::BeginStop { id, name, grace, message } => {
                    let reference = self.wanted.member_reference(&name);
                    self.agent.event(&reference, EventType::Normal, "Killing", message);
                    self.stopping.insert(id, Stopping { since: now, grace, hook: Hook::Waiting, kill_at: None });
                    again = true;
                }
                Action::Kill { id, name } => self.kill(id, &name, now),
                // How the containers ended is reported before they are removed.
                Action::Reset { ids, asking } if std::mem::replace(&mut self.reset_told, true) => {
                    self.reset(ids, &asking, now);
                }
                Action::Reset { .. } => {
                    let _ = self.notes.try_send(Note::Relist);
                }
                Action::RunHook { id, name, grace } => again |= self.run_hook(id, &name, grace),
                Action::Signal { id, grace } => self.signal(id, grace, now),
            }
        }
        if !starts.is_empty() {
            let sandbox = self.sandboxes[0].clone();
            self.spawn_up(bring_up::starts(self.up(), sandbox, starts, self.mounts.clone()));
        }
        again
    }

    /// What tasks that bring the pod up need.
    fn up(&self) -> bring_up::Up {
        bring_up::Up {
            agent: self.agent.clone(),
            wanted: self.wanted.clone(),
            notes: self.notes.clone(),
            cancel: self.cancel.subscribe(),
        }
    }

    fn spawn_up(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.bringing_up = true;
        tokio::spawn(task);
    }

    fn stop_sandbox(&mut self, id: String) {
        self.stopping_sandbox = true;
        let (runtime, notes) = (self.agent.options.runtime.clone(), self.notes.clone());
        tokio::spawn(async move {
            let result = runtime.stop_pod_sandbox(&id).await;
            let _ = notes.send(Note::SandboxStopped(result)).await;
        });
    }

    /// Starts a preStop hook. `true` when there is none.
    fn run_hook(&mut self, id: String, name: &str, grace: Duration) -> bool {
        let member = self.wanted.member(name).cloned();
        let hook = member.as_ref().and_then(|m| m.spec.lifecycle.as_ref()).and_then(|l| l.pre_stop.clone());
        let Some(stopping) = self.stopping.get_mut(&id) else { return false };
        let (Some(hook), Some(member)) = (hook, member) else {
            stopping.hook = Hook::Done;
            return true;
        };
        stopping.hook = Hook::Running;
        let context = hooks::Context::new(&self.agent, &self.wanted, &member, &id, self.sandboxes.first());
        let (notes, agent, wanted) = (self.notes.clone(), self.agent.clone(), self.wanted.clone());
        tokio::spawn(async move {
            let ended = tokio::time::timeout(grace, hooks::run(&context, &hook, grace)).await;
            if let Ok(Err(_)) = ended {
                let reference = wanted.member_reference(member.name());
                agent.event(&reference, EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            let _ = notes.send(Note::HookDone(id)).await;
        });
        false
    }

    fn signal(&mut self, id: String, grace: Duration, now: Timestamp) {
        if let Some(stopping) = self.stopping.get_mut(&id) {
            stopping.kill_at = Some(now + grace);
        }
        let (runtime, notes) = (self.agent.options.runtime.clone(), self.notes.clone());
        tokio::spawn(async move {
            if let Err(error) = runtime.stop_container(&id, grace).await {
                tracing::warn!(container = id, %error, "stop failed");
                tokio::time::sleep(STOP_WAIT).await;
                let _ = notes.send(Note::StopFailed(id)).await;
                return;
            }
            let _ = notes.send(Note::Container(id)).await;
        });
    }

    /// Waits for what comes next. `false` when the agent stops.
    async fn wait(&mut self, plan: &Plan, stop: &mut client::Shutdown) -> bool {
        let now = seams::clock::now();
        let mut until = RESYNC;
        let refresh_at = self.refresh_at.filter(|_| self.may_refresh());
        for at in plan.wake_at.iter().chain(refresh_at.iter()) {
            until = until.min(Duration::try_from(at.duration_since(now)).unwrap_or_default());
        }
        let shown = self.pulls.values().map(|(_, at)| *at).filter(|at| *at > now).min();
        if let Some(at) = shown {
            until = until.min(Duration::try_from(at.duration_since(now)).unwrap_or_default());
        }
        tokio::select! {
            biased;
            () = async { let _ = stop.wait_for(|s| *s).await; } => return false,
            changed = self.desired.changed() => {
                if changed.is_err() {
                    return false;
                }
                self.take_desired();
            }
            note = self.inbox.recv() => match note {
                Some(note) => self.take(note).await,
                None => return false,
            },
            () = tokio::time::sleep(until + Duration::from_millis(1)) => self.timer(until == RESYNC).await,
        }
        while let Ok(note) = self.inbox.try_recv() {
            self.take(note).await;
        }
        true
    }

    async fn timer(&mut self, resync: bool) {
        let now = seams::clock::now();
        if resync && !self.settled {
            self.relist().await;
        }
        if self.refresh_at.is_some_and(|at| at <= now) && self.may_refresh() {
            self.refresh_at = None;
            self.spawn_up(bring_up::mount(self.up()));
        }
    }

    /// Volumes are refreshed once they are mounted, and while nothing else brings the pod up.
    fn may_refresh(&self) -> bool {
        self.ending.is_none() && !self.bringing_up && (self.volumes == Volumes::Mounted || !self.sandboxes.is_empty())
    }

    fn take_desired(&mut self) {
        let Desired { wanted, removed, pending, accepted, .. } = self.desired.borrow_and_update().clone();
        let (old, new) = (&self.wanted.pod.metadata, &wanted.pod.metadata);
        let facts_changed = old.labels != new.labels
            || old.annotations != new.annotations
            || self.wanted.members.iter().zip(&wanted.members).any(|(a, b)| a.spec.resources != b.spec.resources);
        if facts_changed && volumes::shows_the_pod(&wanted) {
            self.refresh();
        }
        self.reported = merged(std::mem::take(&mut self.reported), wanted.pod.status.as_ref());
        self.pending = pending;
        self.resizing.accepted(accepted);
        // Another image may not crash: it does not wait for what the one before did.
        let same = |name: &String| self.wanted.member(name).map(|m| &m.hash) == wanted.member(name).map(|m| &m.hash);
        self.crashes.retain(|name, _| same(name));
        self.wanted = wanted;
        self.removed |= removed;
    }

    async fn take(&mut self, note: Note) {
        match note {
            Note::Container(id) => self.look_at(&id).await,
            Note::Relist => _ = self.relist().await,
            Note::Mounted(result) => self.mounted(result),
            Note::Sandbox(result) => self.made_sandbox(result).await,
            Note::Started(name, result) => self.started(name, *result).await,
            Note::PostStart(id, running) => self.health.entry(id).or_default().post_start_running = running,
            Note::BroughtUp => self.bringing_up = false,
            Note::StopFailed(id) => {
                if let Some(stopping) = self.stopping.get_mut(&id) {
                    stopping.kill_at = None;
                }
                self.look_at(&id).await;
            }
            Note::Mirrored => self.writer.write_again(),
            Note::Contents => self.refresh(),
            Note::Resized(resized) => self.resized(*resized),
            Note::DriveAway(reason, message, grace) => self.drive_away(reason, message, grace),
            Note::HookDone(id) => {
                if let Some(stopping) = self.stopping.get_mut(&id) {
                    stopping.hook = Hook::Done;
                }
            }
            Note::SandboxStopped(result) => {
                if let Err(error) = result {
                    let text = format!("error killing pod: {error}");
                    self.agent.event(&self.wanted.reference(), EventType::Warning, "FailedKillPod", text);
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                self.stopping_sandbox = false;
                self.relist().await;
            }
            Note::Probe(id, kind, verdict) => {
                let health = self.health.entry(id).or_default();
                match kind {
                    Kind::Startup => health.startup = Some(verdict),
                    Kind::Readiness => health.readiness = Some(verdict),
                    Kind::Liveness => health.liveness = Some(verdict),
                }
            }
        }
    }

    /// Has the volumes brought up to date.
    fn refresh(&mut self) {
        let now = seams::clock::now();
        self.refresh_at = Some(now);
        if matches!(self.volumes, Volumes::Failed(_)) {
            self.volumes = Volumes::Failed(now);
        }
    }

    fn drive_away(&mut self, reason: &str, message: String, grace: Duration) {
        let since = seams::clock::now();
        match &mut self.ending {
            // What ends already only ends sooner.
            Some(ending) if ending.grace <= grace => {}
            Some(ending) => *ending = Ending { since, grace },
            None => {
                if reason == EVICTED {
                    self.agent.event(&self.wanted.reference(), EventType::Warning, reason, message.clone());
                }
                self.fail(reason, message, Cause::Evicted);
                self.ending = Some(Ending { since, grace });
            }
        }
    }

    /// Removes dead containers but the newest of each name (upstream's maximum-dead-containers-per-container: 1).
    fn collect_garbage(&mut self) {
        let mut surplus = Vec::new();
        for member in &self.wanted.members {
            let mut dead: Vec<&ContainerStatus> = self.containers.iter().filter(|c| c.name == member.name()).collect();
            dead.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_at)));
            let old = dead.iter().skip(1).filter(|c| c.state == ContainerState::Exited).skip(1);
            surplus.extend(old.map(|c| (c.id.clone(), c.log_path.clone())));
        }
        for (id, log) in surplus {
            self.containers.retain(|c| c.id != id);
            self.last_words.remove(&id);
            let runtime = self.agent.options.runtime.clone();
            tokio::spawn(async move {
                if let Err(error) = runtime.remove_container(&id).await {
                    tracing::debug!(container = id, %error, "dead container not removed");
                }
                let _ = tokio::fs::remove_file(log).await;
            });
        }
    }

    async fn look_at(&mut self, id: &str) {
        match self.agent.options.runtime.container_status(id).await {
            Ok(status) => self.keep(status).await,
            Err(RuntimeError::NotFound(_)) => self.containers.retain(|c| c.id != id),
            Err(error) => tracing::debug!(container = id, %error, "container not read"),
        }
    }

    async fn keep(&mut self, status: ContainerStatus) {
        if status.state == ContainerState::Exited {
            self.stopping.remove(&status.id);
            if !self.last_words.contains_key(&status.id) {
                let words = container::last_words(&self.wanted, &status).await;
                self.last_words.insert(status.id.clone(), words);
            }
        }
        if status.state == ContainerState::Running {
            // Started, also when that was by a call that was given up.
            self.failures.remove(&status.name);
        }
        match self.containers.iter_mut().find(|c| c.id == status.id) {
            // What was seen of its start may come after what was seen of its end.
            Some(place) if place.state == ContainerState::Exited && status.state != ContainerState::Exited => {}
            Some(place) => *place = status,
            None => self.containers.push(status),
        }
    }

    /// Reads all sandboxes and containers of the pod anew, and drops dead containers that nobody needs.
    /// Looks at everything anew; whether the runtime answered.
    async fn relist(&mut self) -> bool {
        let runtime = self.agent.options.runtime.clone();
        let (Ok(sandboxes), Ok(containers)) = (runtime.list_pod_sandboxes().await, runtime.list_containers().await)
        else {
            tracing::debug!(pod = self.wanted.name(), "the runtime did not list its containers");
            return false;
        };
        self.sandboxes = sandboxes.into_iter().filter(|s| s.uid == self.wanted.uid()).collect();
        self.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
        let own = |c: &ContainerStatus| self.sandboxes.iter().any(|s| s.id == c.sandbox_id);
        let list: Vec<ContainerStatus> = containers.into_iter().filter(own).collect();
        self.containers.retain(|c| list.iter().any(|l| l.id == c.id));
        for status in list {
            self.keep(status).await;
        }
        true
    }

    /// Nothing of the pod runs any more. `true` when the worker's work is over.
    async fn finish(&mut self) -> bool {
        let deleted = self.removed || self.wanted.pod.metadata.deletion_timestamp.is_some();
        let directory = self.agent.pod_dir(self.wanted.uid());
        if !deleted {
            if !self.settled {
                self.settled = true;
                self.agent.managers.release(self.wanted.uid());
                volumes::in_time(&directory, volumes::unmount_pod).await;
            }
            return false;
        }
        // By its sandbox a pod is found again whose agent died here: what it leaves in other places goes before.
        let _ = std::fs::remove_dir_all(self.agent.pod_log_dir(&self.wanted));
        let runtime = self.agent.options.runtime.clone();
        for sandbox in &self.sandboxes {
            if let Err(error) = runtime.remove_pod_sandbox(&sandbox.id).await {
                tracing::warn!(sandbox = sandbox.id, %error, "sandbox not removed");
                tokio::time::sleep(STOP_WAIT).await;
                let _ = self.notes.try_send(Note::Relist);
                return false;
            }
        }
        volumes::in_time(&directory, volumes::remove_pod_dir).await;
        if !self.removed && !self.wanted.is_static() {
            let spare = Writer::new(&self.agent.options.client, self.wanted.pod.clone());
            std::mem::replace(&mut self.writer, spare).delete().await;
        }
        true
    }
}
