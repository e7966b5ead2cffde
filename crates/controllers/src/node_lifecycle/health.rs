//! Heartbeats: a node whose lease and status stand still for too long is Unknown, and its pods are not ready.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use client::{Api, PatchKind, Shutdown, stopped};
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use machinery::ApiError;
use machinery::json::Value;
use tokio::time::Instant;

use super::{Lifecycle, condition};
use crate::pods;

/// How often heartbeats are looked at, and how long one may be missing (upstream's nodeMonitorPeriod and
/// nodeMonitorGracePeriod).
const PERIOD: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(50);
/// A node that never reported gets longer (upstream's nodeStartupGracePeriod).
const STARTUP_GRACE: Duration = Duration::from_secs(60);
const LEASES: &str = "kube-node-lease";
/// What becomes Unknown, in this order.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What was last seen of a node, and since when. Clocks of nodes do not matter: only that something changed.
struct Seen {
    heartbeat: (Option<String>, Option<String>),
    at: Instant,
}

pub async fn run(lifecycle: Arc<Lifecycle>, shutdown: Shutdown) {
    let mut seen = HashMap::new();
    let work = async {
        loop {
            lifecycle.look(&mut seen).await;
            tokio::time::sleep(PERIOD).await;
        }
    };
    tokio::select! {
        () = stopped(shutdown) => {}
        () = work => {}
    }
}

impl Lifecycle {
    async fn look(&self, seen: &mut HashMap<String, Seen>) {
        let nodes = self.context.informers.nodes.list();
        seen.retain(|name, _| nodes.iter().any(|n| n.metadata.name.as_ref() == Some(name)));
        for node in nodes {
            let name = node.metadata.name.clone().unwrap_or_default();
            let heartbeat = self.heartbeat(&node);
            let last =
                seen.entry(name.clone()).or_insert_with(|| Seen { heartbeat: heartbeat.clone(), at: Instant::now() });
            if last.heartbeat != heartbeat {
                *last = Seen { heartbeat, at: Instant::now() };
            }
            let grace = if condition(&node, "Ready").is_some() { GRACE } else { STARTUP_GRACE };
            let silent = last.at.elapsed() > grace;
            let done = if silent { self.set_unknown(&node).await } else { Ok(()) };
            let done = match done {
                Ok(()) => self.mark_pods(&node).await,
                failed => failed,
            };
            if let Err(error) = done {
                tracing::warn!(node = name, %error, "a node's state could not be written");
            }
        }
    }

    /// What changes when a node lives: its lease, or the time in its Ready condition.
    fn heartbeat(&self, node: &Node) -> (Option<String>, Option<String>) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let lease = self.context.informers.leases.get(LEASES, name);
        let renewed = lease.and_then(|l| l.spec.as_ref()?.renew_time.as_ref().map(|t| t.0.to_string()));
        let posted = condition(node, "Ready").and_then(|c| c.last_heartbeat_time.as_ref()).map(|t| t.0.to_string());
        (renewed, posted)
    }

    async fn set_unknown(&self, node: &Node) -> Result<(), ApiError> {
        let mut changed = node.clone();
        let list = changed.status.get_or_insert_default().conditions.get_or_insert_default();
        CONDITIONS.iter().for_each(|kind| make_unknown(list, kind, node));
        if changed.status == node.status {
            return Ok(());
        }
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let api = Api::<Node>::all(&self.client);
        api.replace_status(name, &changed).await?;
        let message = format!("Node {name} status is now: NodeNotReady");
        self.recorder.event_on(node, EventType::Normal, "NodeNotReady", message);
        Ok(())
    }

    /// Pods of a node that is not ready are not ready, so that services leave them out.
    async fn mark_pods(&self, node: &Node) -> Result<(), ApiError> {
        let Some(ready) = condition(node, "Ready").filter(|c| c.status != "True") else { return Ok(()) };
        // The agent itself says what it knows of its pods while it reports.
        if ready.status != "Unknown" {
            return Ok(());
        }
        let name = node.metadata.name.as_deref().unwrap_or_default();
        for pod in self.context.informers.pods.by_index("node", name) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let mut condition = Value::object();
            condition.set_at(&["type"], "Ready");
            condition.set_at(&["status"], "False");
            condition.set_at(&["lastTransitionTime"], seams::clock::now_seconds().to_string());
            let mut patch = Value::object();
            patch.set_at(&["metadata", "uid"], pod.metadata.uid.clone());
            patch.set_at(&["status", "conditions"], vec![condition]);
            let api = Api::<Pod>::namespaced(&self.client, pod.metadata.namespace.as_deref().unwrap_or_default());
            let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
            let patched = api.patch_status(pod_name, PatchKind::StrategicMerge, patch).await;
            patched.map(drop).or_else(|e| if e.is_not_found() || e.is_conflict() { Ok(()) } else { Err(e) })?;
            self.recorder.event_on(pod.as_ref(), EventType::Warning, "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }
}

fn make_unknown(list: &mut Vec<NodeCondition>, kind: &str, node: &Node) {
    let now = Time(seams::clock::now_seconds());
    let Some(known) = list.iter_mut().find(|c| c.type_ == kind) else {
        list.push(NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some("NodeStatusNeverUpdated".to_owned()),
            message: Some("Kubelet never posted node status.".to_owned()),
            last_heartbeat_time: node.metadata.creation_timestamp.clone(),
            last_transition_time: Some(now),
        });
        return;
    };
    if known.status != "Unknown" {
        known.status = "Unknown".to_owned();
        known.reason = Some("NodeStatusUnknown".to_owned());
        known.message = Some("Kubelet stopped posting node status.".to_owned());
        known.last_transition_time = Some(now);
    }
}
