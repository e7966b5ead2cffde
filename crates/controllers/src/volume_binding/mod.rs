//! Binds claims to volumes, and takes back volumes whose claims are gone.
//!
//! A volume's claim is written first, then its phase, then the claim's volume, then the claim's phase: whoever dies in between,
//! or loses a race, goes on or gives up from what was written.

mod claim;
mod reclaim;
#[cfg(test)]
mod tests;
mod volume;

use std::fmt;
use std::sync::Arc;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Api, Client, ObjectKey, Queue, Shutdown, claims};
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use machinery::ApiError;

use crate::context::Context;

/// Its service account.
const ACCOUNT: &str = "persistent-volume-binder";

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Claim(ObjectKey),
    Volume(Arc<str>),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

/// What both parts work with.
struct Binder {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
    queue: Queue<Key>,
}

fn key_of(claim: &PersistentVolumeClaim) -> Key {
    Key::Claim(ObjectKey::of(claim))
}

/// The claim that a reference names.
fn key_of_reference(reference: &ObjectReference) -> ObjectKey {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    ObjectKey::new(&text(&reference.namespace), &text(&reference.name))
}

fn name_of(volume: &PersistentVolume) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

fn phase_of(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default()
}

/// Runs until shutdown.
pub(crate) async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    follow(&context, &queue);
    let informers = &context.informers;
    tokio::join!(
        informers.persistent_volumes.synced(),
        informers.persistent_volume_claims.synced(),
        informers.storage_classes.synced(),
        informers.pods.synced(),
    );
    let binder = Arc::new(Binder {
        client: context.client_of(ACCOUNT),
        recorder: context.recorder("persistentvolume-controller"),
        queue: queue.clone(),
        context,
    });
    // One worker: what one claim gets, the next must not want.
    reconcile::run("persistentvolume-binder-controller", 1, queue, shutdown, move |key| {
        let binder = binder.clone();
        async move { binder.reconcile(&key).await }
    })
    .await;
}

fn follow(context: &Arc<Context>, queue: &Queue<Key>) {
    let (informers, changed, all) = (&context.informers, queue.clone(), context.clone());
    informers.persistent_volume_claims.on_change(move |change| {
        let claim = change.object();
        changed.add(key_of(claim));
        let volume = claims::volume_name(claim);
        if !volume.is_empty() {
            changed.add(Key::Volume(volume.into()));
        }
    });
    let changed = queue.clone();
    informers.persistent_volumes.on_change(move |change| {
        let volume = change.object();
        changed.add(Key::Volume(name_of(volume).into()));
        changed_for_claims(&all, &changed, volume);
    });
    let (changed, all) = (queue.clone(), context.clone());
    informers.storage_classes.on_change(move |change| {
        let name = change.object().metadata.name.as_deref().unwrap_or_default();
        for class in [name, ""] {
            let waiting = all.informers.persistent_volume_claims.by_index("unbound", class);
            waiting.iter().for_each(|claim| changed.add(key_of(claim)));
        }
    });
    let (changed, all) = (queue.clone(), context.clone());
    informers.pods.on_change(move |change| {
        let pod = change.object();
        // Who waits for a first pod is told which pods there are.
        if pod.spec.as_ref().is_none_or(|s| s.node_name.is_some()) {
            return;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for name in crate::protection::claims_of(pod) {
            let claim = all.informers.persistent_volume_claims.get(namespace, &name);
            if claim.is_some_and(|claim| !claims::is_fully_bound(&claim)) {
                changed.add(Key::Claim(ObjectKey::new(namespace, &name)));
            }
        }
    });
}

/// The claims that a change of a volume may concern.
fn changed_for_claims(context: &Context, queue: &Queue<Key>, volume: &PersistentVolume) {
    if let Some(reference) = claims::claim_of(volume) {
        queue.add(Key::Claim(key_of_reference(reference)));
    }
    let all = &context.informers.persistent_volume_claims;
    let waiting = match claims::claim_of(volume) {
        None => all.by_index("unbound", claims::class_of_volume(volume)),
        Some(_) => Vec::new(),
    };
    let named = all.by_index("volume", name_of(volume));
    waiting.iter().chain(&named).for_each(|claim| queue.add(key_of(claim)));
}

impl Binder {
    async fn reconcile(&self, key: &Key) -> Result<Next, ApiError> {
        let informers = &self.context.informers;
        match key {
            Key::Claim(key) => match informers.persistent_volume_claims.get(&key.namespace, &key.name) {
                Some(claim) => self.sync_claim(&claim).await,
                None => Ok(Next::Wait),
            },
            Key::Volume(name) => match informers.persistent_volumes.get("", name) {
                Some(volume) => self.sync_volume(&volume).await,
                None => Ok(Next::Wait),
            },
        }
    }

    fn volumes(&self) -> Api<PersistentVolume> {
        Api::all(&self.client)
    }

    fn claims_beside(&self, claim: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        Api::namespaced(&self.client, claim.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn class(&self, name: &str) -> Option<Arc<StorageClass>> {
        self.context.informers.storage_classes.get("", name)
    }

    fn tell_claim(&self, claim: &PersistentVolumeClaim, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event_on(claim, kind, reason, message);
    }

    fn tell_volume(&self, volume: &PersistentVolume, kind: EventType, reason: &str, message: impl Into<String>) {
        self.recorder.event_on(volume, kind, reason, message);
    }

    /// Writes a volume's phase, unless it is so already.
    async fn set_phase(
        &self,
        volume: &Arc<PersistentVolume>,
        phase: &str,
        message: &str,
    ) -> Result<Arc<PersistentVolume>, ApiError> {
        if phase_of(volume) == phase {
            return Ok(volume.clone());
        }
        let mut wanted = volume.as_ref().clone();
        let status = wanted.status.get_or_insert_default();
        status.phase = Some(phase.to_owned());
        status.message = (!message.is_empty()).then(|| message.to_owned());
        self.volumes().replace_status(name_of(volume), &wanted).await
    }

    /// Writes on both sides that they belong together.
    async fn bind(&self, volume: &Arc<PersistentVolume>, claim: &PersistentVolumeClaim) -> Result<(), ApiError> {
        let volume = match claims::bound_to(volume, claim) {
            Some(wanted) => self.volumes().replace(name_of(volume), &wanted).await?,
            None => volume.clone(),
        };
        let volume = self.set_phase(&volume, "Bound", "").await?;
        let claim = self.write_volume_name(claim, &volume).await?;
        self.set_claim_phase(&claim, "Bound", Some(&volume)).await
    }

    async fn write_volume_name(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
    ) -> Result<Arc<PersistentVolumeClaim>, ApiError> {
        let mut wanted = claim.clone();
        let annotations = wanted.metadata.annotations.get_or_insert_default();
        if claims::volume_name(claim) != name_of(volume) {
            annotations.entry(claims::BOUND_BY_CONTROLLER.to_owned()).or_insert_with(|| "yes".to_owned());
            wanted.spec.get_or_insert_default().volume_name = Some(name_of(volume).to_owned());
        }
        annotations.entry(claims::BIND_COMPLETED.to_owned()).or_insert_with(|| "yes".to_owned());
        if wanted == *claim {
            return Ok(Arc::new(wanted));
        }
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        self.claims_beside(claim).replace(name, &wanted).await
    }

    /// Writes a claim's phase with what its volume holds, unless it is so already.
    async fn set_claim_phase(
        &self,
        claim: &PersistentVolumeClaim,
        phase: &str,
        volume: Option<&PersistentVolume>,
    ) -> Result<(), ApiError> {
        let mut wanted = claim.clone();
        let status = wanted.status.get_or_insert_default();
        let becomes = status.phase.as_deref() != Some(phase);
        status.phase = Some(phase.to_owned());
        match volume.and_then(|v| v.spec.as_ref()) {
            None => {
                (status.access_modes, status.capacity) = (None, None);
                status.current_volume_attributes_class_name = None;
            }
            Some(spec) => {
                status.access_modes = spec.access_modes.clone();
                // Once bound, a difference may be meant: a file system that has not grown yet.
                if becomes {
                    status.capacity = spec.capacity.clone();
                    status.current_volume_attributes_class_name = spec.volume_attributes_class_name.clone();
                }
            }
        }
        if wanted.status == claim.status {
            return Ok(());
        }
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        self.claims_beside(claim).replace_status(name, &wanted).await.map(|_| ())
    }
}
