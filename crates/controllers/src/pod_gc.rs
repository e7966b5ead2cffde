//! Pods that nobody else removes: too many that ended, those of nodes that are gone, those deleted before they had a node.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Api, Client, DeleteOptions, PatchKind, Shutdown, stopped};
use k8s_openapi::api::core::v1::{Node, Pod};
use machinery::ApiError;

use tokio::time::Instant;

use crate::context::Context;
use crate::pods;

/// How often pods are looked at (upstream's gcCheckPeriod).
const PERIOD: Duration = Duration::from_secs(20);
/// How long a node must be gone before its pods go.
const NODE_QUARANTINE: Duration = Duration::from_secs(40);
/// Most pods that ended and are kept (upstream's `--terminated-pod-gc-threshold`).
const TERMINATED_MAX: usize = 12_500;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let client = context.client_of("pod-garbage-collector");
    tokio::join!(context.informers.pods.synced(), context.informers.nodes.synced());
    let mut missing = HashMap::new();
    let work = async {
        loop {
            tokio::time::sleep(PERIOD).await;
            let doomed = doomed(&context, &mut missing);
            for (pod, why) in doomed {
                if let Err(error) = remove(&client, &pod, why).await {
                    tracing::warn!(pod = ?pod.metadata.name, %error, "a pod could not be removed");
                }
            }
        }
    };
    tokio::select! {
        () = stopped(shutdown) => {}
        () = work => {}
    }
}

/// Why a pod goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    TooMany,
    NodeGone,
    NodeOutOfService,
    NeverScheduled,
}

impl Why {
    /// What the pod's condition says; `None` for pods that ended by themselves.
    fn message(self) -> Option<&'static str> {
        match self {
            Self::TooMany => None,
            Self::NodeGone => Some("PodGC: node no longer exists"),
            Self::NodeOutOfService => Some("PodGC: node is out of service"),
            Self::NeverScheduled => Some("PodGC: pod is terminating and unscheduled"),
        }
    }
}

fn doomed(context: &Context, missing: &mut HashMap<String, Instant>) -> Vec<(Arc<Pod>, Why)> {
    let all = context.informers.pods.list();
    let nodes = &context.informers.nodes;
    let node_of = |pod: &Pod| pod.spec.as_ref().and_then(|s| s.node_name.clone()).unwrap_or_default();
    missing.retain(|name, _| nodes.get("", name).is_none());
    let mut doomed = Vec::new();
    for pod in &all {
        let (node, terminating) = (node_of(pod), pod.metadata.deletion_timestamp.is_some());
        if node.is_empty() {
            if terminating {
                doomed.push((pod.clone(), Why::NeverScheduled));
            }
            continue;
        }
        match nodes.get("", &node) {
            None => {
                let since = *missing.entry(node).or_insert_with(Instant::now);
                if since.elapsed() >= NODE_QUARANTINE {
                    doomed.push((pod.clone(), Why::NodeGone));
                }
            }
            Some(node) if terminating && is_out_of_service(&node) => doomed.push((pod.clone(), Why::NodeOutOfService)),
            Some(_) => {}
        }
    }
    doomed.extend(surplus(&all, TERMINATED_MAX).into_iter().map(|pod| (pod, Why::TooMany)));
    doomed
}

fn is_out_of_service(node: &Node) -> bool {
    let tainted = node.spec.iter().flat_map(|s| s.taints.iter().flatten()).any(|t| t.key == OUT_OF_SERVICE);
    let conditions = node.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
    tainted && !ready
}

/// The oldest pods that ended, beyond so many. Evicted ones go first.
fn surplus(all: &[Arc<Pod>], keep: usize) -> Vec<Arc<Pod>> {
    let ended = all.iter().filter(|p| pods::is_finished(p) && p.metadata.deletion_timestamp.is_none());
    let mut ended: Vec<Arc<Pod>> = ended.cloned().collect();
    let count = ended.len().saturating_sub(keep);
    if count > 0 {
        let evicted = |p: &Pod| p.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
        let created = |p: &Pod| p.metadata.creation_timestamp.as_ref().map(|t| t.0);
        ended.sort_by_key(|p| (!evicted(p), created(p)));
    }
    ended.truncate(count);
    ended
}

async fn remove(client: &Client, pod: &Pod, why: Why) -> Result<(), ApiError> {
    let api = Api::<Pod>::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let gone = |e: ApiError| if e.is_not_found() || e.is_conflict() { Ok(()) } else { Err(e) };
    if let Some(message) = why.message()
        && !pods::is_finished(pod)
    {
        let mut patch = pods::disruption_patch(pod, "DeletionByPodGC", message);
        patch.set_at(&["status", "phase"], "Failed");
        api.patch_status(name, PatchKind::StrategicMerge, patch).await.map(drop).or_else(gone)?;
    }
    let now =
        DeleteOptions { grace_period_seconds: Some(0), uid: pod.metadata.uid.clone(), ..DeleteOptions::default() };
    api.delete(name, now).await.or_else(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(name: &str, created: &str, reason: &str) -> Arc<Pod> {
        let meta = serde_json::json!({"name": name, "creationTimestamp": created});
        let status = serde_json::json!({"phase": "Failed", "reason": reason});
        Arc::new(serde_json::from_value(serde_json::json!({"metadata": meta, "status": status})).unwrap())
    }

    #[test]
    fn the_oldest_that_ended_go_first() {
        let all = [
            ended("new", "2026-01-03T00:00:00Z", ""),
            ended("old", "2026-01-01T00:00:00Z", ""),
            ended("evicted", "2026-01-02T00:00:00Z", "Evicted"),
        ];
        let names =
            |keep| -> Vec<String> { surplus(&all, keep).iter().filter_map(|p| p.metadata.name.clone()).collect() };
        assert_eq!(names(1), ["evicted", "old"]);
        assert!(names(3).is_empty());
    }
}
