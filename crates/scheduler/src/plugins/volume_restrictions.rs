//! VolumeRestrictions: a claim of access mode ReadWriteOncePod has one pod.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Event, Plugin, Prepared};

pub const PLUGIN: Plugin = Plugin {
    name: "VolumeRestrictions",
    helped_by: |event| matches!(event, Event::PodRemoved | Event::VolumeChanged),
    filter: Some(filter),
    score: None,
    weight: 0,
};

const TAKEN: &str = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";

fn filter<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> Prepared<'a> {
    if !pod.has_claims {
        return Prepared::Skip;
    }
    let for_one_pod = |claim: &&std::sync::Arc<k8s_openapi::api::core::v1::PersistentVolumeClaim>| {
        let modes = claim.spec.as_ref().and_then(|s| s.access_modes.as_ref());
        modes.is_some_and(|modes| modes.iter().any(|mode| mode == "ReadWriteOncePod"))
    };
    let own: Vec<_> = cluster.volumes.claims_of(&pod.pod).filter(for_one_pod).collect();
    if own.is_empty() {
        return Prepared::Skip;
    }
    let uses = |other: &PodInfo| {
        let mut claims = cluster.volumes.claims_of(&other.pod);
        other.has_claims && claims.any(|claim| own.iter().any(|own| own.metadata.uid == claim.metadata.uid))
    };
    match cluster.nodes().any(|node| node.pods.values().any(|other| uses(other))) {
        true => Prepared::Filter(Box::new(|_| Err(vec![TAKEN.to_owned()]))),
        false => Prepared::Skip,
    }
}
