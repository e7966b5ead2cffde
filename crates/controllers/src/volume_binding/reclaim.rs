//! What `persistentVolumeReclaimPolicy` asks for once a volume's claim is gone.

use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;
use client::reconcile::Next;
use client::{DeleteOptions, claims};
use k8s_openapi::api::core::v1::PersistentVolume;
use machinery::ApiError;

use super::volume::PROVISIONED_BY;
use super::{Binder, name_of, phase_of};

/// When what could not be removed is tried again.
const RETRY_WAIT: Duration = Duration::from_secs(60);

/// What became of a volume's contents.
enum Removal {
    /// They are gone.
    Done,
    /// Somebody else removes them.
    External,
    /// No way to remove them is known.
    Never(String),
    /// It may work later.
    Failed(String),
}

impl Binder {
    /// Keeps a released volume, or removes it with its contents.
    pub(super) async fn reclaim(&self, volume: &Arc<PersistentVolume>) -> Result<Next, ApiError> {
        let policy = volume.spec.as_ref().and_then(|s| s.persistent_volume_reclaim_policy.as_deref());
        match policy.unwrap_or("Retain") {
            "Retain" => {}
            "Delete" => return self.delete(volume).await,
            // DIVERGES: upstream empties hostPath and NFS volumes by a pod; the policy is deprecated, and no image is at hand
            // for that.
            "Recycle" => {
                self.fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!").await?;
            }
            _ => {
                let message = "Volume has unrecognized PersistentVolumeReclaimPolicy";
                self.fail(volume, "VolumeUnknownReclaimPolicy", message).await?;
            }
        }
        Ok(Next::Wait)
    }

    async fn fail(&self, volume: &Arc<PersistentVolume>, reason: &str, message: &str) -> Result<(), ApiError> {
        if phase_of(volume) != "Failed" {
            self.set_phase(volume, "Failed", message).await?;
            self.tell_volume(volume, EventType::Warning, reason, message);
        }
        Ok(())
    }

    async fn delete(&self, volume: &Arc<PersistentVolume>) -> Result<Next, ApiError> {
        let (next, why) = match remove_contents(volume).await {
            Removal::External => return Ok(Next::Wait),
            Removal::Done => {
                let result = self.volumes().delete(name_of(volume), DeleteOptions::default()).await;
                return match result {
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(Next::Wait),
                };
            }
            Removal::Never(why) => (Next::Wait, why),
            Removal::Failed(why) => (Next::After(RETRY_WAIT), why),
        };
        self.fail(volume, "VolumeFailedDelete", &why).await?;
        Ok(next)
    }
}

async fn remove_contents(volume: &PersistentVolume) -> Removal {
    let made_by = claims::annotation(&volume.metadata, PROVISIONED_BY).unwrap_or_default();
    if !made_by.is_empty() {
        return match made_by.starts_with("kubernetes.io/") {
            true => Removal::Never(format!("no deletable volume plugin matched name: {made_by}")),
            false => Removal::External,
        };
    }
    let path = volume.spec.as_ref().and_then(|s| s.host_path.as_ref()).map(|h| h.path.clone());
    let Some(path) = path else {
        let name = name_of(volume);
        return Removal::Never(format!(
            "error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched"
        ));
    };
    let removed = tokio::task::spawn_blocking(move || remove_directory(Path::new(&path))).await;
    removed.unwrap_or_else(|e| Removal::Failed(e.to_string()))
}

/// Removes a directory below /tmp, nothing else. DIVERGES: upstream also takes paths with a `/tmp/` further in.
fn remove_directory(path: &Path) -> Removal {
    let below_tmp = path.strip_prefix("/tmp").is_ok_and(|rest| rest.components().next().is_some());
    if !below_tmp || path.components().any(|part| part == Component::ParentDir) {
        return Removal::Never(format!(
            "host_path deleter only supports /tmp/.+ but received provided {}",
            path.display()
        ));
    }
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Removal::Failed(format!("{}: {error}", path.display()))
        }
        _ => Removal::Done,
    }
}
