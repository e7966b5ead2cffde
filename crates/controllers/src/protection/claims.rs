//! Claims are in use as long as a pod that has a node names them.

use std::sync::Arc;

use client::claims::claim_name;
use client::{Change, Informer, ObjectKey, Queue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

use super::Protection;
use crate::context::{Context, Informers};
use crate::{owners, pods};

pub(crate) struct Claims;

impl Protection for Claims {
    type Object = PersistentVolumeClaim;
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";
    const ACCOUNT: &'static str = "pvc-protection-controller";
    const FINALIZER: &'static str = "kubernetes.io/pvc-protection";

    fn informer(informers: &Informers) -> &Informer<PersistentVolumeClaim> {
        &informers.persistent_volume_claims
    }

    async fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) {
        let less = queue.clone();
        context.informers.pods.on_change(move |change| {
            let pod = change.object();
            let has_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            // A pod that runs lets no claim go.
            if matches!(change, Change::Applied { .. }) && has_node && !pods::is_finished(pod) && !is_shut_down(pod) {
                return;
            }
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            claims_of(pod).for_each(|name| less.add(ObjectKey::new(namespace, &name)));
        });
        context.informers.pods.synced().await;
    }

    fn is_in_use(context: &Context, claim: &PersistentVolumeClaim) -> bool {
        let meta = &claim.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        context.informers.pods.by_index("claim", &format!("{namespace}/{name}")).iter().any(|pod| uses(pod, claim))
    }
}

/// The claims that a pod names, for the index `claim`.
pub(crate) fn claims_of(pod: &Pod) -> impl Iterator<Item = String> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| claim_name(pod, volume))
}

/// A pod without a node will not start any more with a claim that is being deleted.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.node_name.is_some()) else { return false };
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    spec.volumes.iter().flatten().any(|volume| match &volume.persistent_volume_claim {
        Some(source) => source.claim_name == name,
        None => {
            volume.ephemeral.is_some()
                && !is_shut_down(pod)
                && claim_name(pod, volume).as_deref() == Some(name)
                && owners::is_controlled_by(&claim.metadata, &pod.metadata)
        }
    })
}

/// Whether the node is done with a pod, or it was deleted by force.
fn is_shut_down(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some() && pod.metadata.deletion_grace_period_seconds == Some(0)
}
