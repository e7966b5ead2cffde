//! VolumeBinding: bound claims go where their volumes are; claims that wait for a pod get volumes on the node that it gets.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Event, Plugin, Prepared};

pub const PLUGIN: Plugin = Plugin {
    name: "VolumeBinding",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged | Event::VolumeChanged),
    filter: Some(filter),
    score: None,
    weight: 0,
};

fn filter<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
    if !pod.has_claims {
        return Prepared::Skip;
    }
    match cluster.volumes.asked(&pod.pod) {
        Ok(asked) => Prepared::Filter(Box::new(move |node| cluster.volumes.assign(&asked, &node.node).map(|_| ()))),
        Err(why) => Prepared::Reject(why),
    }
}
