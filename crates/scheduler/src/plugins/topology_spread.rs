//! PodTopologySpread: pods of a kind are spread evenly over zones, nodes or whatever a node label tells apart.

use std::collections::HashMap;

use client::labels;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Event, Normalize, Plugin, Prepared, Score};
use crate::selectors::{allows_node, tolerates, with_own_labels};

pub const PLUGIN: Plugin = Plugin {
    name: "PodTopologySpread",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged | Event::PodAdded | Event::PodRemoved),
    filter: Some(filter),
    score: Some(score),
    weight: 2,
};

const REASON: &str = "node(s) didn't match pod topology spread constraints";

/// A constraint with the pods counted by domain.
struct Counted<'a> {
    constraint: &'a TopologySpreadConstraint,
    domains: HashMap<String, i64>,
    /// Whether the pod itself counts.
    own: i64,
}

fn constraints(pod: &PodInfo, hard: bool) -> Vec<&TopologySpreadConstraint> {
    let all = pod.pod.spec.iter().flat_map(|s| s.topology_spread_constraints.iter().flatten());
    all.filter(|c| (c.when_unsatisfiable == "DoNotSchedule") == hard).collect()
}

/// Whether a node's pods count (`nodeAffinityPolicy`, `nodeTaintsPolicy`; KEP-3094).
fn counts(constraint: &TopologySpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    let affinity = constraint.node_affinity_policy.as_deref() == Some("Ignore") || allows_node(&pod.pod, &node.node);
    let taints = || {
        let spec = pod.pod.spec.as_ref();
        let tolerations = spec.and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
        let mut hard = node.node.spec.iter().flat_map(|s| s.taints.iter().flatten());
        hard.all(|t| {
            let value = t.value.as_deref().unwrap_or_default();
            t.effect == "PreferNoSchedule" || tolerations.iter().any(|own| tolerates(own, &t.key, value, &t.effect))
        })
    };
    affinity && (constraint.node_taints_policy.as_deref() != Some("Honor") || taints())
}

fn count<'a>(pod: &PodInfo, cluster: &Cluster, all: &[&'a TopologySpreadConstraint]) -> Vec<Counted<'a>> {
    let own_labels = pod.pod.metadata.labels.as_ref();
    let counted = all.iter().map(|constraint| {
        let keys = constraint.match_label_keys.as_ref();
        let selector = with_own_labels(constraint.label_selector.as_ref(), own_labels, keys, None);
        let means = |other: &PodInfo, s: &LabelSelector| {
            let meta = &other.pod.metadata;
            meta.namespace == pod.pod.metadata.namespace
                && meta.deletion_timestamp.is_none()
                && labels::matches(s, meta.labels.as_ref())
        };
        let mut domains = HashMap::new();
        for node in cluster.nodes() {
            let complete = all.iter().all(|c| node.label(&c.topology_key).is_some());
            let Some(value) = node.label(&constraint.topology_key).filter(|_| complete) else { continue };
            if counts(constraint, pod, node) {
                let here = selector.as_ref().map_or(0, |s| node.pods.values().filter(|p| means(p, s)).count());
                *domains.entry(value.to_owned()).or_insert(0) += here as i64;
            }
        }
        let own = i64::from(selector.as_ref().is_some_and(|s| labels::matches(s, own_labels)));
        Counted { constraint, domains, own }
    });
    counted.collect()
}

fn filter<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
    let hard = constraints(pod, true);
    if hard.is_empty() {
        return Prepared::Skip;
    }
    let counted = count(pod, cluster, &hard);
    Prepared::Filter(Box::new(move |node| {
        for Counted { constraint, domains, own } in &counted {
            let Some(value) = node.label(&constraint.topology_key) else {
                return Err(vec![format!("{REASON} (missing required label)")]);
            };
            let few = constraint.min_domains.is_some_and(|min| (domains.len() as i64) < i64::from(min));
            let least = if few { 0 } else { domains.values().copied().min().unwrap_or(0) };
            let here = domains.get(value).copied().unwrap_or(0);
            if here + own - least > i64::from(constraint.max_skew) {
                return Err(vec![REASON.to_owned()]);
            }
        }
        Ok(())
    }))
}

fn score<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Option<Score<'a>> {
    let soft = constraints(pod, false);
    if soft.is_empty() {
        return None;
    }
    let counted = count(pod, cluster, &soft);
    let of = move |node: &NodeInfo| {
        let sum: f64 = counted
            .iter()
            .map(|c| {
                let value = node.label(&c.constraint.topology_key);
                let here = value.and_then(|v| c.domains.get(v)).copied().unwrap_or(0);
                // A domain among many counts for more, and a larger skew is allowed to weigh less.
                here as f64 * (c.domains.len() as f64 + 2.0).ln() + f64::from(c.constraint.max_skew - 1)
            })
            .sum();
        sum.round() as i64
    };
    Some(Score { of: Box::new(of), normalize: Normalize::Spread })
}
