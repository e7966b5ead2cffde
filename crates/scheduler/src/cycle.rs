//! One pod, all nodes: filters, scores, the choice. Pure but for the choice among equals.

use std::collections::{BTreeMap, BTreeSet};

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Filter, Prepared};
use crate::plugins::PLUGINS;
use crate::volumes::Assignment;

/// Fewer feasible nodes than this are never stopped at.
const FEASIBLE_MIN: usize = 100;

/// Why a pod got no node.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// As the pod's condition and event say it.
    pub message: String,
    /// The plugins that said no.
    pub rejected_by: BTreeSet<&'static str>,
}

/// The name of the node for a pod. `start` turns with each call so that all nodes of a large cluster are looked at.
pub fn choose(pod: &PodInfo, cluster: &Cluster, start: &mut usize) -> Result<String, Failure> {
    if cluster.node_count() == 0 {
        let rejected_by = PLUGINS.iter().map(|p| p.name).collect();
        return Err(Failure { message: "no nodes available to schedule pods".to_owned(), rejected_by });
    }
    let feasible = feasible(pod, cluster, start)?;
    match feasible.as_slice() {
        [only] => Ok(only.name().to_owned()),
        _ => Ok(best(pod, cluster, &feasible)),
    }
}

/// What the pod's claims get on the node that was chosen.
pub fn volumes(pod: &PodInfo, cluster: &Cluster, node: &str) -> Assignment {
    let asked = pod.has_claims.then(|| cluster.volumes.asked(&pod.pod).ok()).flatten();
    let node = cluster.nodes().find(|n| n.name() == node);
    let both = asked.zip(node);
    both.and_then(|(asked, node)| cluster.volumes.assign(&asked, &node.node).ok()).unwrap_or_default()
}

/// How many feasible nodes are enough (upstream's adaptive percentageOfNodesToScore).
fn enough(nodes: usize) -> usize {
    if nodes < FEASIBLE_MIN {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(FEASIBLE_MIN)
}

fn feasible<'a>(pod: &'a PodInfo, cluster: &'a Cluster, start: &mut usize) -> Result<Vec<&'a NodeInfo>, Failure> {
    let mut filters: Vec<(&'static str, Filter<'a>)> = Vec::new();
    let total = cluster.node_count();
    for plugin in PLUGINS {
        match plugin.filter.map_or(Prepared::Skip, |prepare| prepare(pod, cluster)) {
            Prepared::Skip => {}
            Prepared::Filter(filter) => filters.push((plugin.name, filter)),
            Prepared::Reject(reason) => {
                let message = format!("0/{total} nodes are available: {reason}.");
                return Err(Failure { message, rejected_by: [plugin.name].into() });
            }
        }
    }
    let (mut found, mut looked_at) = (Vec::new(), 0);
    let (mut reasons, mut rejected_by) = (BTreeMap::<String, usize>::new(), BTreeSet::new());
    let enough = enough(total);
    let from = *start % total;
    for node in cluster.nodes().skip(from).chain(cluster.nodes().take(from)) {
        looked_at += 1;
        let verdict = filters.iter().find_map(|(name, filter)| filter(node).err().map(|why| (*name, why)));
        match verdict {
            None => found.push(node),
            Some((plugin, why)) => {
                rejected_by.insert(plugin);
                why.into_iter().for_each(|reason| *reasons.entry(reason).or_default() += 1);
            }
        }
        if found.len() >= enough {
            break;
        }
    }
    *start = (from + looked_at) % total;
    if found.is_empty() {
        return Err(Failure { message: tell(total, &reasons), rejected_by });
    }
    Ok(found)
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable.`
/// DIVERGES: upstream adds what preemption found; there is none here yet.
fn tell(total: usize, reasons: &BTreeMap<String, usize>) -> String {
    let mut parts: Vec<String> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    format!("0/{total} nodes are available: {}.", parts.join(", "))
}

/// The node with the highest weighted score; one of them at random when several have it.
fn best(pod: &PodInfo, cluster: &Cluster, feasible: &[&NodeInfo]) -> String {
    let mut totals = vec![0i64; feasible.len()];
    for plugin in PLUGINS {
        let Some(score) = plugin.score.and_then(|prepare| prepare(pod, cluster)) else { continue };
        let mut scores: Vec<i64> = feasible.iter().map(|node| (score.of)(node)).collect();
        score.normalize.apply(&mut scores);
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += score * plugin.weight);
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let equal: Vec<usize> = (0..totals.len()).filter(|i| totals[*i] == highest).collect();
    let chosen = equal[usize::try_from(seams::random::below(equal.len() as u64)).unwrap_or(0)];
    feasible[chosen].name().to_owned()
}
