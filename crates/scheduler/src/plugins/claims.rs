//! Claims of volumes and devices: nothing in this cluster can bind them, so a pod that needs one waits and says why.

use crate::cluster::{Cluster, PodInfo};
use crate::framework::{Plugin, Prepared};

pub const PLUGIN: Plugin =
    Plugin { name: "VolumeBinding", helped_by: |_| false, filter: Some(filter), score: None, weight: 0 };

fn filter<'a>(pod: &'a PodInfo, _: &'a Cluster) -> Prepared<'a> {
    let Some(spec) = &pod.pod.spec else { return Prepared::Skip };
    let mut volumes = spec.volumes.iter().flatten();
    if volumes.any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some()) {
        return Prepared::Reject("pod has unbound immediate PersistentVolumeClaims".to_owned());
    }
    if spec.resource_claims.as_ref().is_some_and(|c| !c.is_empty()) {
        return Prepared::Reject("cannot allocate all claims".to_owned());
    }
    Prepared::Skip
}
