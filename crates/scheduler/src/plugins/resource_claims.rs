//! DynamicResources: nothing in this cluster gives out devices by claims, so a pod that needs one waits and says why.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Plugin, Prepared};

pub const PLUGIN: Plugin =
    Plugin { name: "DynamicResources", helped_by: |_| false, filter: Some(filter), score: None, weight: 0 };

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    let claims = pod.pod.spec.as_ref().and_then(|s| s.resource_claims.as_ref());
    match claims.is_some_and(|c| !c.is_empty()) {
        true => Prepared::Reject("cannot allocate all claims".to_owned()),
        false => Prepared::Skip,
    }
}
