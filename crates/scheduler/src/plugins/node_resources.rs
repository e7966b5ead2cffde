//! NodeResourcesFit and NodeResourcesBalancedAllocation: room for what a pod asks for, and even use of nodes.

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Event, Normalize, Plugin, Prepared, SCORE_MAX, Score};

pub const FIT: Plugin = Plugin {
    name: "NodeResourcesFit",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged | Event::PodRemoved),
    filter: Some(fits),
    score: Some(least_allocated),
    weight: 1,
};

pub const BALANCED: Plugin = Plugin {
    name: "NodeResourcesBalancedAllocation",
    helped_by: |_| false,
    filter: None,
    score: Some(balanced),
    weight: 1,
};

fn fits<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    Prepared::Filter(Box::new(|node| {
        let mut reasons = Vec::new();
        if node.pods.len() as i64 + 1 > node.allocatable.get("pods") {
            reasons.push("Too many pods".to_owned());
        }
        for (name, wanted) in pod.requests.iter() {
            if wanted > node.allocatable.get(name) - node.requested.get(name) {
                reasons.push(format!("Insufficient {name}"));
            }
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }))
}

/// Nodes with more left are better.
fn least_allocated<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Option<Score<'a>> {
    let of = |node: &NodeInfo| {
        let (mut sum, mut weights) = (0, 0);
        for name in ["cpu", "memory"] {
            let capacity = node.allocatable.get(name);
            if capacity == 0 {
                continue;
            }
            let left = capacity - node.weights.get(name) - pod.weights.get(name);
            sum += left.max(0).saturating_mul(SCORE_MAX) / capacity;
            weights += 1;
        }
        if weights == 0 { 0 } else { sum / weights }
    };
    Some(Score { of: Box::new(of), normalize: Normalize::As })
}

/// Nodes whose resources are used to about the same share are better.
fn balanced<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Option<Score<'a>> {
    pod.requests.iter().next()?;
    let of = |node: &NodeInfo| {
        let share = |name: &str| {
            let capacity = node.allocatable.get(name) as f64;
            let used = (node.requested.get(name) + pod.requests.get(name)) as f64;
            if capacity == 0.0 { 0.0 } else { (used / capacity).min(1.0) }
        };
        let spread = (share("cpu") - share("memory")).abs() / 2.0;
        ((1.0 - spread) * SCORE_MAX as f64) as i64
    };
    Some(Score { of: Box::new(of), normalize: Normalize::As })
}
