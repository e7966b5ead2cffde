//! What becomes of a volume: it is free, kept, bound, or its claim is gone.

use std::sync::Arc;

use client::claims;
use client::events::EventType;
use client::reconcile::Next;
use client::{Api, ObjectKey};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use machinery::ApiError;

use super::{Binder, Key, key_of_reference, name_of, phase_of};

/// On volumes that were made for a claim.
pub(super) const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

impl Binder {
    pub(super) async fn sync_volume(&self, volume: &Arc<PersistentVolume>) -> Result<Next, ApiError> {
        let Some(reference) = claims::claim_of(volume).filter(|r| r.uid.as_deref().is_some_and(|uid| !uid.is_empty()))
        else {
            // Free, or kept for a claim that is not bound to it yet.
            self.set_phase(volume, "Available", "").await?;
            return Ok(Next::Wait);
        };
        let key = key_of_reference(reference);
        let Some(claim) = self.claim_behind(reference, &key, volume).await? else {
            return self.release(volume).await;
        };
        match claims::volume_name(&claim) {
            "" => self.sync_dangling(volume, &claim, key),
            name if name == name_of(volume) => {
                self.set_phase(volume, "Bound", "").await?;
            }
            _ if is_made_to_be_deleted(volume) => return self.release(volume).await,
            _ => self.unbind(volume).await?,
        }
        Ok(Next::Wait)
    }

    /// The claim with the very UID that the volume names. What was released once stays so without asking the API again.
    async fn claim_behind(
        &self,
        reference: &ObjectReference,
        key: &ObjectKey,
        volume: &PersistentVolume,
    ) -> Result<Option<Arc<PersistentVolumeClaim>>, ApiError> {
        let known = self.context.informers.persistent_volume_claims.get(&key.namespace, &key.name);
        let same = |claim: &Arc<PersistentVolumeClaim>| claim.metadata.uid == reference.uid;
        if let Some(claim) = known.filter(same) {
            return Ok(Some(claim));
        }
        if matches!(phase_of(volume), "Released" | "Failed") {
            return Ok(None);
        }
        // The copy here may be behind: a volume must not be taken from a claim that exists.
        let api = Api::<PersistentVolumeClaim>::namespaced(&self.client, &key.namespace);
        Ok(api.get_opt(&key.name).await?.filter(same))
    }

    async fn release(&self, volume: &Arc<PersistentVolume>) -> Result<Next, ApiError> {
        let volume = match phase_of(volume) {
            "Released" | "Failed" => volume.clone(),
            _ => self.set_phase(volume, "Released", "").await?,
        };
        self.reclaim(&volume).await
    }

    /// The volume has a claim that does not name it yet: the claim's turn.
    fn sync_dangling(&self, volume: &PersistentVolume, claim: &PersistentVolumeClaim, key: ObjectKey) {
        if !claims::modes_differ(claim, volume) {
            return self.queue.add(Key::Claim(key));
        }
        let (own, name) = (name_of(volume), claim.metadata.name.as_deref().unwrap_or_default());
        let message = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {name:?} due to incompatible volumeMode."
        );
        self.tell_volume(volume, EventType::Warning, "VolumeMismatch", message);
        let message = format!(
            "Cannot bind PersistentVolume {own:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
        );
        self.tell_claim(claim, EventType::Warning, "VolumeMismatch", message);
    }

    /// The claim has another volume: this one is free again, or kept as its maker wanted it.
    async fn unbind(&self, volume: &PersistentVolume) -> Result<(), ApiError> {
        let mut wanted = volume.clone();
        let spec = wanted.spec.get_or_insert_default();
        if claims::annotation(&volume.metadata, claims::BOUND_BY_CONTROLLER).is_some() {
            spec.claim_ref = None;
            wanted.metadata.annotations.iter_mut().for_each(|all| drop(all.remove(claims::BOUND_BY_CONTROLLER)));
        } else if let Some(reference) = &mut spec.claim_ref {
            reference.uid = None;
        }
        let volume = self.volumes().replace(name_of(volume), &wanted).await?;
        self.set_phase(&volume, "Available", "").await.map(|_| ())
    }
}

fn is_made_to_be_deleted(volume: &PersistentVolume) -> bool {
    let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
    policy == Some("Delete") && claims::annotation(&volume.metadata, PROVISIONED_BY).is_some()
}
