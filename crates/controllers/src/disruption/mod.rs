//! Disruption budgets say how many of their pods may go: that is counted here, and evictions spend it.
//!
//! [`budget`] is the arithmetic, [`scales`] finds how many pods there should be, and [`stale_pods`] takes back what pods say
//! about a disruption that did not happen.

mod budget;
mod scales;
mod stale_pods;

use std::sync::Arc;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Api, Change, Client, ObjectKey, Queue, Shutdown, labels};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use machinery::ApiError;

use crate::context::Context;

const WORKERS: usize = 2;

/// What the parts share.
struct Disruption {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let disruption = Arc::new(Disruption {
        client: context.client_of("disruption-controller"),
        recorder: context.recorder("controllermanager"),
        context: context.clone(),
    });
    let queue = Queue::new();
    follow(&context, &queue);
    let informers = &context.informers;
    tokio::join!(informers.pods.synced(), informers.disruption_budgets.synced(), informers.stateful_sets.synced());
    tokio::join!(
        informers.deployments.synced(),
        informers.replica_sets.synced(),
        informers.replication_controllers.synced()
    );
    let counting = disruption.clone();
    let budgets = reconcile::run("disruption-controller", WORKERS, queue, shutdown.clone(), move |key| {
        let disruption = counting.clone();
        async move { disruption.reconcile(&key).await }
    });
    tokio::join!(budgets, stale_pods::run(disruption, shutdown));
}

/// Budgets are looked at when they, or pods that they select, change.
fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) {
    let changed = queue.clone();
    context.informers.disruption_budgets.on_change(move |change| {
        if matches!(change, Change::Applied { .. }) {
            changed.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    let (changed, budgets) = (queue.clone(), context.clone());
    context.informers.pods.on_change(move |change| {
        let old = if let Change::Applied { old: Some(old), .. } = change { Some(*old) } else { None };
        let namespace = change.object().metadata.namespace.clone().unwrap_or_default();
        for budget in budgets.informers.disruption_budgets.list_in(&namespace) {
            if covers(&budget, change.object()) || old.is_some_and(|old| covers(&budget, old)) {
                changed.add(ObjectKey::of(budget.as_ref()));
            }
        }
    });
}

/// Whether a pod is among those that a budget is about. A budget without a selector is about none, an empty one about all.
fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector.is_some_and(|s| labels::matches(s, pod.metadata.labels.as_ref()))
}

impl Disruption {
    async fn reconcile(&self, key: &ObjectKey) -> Result<Next, ApiError> {
        let Some(known) = self.context.informers.disruption_budgets.get(&key.namespace, &key.name) else {
            return Ok(Next::Wait);
        };
        let all = self.context.informers.pods.list_in(&key.namespace).into_iter();
        let pods: Vec<Arc<Pod>> = all.filter(|pod| covers(&known, pod)).collect();
        if pods.is_empty() {
            self.recorder.event_on(known.as_ref(), EventType::Normal, "NoPods", "No matching pods found");
        }
        match self.status(&known, &pods).await {
            Ok((status, next)) => {
                self.write(key, &known, status).await?;
                Ok(next)
            }
            // Nobody may evict what cannot be counted.
            Err(error) => {
                let text = format!("Failed to calculate the number of expected pods: {error}");
                self.recorder.event_on(known.as_ref(), EventType::Warning, "CalculateExpectedPodCountFailed", text);
                self.write(key, &known, budget::failed(&known, &error, seams::clock::now_seconds())).await?;
                Ok(Next::Wait)
            }
        }
    }

    /// What is true of a budget, and when it may no longer be.
    async fn status(
        &self,
        known: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
    ) -> Result<(PodDisruptionBudgetStatus, Next), String> {
        let scales = if budget::needs_scales(known) { Some(self.scales(pods).await?) } else { None };
        if scales.as_ref().is_some_and(|s| s.has_unmanaged) {
            self.say_unmanaged(known);
        }
        let expected = budget::expected(known, pods.len(), scales.as_ref().map_or(0, scales::Scales::total))?;
        let now = seams::clock::now();
        let disrupted = budget::disrupted(known, pods, now);
        for pod in &disrupted.spared {
            let (namespace, name) = (&known.metadata.namespace, &known.metadata.name);
            let budget =
                format!("{}/{}", namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default());
            let text = format!("Pod was expected by PDB {budget} to be deleted but it wasn't");
            self.recorder.event_on(pod.as_ref(), EventType::Warning, "NotDeleted", text);
        }
        let next = disrupted.recheck_after.map_or(Next::Wait, Next::After);
        Ok((budget::status(known, pods, expected, disrupted.pods, now), next))
    }

    async fn write(
        &self,
        key: &ObjectKey,
        known: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), ApiError> {
        if known.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let changed = PodDisruptionBudget { status: Some(status), ..known.clone() };
        let api = Api::<PodDisruptionBudget>::namespaced(&self.client, &key.namespace);
        match api.replace_status(&key.name, &changed).await {
            Err(error) if error.is_not_found() => Ok(()),
            written => written.map(drop),
        }
    }

    fn say_unmanaged(&self, known: &PodDisruptionBudget) {
        let selector = known.spec.as_ref().and_then(|s| s.selector.clone()).unwrap_or_default();
        let text = format!(
            "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status \
             of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods \
             please set \".spec.minAvailable\" field of the PDB to an integer value.",
            go_text(&selector)
        );
        self.recorder.event_on(known, EventType::Warning, "UnmanagedPods", text);
    }
}

/// A selector as Go prints it.
fn go_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},"));
    let requirements = selector.match_expressions.iter().flatten().map(|r| {
        let values = r.values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(" ");
        format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", r.key, r.operator)
    });
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{}}},MatchExpressions:[]LabelSelectorRequirement{{{}}},}}",
        labels.collect::<String>(),
        requirements.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_told_as_go_prints_it() {
        let selector =
            LabelSelector { match_labels: Some([("a".to_owned(), "b".to_owned())].into()), ..LabelSelector::default() };
        let text =
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},}";
        assert_eq!(go_text(&selector), text);
    }
}
