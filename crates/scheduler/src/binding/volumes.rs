//! Before a pod is bound, its claims are: volumes are written for them, the controller does the rest, and this waits for it.

use std::sync::Arc;
use std::time::Duration;

use client::{Api, claims};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::Scheduler;
use crate::cluster::PodInfo;
use crate::volumes::{Assignment, key};

/// How long claims may take to be bound (upstream's `bindTimeoutSeconds`).
const BIND_TIMEOUT: Duration = Duration::from_secs(600);

/// What was written.
struct Written {
    volumes: Vec<Arc<PersistentVolume>>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
}

fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|r| r.parse().ok()).unwrap_or(0)
}

impl Scheduler {
    /// Gives a pod's claims what was assigned. The error says why the pod must be tried anew.
    pub(super) async fn bind_volumes(&self, pod: &PodInfo, node: &str, assignment: &Assignment) -> Result<(), String> {
        let written = self.write_volumes(node, assignment).await.map_err(|e| e.to_string())?;
        let mut changed = self.volumes_changed.subscribe();
        let bound = async {
            loop {
                changed.borrow_and_update();
                if self.all_bound(pod, node, assignment, &written)? {
                    return Ok(());
                }
                // A pod that goes changes no volume.
                let _ = tokio::time::timeout(Duration::from_secs(1), changed.changed()).await;
            }
        };
        let result = tokio::time::timeout(BIND_TIMEOUT, bound).await;
        result.unwrap_or_else(|_| Err("binding volumes: context deadline exceeded".to_owned()))
    }

    async fn write_volumes(&self, node: &str, assignment: &Assignment) -> Result<Written, ApiError> {
        let mut written = Written { volumes: Vec::new(), claims: Vec::new() };
        let volumes = Api::<PersistentVolume>::all(&self.client);
        for (volume, claim) in &assignment.bindings {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            if let Some(wanted) = claims::bound_to(volume, claim) {
                written.volumes.push(volumes.replace(name, &wanted).await?);
            }
        }
        for claim in &assignment.provisions {
            if claims::annotation(&claim.metadata, claims::SELECTED_NODE) == Some(node) {
                continue;
            }
            let mut wanted = claim.as_ref().clone();
            let annotations = wanted.metadata.annotations.get_or_insert_default();
            annotations.insert(claims::SELECTED_NODE.to_owned(), node.to_owned());
            let (namespace, name) = (claim.metadata.namespace.as_deref(), claim.metadata.name.as_deref());
            let api = Api::<PersistentVolumeClaim>::namespaced(&self.client, namespace.unwrap_or_default());
            written.claims.push(api.replace(name.unwrap_or_default(), &wanted).await?);
        }
        Ok(written)
    }

    /// Whether all claims are bound; the error says that this attempt is over.
    fn all_bound(&self, pod: &PodInfo, node: &str, assignment: &Assignment, written: &Written) -> Result<bool, String> {
        let state = self.state();
        let known = &state.cluster.volumes;
        if !state.cluster.is_assumed(&pod.uid) {
            return Err("pod does not exist any more".to_owned());
        }
        for volume in &written.volumes {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            let now = known.volume(name).filter(|now| revision(&now.metadata) >= revision(&volume.metadata));
            if now.is_some_and(|now| claims::claim_of(now).is_none_or(|r| r.uid.is_none())) {
                return Err(format!("binding volumes: ClaimRef got reset for pv {name:?}"));
            }
        }
        for claim in &written.claims {
            let now = known.claim(&key(claim)).filter(|now| revision(&now.metadata) >= revision(&claim.metadata));
            if now.is_some_and(|now| claims::annotation(&now.metadata, claims::SELECTED_NODE) != Some(node)) {
                let name = claim.metadata.name.as_deref().unwrap_or_default();
                return Err(format!("binding volumes: provisioning failed for PVC {name:?}"));
            }
        }
        let labels = state.cluster.nodes().find(|n| n.name() == node).and_then(|n| n.node.metadata.labels.as_ref());
        for claim in assignment.claims() {
            let Some(now) = known.claim(&key(claim)) else {
                return Err(format!("failed to check binding: could not find object: {:?}", key(claim)));
            };
            if !claims::is_fully_bound(now) {
                return Ok(false);
            }
            let name = claims::volume_name(now);
            let Some(volume) = known.volume(name) else { return Ok(false) };
            if !claims::fits_node(volume, node, labels) {
                return Err(format!(
                    "binding volumes: pv {name:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms"
                ));
            }
        }
        Ok(true)
    }
}
