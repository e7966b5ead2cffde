//! NodePorts: two pods cannot have the same port of a node.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Event, Plugin, Prepared};

pub const PLUGIN: Plugin = Plugin {
    name: "NodePorts",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::PodRemoved),
    filter: Some(filter),
    score: None,
    weight: 0,
};

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    if pod.host_ports.is_empty() {
        return Prepared::Skip;
    }
    Prepared::Filter(Box::new(|node| {
        let mut taken = node.pods.values().flat_map(|p| &p.host_ports);
        match taken.any(|port| pod.host_ports.iter().any(|wanted| wanted.conflicts(port))) {
            true => Err(vec!["node(s) didn't have free ports for the requested pod ports".to_owned()]),
            false => Ok(()),
        }
    }))
}
