//! TaintToleration: taints keep pods away that do not tolerate them; soft ones make a node less liked.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::cluster::{Cluster, NodeInfo, PodInfo};
use crate::framework::{Event, Normalize, Plugin, Prepared, Score};
use crate::selectors::tolerates;

pub const PLUGIN: Plugin = Plugin {
    name: "TaintToleration",
    helped_by: |event| matches!(event, Event::NodeAdded | Event::NodeChanged),
    filter: Some(filter),
    score: Some(score),
    weight: 3,
};

fn tolerations(pod: &PodInfo) -> &[Toleration] {
    pod.pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default()
}

fn taints(node: &NodeInfo) -> &[Taint] {
    node.node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

fn is_tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    let value = taint.value.as_deref().unwrap_or_default();
    tolerations.iter().any(|t| tolerates(t, &taint.key, value, &taint.effect))
}

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    let tolerations = tolerations(pod);
    Prepared::Filter(Box::new(move |node| {
        let hard = taints(node).iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
        match hard.into_iter().find(|t| !is_tolerated(t, tolerations)) {
            None => Ok(()),
            Some(taint) => {
                let value = taint.value.as_deref().unwrap_or_default();
                Err(vec![format!("node(s) had untolerated taint {{{}: {value}}}", taint.key)])
            }
        }
    }))
}

fn score<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Option<Score<'a>> {
    let soft = |t: &&Toleration| matches!(t.effect.as_deref().unwrap_or_default(), "" | "PreferNoSchedule");
    let tolerations: Vec<Toleration> = tolerations(pod).iter().filter(soft).cloned().collect();
    let of = move |node: &NodeInfo| {
        let soft = taints(node).iter().filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|t| !is_tolerated(t, &tolerations)).count() as i64
    };
    Some(Score { of: Box::new(of), normalize: Normalize::ByMaxReversed })
}
