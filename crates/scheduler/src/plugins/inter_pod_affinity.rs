//! InterPodAffinity: pods near some pods and away from others, where near means a node label with the same value.

use std::collections::{HashMap, HashSet};

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Event, Normalize, Plugin, Prepared, Reasons, Score};
use crate::selectors::Term;

pub const PLUGIN: Plugin = Plugin {
    name: "InterPodAffinity",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged | Event::PodAdded | Event::PodRemoved),
    filter: Some(filter),
    score: Some(score),
    weight: 2,
};

/// A node label with a value.
type Domain = (String, String);

fn domain(node: &NodeInfo, key: &str) -> Option<Domain> {
    Some((key.to_owned(), node.label(key)?.to_owned()))
}

fn is_in(node: &NodeInfo, key: &str, domains: &HashSet<Domain>) -> bool {
    domain(node, key).is_some_and(|d| domains.contains(&d))
}

fn filter<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
    let refused = refused_by_others(pod, cluster);
    let (near, far) = (&pod.affinity.required, &pod.affinity.required_anti);
    if refused.is_empty() && near.is_empty() && far.is_empty() {
        return Prepared::Skip;
    }
    let wanted = domains(cluster, near, |other| near.iter().all(|t| t.matches(&other.pod, &cluster.namespaces)));
    // The first of a group that wants to be together has nobody to join: it may go anywhere.
    let is_first = wanted.is_empty() && near.iter().all(|t| t.matches(&pod.pod, &cluster.namespaces));
    let avoided: Vec<HashSet<Domain>> = far
        .iter()
        .map(|t| domains(cluster, std::slice::from_ref(t), |other| t.matches(&other.pod, &cluster.namespaces)))
        .collect();
    Prepared::Filter(Box::new(move |node| {
        let fail = |reason: &str| -> Result<(), Reasons> { Err(vec![reason.to_owned()]) };
        let near_enough = |t: &Term| {
            if is_first { node.label(&t.topology_key).is_some() } else { is_in(node, &t.topology_key, &wanted) }
        };
        if !near.iter().all(near_enough) {
            return fail("node(s) didn't match pod affinity rules");
        }
        if far.iter().zip(&avoided).any(|(t, domains)| is_in(node, &t.topology_key, domains)) {
            return fail("node(s) didn't match pod anti-affinity rules");
        }
        if refused.iter().any(|(key, value)| node.label(key) == Some(value)) {
            return fail("node(s) didn't satisfy existing pods anti-affinity rules");
        }
        Ok(())
    }))
}

/// Where pods stand that `means` means, by the topology keys of the terms.
fn domains(cluster: &Cluster, terms: &[Term], means: impl Fn(&PodInfo) -> bool) -> HashSet<Domain> {
    if terms.is_empty() {
        return HashSet::new();
    }
    let mut found = HashSet::new();
    for node in cluster.nodes() {
        if node.pods.values().any(|pod| means(pod)) {
            found.extend(terms.iter().filter_map(|t| domain(node, &t.topology_key)));
        }
    }
    found
}

/// Where pods stand that want this one away from them.
fn refused_by_others(pod: &PodInfo, cluster: &Cluster) -> HashSet<Domain> {
    let mut found = HashSet::new();
    for (node, other) in cluster.felt() {
        let against = other.affinity.required_anti.iter().filter(|t| t.matches(&pod.pod, &cluster.namespaces));
        found.extend(against.filter_map(|t| domain(node, &t.topology_key)));
    }
    found
}

fn score<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Option<Score<'a>> {
    let mut liked: HashMap<Domain, i64> = HashMap::new();
    let mut count = |node: &NodeInfo, term: &Term, weight: i64| {
        if let Some(domain) = domain(node, &term.topology_key) {
            *liked.entry(domain).or_default() += weight;
        }
    };
    let own = &pod.affinity;
    if !own.preferred.is_empty() || !own.preferred_anti.is_empty() {
        for node in cluster.nodes() {
            for other in node.pods.values() {
                let means = |t: &Term| t.matches(&other.pod, &cluster.namespaces);
                own.preferred.iter().filter(|(_, t)| means(t)).for_each(|(w, t)| count(node, t, *w));
                own.preferred_anti.iter().filter(|(_, t)| means(t)).for_each(|(w, t)| count(node, t, -*w));
            }
        }
    }
    for (node, other) in cluster.felt() {
        let means = |t: &Term| t.matches(&pod.pod, &cluster.namespaces);
        let theirs = &other.affinity;
        // A pod that must be near this one likes it there as much as weight 1 (upstream's HardPodAffinityWeight).
        theirs.required.iter().filter(|t| means(t)).for_each(|t| count(node, t, 1));
        theirs.preferred.iter().filter(|(_, t)| means(t)).for_each(|(w, t)| count(node, t, *w));
        theirs.preferred_anti.iter().filter(|(_, t)| means(t)).for_each(|(w, t)| count(node, t, -*w));
    }
    if liked.is_empty() {
        return None;
    }
    let of = move |node: &NodeInfo| {
        let here = liked.iter().filter(|((key, value), _)| node.label(key) == Some(value));
        here.map(|(_, weight)| *weight).sum()
    };
    Some(Score { of: Box::new(of), normalize: Normalize::ByRange })
}
