//! Reading pods: which count, which are ready and available, which go first.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use machinery::json::Value;

/// Annotation by which users say which pods go first when a set shrinks.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// A pod's phase; empty before there is one.
pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Whether it neither ended nor is on its way out.
pub fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && pod.metadata.deletion_timestamp.is_none()
}

/// Whether all its containers ended for good.
pub fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// A condition of a pod.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == kind)
}

/// Whether its Ready condition is true.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// Since when it is ready.
pub fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready").filter(|c| c.status == "True")?.last_transition_time.as_ref().map(|t| t.0)
}

/// When a pod counts as available: it is ready, and has been for `min_ready_seconds`. `None` while it is not ready.
pub fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    if !is_ready(pod) {
        return None;
    }
    if min_ready_seconds == 0 {
        return Some(Timestamp::MIN);
    }
    ready_since(pod).map(|since| since + SignedDuration::from_secs(min_ready_seconds.into()))
}

/// A patch of a pod's status that says that it is being disrupted, and by whom (condition `DisruptionTarget`, KEP-3329).
pub fn disruption_patch(pod: &Pod, reason: &str, message: &str) -> Value {
    let mut condition = Value::object();
    condition.set_at(&["type"], "DisruptionTarget");
    condition.set_at(&["status"], "True");
    condition.set_at(&["reason"], reason);
    condition.set_at(&["message"], message);
    condition.set_at(&["lastTransitionTime"], seams::clock::now_seconds().to_string());
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], pod.metadata.uid.clone());
    patch.set_at(&["status", "conditions"], vec![condition]);
    patch
}

/// Sorts pods so that those which should go first when a set shrinks come first (upstream's ActivePodsWithRanks).
pub fn sort_for_deletion(pods: &mut [Arc<Pod>]) {
    let mut on_node: HashMap<String, usize> = HashMap::new();
    for pod in pods.iter() {
        *on_node.entry(node_of(pod).to_owned()).or_default() += 1;
    }
    pods.sort_by(|a, b| {
        node_of(b)
            .is_empty()
            .cmp(&node_of(a).is_empty())
            .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
            .then_with(|| is_ready(a).cmp(&is_ready(b)))
            .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
            .then_with(|| on_node.get(node_of(b)).cmp(&on_node.get(node_of(a))))
            .then_with(|| newer_first(ready_since(a), ready_since(b)))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| newer_first(created(a), created(b)))
    });
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default()
}

fn phase_rank(pod: &Pod) -> u8 {
    match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let cost = pod.metadata.annotations.as_ref().and_then(|a| a.get(DELETION_COST));
    cost.and_then(|c| c.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|t| t.0)
}

/// Later times first; unknown ones before all.
fn newer_first(a: Option<Timestamp>, b: Option<Timestamp>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => b.cmp(&a),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ready: bool, cost: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.metadata.annotations = (!cost.is_empty()).then(|| [(DELETION_COST.to_owned(), cost.to_owned())].into());
        pod.spec = Some(PodSpec { node_name: Some(node.into()), ..PodSpec::default() });
        let condition = PodCondition { type_: "Ready".into(), status: "True".into(), ..PodCondition::default() };
        pod.status = Some(PodStatus {
            phase: Some(phase.into()),
            conditions: ready.then(|| vec![condition]),
            ..PodStatus::default()
        });
        Arc::new(pod)
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let mut pods = [
            pod("ready", "a", "Running", true, ""),
            pod("cheap", "a", "Running", true, "-5"),
            pod("unready", "a", "Running", false, ""),
            pod("pending", "a", "Pending", false, ""),
            pod("unassigned", "", "Pending", false, ""),
        ];
        sort_for_deletion(&mut pods);
        let names: Vec<_> = pods.iter().map(|p| p.metadata.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["unassigned", "pending", "unready", "cheap", "ready"]);
    }
}
