//! NodeUnschedulable: cordoned nodes get no pods, but for those that tolerate it.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Event, Plugin, Prepared};
use crate::selectors::tolerates;

const TAINT: &str = "node.kubernetes.io/unschedulable";

pub const PLUGIN: Plugin = Plugin {
    name: "NodeUnschedulable",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged),
    filter: Some(filter),
    score: None,
    weight: 0,
};

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    let tolerations = pod.pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    if tolerations.iter().any(|t| tolerates(t, TAINT, "", "NoSchedule")) {
        return Prepared::Skip;
    }
    Prepared::Filter(Box::new(|node| {
        let cordoned = node.node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false);
        if cordoned { Err(vec!["node(s) were unschedulable".to_owned()]) } else { Ok(()) }
    }))
}
