//! NodeAffinity: `spec.nodeSelector` and node affinity, required and preferred.

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Event, Normalize, Plugin, Prepared, Score};
use crate::selectors::{allows_node, matches_term};

pub const PLUGIN: Plugin = Plugin {
    name: "NodeAffinity",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged),
    filter: Some(filter),
    score: Some(score),
    weight: 2,
};

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    let Some(spec) = &pod.pod.spec else { return Prepared::Skip };
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required = affinity.is_some_and(|a| a.required_during_scheduling_ignored_during_execution.is_some());
    if !required && spec.node_selector.as_ref().is_none_or(|s| s.is_empty()) {
        return Prepared::Skip;
    }
    Prepared::Filter(Box::new(|node| match allows_node(&pod.pod, &node.node) {
        true => Ok(()),
        false => Err(vec!["node(s) didn't match Pod's node affinity/selector".to_owned()]),
    }))
}

fn score<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Option<Score<'a>> {
    let affinity = pod.pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.as_deref().unwrap_or_default();
    if preferred.is_empty() {
        return None;
    }
    let of = move |node: &NodeInfo| {
        let met = preferred.iter().filter(|p| matches_term(&p.preference, &node.node));
        met.map(|p| i64::from(p.weight)).sum()
    };
    Some(Score { of: Box::new(of), normalize: Normalize::ByMax })
}
