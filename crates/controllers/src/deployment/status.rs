//! What a deployment tells of itself.

use std::sync::Arc;
use std::time::Duration;

use client::reconcile::Next;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use machinery::ApiError;

use super::{Deployments, Rollout, name_of, rolling};

/// `spec.progressDeadlineSeconds` of this means none.
const NO_DEADLINE: i32 = i32::MAX;

/// What this reconcile did for the rollout: reason and message of the condition Progressing.
#[derive(Default)]
pub struct Progress(pub Vec<(&'static str, String)>);

impl Progress {
    /// The template's set was made, or found.
    pub fn set_of_template(&mut self, rollout: &Rollout, was_there: bool) {
        let Some(new) = &rollout.new else { return };
        let known = condition(&rollout.deployment, "Progressing").is_some();
        let name = name_of(&new.metadata);
        if !was_there {
            self.0.push(("NewReplicaSetCreated", format!("Created new replica set \"{name}\"")));
        } else if !known {
            self.0.push(("FoundNewReplicaSet", format!("Found new replica set \"{name}\"")));
        }
    }
}

/// A condition of a deployment.
pub fn condition<'a>(deployment: &'a Deployment, kind: &str) -> Option<&'a DeploymentCondition> {
    deployment.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

fn total(sets: &[Arc<ReplicaSet>], of: impl Fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32) -> i32 {
    sets.iter().filter_map(|set| set.status.as_ref()).map(of).sum()
}

fn counts(rollout: &Rollout, terminating: Option<i32>) -> DeploymentStatus {
    let all = &rollout.sets;
    let (replicas, available) = (total(all, |s| s.replicas), total(all, |s| s.available_replicas.unwrap_or(0)));
    let updated = rollout.new.as_ref().and_then(|new| new.status.as_ref()).map_or(0, |s| s.replicas);
    let known = rollout.deployment.status.clone().unwrap_or_default();
    let filled = |n: i32| (n != 0).then_some(n);
    DeploymentStatus {
        replicas: filled(replicas),
        updated_replicas: filled(updated),
        ready_replicas: filled(total(all, |s| s.ready_replicas.unwrap_or(0))),
        available_replicas: filled(available),
        unavailable_replicas: filled((all.iter().map(|s| super::replicas_of(s)).sum::<i32>() - available).max(0)),
        observed_generation: rollout.deployment.metadata.generation,
        collision_count: known.collision_count,
        conditions: known.conditions,
        terminating_replicas: terminating.or(known.terminating_replicas),
    }
}

/// Whether all pods are of the template and available, and no other is left.
pub fn is_complete(rollout: &Rollout) -> bool {
    let (wanted, now) = (rollout.replicas(), counts(rollout, None));
    let is = |count: Option<i32>| count.unwrap_or(0) == wanted;
    is(now.updated_replicas) && is(now.replicas) && is(now.available_replicas)
}

/// Puts the condition Progressing.
pub fn set_progressing(deployment: &mut Deployment, status: &str, reason: &str, message: &str) {
    let conditions = deployment.status.get_or_insert_default().conditions.get_or_insert_default();
    put(conditions, "Progressing", status, reason, message, true);
}

/// Puts a condition. An unchanged status and reason leave all as it is, unless `update` says that there is news.
fn put(conditions: &mut Vec<DeploymentCondition>, kind: &str, status: &str, reason: &str, message: &str, update: bool) {
    let now = Time(seams::clock::now_seconds());
    let known = conditions.iter().find(|c| c.type_ == kind);
    let same = known.filter(|c| c.status == status);
    if same.is_some_and(|c| c.reason.as_deref() == Some(reason)) && !update {
        return;
    }
    let since = same.and_then(|c| c.last_transition_time.clone()).unwrap_or_else(|| now.clone());
    let condition = DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(now),
        last_transition_time: Some(since),
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

impl Deployments {
    /// Writes the status if it changed, and says when to look again.
    pub(super) async fn write_status(
        &self,
        rollout: &Rollout,
        news: &[(&'static str, String)],
    ) -> Result<Next, ApiError> {
        let terminating = self.pods_of(rollout).iter().filter(|p| is_terminating(p)).count();
        let mut status = counts(rollout, i32::try_from(terminating).ok());
        let mut conditions = status.conditions.take().unwrap_or_default();
        put_available(&mut conditions, rollout, &status);
        put_progress(&mut conditions, rollout, &status, news);
        put_failure(&mut conditions, rollout);
        let next = next_deadline(&conditions, rollout, &status);
        status.conditions = (!conditions.is_empty()).then_some(conditions);
        if rollout.deployment.status.as_ref() != Some(&status) {
            let mut changed = rollout.deployment.as_ref().clone();
            changed.status = Some(status);
            let name = name_of(&changed.metadata).to_owned();
            self.deployments_api(&rollout.deployment).replace_status(&name, &changed).await?;
        }
        Ok(next)
    }
}

fn is_terminating(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && !crate::pods::is_finished(pod)
}

fn put_available(conditions: &mut Vec<DeploymentCondition>, rollout: &Rollout, status: &DeploymentStatus) {
    let least = rollout.replicas() - rolling::bounds(&rollout.deployment).unavailable;
    if status.available_replicas.unwrap_or(0) >= least {
        let message = "Deployment has minimum availability.";
        put(conditions, "Available", "True", "MinimumReplicasAvailable", message, false);
    } else {
        let message = "Deployment does not have minimum availability.";
        put(conditions, "Available", "False", "MinimumReplicasUnavailable", message, false);
    }
}

fn put_progress(
    conditions: &mut Vec<DeploymentCondition>,
    rollout: &Rollout,
    status: &DeploymentStatus,
    news: &[(&'static str, String)],
) {
    let is_paused_condition =
        |c: &DeploymentCondition| c.type_ == "Progressing" && c.reason.as_deref() == Some("DeploymentPaused");
    let was_paused = conditions.iter().any(is_paused_condition);
    if rollout.is_paused() {
        let message = "Deployment is paused";
        return put(conditions, "Progressing", "Unknown", "DeploymentPaused", message, false);
    }
    if was_paused {
        put(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", true);
    }
    for (reason, message) in news {
        put(conditions, "Progressing", "True", reason, message, true);
    }
    let of = rollout.new.as_ref().map_or_else(
        || format!("Deployment \"{}\"", name_of(&rollout.deployment.metadata)),
        |new| format!("ReplicaSet \"{}\"", name_of(&new.metadata)),
    );
    let reason = |list: &[DeploymentCondition]| {
        list.iter().find(|c| c.type_ == "Progressing").and_then(|c| c.reason.clone()).unwrap_or_default()
    };
    if is_complete(rollout) {
        let message = format!("{of} has successfully progressed.");
        put(conditions, "Progressing", "True", "NewReplicaSetAvailable", &message, false);
    } else if has_progressed(rollout, status) {
        let message = format!("{of} is progressing.");
        put(conditions, "Progressing", "True", "ReplicaSetUpdated", &message, true);
    } else if reason(conditions) != "NewReplicaSetAvailable" && is_late(conditions, rollout) {
        let message = format!("{of} has timed out progressing.");
        put(conditions, "Progressing", "False", "ProgressDeadlineExceeded", &message, false);
    }
}

/// Whether there is more of the new or less of the old than the status says.
fn has_progressed(rollout: &Rollout, now: &DeploymentStatus) -> bool {
    let before = rollout.deployment.status.clone().unwrap_or_default();
    let n = |count: Option<i32>| count.unwrap_or(0);
    let (old_before, old_now) =
        (n(before.replicas) - n(before.updated_replicas), n(now.replicas) - n(now.updated_replicas));
    n(now.updated_replicas) > n(before.updated_replicas)
        || old_now < old_before
        || n(now.ready_replicas) > n(before.ready_replicas)
        || n(now.available_replicas) > n(before.available_replicas)
}

/// When the rollout will have stood still for too long; `None` without a deadline.
fn deadline(conditions: &[DeploymentCondition], rollout: &Rollout) -> Option<Timestamp> {
    let seconds = rollout.deployment.spec.as_ref().and_then(|s| s.progress_deadline_seconds).unwrap_or(600);
    let progressing = conditions.iter().find(|c| c.type_ == "Progressing")?;
    let since = progressing.last_update_time.as_ref()?.0;
    (seconds != NO_DEADLINE).then(|| since + SignedDuration::from_secs(seconds.into()))
}

fn is_late(conditions: &[DeploymentCondition], rollout: &Rollout) -> bool {
    deadline(conditions, rollout).is_some_and(|deadline| deadline <= seams::clock::now())
}

fn next_deadline(conditions: &[DeploymentCondition], rollout: &Rollout, status: &DeploymentStatus) -> Next {
    let progressing = conditions.iter().find(|c| c.type_ == "Progressing");
    let over = progressing.is_some_and(|c| c.status == "False");
    let complete = status.updated_replicas.unwrap_or(0) == rollout.replicas() && is_complete(rollout);
    match deadline(conditions, rollout).filter(|_| !over && !complete && !rollout.is_paused()) {
        Some(deadline) => {
            let left = Duration::try_from(deadline.duration_since(seams::clock::now())).unwrap_or_default();
            Next::After(left + Duration::from_secs(1))
        }
        None => Next::Wait,
    }
}

/// `ReplicaFailure` is there while a set cannot make or delete pods.
fn put_failure(conditions: &mut Vec<DeploymentCondition>, rollout: &Rollout) {
    let of = |set: &Arc<ReplicaSet>| {
        let all = set.status.as_ref()?.conditions.as_ref()?;
        all.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True").cloned()
    };
    let failure = rollout.new.as_ref().and_then(of).or_else(|| rollout.sets.iter().find_map(of));
    match failure {
        Some(failure) => {
            let (reason, message) = (failure.reason.unwrap_or_default(), failure.message.unwrap_or_default());
            put(conditions, "ReplicaFailure", "True", &reason, &message, false);
        }
        None => conditions.retain(|c| c.type_ != "ReplicaFailure"),
    }
}
