//! What a budget's status says, from its pods and from how many of them there should be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use machinery::intstr::{IntOrPercent, Rounding};

use crate::pods;

/// How long an evicted pod may take until it is being deleted; after that it counts again.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
/// The condition that sums up the numbers.
const ALLOWED: &str = "DisruptionAllowed";

/// How many pods there should be, and how many of them have to be ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    pub pods: i32,
    pub healthy: i32,
}

/// Whether the number of pods that there should be matters, rather than that of those there are.
pub(super) fn needs_scales(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// What a budget expects of `count` pods, of which there should be `scale`.
pub(super) fn expected(budget: &PodDisruptionBudget, count: usize, scale: i32) -> Result<Expected, String> {
    let share = |value: &IntOrString| -> Result<i32, String> {
        let value = match value {
            IntOrString::Int(number) => IntOrPercent::Int(i64::from(*number)),
            IntOrString::String(text) => IntOrPercent::Text(text),
        };
        let number = value.scaled(i64::from(scale), Rounding::Up)?;
        Ok(i32::try_from(number).unwrap_or(i32::MAX))
    };
    let spec = budget.spec.clone().unwrap_or_default();
    Ok(match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => Expected { pods: scale, healthy: (scale - share(most)?).max(0) },
        (None, Some(IntOrString::Int(least))) => {
            Expected { pods: i32::try_from(count).unwrap_or(i32::MAX), healthy: *least }
        }
        (None, Some(least)) => Expected { pods: scale, healthy: share(least)? },
        (None, None) => Expected { pods: 0, healthy: 0 },
    })
}

/// The pods whose eviction was allowed and that are not being deleted yet.
#[derive(Debug, Default)]
pub(super) struct Disrupted {
    pub pods: BTreeMap<String, Time>,
    /// Those that were to be deleted and were not, in time.
    pub spared: Vec<Arc<Pod>>,
    /// When the first of the others would be late.
    pub recheck_after: Option<Duration>,
}

pub(super) fn disrupted(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], now: Timestamp) -> Disrupted {
    let mut found = Disrupted::default();
    let Some(known) = budget.status.as_ref().and_then(|s| s.disrupted_pods.as_ref()) else { return found };
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let Some(since) = known.get(name) else { continue };
        let deadline = since.0 + DELETION_TIMEOUT;
        if deadline < now {
            found.spared.push(pod.clone());
            continue;
        }
        let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
        // A moment after the deadline it is over.
        let left = left + Duration::from_millis(10);
        found.recheck_after = Some(found.recheck_after.map_or(left, |first| first.min(left)));
        found.pods.insert(name.to_owned(), since.clone());
    }
    found
}

/// The status that is true now.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    expected: Expected,
    disrupted: BTreeMap<String, Time>,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let leaves = |pod: &Pod| {
        let evicted = disrupted.contains_key(pod.metadata.name.as_deref().unwrap_or_default());
        evicted || pod.metadata.deletion_timestamp.is_some()
    };
    let healthy = pods.iter().filter(|pod| !leaves(pod) && pods::is_ready(pod)).count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if expected.pods > 0 { (healthy - expected.healthy).max(0) } else { 0 };
    let known = budget.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    PodDisruptionBudgetStatus {
        conditions: Some(with_condition(known, value, reason, "", budget.metadata.generation, now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected.pods),
        observed_generation: budget.metadata.generation,
    }
}

/// The status of a budget that could not be counted: nothing may go.
pub(super) fn failed(budget: &PodDisruptionBudget, error: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    let mut status = budget.status.clone().unwrap_or_default();
    let known = status.conditions.unwrap_or_default();
    status.disruptions_allowed = Some(0);
    status.conditions = Some(with_condition(&known, "False", "SyncFailed", error, status.observed_generation, now));
    status
}

/// The conditions with the one that sums up; its time changes with its value.
fn with_condition(
    known: &[Condition],
    value: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let mut conditions = known.to_vec();
    let old = conditions.iter().position(|c| c.type_ == ALLOWED).map(|at| conditions.remove(at));
    let since = old.filter(|c| c.status == value).map(|c| c.last_transition_time);
    conditions.push(Condition {
        last_transition_time: since.unwrap_or_else(|| Time(second(now))),
        message: message.to_owned(),
        observed_generation: generation,
        reason: reason.to_owned(),
        status: value.to_owned(),
        type_: ALLOWED.to_owned(),
    });
    conditions
}

fn second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use machinery::json::{Value, from_value};

    use super::*;

    fn budget(json: &str) -> PodDisruptionBudget {
        from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap()
    }

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}"}},"status":{{"conditions":[{{"type":"Ready","status":"{}"}}]}}}}"#,
            if ready { "True" } else { "False" }
        );
        Arc::new(from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap())
    }

    fn moment(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn what_is_expected() {
        let cases = [
            (r#"{"minAvailable":2}"#, false, Ok(Expected { pods: 3, healthy: 2 })),
            (r#"{"minAvailable":"28%"}"#, true, Ok(Expected { pods: 10, healthy: 3 })),
            (r#"{"maxUnavailable":1}"#, true, Ok(Expected { pods: 10, healthy: 9 })),
            (r#"{"maxUnavailable":"25%"}"#, true, Ok(Expected { pods: 10, healthy: 7 })),
            (r#"{"maxUnavailable":20}"#, true, Ok(Expected { pods: 10, healthy: 0 })),
            ("{}", false, Ok(Expected { pods: 0, healthy: 0 })),
            (
                r#"{"maxUnavailable":"x"}"#,
                true,
                Err("invalid value for IntOrString: invalid type: string is not a percentage".to_owned()),
            ),
        ];
        for (spec, scales, wanted) in cases {
            let budget = budget(&format!(r#"{{"spec":{spec}}}"#));
            assert_eq!((needs_scales(&budget), expected(&budget, 3, 10)), (scales, wanted), "{spec}");
        }
    }

    #[test]
    fn ready_pods_beyond_those_needed_may_go() {
        let budget = budget(r#"{"metadata":{"generation":4}}"#);
        let pods = [pod("a", true), pod("b", true), pod("c", false)];
        let cases = [(1, 3, 1, "SufficientPods"), (2, 3, 0, "InsufficientPods"), (0, 0, 0, "InsufficientPods")];
        for (healthy, count, allowed, reason) in cases {
            let status = status(&budget, &pods, Expected { pods: count, healthy }, BTreeMap::new(), moment(0));
            assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(2), Some(allowed)), "{healthy}");
            assert_eq!(status.conditions.unwrap()[0].reason, reason);
            assert_eq!(status.observed_generation, Some(4));
        }
        let evicted = BTreeMap::from([("a".to_owned(), Time(moment(0)))]);
        let status = status(&budget, &pods, Expected { pods: 3, healthy: 1 }, evicted, moment(0));
        assert_eq!((status.current_healthy, status.disruptions_allowed), (Some(1), Some(0)));
    }

    #[test]
    fn the_time_of_the_condition_changes_with_its_value() {
        let mut budget = budget("{}");
        let pods = [pod("a", true)];
        let mut time = |healthy: i32, now: i64| {
            let status = status(&budget, &pods, Expected { pods: 1, healthy }, BTreeMap::new(), moment(now));
            let since = status.conditions.as_ref().unwrap()[0].last_transition_time.0;
            budget.status = Some(status);
            since.duration_since(moment(0)).as_secs()
        };
        assert_eq!([time(1, 0), time(1, 5), time(0, 7), time(0, 9)], [0, 0, 7, 7]);
    }

    #[test]
    fn evicted_pods_that_stay_count_again() {
        let since = moment(0);
        let budget = budget(&format!(r#"{{"status":{{"disruptedPods":{{"a":"{since}","gone":"{since}"}}}}}}"#));
        let pods = [pod("a", true), pod("b", true)];
        let soon = disrupted(&budget, &pods, moment(20));
        assert_eq!(soon.pods.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(soon.recheck_after, Some(Duration::from_millis(100_010)));
        let late = disrupted(&budget, &pods, moment(121));
        assert_eq!((late.pods.len(), late.spared.len(), late.recheck_after), (0, 1, None));
    }

    #[test]
    fn what_cannot_be_counted_may_not_go() {
        let budget = budget(r#"{"status":{"disruptionsAllowed":3,"observedGeneration":2}}"#);
        let status = failed(&budget, "no", moment(0));
        let condition = &status.conditions.unwrap()[0];
        assert_eq!((status.disruptions_allowed, condition.reason.as_str()), (Some(0), "SyncFailed"));
        assert_eq!((condition.message.as_str(), condition.observed_generation), ("no", Some(2)));
    }
}
