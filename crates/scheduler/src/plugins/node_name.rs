//! NodeName: a pod that names its node goes there and nowhere else.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Event, Plugin, Prepared};

pub const PLUGIN: Plugin = Plugin {
    name: "NodeName",
    helped_by: |event| event == Event::NodeAdded,
    filter: Some(filter),
    score: None,
    weight: 0,
};

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    let wanted = pod.pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    if wanted.is_empty() {
        return Prepared::Skip;
    }
    Prepared::Filter(Box::new(move |node| match node.name() == wanted {
        true => Ok(()),
        false => Err(vec!["node(s) didn't match the requested node name".to_owned()]),
    }))
}
