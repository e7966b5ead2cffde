//! What becomes of a claim: a volume is found for it, made by somebody, or waited for; or its volume is lost.

use std::sync::Arc;

use client::ObjectKey;
use client::claims::{self, Search};
use client::events::EventType;
use client::reconcile::Next;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use machinery::ApiError;

use super::Binder;

/// Names the provisioner of a claim; both spellings are read.
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// Marks the class of claims that name none; both spellings are read.
const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl Binder {
    pub(super) async fn sync_claim(&self, claim: &PersistentVolumeClaim) -> Result<Next, ApiError> {
        let bound = claims::annotation(&claim.metadata, claims::BIND_COMPLETED).is_some();
        match (bound, claims::volume_name(claim)) {
            (true, "") => {
                let why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
                self.lose(claim, "ClaimLost", why).await?;
            }
            (true, name) => self.sync_bound(claim, name).await?,
            (false, "") => self.find_volume(claim).await?,
            (false, name) => self.sync_named(claim, name).await?,
        }
        Ok(Next::Wait)
    }

    fn volume(&self, name: &str) -> Option<Arc<PersistentVolume>> {
        self.context.informers.persistent_volumes.get("", name)
    }

    async fn sync_bound(&self, claim: &PersistentVolumeClaim, name: &str) -> Result<(), ApiError> {
        let volume = match self.volume(name) {
            Some(volume) => Some(volume),
            // Its claim may be seen before the volume itself.
            None => self.volumes().get_opt(name).await?,
        };
        let Some(volume) = volume else {
            let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
            return self.lose(claim, "ClaimLost", why).await;
        };
        match claims::claim_of(&volume) {
            Some(reference) if reference.uid != claim.metadata.uid => {
                let why = "Two claims are bound to the same volume, this one is bound incorrectly";
                self.lose(claim, "ClaimMisbound", why).await
            }
            _ => self.bind(&volume, claim).await,
        }
    }

    async fn lose(&self, claim: &PersistentVolumeClaim, reason: &str, message: &str) -> Result<(), ApiError> {
        if claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
            return Ok(());
        }
        self.set_claim_phase(claim, "Lost", None).await?;
        self.tell_claim(claim, EventType::Warning, reason, message);
        Ok(())
    }

    /// The claim names its volume.
    async fn sync_named(&self, claim: &PersistentVolumeClaim, name: &str) -> Result<(), ApiError> {
        let Some(volume) = self.volume(name) else { return self.set_claim_phase(claim, "Pending", None).await };
        if claims::claim_of(&volume).is_none() {
            if let Some(why) = claims::misfit(&volume, claim) {
                let message = format!("Cannot bind to requested volume {name:?}: {why}");
                self.tell_claim(claim, EventType::Warning, "VolumeMismatch", message);
                return self.set_claim_phase(claim, "Pending", None).await;
            }
            return self.bind(&volume, claim).await;
        }
        if claims::is_bound_to(&volume, claim) {
            return self.bind(&volume, claim).await;
        }
        let message = format!("volume {name:?} already bound to a different claim.");
        self.tell_claim(claim, EventType::Warning, "FailedBinding", message);
        self.set_claim_phase(claim, "Pending", None).await
    }

    async fn find_volume(&self, claim: &PersistentVolumeClaim) -> Result<(), ApiError> {
        let name = claims::class_of_claim(claim);
        let class = self.class(name);
        let mode = class.as_ref().and_then(|c| c.volume_binding_mode.as_deref());
        let waits = mode == Some("WaitForFirstConsumer");
        let search = if waits { Search::KeptOnly } else { Search::AtOnce };
        let volumes = &self.context.informers.persistent_volumes;
        // One that is kept for the claim may be of another class.
        let kept = volumes.by_index("claim", &ObjectKey::of(claim).to_string());
        let found = claims::find(claim, &kept, &Search::KeptOnly)
            .or_else(|| claims::find(claim, &volumes.by_index("class", name), &search));
        if let Some(volume) = found {
            return self.bind(&volume, claim).await;
        }
        if self.assign_default_class(claim).await? {
            return Ok(());
        }
        let selected = claims::annotation(&claim.metadata, claims::SELECTED_NODE).is_some();
        if waits && !selected {
            self.say_who_is_waited_for(claim);
        } else if !name.is_empty() {
            return self.ask_provisioner(claim, name).await;
        } else {
            let message = "no persistent volumes available for this claim and no storage class is set";
            self.tell_claim(claim, EventType::Normal, "FailedBinding", message);
        }
        self.set_claim_phase(claim, "Pending", None).await
    }

    fn say_who_is_waited_for(&self, claim: &PersistentVolumeClaim) {
        let meta = &claim.metadata;
        let (namespace, name) =
            (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default());
        let pods = self.context.informers.pods.by_index("claim", &format!("{namespace}/{name}"));
        let placeless = pods.iter().filter(|p| p.spec.as_ref().is_some_and(|s| s.node_name.is_none()));
        let names: Vec<&str> = placeless.filter_map(|p| p.metadata.name.as_deref()).collect();
        let (reason, message) = match names.as_slice() {
            [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
            [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
            many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
        };
        self.tell_claim(claim, EventType::Normal, reason, message);
    }

    /// A claim that names no class gets the default one, also when that came later. Whether it did.
    async fn assign_default_class(&self, claim: &PersistentVolumeClaim) -> Result<bool, ApiError> {
        if claim.spec.as_ref().is_some_and(|s| s.storage_class_name.is_some())
            || !claims::class_of_claim(claim).is_empty()
        {
            return Ok(false);
        }
        let is_default = |meta: &_| DEFAULT_CLASS.iter().any(|key| claims::annotation(meta, key) == Some("true"));
        let classes = self.context.informers.storage_classes.list();
        let defaults = classes.iter().filter(|class| is_default(&class.metadata));
        // The newest one; of several of one moment the first by name.
        let newest = defaults.min_by_key(|class| {
            let made = class.metadata.creation_timestamp.as_ref().map(|at| at.0);
            (std::cmp::Reverse(made), class.metadata.name.clone())
        });
        let Some(class) = newest else { return Ok(false) };
        let mut wanted = claim.clone();
        wanted.spec.get_or_insert_default().storage_class_name = class.metadata.name.clone();
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        self.claims_beside(claim).replace(name, &wanted).await.map(|_| true)
    }

    /// Tells who makes volumes of the class that one is wanted.
    async fn ask_provisioner(&self, claim: &PersistentVolumeClaim, class: &str) -> Result<(), ApiError> {
        let failed = |why: String| self.tell_claim(claim, EventType::Warning, "ProvisioningFailed", why);
        match self.class(class) {
            None => failed(format!("storageclass.storage.k8s.io {class:?} not found")),
            // Nothing below this name makes volumes here.
            Some(class) if class.provisioner.starts_with("kubernetes.io/") => {
                failed(format!("no volume plugin matched name: {}", class.provisioner));
            }
            Some(class) => {
                let provisioner = class.provisioner.as_str();
                let mut wanted = claim.clone();
                let annotations = wanted.metadata.annotations.get_or_insert_default();
                PROVISIONER.iter().for_each(|key| drop(annotations.insert((*key).to_owned(), provisioner.to_owned())));
                if wanted != *claim {
                    let name = claim.metadata.name.as_deref().unwrap_or_default();
                    // Being seen changed, the claim comes here again.
                    return self.claims_beside(claim).replace(name, &wanted).await.map(|_| ());
                }
                let message = format!(
                    "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by \
                     the system administrator. If volume creation is delayed, please verify that the provisioner is \
                     running and correctly registered."
                );
                self.tell_claim(claim, EventType::Normal, "ExternalProvisioning", message);
            }
        }
        Ok(())
    }
}
