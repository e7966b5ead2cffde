//! A node's taints follow its conditions.

use std::sync::Arc;

use client::reconcile::{self, Next};
use client::{Api, ObjectKey, Queue, Shutdown};
use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use machinery::ApiError;

use super::{Lifecycle, condition};

/// A condition's state, and the taint that it makes.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// The taints that also move running pods away.
const MOVING: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub async fn run(lifecycle: Arc<Lifecycle>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    lifecycle.context.informers.nodes.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    reconcile::run("node-taints", 2, queue, shutdown, move |key| {
        let lifecycle = lifecycle.clone();
        async move { lifecycle.reconcile_taints(&key.name).await }
    })
    .await;
}

impl Lifecycle {
    async fn reconcile_taints(&self, name: &str) -> Result<Next, ApiError> {
        let Some(node) = self.context.informers.nodes.get("", name) else { return Ok(Next::Wait) };
        let known = node.spec.as_ref().and_then(|s| s.taints.clone()).unwrap_or_default();
        let wanted = wanted(&node, &known);
        if wanted != known {
            let mut changed = node.as_ref().clone();
            changed.spec.get_or_insert_default().taints = (!wanted.is_empty()).then_some(wanted);
            Api::<Node>::all(&self.client).replace(name, &changed).await?;
        }
        Ok(Next::Wait)
    }
}

/// The taints that a node should have: those of others as they are, ours by its conditions.
fn wanted(node: &Node, known: &[Taint]) -> Vec<Taint> {
    let mut keys: Vec<(&str, &str)> = Vec::new();
    for (kind, status, key) in BY_CONDITION {
        if condition(node, kind).is_some_and(|c| c.status == status) {
            keys.push((key, "NoSchedule"));
            if MOVING.contains(&key) {
                keys.push((key, "NoExecute"));
            }
        }
    }
    if node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false) {
        keys.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let is_ours = |taint: &Taint| {
        let by_condition = BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key);
        (by_condition || taint.key == UNSCHEDULABLE) && taint.effect != "PreferNoSchedule"
    };
    let is_wanted = |taint: &Taint| keys.iter().any(|(key, effect)| taint.key == *key && taint.effect == *effect);
    let mut taints: Vec<Taint> = known.iter().filter(|t| !is_ours(t) || is_wanted(t)).cloned().collect();
    for (key, effect) in keys {
        if !taints.iter().any(|t| t.key == key && t.effect == effect) {
            taints.push(Taint {
                key: key.to_owned(),
                effect: effect.to_owned(),
                time_added: Some(Time(seams::clock::now_seconds())),
                value: None,
            });
        }
    }
    taints
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(conditions: serde_json::Value, unschedulable: bool) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "n"},
            "spec": {"unschedulable": unschedulable},
            "status": {"conditions": conditions},
        }))
        .unwrap()
    }

    #[test]
    fn taints_follow_conditions() {
        let cases = [
            (json!([{"type": "Ready", "status": "True"}]), false, vec![]),
            (json!([{"type": "Ready", "status": "True"}]), true, vec!["unschedulable:NoSchedule"]),
            (json!([{"type": "Ready", "status": "False"}]), false, vec!["not-ready:NoSchedule", "not-ready:NoExecute"]),
            (
                json!([{"type": "Ready", "status": "Unknown"}, {"type": "DiskPressure", "status": "True"}]),
                false,
                vec!["unreachable:NoSchedule", "unreachable:NoExecute", "disk-pressure:NoSchedule"],
            ),
        ];
        for (conditions, unschedulable, expected) in cases {
            let node = node(conditions, unschedulable);
            let own = Taint { key: "mine".into(), effect: "NoExecute".into(), ..Taint::default() };
            let stale = Taint {
                key: "node.kubernetes.io/memory-pressure".into(),
                effect: "NoSchedule".into(),
                ..Taint::default()
            };
            let got = wanted(&node, &[own.clone(), stale]);
            assert_eq!(got[0], own);
            let short = |t: &Taint| format!("{}:{}", t.key.trim_start_matches("node.kubernetes.io/"), t.effect);
            assert_eq!(got[1..].iter().map(short).collect::<Vec<_>>(), expected);
            assert_eq!(wanted(&node, &got), got, "nothing changes twice");
        }
    }
}
