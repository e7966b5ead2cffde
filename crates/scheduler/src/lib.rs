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
mod volumes;

use std::sync::{Arc, Mutex, MutexGuard};

use client::events::Recorder;
use client::{Api, Change, Client, Informer, Resource, Shutdown, stopped};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use tokio::sync::{Notify, watch};

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
    /// A claim or a volume changed.
    volumes_changed: watch::Sender<()>,
}

/// Copies of what pods are weighed against.
struct Informers {
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    namespaces: Informer<Namespace>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
}

/// Runs until shutdown. Boxed, so that the scheduler is compiled here and not by its caller.
pub fn run(client: Client, options: Options, shutdown: Shutdown) -> BoxFuture<'static, ()> {
    Box::pin(work(client, options, shutdown))
}

async fn work(client: Client, options: Options, shutdown: Shutdown) {
    let informers = Informers {
        pods: informer(&client),
        nodes: informer(&client),
        namespaces: informer(&client),
        claims: informer(&client),
        volumes: informer(&client),
        classes: informer(&client),
    };
    let recorder = Recorder::new(&client, &options.scheduler_name, "");
    let (wake, volumes_changed) = (Notify::new(), watch::Sender::default());
    let scheduler = Arc::new(Scheduler { client, recorder, options, state: Mutex::default(), wake, volumes_changed });
    let Informers { pods, nodes, namespaces, claims, volumes, classes } = &informers;
    tokio::join!(pods.synced(), nodes.synced(), namespaces.synced());
    tokio::join!(claims.synced(), volumes.synced(), classes.synced());
    scheduler.follow(&informers);
    tokio::select! {
        () = stopped(shutdown) => {}
        () = scheduler.work() => {}
    }
}

fn informer<K: Resource>(client: &Client) -> Informer<K> {
    Informer::start(Api::all(client), client::Options::default())
}

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn follow(self: &Arc<Self>, informers: &Informers) {
        let this = self.clone();
        informers.namespaces.on_change(move |change| {
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
        informers.nodes.on_change(move |change| this.node_changed(change));
        // Before the pods that name them.
        self.follow_volumes(informers);
        let this = self.clone();
        informers.pods.on_change(move |change| this.pod_changed(change));
    }

    fn follow_volumes(self: &Arc<Self>, informers: &Informers) {
        let this = self.clone();
        informers.claims.on_change(move |change| {
            this.volume_changed(|known| match change {
                Change::Applied { new, .. } => known.set_claim((*new).clone()),
                Change::Deleted(claim) => known.remove_claim(claim),
            });
        });
        let this = self.clone();
        informers.volumes.on_change(move |change| {
            this.volume_changed(|known| match change {
                Change::Applied { new, .. } => known.set_volume((*new).clone()),
                Change::Deleted(volume) => known.remove_volume(volume.metadata.name.as_deref().unwrap_or_default()),
            });
        });
        let this = self.clone();
        informers.classes.on_change(move |change| {
            this.volume_changed(|known| match change {
                Change::Applied { new, .. } => known.set_class((*new).clone()),
                Change::Deleted(class) => known.remove_class(class.metadata.name.as_deref().unwrap_or_default()),
            });
        });
    }

    fn volume_changed(&self, apply: impl FnOnce(&mut volumes::Volumes)) {
        let mut state = self.state();
        apply(&mut state.cluster.volumes);
        state.queue.cluster_changed(Event::VolumeChanged);
        drop(state);
        self.volumes_changed.send_replace(());
        self.wake.notify_one();
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
