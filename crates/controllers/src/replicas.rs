//! An owner of identical pods has as many as it asks for: what replica sets and replication controllers have in common.

use std::sync::Arc;
use std::time::Duration;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Api, Change, Client, DeleteOptions, Informer, ObjectKey, PatchKind, Queue, Resource, Shutdown, labels};
use futures_util::future::join_all;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use machinery::ApiError;

use crate::context::{Context, Informers, orphans_of};
use crate::expectations::Expectations;
use crate::{owners, pods};

/// Most pods made or deleted in one go (upstream's BurstReplicas).
const BURST_MAX: usize = 500;
/// Keys worked on at a time.
const WORKERS: usize = 5;

/// An owner of identical pods.
pub trait Replicated: Resource {
    /// Name of the controller in the queue and in logs, and of its service account.
    const CONTROLLER: &'static str;
    /// Who its events are from.
    const COMPONENT: &'static str;

    /// The copies of all.
    fn informer(informers: &Informers) -> &Informer<Self>;
    /// How many pods are asked for.
    fn replicas(&self) -> Option<i32>;
    /// Whether it wants a pod with these labels.
    fn selects(&self, pod: &ObjectMeta) -> bool;
    /// What its pods are made of.
    fn template(&self) -> Option<&PodTemplateSpec>;
    /// How long a pod is ready before it counts as available.
    fn min_ready_seconds(&self) -> i32;
    /// What was last told.
    fn status(&self) -> Option<ReplicaSetStatus>;
    /// Tells what is. Fields that this kind has not are left out.
    fn set_status(&mut self, status: ReplicaSetStatus);
}

struct Replicas<K> {
    context: Arc<Context>,
    owners: Informer<K>,
    client: Client,
    recorder: Recorder,
    expectations: Expectations,
}

/// Runs until shutdown.
pub async fn run<K: Replicated>(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let owners = K::informer(&context.informers).clone();
    let controller = Arc::new(Replicas::<K> {
        context: context.clone(),
        owners: owners.clone(),
        client: context.client_of(K::CONTROLLER),
        recorder: context.recorder(K::COMPONENT),
        expectations: Expectations::default(),
    });
    let (changed, expectations) = (queue.clone(), controller.clone());
    owners.on_change(move |change| {
        let key = ObjectKey::of(change.object().as_ref());
        if let Change::Deleted(_) = change {
            expectations.expectations.forget(&key);
        }
        changed.add(key);
    });
    let (changed, observer) = (queue.clone(), controller.clone());
    context.informers.pods.on_change(move |change| observer.pod_changed(change, &changed));
    context.informers.pods.synced().await;
    owners.synced().await;
    reconcile::run(K::CONTROLLER, WORKERS, queue, shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(key).await }
    })
    .await;
}

impl<K: Replicated> Replicas<K> {
    fn pod_changed(&self, change: &Change<'_, Pod>, queue: &Queue<ObjectKey>) {
        let pod = change.object();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let owner_key = |pod: &Pod| {
            let owner = owners::controller_of(&pod.metadata).filter(|o| o.kind == K::KIND)?;
            Some(ObjectKey::new(namespace, &owner.name))
        };
        if let Change::Applied { old: Some(old), .. } = change
            && let Some(before) = owner_key(old)
        {
            queue.add(before);
        }
        let Some(key) = owner_key(pod) else {
            return self.orphan_changed(change, queue);
        };
        match change {
            Change::Applied { old: None, .. } => self.expectations.creation_seen(&key),
            Change::Deleted(_) => self.expectations.deletion_seen(&key, uid),
            Change::Applied { .. } => {}
        }
        if pod.metadata.deletion_timestamp.is_some() {
            self.expectations.deletion_seen(&key, uid);
        }
        queue.add(key);
    }

    /// A pod that nobody controls may be adopted by any set whose selector it matches.
    fn orphan_changed(&self, change: &Change<'_, Pod>, queue: &Queue<ObjectKey>) {
        let pod = change.object();
        if matches!(change, Change::Deleted(_)) || owners::controller_of(&pod.metadata).is_some() {
            return;
        }
        for set in self.owners.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            if set.selects(&pod.metadata) {
                queue.add(ObjectKey::of(set.as_ref()));
            }
        }
    }

    async fn reconcile(&self, key: ObjectKey) -> Result<Next, ApiError> {
        let Some(set) = self.owners.get(&key.namespace, &key.name) else {
            self.expectations.forget(&key);
            return Ok(Next::Wait);
        };
        let met = self.expectations.are_met(&key);
        let owned = self.claim_pods(&set).await?;
        let active: Vec<Arc<Pod>> = owned.into_iter().filter(|p| pods::is_active(p)).collect();
        let managed = if met && set.metadata().deletion_timestamp.is_none() {
            self.manage(&key, &set, &active).await
        } else {
            Ok(())
        };
        let status = status_of(set.as_ref(), &active, managed.as_ref().err());
        let next = next_availability(set.as_ref(), &active);
        if set.status().as_ref() != Some(&status) {
            let mut changed = set.as_ref().clone();
            changed.set_status(status);
            Api::<K>::namespaced(&self.client, &key.namespace).replace_status(&key.name, &changed).await?;
        }
        match managed {
            // What is being deleted with its namespace needs no pods.
            Err(error) if error.has_cause("NamespaceTerminating") => Ok(Next::Wait),
            managed => managed.map(|()| next),
        }
    }

    /// The pods that the set controls; orphans that match are adopted, owned ones that no longer match are released.
    async fn claim_pods(&self, set: &K) -> Result<Vec<Arc<Pod>>, ApiError> {
        let namespace = set.metadata().namespace.as_deref().unwrap_or_default();
        let uid = set.metadata().uid.clone().unwrap_or_default();
        let api = Api::<Pod>::namespaced(&self.client, namespace);
        let mut claimed = Vec::new();
        for pod in self.context.informers.pods.by_index("owner", &uid) {
            if set.selects(&pod.metadata) || pod.metadata.deletion_timestamp.is_some() {
                claimed.push(pod);
            } else if set.metadata().deletion_timestamp.is_none() {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let patch = owners::release_patch(&pod.metadata, &uid);
                owners::unless_gone(api.patch(name, PatchKind::StrategicMerge, patch).await)?;
            }
        }
        if set.metadata().deletion_timestamp.is_some() {
            return Ok(claimed);
        }
        let mut checked = false;
        for pod in self.context.informers.pods.by_index("owner", &orphans_of(namespace)) {
            if pods::is_active(&pod) && set.selects(&pod.metadata) {
                if !std::mem::replace(&mut checked, true) {
                    owners::check_may_adopt(&self.client, set).await?;
                }
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                let patch = owners::adopt_patch(&pod.metadata, set)?;
                claimed.extend(owners::unless_gone(api.patch(name, PatchKind::StrategicMerge, patch).await)?);
            }
        }
        Ok(claimed)
    }

    /// Makes or deletes pods until there are as many as asked for.
    async fn manage(&self, key: &ObjectKey, set: &K, active: &[Arc<Pod>]) -> Result<(), ApiError> {
        let wanted = wanted_replicas(set);
        if active.len() < wanted {
            self.grow(key, set, (wanted - active.len()).min(BURST_MAX)).await
        } else if active.len() > wanted {
            self.shrink(key, set, active, (active.len() - wanted).min(BURST_MAX)).await
        } else {
            Ok(())
        }
    }

    /// Makes pods in batches that double, so that a set whose pods are refused does not ask a hundred times.
    async fn grow(&self, key: &ObjectKey, set: &K, count: usize) -> Result<(), ApiError> {
        self.expectations.expect_creations(key, count);
        let pod = new_pod(set);
        let api = Api::<Pod>::namespaced(&self.client, &key.namespace);
        let (mut made, mut batch) = (0, 1);
        while made < count {
            let size = batch.min(count - made);
            let results = join_all((0..size).map(|_| api.create(&pod))).await;
            let mut failure = None;
            for result in results {
                match result {
                    Ok(pod) => self.say_made(set, &pod),
                    Err(error) => {
                        self.expectations.creation_seen(key);
                        self.recorder.event_on(
                            set,
                            EventType::Warning,
                            "FailedCreate",
                            format!("Error creating: {error}"),
                        );
                        failure = Some(error);
                    }
                }
            }
            made += size;
            batch *= 2;
            if let Some(error) = failure {
                (made..count).for_each(|_| self.expectations.creation_seen(key));
                return Err(error);
            }
        }
        Ok(())
    }

    fn say_made(&self, set: &K, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.recorder.event_on(set, EventType::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
    }

    async fn shrink(&self, key: &ObjectKey, set: &K, active: &[Arc<Pod>], count: usize) -> Result<(), ApiError> {
        let mut order = active.to_vec();
        pods::sort_for_deletion(&mut order);
        order.truncate(count);
        self.expectations.expect_deletions(key, order.iter().filter_map(|p| p.metadata.uid.clone()));
        let api = Api::<Pod>::namespaced(&self.client, &key.namespace);
        let deletions = order.iter().map(|pod| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            api.delete(name, DeleteOptions { uid: pod.metadata.uid.clone(), ..DeleteOptions::default() })
        });
        let results = join_all(deletions).await;
        let mut failure = None;
        for (pod, result) in order.iter().zip(results) {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match result {
                Ok(()) => {
                    self.recorder.event_on(set, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                }
                Err(error) => {
                    self.expectations.deletion_seen(key, pod.metadata.uid.as_deref().unwrap_or_default());
                    if !error.is_not_found() {
                        self.recorder.event_on(
                            set,
                            EventType::Warning,
                            "FailedDelete",
                            format!("Error deleting: {error}"),
                        );
                        failure = Some(error);
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn wanted_replicas<K: Replicated>(set: &K) -> usize {
    usize::try_from(set.replicas().unwrap_or(1)).unwrap_or(0)
}

/// A pod made of the set's template.
fn new_pod<K: Replicated>(set: &K) -> Pod {
    let name = set.metadata().name.as_deref().unwrap_or_default();
    let template = set.template().cloned().unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let metadata = ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: set.metadata().namespace.clone(),
        labels: meta.labels,
        annotations: meta.annotations,
        finalizers: meta.finalizers,
        owner_references: Some(vec![owners::reference_to(set)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec, status: None }
}

fn status_of<K: Replicated>(set: &K, active: &[Arc<Pod>], failure: Option<&ApiError>) -> ReplicaSetStatus {
    let now = seams::clock::now();
    let count =
        |keep: &dyn Fn(&Pod) -> bool| i32::try_from(active.iter().filter(|p| keep(p)).count()).unwrap_or(i32::MAX);
    let template = set.template().and_then(|t| t.metadata.as_ref());
    let template_labels = template.and_then(|m| m.labels.clone()).unwrap_or_default();
    let filled = |n: i32| (n != 0).then_some(n);
    let old = set.status().unwrap_or_default();
    ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: filled(count(&|p| labels::contains_all(p.metadata.labels.as_ref(), &template_labels))),
        ready_replicas: filled(count(&pods::is_ready)),
        available_replicas: filled(count(&|p| {
            pods::available_at(p, set.min_ready_seconds()).is_some_and(|at| at <= now)
        })),
        observed_generation: set.metadata().generation,
        conditions: conditions(old.conditions, set, active, failure),
        terminating_replicas: old.terminating_replicas,
    }
}

/// `ReplicaFailure` is there exactly while pods cannot be made or deleted.
fn conditions<K: Replicated>(
    old: Option<Vec<ReplicaSetCondition>>,
    set: &K,
    active: &[Arc<Pod>],
    failure: Option<&ApiError>,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut list = old.unwrap_or_default();
    let known = list.iter().position(|c| c.type_ == "ReplicaFailure");
    match (failure, known) {
        (Some(error), None) => list.push(ReplicaSetCondition {
            type_: "ReplicaFailure".to_owned(),
            status: "True".to_owned(),
            reason: Some(if active.len() < wanted_replicas(set) { "FailedCreate" } else { "FailedDelete" }.to_owned()),
            message: Some(error.to_string()),
            last_transition_time: Some(Time(seams::clock::now_seconds())),
        }),
        (None, Some(i)) => {
            list.remove(i);
        }
        _ => {}
    }
    (!list.is_empty()).then_some(list)
}

/// When the next ready pod becomes available by time alone.
fn next_availability<K: Replicated>(set: &K, active: &[Arc<Pod>]) -> Next {
    let now = seams::clock::now();
    let times = active.iter().filter_map(|p| pods::available_at(p, set.min_ready_seconds()));
    match times.filter(|at| *at > now).min() {
        Some(at) => {
            Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default() + Duration::from_millis(10))
        }
        None => Next::Wait,
    }
}
