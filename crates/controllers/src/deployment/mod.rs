//! A deployment rolls its pods from one template to the next, through replica sets.
//!
//! The way of a reconcile: [`revisions`] find or make the replica set of the template and number it; [`rolling`] or
//! [`recreate`] say how large each set should be; [`status`] tells.

mod hash;
mod recreate;
mod revisions;
mod rolling;
mod scale;
mod status;

use std::sync::Arc;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Api, Change, Client, ObjectKey, PatchKind, Queue, Shutdown, labels};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::context::{Context, orphans_of};
use crate::{owners, pods};

const WORKERS: usize = 5;

/// What works on deployments.
struct Deployments {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
}

/// A deployment with its replica sets, as of now.
struct Rollout {
    deployment: Arc<Deployment>,
    /// All its sets, the oldest first.
    sets: Vec<Arc<ReplicaSet>>,
    /// The one of the current template, once it is there.
    new: Option<Arc<ReplicaSet>>,
}

impl Rollout {
    /// The sets of other templates.
    fn old(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        let new = self.new.as_ref().and_then(|n| n.metadata.uid.clone());
        self.sets.iter().filter(move |set| new.is_none() || set.metadata.uid != new)
    }

    /// A set as it is now stands for what was known of it.
    fn put(&mut self, set: Arc<ReplicaSet>) {
        let same = |other: &Arc<ReplicaSet>| other.metadata.uid == set.metadata.uid;
        if self.new.as_ref().is_some_and(same) {
            self.new = Some(set.clone());
        }
        match self.sets.iter_mut().find(|other| same(other)) {
            Some(known) => *known = set,
            None => self.sets.push(set),
        }
    }

    fn replicas(&self) -> i32 {
        self.deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn is_paused(&self) -> bool {
        self.deployment.spec.as_ref().and_then(|s| s.paused).unwrap_or(false)
    }

    fn is_recreate(&self) -> bool {
        let strategy = self.deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
        strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate")
    }
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let controller = Arc::new(Deployments {
        client: context.client_of("deployment-controller"),
        recorder: context.recorder("deployment-controller"),
        context: context.clone(),
    });
    follow(&context, &queue);
    let informers = &context.informers;
    tokio::join!(informers.deployments.synced(), informers.replica_sets.synced(), informers.pods.synced());
    reconcile::run("deployment-controller", WORKERS, queue, shutdown, move |key| {
        let controller = controller.clone();
        async move { controller.reconcile(&key).await }
    })
    .await;
}

fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) {
    let changed = queue.clone();
    context.informers.deployments.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let (changed, all) = (queue.clone(), context.clone());
    context.informers.replica_sets.on_change(move |change| {
        let sets = match change {
            Change::Applied { old, new } => [*old, Some(*new)],
            Change::Deleted(last) => [Some(*last), None],
        };
        for set in sets.into_iter().flatten() {
            match owners::controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => changed.add(key_in(&set.metadata, &owner.name)),
                Some(_) => {}
                None => {
                    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
                    let deployments = all.informers.deployments.list_in(namespace).into_iter();
                    let matching = deployments.filter(|d| selects(d, &set.metadata));
                    matching.for_each(|d| changed.add(ObjectKey::of(d.as_ref())));
                }
            }
        }
    });
    let (changed, all) = (queue.clone(), context.clone());
    // Recreate waits for the last pod of the old sets to go.
    context.informers.pods.on_change(move |change| {
        let gone = matches!(change, Change::Deleted(_)) || pods::is_finished(change.object());
        let meta = &change.object().metadata;
        let Some(owner) = owners::controller_of(meta).filter(|o| gone && o.kind == "ReplicaSet") else { return };
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let set = all.informers.replica_sets.get(namespace, &owner.name);
        let above = set.as_ref().and_then(|s| owners::controller_of(&s.metadata));
        if let Some(deployment) = above.filter(|o| o.kind == "Deployment") {
            changed.add(key_in(meta, &deployment.name));
        }
    });
}

fn key_in(meta: &ObjectMeta, name: &str) -> ObjectKey {
    ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), name)
}

fn selects(deployment: &Deployment, meta: &ObjectMeta) -> bool {
    let selector = deployment.spec.as_ref().map(|s| &s.selector);
    selector.is_some_and(|s| !labels::is_empty(s) && labels::matches(s, meta.labels.as_ref()))
}

fn replicas_of(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

fn name_of(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

impl Deployments {
    fn sets_api(&self, deployment: &Deployment) -> Api<ReplicaSet> {
        Api::namespaced(&self.client, deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApiError> {
        let Some(deployment) = self.context.informers.deployments.get(&key.namespace, &key.name) else {
            return Ok(Next::Wait);
        };
        if deployment.spec.as_ref().is_none_or(|s| labels::is_empty(&s.selector)) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.event_on(deployment.as_ref(), EventType::Warning, "SelectingAll", message);
            return Ok(Next::Wait);
        }
        let sets = self.claim(&deployment).await?;
        let mut rollout = Rollout { new: revisions::find_new(&deployment, &sets), deployment, sets };
        if rollout.deployment.metadata.deletion_timestamp.is_some() {
            return self.write_status(&rollout, &[]).await;
        }
        let mut news = status::Progress::default();
        if rollout.is_paused() || self.is_scaling(&rollout) {
            if rollout.new.is_some() {
                self.number(&mut rollout).await?;
            }
            self.scale_all(&mut rollout).await?;
            if rollout.is_paused() {
                self.clean_up(&rollout).await?;
            }
        } else if rollout.is_recreate() {
            self.recreate(&mut rollout, &mut news).await?;
        } else {
            self.roll(&mut rollout, &mut news).await?;
        }
        self.write_status(&rollout, &news.0).await
    }

    /// The sets that the deployment controls; orphans that match are adopted, owned ones that no longer match released.
    async fn claim(&self, deployment: &Arc<Deployment>) -> Result<Vec<Arc<ReplicaSet>>, ApiError> {
        let (meta, api) = (&deployment.metadata, self.sets_api(deployment));
        let (uid, namespace) = (meta.uid.clone().unwrap_or_default(), meta.namespace.as_deref().unwrap_or_default());
        let mut sets = Vec::new();
        for set in self.context.informers.replica_sets.by_index("owner", &uid) {
            if selects(deployment, &set.metadata) || meta.deletion_timestamp.is_some() {
                sets.push(set);
            } else {
                let patch = owners::release_patch(&set.metadata, &uid);
                let released = api.patch(name_of(&set.metadata), PatchKind::StrategicMerge, patch).await;
                owners::unless_gone(released)?;
            }
        }
        if meta.deletion_timestamp.is_none() {
            let mut checked = false;
            for set in self.context.informers.replica_sets.by_index("owner", &orphans_of(namespace)) {
                if set.metadata.deletion_timestamp.is_none() && selects(deployment, &set.metadata) {
                    if !std::mem::replace(&mut checked, true) {
                        owners::check_may_adopt(&self.client, deployment.as_ref()).await?;
                    }
                    let patch = owners::adopt_patch(&set.metadata, deployment.as_ref())?;
                    let adopted = api.patch(name_of(&set.metadata), PatchKind::StrategicMerge, patch).await;
                    sets.extend(owners::unless_gone(adopted)?);
                }
            }
        }
        let created = |set: &ReplicaSet| set.metadata.creation_timestamp.as_ref().map(|t| t.0);
        sets.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| a.metadata.name.cmp(&b.metadata.name)));
        Ok(sets)
    }

    /// The pods of a deployment's sets.
    fn pods_of(&self, rollout: &Rollout) -> Vec<Arc<Pod>> {
        let uids = rollout.sets.iter().filter_map(|set| set.metadata.uid.as_deref());
        uids.flat_map(|uid| self.context.informers.pods.by_index("owner", uid)).collect()
    }
}
