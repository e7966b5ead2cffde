//! The scheduler: finds a node for each pod that has none.
//!
//! The way of a pod: [`queue`] (by priority, with back-off) → [`cycle`] (the plugins' filters and scores over the
//! [`cluster`]'s nodes) → assumed there at once → bound in the background ([`binding`]). Handlers of informers keep the
//! cluster current and wake those pods that a change may help.

mod binding;
mod cluster;
mod cycle;
mod framework;
mod plugins;
mod queue;
mod resources;
mod selectors;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use client::events::Recorder;
use client::{Api, Change, Client, Informer, Shutdown, stopped};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use tokio::sync::Notify;

use cluster::{Cluster, PodInfo};
use framework::Event;
use queue::Queue;

/// What the scheduler is told at start.
#[derive(Debug, Clone)]
pub struct Options {
    /// Pods with this `spec.schedulerName` are ours.
    pub scheduler_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { scheduler_name: "default-scheduler".to_owned() }
    }
}

/// What is known and what waits.
#[derive(Default)]
struct State {
    cluster: Cluster,
    queue: Queue,
}

/// What handlers, the loop and binding tasks share.
struct Scheduler {
    client: Client,
    recorder: Recorder,
    options: Options,
    state: Mutex<State>,
    wake: Notify,
}

/// Runs until shutdown. Boxed, so that the scheduler is compiled here and not by its caller.
pub fn run(client: Client, options: Options, shutdown: Shutdown) -> BoxFuture<'static, ()> {
    Box::pin(work(client, options, shutdown))
}

async fn work(client: Client, options: Options, shutdown: Shutdown) {
    let pods = Informer::<Pod>::start(Api::all(&client), client::Options::default());
    let nodes = Informer::<Node>::start(Api::all(&client), client::Options::default());
    let namespaces = Informer::<Namespace>::start(Api::all(&client), client::Options::default());
    let recorder = Recorder::new(&client, &options.scheduler_name, "");
    let scheduler = Arc::new(Scheduler { client, recorder, options, state: Mutex::default(), wake: Notify::new() });
    tokio::join!(pods.synced(), nodes.synced(), namespaces.synced());
    scheduler.follow(&pods, &nodes, &namespaces);
    tokio::select! {
        () = stopped(shutdown) => {}
        () = scheduler.work() => {}
    }
}

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn follow(self: &Arc<Self>, pods: &Informer<Pod>, nodes: &Informer<Node>, namespaces: &Informer<Namespace>) {
        let this = self.clone();
        namespaces.on_change(move |change| {
            let object = change.object();
            let name = object.metadata.name.clone().unwrap_or_default();
            let mut state = this.state();
            match change {
                Change::Applied { .. } => {
                    state.cluster.set_namespace(name, object.metadata.labels.clone().unwrap_or_default());
                }
                Change::Deleted(_) => state.cluster.remove_namespace(&name),
            }
        });
        let this = self.clone();
        nodes.on_change(move |change| this.node_changed(change));
        let this = self.clone();
        pods.on_change(move |change| this.pod_changed(change));
    }

    fn node_changed(&self, change: &Change<'_, Node>) {
        let mut state = self.state();
        match change {
            Change::Applied { old, new } => {
                let matters = old.is_none_or(|old| node_differs(old, new));
                state.cluster.set_node((*new).clone());
                if matters {
                    let event = if old.is_none() { Event::NodeAdded } else { Event::NodeChanged };
                    state.queue.cluster_changed(event);
                    self.wake.notify_one();
                }
            }
            Change::Deleted(node) => state.cluster.remove_node(node.metadata.name.as_deref().unwrap_or_default()),
        }
    }

    fn pod_changed(&self, change: &Change<'_, Pod>) {
        let pod = change.object();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let node = spec.and_then(|s| s.node_name.as_deref()).unwrap_or_default();
        let over = matches!(change, Change::Deleted(_)) || is_finished(pod);
        let mut state = self.state();
        if over {
            state.queue.remove(uid);
            if state.cluster.remove_pod(uid) {
                state.queue.cluster_changed(Event::PodRemoved);
            }
        } else if !node.is_empty() {
            state.queue.remove(uid);
            let is_new = state.cluster.set_pod(Arc::new(PodInfo::new(pod.clone())), node);
            let relabeled = |old: &&Arc<Pod>| old.metadata.labels != pod.metadata.labels;
            let changed = matches!(change, Change::Applied { old: Some(old), .. } if relabeled(old));
            if is_new || changed {
                state.queue.cluster_changed(Event::PodAdded);
            }
        } else if spec.and_then(|s| s.scheduler_name.as_deref()).unwrap_or("default-scheduler")
            == self.options.scheduler_name
            && pod.metadata.deletion_timestamp.is_none()
            && !state.cluster.is_assumed(uid)
        {
            state.queue.set(Arc::new(PodInfo::new(pod.clone())));
        } else if pod.metadata.deletion_timestamp.is_some() {
            state.queue.remove(uid);
        }
        self.wake.notify_one();
    }
}

fn is_finished(pod: &Pod) -> bool {
    matches!(pod.status.as_ref().and_then(|s| s.phase.as_deref()), Some("Succeeded" | "Failed"))
}

/// Whether a node changed in a way that filters see. Heartbeats do not count.
fn node_differs(old: &Node, new: &Node) -> bool {
    let seen = |node: &Node| {
        let spec = node.spec.clone().unwrap_or_default();
        let allocatable = node.status.as_ref().and_then(|s| s.allocatable.clone());
        (spec.taints, spec.unschedulable, allocatable, node.metadata.labels.clone())
    };
    seen(old) != seen(new)
}
