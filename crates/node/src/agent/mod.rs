//! The agent: one worker per pod, woken by the API, the runtime, probes and timers.

mod backoff;
mod bring_up;
mod container;
mod hooks;
mod image;
mod listening;
mod orphans;
mod probing;
mod resizes;
#[cfg(test)]
pub mod tests;
mod worker;
mod writer;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use client::events::{EventType, Recorder};
use client::{Api, Change, Informer, Options, Shutdown};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use runtime::RuntimeEvent;
use tokio::sync::{mpsc, watch};

use crate::allocation::Pending;
use crate::config::resources::ALL_PODS;
use crate::eviction::Pressure;
use crate::images::Access;
use crate::lock;
use crate::managers::Managers;
use crate::meter::Meter;
pub use crate::options::NodeOptions;
use crate::probes::Counts;
use crate::register::Machine;
use crate::sources::Sources;
use crate::static_pods::{Static, is_mirror};
use crate::wanted::Wanted;

/// How long a pod rests whose worker panicked.
const WORKER_WAIT: Duration = Duration::from_secs(5);
/// How long a runtime rests that does not answer.
const RUNTIME_WAIT: Duration = Duration::from_millis(500);

/// What the API wants of a pod.
#[derive(Clone)]
pub(crate) struct Desired {
    /// The pod with the resources that it was given.
    pub wanted: Arc<Wanted>,
    /// The pod as it is in the API; the very same when it was given all that it asks for.
    pub asked: Arc<Wanted>,
    /// Why it was not given what it asks for.
    pub pending: Option<Pending>,
    /// The generation of the last change of its resources that was taken on.
    pub accepted: Option<i64>,
    /// The object is gone from the API.
    pub removed: bool,
}

impl Desired {
    fn asks_for_more(&self) -> bool {
        let ends = self.removed || self.asked.is_terminal() || self.asked.pod.metadata.deletion_timestamp.is_some();
        !ends && !Arc::ptr_eq(&self.wanted, &self.asked)
    }
}

/// A pod's worker, seen from outside.
struct Handle {
    desired: watch::Sender<Desired>,
    notes: mpsc::Sender<worker::Note>,
}

/// What all workers share.
pub(crate) struct Agent {
    pub options: NodeOptions,
    pub recorder: Recorder,
    pub machine: Machine,
    /// What containers have for themselves: devices, CPUs, memory.
    pub managers: Managers,
    /// Who may use which image.
    pub images: Arc<Access>,
    services: Informer<Service>,
    nodes: Informer<Node>,
    /// What volumes are made of.
    pub sources: Sources,
    /// What the classes' cgroups have, as last set.
    classes: tokio::sync::Mutex<Vec<(&'static str, runtime::Resources)>>,
    /// What is counted of the agent's own work.
    pub meter: Meter,
    /// How often probes were made.
    pub probe_counts: Counts,
    /// A mirror pod came, changed or went.
    pub mirrors_changed: tokio::sync::Notify,
    /// What the node is short of.
    pub pressure: watch::Sender<Pressure>,
    /// The machine is about to end.
    pub shutting_down: watch::Sender<bool>,
    workers: Mutex<HashMap<String, Handle>>,
    allocations: Mutex<resizes::Allocations>,
    /// All pods that the API has for this node have workers.
    knows_pods: AtomicBool,
    /// Every running task of a worker holds a clone; it closes when the agent stops.
    shutdown: Shutdown,
}

impl Agent {
    /// Records an event.
    pub fn event(&self, about: &ObjectReference, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event(about, kind, reason, message);
    }

    /// The variables that name services to the pods of a namespace. A static pod must not wait until they are known.
    pub async fn service_variables(&self, namespace: &str, links: bool, must_wait: bool) -> Vec<(String, String)> {
        if must_wait {
            self.services.synced().await;
        }
        let mut services = Vec::new();
        services.extend(self.services.get("default", "kubernetes"));
        if links {
            let own = self.services.list_in(namespace);
            let master = |s: &Service| namespace == "default" && s.metadata.name.as_deref() == Some("kubernetes");
            services.extend(own.into_iter().filter(|s| !master(s)));
        }
        crate::config::services::variables(services.iter().map(Arc::as_ref))
    }

    /// The services of a namespace.
    pub fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.services.list_in(namespace)
    }

    /// The Node of this machine, as last seen.
    pub fn node(&self) -> Option<Arc<Node>> {
        self.nodes.get("", &self.options.node_name)
    }

    /// The pods that the API has for this node, as last wanted. What was removed there and is still ending here is left out: its
    /// place is given away, as upstream does.
    pub fn pods(&self) -> Vec<Arc<Wanted>> {
        let workers = lock(&self.workers);
        let desired = workers.values().map(|handle| handle.desired.borrow());
        desired.filter(|desired| !desired.removed).map(|desired| desired.wanted.clone()).collect()
    }

    /// What all pods together get: what the machine has less what is reserved. What evictions keep free is within: they
    /// come before the limit does.
    pub fn share_of_pods(&self) -> runtime::Resources {
        let kept = crate::register::reserved(&self.options);
        let milli_cpu = self.machine.milli_cpu.saturating_sub(kept.milli_cpu);
        runtime::Resources {
            cpu_shares: Some(crate::config::resources::shares(milli_cpu)),
            memory_limit: Some(self.machine.memory_bytes.saturating_sub(kept.memory)).filter(|limit| *limit > 0),
            ..runtime::Resources::default()
        }
    }

    /// Gives the cgroups of the classes the weight and the memory of the pods that are here now, and the one of all pods what
    /// they may have.
    pub async fn weigh_classes(&self) {
        let mut known = self.classes.lock().await;
        let pods = self.pods();
        let live = || pods.iter().filter(|pod| !pod.is_terminal()).map(Arc::as_ref);
        let none = runtime::Resources::default;
        let shares = crate::config::resources::class_shares(live()).into_iter();
        let shares = shares.map(|(group, weight)| (group, runtime::Resources { cpu_shares: Some(weight), ..none() }));
        let memory = self.options.limits.memory_qos.map(|memory| memory.classes(live()));
        let memory = memory.into_iter().flatten();
        let memory = memory.map(|(group, least)| (group, runtime::Resources { memory_request: Some(least), ..none() }));
        let whole = std::iter::once((ALL_PODS, self.share_of_pods()));
        let all: Vec<_> = whole.chain(shares).chain(memory).collect();
        for (group, resources) in all.iter().filter(|pair| !known.contains(pair)) {
            if let Err(error) = self.options.runtime.update_group(group, resources.clone()).await {
                tracing::warn!(group, %error, "what a class of pods gets was not set");
            }
        }
        *known = all;
    }

    /// Tells a pod's worker what the API wants; a new pod gets a worker.
    pub fn desire(self: &Arc<Self>, pod: &Arc<Pod>, removed: bool) {
        let asked = Arc::new(Wanted::new(pod.clone()));
        let uid = asked.uid().to_owned();
        let mut allocations = lock(&self.allocations);
        let wanted = self.given(&mut allocations, &asked);
        let mut workers = lock(&self.workers);
        if let Some(handle) = workers.get(&uid) {
            handle.desired.send_modify(|known| {
                let pending = known.pending.take().filter(|_| !Arc::ptr_eq(&wanted, &asked));
                *known = Desired { wanted, asked, pending, removed, ..known.clone() };
            });
            drop(workers);
            return self.decide_resizes(&mut allocations);
        }
        if removed {
            return;
        }
        let (desired, wants) = watch::channel(Desired { wanted, asked, pending: None, accepted: None, removed });
        let (notes, inbox) = mpsc::channel(worker::NOTES_MAX);
        workers.insert(uid.clone(), Handle { desired, notes: notes.clone() });
        drop(workers);
        self.decide_resizes(&mut allocations);
        drop(allocations);
        let (agent, last) = (self.clone(), wants.clone());
        tokio::spawn(async move {
            let work = worker::Worker::new(agent.clone(), wants, notes, inbox).run();
            let ended = std::panic::AssertUnwindSafe(work).catch_unwind().await;
            lock(&agent.workers).remove(&uid);
            agent.release(&uid);
            agent.sources.release(&uid);
            agent.probe_counts.forget(&uid);
            if ended.is_ok() && !*agent.shutdown.borrow() {
                agent.managers.release(&uid);
            }
            agent.weigh_classes().await;
            if ended.is_err() {
                // A bug in one pod's work must not end the others': a new worker starts from what the runtime has.
                tracing::error!(pod = uid, "a pod's worker panicked; it starts anew");
                tokio::time::sleep(WORKER_WAIT).await;
                let Desired { asked, removed, .. } = last.borrow().clone();
                agent.desire(&asked.pod, removed);
            }
        });
    }

    /// Whether all pods are known that the API has for this node. Before that, what is not known is not gone.
    pub fn knows_its_pods(&self) -> bool {
        self.knows_pods.load(Ordering::Acquire)
    }

    /// Has workers look at their pods anew.
    pub fn look_again(&self, uids: &BTreeSet<String>) {
        let workers = lock(&self.workers);
        for handle in uids.iter().filter_map(|uid| workers.get(uid)) {
            // A full inbox means that the worker looks at everything anew soon.
            let _ = handle.notes.try_send(worker::Note::Relist);
        }
    }

    /// Whether a pod is worked on.
    pub fn has_worker(&self, uid: &str) -> bool {
        lock(&self.workers).contains_key(uid)
    }

    /// A static pod is shown in the API from now on: its status is written there.
    pub fn mirrored(&self, uid: &str) {
        if let Some(handle) = lock(&self.workers).get(uid) {
            let _ = handle.notes.try_send(worker::Note::Mirrored);
        }
    }

    /// Tells pods' workers that what their volumes are made of changed.
    fn contents_changed(&self, uids: &BTreeSet<String>) {
        let workers = lock(&self.workers);
        for handle in uids.iter().filter_map(|uid| workers.get(uid)) {
            // A full inbox is asked again: what is not refreshed now would stay old.
            if let Err(mpsc::error::TrySendError::Full(note)) = handle.notes.try_send(worker::Note::Contents) {
                let notes = handle.notes.clone();
                tokio::spawn(async move { notes.send(note).await });
            }
        }
    }

    /// The pod as the API has it, while it is worked on.
    pub fn asked(&self, uid: &str) -> Option<Arc<Wanted>> {
        lock(&self.workers).get(uid).map(|handle| handle.desired.borrow().asked.clone())
    }

    /// Has a pod evicted, whose containers get so long. Whether its worker was told.
    pub fn evict(&self, uid: &str, message: String, grace: Duration) -> bool {
        self.drive_away(uid, worker::EVICTED, message, grace)
    }

    /// Has a pod end for this reason, whose containers get so long. Whether its worker was told.
    pub fn drive_away(&self, uid: &str, reason: &'static str, message: String, grace: Duration) -> bool {
        let note = worker::Note::DriveAway(reason, message, grace);
        lock(&self.workers).get(uid).is_some_and(|handle| handle.notes.try_send(note).is_ok())
    }

    /// Passes a runtime's event on to the pod's worker.
    fn heard(&self, event: RuntimeEvent) {
        let (uid, note) = match event {
            RuntimeEvent::Container { pod_uid, container_id, .. } => (pod_uid, worker::Note::Container(container_id)),
            RuntimeEvent::Sandbox { pod_uid, .. } => (pod_uid, worker::Note::Relist),
        };
        if let Some(handle) = lock(&self.workers).get(&uid) {
            // A full inbox means that the worker looks at everything anew soon.
            let _ = handle.notes.try_send(note);
        }
    }
}

/// Runs the node agent until the signal to stop. Containers go on running. Boxed, so that the agent is compiled here and not
/// by its caller.
pub fn run(options: NodeOptions, shutdown: Shutdown) -> BoxFuture<'static, std::io::Result<()>> {
    Box::pin(work(options, shutdown))
}

async fn work(options: NodeOptions, shutdown: Shutdown) -> std::io::Result<()> {
    std::fs::create_dir_all(options.data_dir.join("pods"))?;
    std::fs::create_dir_all(&options.log_dir)?;
    let probe_counts = Counts::default();
    let machine = Machine::read(&options);
    let managers = Managers::open(&options.policies, &options.root_dir, Path::new("/sys"), &machine)?;
    let sockets = managers.listen()?;
    let images = Access::open(&options.data_dir.join("image_manager"), options.image_verification.clone())?.into();
    let events = options.runtime.events();
    let recorder = Recorder::new(&options.client, "kubelet", &options.node_name);
    let services = Informer::start(Api::all(&options.client), Options::default());
    let own = Options { field_selector: format!("metadata.name={}", options.node_name), ..Options::default() };
    let nodes = Informer::start(Api::all(&options.client), own);
    let mine = format!("spec.nodeName={}", options.node_name);
    let pods =
        Informer::<Pod>::start(Api::all(&options.client), Options { field_selector: mine, ..Options::default() });
    let (workers, allocations) = (Mutex::default(), Mutex::default());
    let agent = Arc::new_cyclic(|own: &Weak<Agent>| {
        let own = own.clone();
        let told = move |uids: &BTreeSet<String>| {
            if let Some(agent) = own.upgrade() {
                agent.contents_changed(uids);
            }
        };
        let sources = Sources::new(&options.client, told);
        let (pressure, shutdown) = (watch::Sender::default(), shutdown.clone());
        let classes = tokio::sync::Mutex::default();
        let mirrors_changed = tokio::sync::Notify::new();
        Agent {
            options,
            recorder,
            machine,
            managers,
            images,
            services,
            nodes,
            sources,
            classes,
            meter: Meter::default(),
            probe_counts,
            mirrors_changed,
            pressure,
            shutting_down: watch::Sender::new(false),
            workers,
            allocations,
            knows_pods: AtomicBool::new(false),
            shutdown,
        }
    });
    let listener = tokio::net::TcpListener::bind(agent.options.listen).await?;
    // Static pods need no API: they start before it answers.
    let mut statics = Static::default();
    statics.read(&agent);
    let tasks = [
        tokio::spawn(crate::static_pods::keep(agent.clone(), statics, pods.clone())),
        tokio::spawn(crate::register::keep(agent.clone())),
        tokio::spawn(crate::managers::keep(agent.clone(), sockets)),
        tokio::spawn(crate::server::serve(agent.clone(), listener)),
        tokio::spawn(crate::logs::rotate::keep(agent.options.runtime.clone())),
        tokio::spawn(crate::eviction::keep(agent.clone())),
        tokio::spawn(crate::images::keep(agent.clone())),
        tokio::spawn(settle_pulls(agent.clone())),
        tokio::spawn(resizes::keep(agent.clone())),
        tokio::spawn(crate::shutdown::keep(agent.clone())),
        tokio::spawn(follow(agent.clone(), pods, events)),
    ];
    client::stopped(shutdown).await;
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(())
}

async fn settle_pulls(agent: Arc<Agent>) {
    agent.images.settle(&agent.options.runtime).await;
}

async fn follow(
    agent: Arc<Agent>,
    pods: Informer<Pod>,
    mut events: futures_util::stream::BoxStream<'static, RuntimeEvent>,
) {
    pods.synced().await;
    let mut known: BTreeSet<String> = pods.list().iter().filter_map(|p| p.metadata.uid.clone()).collect();
    known.extend(lock(&agent.workers).keys().cloned());
    tokio::spawn(orphans::end(agent.clone(), known));
    agent.mirrors_changed.notify_one();
    let own = agent.clone();
    pods.on_change(move |change| match change {
        Change::Applied { new: pod, .. } | Change::Deleted(pod) if is_mirror(pod) => own.mirrors_changed.notify_one(),
        Change::Applied { new, .. } => own.desire(new, false),
        Change::Deleted(last) => own.desire(last, true),
    });
    agent.open_resizes();
    agent.knows_pods.store(true, Ordering::Release);
    while let Some(event) = events.next().await {
        agent.heard(event);
    }
}
