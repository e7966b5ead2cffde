//! NoExecute taints: a pod that does not tolerate one goes at once, one that tolerates it for a while goes after it.

use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use client::reconcile::{self, Next};
use client::{Api, Change, DeleteOptions, ObjectKey, PatchKind, Queue, Shutdown};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use machinery::ApiError;

use super::Lifecycle;
use crate::pods;

const WORKERS: usize = 4;

pub async fn run(lifecycle: Arc<Lifecycle>, shutdown: Shutdown) {
    let queue = Queue::new();
    let (changed, all) = (queue.clone(), lifecycle.context.clone());
    lifecycle.context.informers.nodes.on_change(move |change| {
        let (old, new) = match change {
            Change::Applied { old, new } => (old.map(|o| moving(o)), moving(new)),
            Change::Deleted(_) => return,
        };
        if old.is_some_and(|old| old == new) || (old_is_empty(change) && new.is_empty()) {
            return;
        }
        let name = change.object().metadata.name.as_deref().unwrap_or_default();
        let pods = all.informers.pods.by_index("node", name);
        pods.iter().for_each(|pod| changed.add(ObjectKey::of(pod.as_ref())));
    });
    let (changed, all) = (queue.clone(), lifecycle.context.clone());
    lifecycle.context.informers.pods.on_change(move |change| {
        let pod = change.object();
        let node = node_of(pod).and_then(|name| all.informers.nodes.get("", name));
        if node.is_some_and(|node| !moving(&node).is_empty()) {
            changed.add(ObjectKey::of(pod.as_ref()));
        }
    });
    reconcile::run("taint-eviction-controller", WORKERS, queue, shutdown, move |key| {
        let lifecycle = lifecycle.clone();
        async move { lifecycle.evict_if_due(&key).await }
    })
    .await;
}

fn old_is_empty(change: &Change<'_, Node>) -> bool {
    matches!(change, Change::Applied { old: None, .. })
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// The taints of a node that move pods away.
fn moving(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    taints.filter(|t| t.effect == "NoExecute").cloned().collect()
}

impl Lifecycle {
    async fn evict_if_due(&self, key: &ObjectKey) -> Result<Next, ApiError> {
        let Some(pod) = self.context.informers.pods.get(&key.namespace, &key.name) else { return Ok(Next::Wait) };
        let node = node_of(&pod).and_then(|name| self.context.informers.nodes.get("", name));
        let Some(node) = node.filter(|_| pods::is_active(&pod)) else { return Ok(Next::Wait) };
        let now = seams::clock::now();
        match due(&pod, &moving(&node), now) {
            None => Ok(Next::Wait),
            Some(at) if at > now => Ok(Next::After(Duration::try_from(at.duration_since(now)).unwrap_or_default())),
            Some(_) => self.evict(&pod).await,
        }
    }

    async fn evict(&self, pod: &Pod) -> Result<Next, ApiError> {
        let (namespace, name) =
            (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
        let message = format!("Marking for deletion Pod {namespace}/{name}");
        self.recorder.event_on(pod, EventType::Normal, "TaintManagerEviction", message);
        let api = Api::<Pod>::namespaced(&self.client, namespace);
        let gone = |e: ApiError| if e.is_not_found() || e.is_conflict() { Ok(()) } else { Err(e) };
        let patch =
            pods::disruption_patch(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        api.patch_status(name, PatchKind::StrategicMerge, patch).await.map(drop).or_else(gone)?;
        let exactly = DeleteOptions { uid: pod.metadata.uid.clone(), ..DeleteOptions::default() };
        api.delete(name, exactly).await.or_else(gone)?;
        Ok(Next::Wait)
    }
}

/// When a pod has to go; `None` when it tolerates all for ever.
fn due(pod: &Pod, taints: &[Taint], now: Timestamp) -> Option<Timestamp> {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let times = taints.iter().filter_map(|taint| {
        let fitting: Vec<&Toleration> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if fitting.is_empty() {
            return Some(now);
        }
        let seconds = fitting.iter().filter_map(|t| t.toleration_seconds).min()?;
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        Some(since + SignedDuration::from_secs(seconds.max(0)))
    });
    times.min()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let of = |field: &Option<String>| field.clone().unwrap_or_default();
    let (effect, key) = (of(&toleration.effect), of(&toleration.key));
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        _ => !key.is_empty() && of(&toleration.value) == of(&taint.value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patience_ends_after_its_seconds() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"}))
                .unwrap();
        let cases = [
            (json!([]), Some("2026-01-01T00:10:00Z")),
            (json!([{"key": "k", "operator": "Exists"}]), None),
            (json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]), Some("2026-01-01T00:05:00Z")),
            (json!([{"operator": "Exists", "tolerationSeconds": 900}]), Some("2026-01-01T00:15:00Z")),
            (json!([{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), Some("2026-01-01T00:10:00Z")),
        ];
        for (tolerations, expected) in cases {
            let spec = json!({"containers": [], "tolerations": tolerations});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let expected = expected.map(|t| t.parse::<Timestamp>().unwrap());
            assert_eq!(due(&pod, std::slice::from_ref(&taint), now), expected, "{tolerations}");
        }
    }
}
