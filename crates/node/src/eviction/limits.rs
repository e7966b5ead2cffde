//! Limits on local disk: of emptyDir volumes, of containers and of pods as a whole. Only pods that have such limits are
//! measured.

use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::rank::{Measure, Using};
use super::whole;
use crate::agent::Agent;
use crate::quantity;
use crate::wanted::{Member, Role, Wanted};

/// Where a pod's emptyDir volumes on disk are.
pub fn empty_dirs(agent: &Agent, wanted: &Wanted) -> PathBuf {
    agent.pod_dir(wanted.uid()).join("volumes").join("kubernetes.io~empty-dir")
}

fn limit(member: &Member) -> Option<&Quantity> {
    member.spec.resources.as_ref()?.limits.as_ref()?.get("ephemeral-storage")
}

/// The emptyDir volumes on disk that have a limit.
fn limited_volumes(wanted: &Wanted) -> Vec<(String, Quantity)> {
    let volumes = wanted.spec().volumes.iter().flatten();
    let limited = volumes.filter_map(|volume| {
        let source = volume.empty_dir.as_ref().filter(|e| e.medium.as_deref().unwrap_or_default().is_empty())?;
        Some((volume.name.clone(), source.size_limit.clone().filter(|limit| quantity::value(limit) > 0)?))
    });
    limited.collect()
}

/// Has every pod evicted that uses more than it may; whether there was one.
pub async fn enforce(agent: &Arc<Agent>) -> bool {
    let mut evicted = false;
    for wanted in agent.pods().into_iter().filter(|w| !w.is_terminal()) {
        let volumes = limited_volumes(&wanted);
        if volumes.is_empty() && wanted.members.iter().all(|m| limit(m).is_none()) {
            continue;
        }
        if let Some(message) = exceeded(agent, &wanted, volumes).await {
            tracing::warn!(pod = wanted.full_name(), message, "evicting a pod");
            evicted |= agent.evict(wanted.uid(), message, super::GRACE_MIN);
        }
    }
    evicted
}

async fn exceeded(agent: &Agent, wanted: &Arc<Wanted>, volumes: Vec<(String, Quantity)>) -> Option<String> {
    let place = empty_dirs(agent, wanted);
    let walk = move || {
        volumes.into_iter().find(|(name, most)| whole(crate::disk::used_by(&place.join(name))) > quantity::value(most))
    };
    if let Some((name, most)) = tokio::task::spawn_blocking(walk).await.ok().flatten() {
        return Some(format!("Usage of EmptyDir volume {name:?} exceeds the limit {:?}. ", most.0));
    }
    if wanted.members.iter().all(|m| limit(m).is_none()) {
        return None;
    }
    let using = Using::of(agent, wanted.clone(), Measure::Disk).await;
    let limits = wanted.members.iter().filter(|m| m.role != Role::Ephemeral).filter_map(limit);
    let total: i64 = limits.map(quantity::value).sum();
    if whole(using.total()) > total {
        let text = quantity::of_bytes(total).0;
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {text}. "));
    }
    wanted.members.iter().find_map(|member| {
        let most = limit(member)?;
        let more = whole(using.container(member.name())) > quantity::value(most);
        let name = member.name();
        more.then(|| format!("Container {name} exceeded its local ephemeral storage limit {:?}. ", most.0))
    })
}
