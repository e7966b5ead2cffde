//! A pod says that it is about to be disrupted (condition `DisruptionTarget`); when that does not happen, it is told so.

use std::sync::Arc;
use std::time::Duration;

use client::reconcile::{self, Next};
use client::{Api, Change, ObjectKey, PatchKind, Queue, Shutdown};
use k8s_openapi::api::core::v1::Pod;
use machinery::ApiError;
use machinery::json::Value;

use super::Disruption;
use crate::pods;

/// How long a pod may say so without being deleted.
const STALE_AFTER: Duration = Duration::from_secs(120);
const WORKERS: usize = 1;

/// Runs until shutdown.
pub(super) async fn run(disruption: Arc<Disruption>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    disruption.context.informers.pods.on_change(move |change| {
        if let Change::Applied { new, .. } = change
            && let Some(wait) = stale_in(new)
        {
            changed.add_after(ObjectKey::of(new.as_ref()), wait);
        }
    });
    disruption.context.informers.pods.synced().await;
    reconcile::run("stale-pod-disruption", WORKERS, queue, shutdown, move |key| {
        let disruption = disruption.clone();
        async move { reconcile(&disruption, &key).await }
    })
    .await;
}

/// How long until what a pod says about its disruption is stale; `None` when it says nothing, or will not be. What the node
/// says stays, and what an ended pod says.
fn stale_in(pod: &Pod) -> Option<Duration> {
    let condition = pods::condition(pod, "DisruptionTarget").filter(|c| c.status == "True")?;
    let lasts = condition.reason.as_deref() == Some("TerminationByKubelet") || pods::is_finished(pod);
    if lasts || pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let since = condition.last_transition_time.as_ref().map_or(Duration::MAX, |t| seams::clock::since(t.0));
    Some(STALE_AFTER.saturating_sub(since))
}

async fn reconcile(disruption: &Disruption, key: &ObjectKey) -> Result<Next, ApiError> {
    let Some(pod) = disruption.context.informers.pods.get(&key.namespace, &key.name) else { return Ok(Next::Wait) };
    match stale_in(&pod) {
        None => return Ok(Next::Wait),
        Some(wait) if !wait.is_zero() => return Ok(Next::After(wait)),
        Some(_) => {}
    }
    let mut condition = Value::object();
    condition.set_at(&["type"], "DisruptionTarget");
    condition.set_at(&["status"], "False");
    condition.set_at(&["lastTransitionTime"], seams::clock::now_seconds().to_string());
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], pod.metadata.uid.clone());
    patch.set_at(&["metadata", "resourceVersion"], pod.metadata.resource_version.clone());
    patch.set_at(&["status", "conditions"], vec![condition]);
    let api = Api::<Pod>::namespaced(&disruption.client, &key.namespace);
    match api.patch_status(&key.name, PatchKind::StrategicMerge, patch).await {
        Err(error) if error.is_not_found() => Ok(Next::Wait),
        written => written.map(|_| Next::Wait),
    }
}

#[cfg(test)]
mod tests {
    use machinery::json::from_value;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_disruption_is_stale_after_two_minutes() {
        let start = seams::clock::now_seconds();
        seams::clock::simulate(start);
        let pod = |status: &str, reason: &str, phase: &str| -> Pod {
            let json = format!(
                r#"{{"status":{{"phase":"{phase}","conditions":[{{"type":"DisruptionTarget","status":"{status}",
                "reason":"{reason}","lastTransitionTime":"{start}"}}]}}}}"#
            );
            from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap()
        };
        let evicted = pod("True", "EvictionByEvictionAPI", "Running");
        assert_eq!(stale_in(&evicted), Some(STALE_AFTER));
        for other in [
            pod("False", "EvictionByEvictionAPI", "Running"),
            pod("True", "TerminationByKubelet", "Running"),
            pod("True", "EvictionByEvictionAPI", "Failed"),
        ] {
            assert_eq!(stale_in(&other), None);
        }
        tokio::time::advance(STALE_AFTER + Duration::from_secs(5)).await;
        assert_eq!(stale_in(&evicted), Some(Duration::ZERO));
    }
}
