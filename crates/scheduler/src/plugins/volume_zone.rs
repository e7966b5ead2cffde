//! VolumeZone: volumes with labels of a zone or region are used there only.

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Event, Plugin, Prepared};

pub const PLUGIN: Plugin = Plugin {
    name: "VolumeZone",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged | Event::VolumeChanged),
    filter: Some(filter),
    score: None,
    weight: 0,
};

/// Labels of today, each with its name of old.
const LABELS: [[&str; 2]; 2] = [
    ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"],
    ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"],
];

fn filter<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
    if !pod.has_claims {
        return Prepared::Skip;
    }
    let mut wanted: Vec<([&str; 2], &str)> = Vec::new();
    for volume in cluster.volumes.bound_volumes(&pod.pod) {
        let labels = volume.metadata.labels.as_ref();
        for names in LABELS {
            let values = names.iter().filter_map(|name| labels.and_then(|l| l.get(*name)));
            wanted.extend(values.map(|value| (names, value.as_str())));
        }
    }
    if wanted.is_empty() {
        return Prepared::Skip;
    }
    Prepared::Filter(Box::new(move |node| {
        let label = |names: &[&str; 2]| names.iter().find_map(|name| node.label(name));
        // Several places are written as `a__b`.
        let meets = |(names, values): &([&str; 2], &str)| {
            label(names).is_some_and(|own| values.split("__").any(|value| value.trim() == own))
        };
        match !is_placed(node) || wanted.iter().all(meets) {
            true => Ok(()),
            false => Err(vec!["node(s) had no available volume zone".to_owned()]),
        }
    }))
}

/// A node without such labels is everywhere.
fn is_placed(node: &NodeInfo) -> bool {
    LABELS.iter().flatten().any(|name| node.label(name).is_some())
}
