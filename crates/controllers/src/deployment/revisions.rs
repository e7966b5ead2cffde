//! Which replica set is the template's; revision numbers; the history and its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::DeleteOptions;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use machinery::ApiError;

use super::hash::{HASH_LABEL, hash, same};
use super::{Deployments, Rollout, name_of, replicas_of, rolling, scale, status};
use crate::owners;

/// The number of a rollout, on the deployment and on its sets.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier numbers of a set that was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// How large the whole deployment is and may be, kept at each set for proportional scaling.
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that belong to the deployment alone.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
];
/// Most bytes of a set's earlier numbers.
const HISTORY_BYTES_MAX: usize = 2_000;

type Annotations = BTreeMap<String, String>;

/// The set of the current template: the oldest one that has it.
pub fn find_new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Arc<ReplicaSet>> {
    let wanted = &deployment.spec.as_ref()?.template;
    let has = |set: &&Arc<ReplicaSet>| {
        set.spec.as_ref().and_then(|s| s.template.as_ref()).is_some_and(|template| same(template, wanted))
    };
    sets.iter().find(has).cloned()
}

/// A set's revision; 0 when it has none.
pub fn revision(meta: &ObjectMeta) -> i64 {
    meta.annotations.as_ref().and_then(|a| a.get(REVISION)?.parse().ok()).unwrap_or(0)
}

impl Deployments {
    /// Sees to it that the template's set is there and has the highest number, which the deployment shows too.
    pub(super) async fn number(&self, rollout: &mut Rollout) -> Result<(), ApiError> {
        let highest = rollout.old().map(|set| revision(&set.metadata)).max().unwrap_or(0);
        match rollout.new.clone() {
            Some(new) => self.renumber(rollout, &new, highest + 1).await?,
            None => self.make_new(rollout, highest + 1).await?,
        }
        let Some(new) = &rollout.new else { return Ok(()) };
        let number = revision(&new.metadata).to_string();
        if rollout.deployment.metadata.annotations.as_ref().and_then(|a| a.get(REVISION)) != Some(&number) {
            let mut patch = machinery::json::Value::object();
            patch.set_at(&["metadata", "annotations", REVISION], number);
            let api = self.deployments_api(&rollout.deployment);
            let name = name_of(&rollout.deployment.metadata);
            // Through the status, as upstream: an annotation that comes otherwise counts as a wish of the user.
            rollout.deployment = api.patch_status(name, client::PatchKind::Merge, patch).await?;
        }
        Ok(())
    }

    pub(super) fn deployments_api(&self, deployment: &Deployment) -> client::Api<Deployment> {
        client::Api::namespaced(&self.client, deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    /// A set that becomes the newest again gets the next number, and keeps its earlier ones.
    async fn renumber(&self, rollout: &mut Rollout, new: &Arc<ReplicaSet>, next: i64) -> Result<(), ApiError> {
        let mut set = new.as_ref().clone();
        set.metadata.annotations = Some(annotations(rollout, new.metadata.annotations.clone(), next));
        let min_ready = rollout.deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
        if let Some(spec) = &mut set.spec {
            spec.min_ready_seconds = min_ready;
        }
        if set != **new {
            let updated = self.sets_api(&rollout.deployment).replace(name_of(&set.metadata), &set).await?;
            rollout.put(updated);
        }
        Ok(())
    }

    async fn make_new(&self, rollout: &mut Rollout, number: i64) -> Result<(), ApiError> {
        let deployment = rollout.deployment.clone();
        let Some(spec) = &deployment.spec else { return Ok(()) };
        let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
        let hash = hash(&spec.template, collisions)?;
        let mut set = new_set(&deployment, &spec.template, &hash);
        set.metadata.annotations = Some(annotations(rollout, None, number));
        let size = if rollout.is_recreate() { rollout.replicas() } else { rolling::size_of_new(rollout) };
        if let Some(spec) = &mut set.spec {
            spec.replicas = Some(size);
        }
        let api = self.sets_api(&deployment);
        match api.create(&set).await {
            Ok(made) => {
                if size > 0 {
                    self.say_scaled(&deployment, &made, 0, size);
                }
                rollout.new = Some(made.clone());
                rollout.put(made);
                Ok(())
            }
            Err(error) if error.is_already_exists() => self.collided(rollout, &set).await,
            Err(error) => {
                self.say_not_made(&deployment, &set, &error).await?;
                Err(error)
            }
        }
    }

    /// The name is taken: by this very set, which the informer has not seen yet, or by another template with the same hash.
    async fn collided(&self, rollout: &mut Rollout, set: &ReplicaSet) -> Result<(), ApiError> {
        let deployment = rollout.deployment.clone();
        let known = self.sets_api(&deployment).get(name_of(&set.metadata)).await?;
        let template = |s: &ReplicaSet| s.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
        if owners::is_controlled_by(&known.metadata, &deployment.metadata) && same(&template(&known), &template(set)) {
            rollout.new = Some(known.clone());
            rollout.put(known);
            return Ok(());
        }
        let mut changed = deployment.as_ref().clone();
        let status = changed.status.get_or_insert_default();
        status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
        self.deployments_api(&deployment).replace_status(name_of(&deployment.metadata), &changed).await?;
        Err(ApiError::Internal(format!("the name {} is taken by another template", name_of(&set.metadata))))
    }

    async fn say_not_made(
        &self,
        deployment: &Arc<Deployment>,
        set: &ReplicaSet,
        error: &ApiError,
    ) -> Result<(), ApiError> {
        let message = format!("Failed to create new replica set \"{}\": {error}", name_of(&set.metadata));
        self.recorder.event_on(
            deployment.as_ref(),
            client::events::EventType::Warning,
            "ReplicaSetCreateError",
            message.as_str(),
        );
        let mut changed = deployment.as_ref().clone();
        status::set_progressing(&mut changed, "False", "ReplicaSetCreateError", &message);
        if changed.status != deployment.status {
            self.deployments_api(deployment).replace_status(name_of(&deployment.metadata), &changed).await?;
        }
        Ok(())
    }

    /// Deletes the oldest empty sets beyond what `spec.revisionHistoryLimit` keeps.
    pub(super) async fn clean_up(&self, rollout: &Rollout) -> Result<(), ApiError> {
        let limit = rollout.deployment.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(10);
        let alive = rollout.old().filter(|set| set.metadata.deletion_timestamp.is_none());
        let mut old: Vec<&Arc<ReplicaSet>> = alive.collect();
        let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(usize::MAX));
        old.sort_by_key(|set| revision(&set.metadata));
        for set in old.into_iter().take(surplus).filter(|set| is_over(set)) {
            let exactly = DeleteOptions { uid: set.metadata.uid.clone(), ..DeleteOptions::default() };
            let deleted = self.sets_api(&rollout.deployment).delete(name_of(&set.metadata), exactly).await;
            deleted.or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
        }
        Ok(())
    }
}

/// Whether a set has no pods, wants none, and has been looked at since it last changed.
fn is_over(set: &ReplicaSet) -> bool {
    let status = set.status.clone().unwrap_or_default();
    let seen = status.observed_generation.unwrap_or(0) >= set.metadata.generation.unwrap_or(0);
    status.replicas == 0 && replicas_of(set) == 0 && seen
}

/// The annotations of the newest set: the deployment's, the number, and the sizes.
fn annotations(rollout: &Rollout, known: Option<Annotations>, next: i64) -> Annotations {
    let mut all = known.unwrap_or_default();
    let own = rollout.deployment.metadata.annotations.iter().flatten();
    all.extend(own.filter(|(k, _)| !OWN_ANNOTATIONS.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())));
    let old = all.get(REVISION).and_then(|r| r.parse::<i64>().ok()).unwrap_or(0);
    if old < next {
        if old > 0 {
            let history = all.get(REVISION_HISTORY).filter(|h| !h.is_empty());
            let longer = history.map_or_else(|| old.to_string(), |h| format!("{h},{old}"));
            let cut = longer.len().saturating_sub(HISTORY_BYTES_MAX);
            let from = if cut == 0 { 0 } else { longer[cut..].find(',').map_or(cut, |comma| cut + comma + 1) };
            all.insert(REVISION_HISTORY.to_owned(), longer[from..].to_owned());
        }
        all.insert(REVISION.to_owned(), next.to_string());
    }
    scale::put_sizes(&mut all, rollout);
    all
}

fn new_set(deployment: &Deployment, template: &PodTemplateSpec, hash: &str) -> ReplicaSet {
    let spec = deployment.spec.as_ref();
    let mut template = template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let labels = labels.clone();
    let mut selector: LabelSelector = spec.map(|s| s.selector.clone()).unwrap_or_default();
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.to_owned());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", name_of(&deployment.metadata))),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![owners::reference_to(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            min_ready_seconds: spec.and_then(|s| s.min_ready_seconds),
            selector,
            template: Some(template),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    }
}
