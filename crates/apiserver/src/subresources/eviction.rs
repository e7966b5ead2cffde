//! `eviction` of pods: a deletion that asks the pod's disruption budget first.

use client::{DeleteOptions, Reply};
use machinery::object::ObjectExt;
use machinery::selector::LabelSelector;
use machinery::{ApiError, Entry, Value, time};
use resources::Target;
use std::sync::Arc;

use super::success;
use crate::kind::Kind;
use crate::request::{Attributes, Body, Served, decode};
use crate::verbs::update::{self, Source};
use crate::verbs::{Call, create, delete};

/// Seconds after which a refused eviction is tried again.
const RETRY_AFTER_SECONDS: u32 = 10;
/// Pods that a budget remembers as being disrupted (upstream's `MaxDisruptedPodSize`).
const DISRUPTED_PODS_MAX: usize = 2000;

/// Deletes a pod if its budget allows it.
pub(super) async fn evict(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (mut eviction, _) =
        decode::other(body, "policy/v1", "Eviction", "io.k8s.api.policy.v1.Eviction", call.validation)?;
    call.requested(&eviction);
    create::fit_to_url(call, &mut eviction)?;
    if eviction.name() != call.name() {
        return Err(ApiError::BadRequest("name in URL does not match name in Eviction object".to_owned()));
    }
    let (mut options, dry_run) = match eviction.get("deleteOptions").cloned() {
        Some(options) => decode::delete_options(Body::Tree(options), DeleteOptions::default())?,
        None => (DeleteOptions::default(), false),
    };
    let with_dry_run = client::Options { dry_run: call.options.dry_run || dry_run, ..call.options.clone() };
    let call = &Call { options: &with_dry_run, warnings: Vec::new(), ..*call };
    call.pipeline.feed.current().await?;
    let pod = call.kind.find(call.namespace(), call.name());
    let pod = pod.ok_or_else(|| ApiError::not_found(&call.kind.resource, call.name()))?;
    if !ignores_budgets(pod.tree()) {
        spend(call, pod.tree()).await?;
    }
    if !call.options.dry_run {
        announce(call, &mut options).await?;
    }
    delete::remove(call, call.name(), &options).await?;
    Ok(success(201))
}

/// Writes into the pod's status why it goes (condition `DisruptionTarget`, KEP-3329).
async fn announce(call: &Call<'_>, options: &mut DeleteOptions) -> Result<(), ApiError> {
    let mut write = Call { warnings: Vec::new(), ..*call };
    let edit = |pod: &Value| {
        delete::check_preconditions(call, call.name(), options, pod)?;
        let mut condition = Value::object();
        condition.set_at(&["type"], "DisruptionTarget");
        condition.set_at(&["status"], "True");
        condition.set_at(&["reason"], "EvictionByEvictionAPI");
        condition.set_at(&["message"], "Eviction API: evicting");
        condition.set_at(&["lastTransitionTime"], time::format(seams::clock::now()));
        let known = pod.at(&["status", "conditions"]).and_then(Value::as_array).cloned().unwrap_or_default();
        let is_target = |c: &Value| c.str_at(&["type"]) == Some("DisruptionTarget");
        let mut conditions: Vec<Value> = known.into_iter().filter(|c| !is_target(c)).collect();
        conditions.push(condition);
        let mut pod = pod.clone();
        pod.set_at(&["status", "conditions"], conditions);
        Ok(pod)
    };
    let served = update::run(&mut write, Target::Subresource("status"), Source::Edit(&edit)).await?;
    if let (Some(version), Reply::Object(entry)) = (&mut options.resource_version, served.reply) {
        *version = entry.revision.to_string();
    }
    Ok(())
}

/// Pods that are done, not running yet, or on their way out disturb nobody.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = pod.str_at(&["status", "phase"]).unwrap_or_default();
    pod.is_deleting() || matches!(phase, "Succeeded" | "Failed" | "Pending")
}

/// Takes one disruption from the pod's budget, when it has one.
async fn spend(call: &Call<'_>, pod: &Value) -> Result<(), ApiError> {
    let Some(kind) = call.pipeline.kinds.get("policy", "v1", "poddisruptionbudgets") else { return Ok(()) };
    let budgets = budgets_of(kind, pod)?;
    let budget = match &budgets[..] {
        [] => return Ok(()),
        [one] if goes_free(one.tree(), pod) => return Ok(()),
        [one] => one.tree().name().to_owned(),
        _ => {
            let message =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            return Err(ApiError::other(500, "", message));
        }
    };
    let attributes = Attributes { namespace: pod.namespace().to_owned(), name: budget, ..Attributes::default() };
    let options = client::Options { field_manager: String::new(), ..call.options.clone() };
    let mut write = Call {
        kind,
        attributes: &attributes,
        agent: "kube-apiserver",
        options: &options,
        warnings: Vec::new(),
        ..*call
    };
    let name = pod.name().to_owned();
    let edit = move |budget: &Value| spent(budget, &name);
    update::run(&mut write, Target::Subresource("status"), Source::Update(&edit)).await.map(|_| ())
}

/// Whether a pod that serves nobody may go without being counted (`spec.unhealthyPodEvictionPolicy`, KEP-3017): always, or by
/// default when the budget has all that it needs.
fn goes_free(budget: &Value, pod: &Value) -> bool {
    let conditions = pod.at(&["status", "conditions"]).and_then(Value::as_array);
    let ready = |c: &Value| c.str_at(&["type"]) == Some("Ready") && c.str_at(&["status"]) == Some("True");
    if conditions.is_some_and(|all| all.iter().any(ready)) {
        return false;
    }
    let number = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    let needs = number("desiredHealthy");
    let always = budget.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow");
    always || (needs > 0 && number("currentHealthy") >= needs)
}

fn budgets_of(kind: &Kind, pod: &Value) -> Result<Vec<Arc<Entry>>, ApiError> {
    let labels = pod.at(&["metadata", "labels"]);
    let stretch = kind.cache.stretch(&kind.row.key(pod.namespace(), ""), None, 0);
    let mut found = Vec::new();
    for (_, entry) in stretch.items {
        if LabelSelector::from_object(entry.tree().at(&["spec", "selector"]))?.matches(&labels) {
            found.push(entry);
        }
    }
    Ok(found)
}

/// The budget with one disruption less.
fn spent(budget: &Value, pod: &str) -> Result<Value, ApiError> {
    let number = |field: &str| budget.i64_at(&["status", field]).unwrap_or(0);
    let disrupted = budget.at(&["status", "disruptedPods"]).and_then(Value::as_object).map_or(0, machinery::Map::len);
    if number("observedGeneration") < budget.generation() {
        let why = format!("The disruption budget {} is still being processed by the server.", budget.name());
        return Err(refused(why));
    }
    if number("disruptionsAllowed") <= 0 || disrupted > DISRUPTED_PODS_MAX {
        let (needed, has) = (number("desiredHealthy"), number("currentHealthy"));
        let name = budget.name();
        let why = format!("The disruption budget {name} needs {needed} healthy pods and has {has} currently");
        return Err(refused(why));
    }
    let mut budget = budget.clone();
    budget.set_at(&["status", "disruptionsAllowed"], number_after(&budget));
    budget.set_at(&["status", "disruptedPods", pod], time::format(seams::clock::now()));
    Ok(budget)
}

fn number_after(budget: &Value) -> i64 {
    budget.i64_at(&["status", "disruptionsAllowed"]).unwrap_or(1) - 1
}

fn refused(why: String) -> ApiError {
    ApiError::TooManyRequests {
        message: "Cannot evict pod as it would violate the pod's disruption budget.".to_owned(),
        retry_after_seconds: RETRY_AFTER_SECONDS,
        causes: vec![("DisruptionBudget".to_owned(), why)],
    }
}
