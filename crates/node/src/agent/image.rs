//! Makes sure that an image is there which the pod may use.

use std::time::Duration;

use client::Api;
use client::events::EventType;
use k8s_openapi::api::core::v1::Secret;
use runtime::{Credentials, ImageStatus, RuntimeError};
use tokio::sync::watch;

use super::backoff::go_duration;
use super::bring_up::{Fault, POD_ENDS, StartError, Up};
use crate::images::access::Verdict;
use crate::images::records::{PullSecret, Pullers};
use crate::images::{Access, secrets};
use crate::meter;
use crate::wanted::Member;

/// How long a pull goes on that nobody waits for any more.
const UNWANTED_MAX: Duration = Duration::from_secs(600);

/// Credentials that a pod has for an image, and the secrets they are from.
type Owned = Vec<(Credentials, PullSecret)>;

fn failed(fault: Fault, reason: &'static str, message: String) -> StartError {
    StartError { fault, ..StartError::new(reason, message) }
}

/// Runs what writes files where that may take its time.
async fn written<T: Send + 'static>(up: &Up, work: impl FnOnce(&Access) -> T + Send + 'static) -> std::io::Result<T> {
    let access = up.agent.images.clone();
    tokio::task::spawn_blocking(move || work(&access)).await.map_err(std::io::Error::other)
}

/// Makes sure that an image is there.
pub async fn image(up: &Up, member: &Member, name: &str, policy: Option<&str>) -> Result<ImageStatus, StartError> {
    let reference = up.wanted.member_reference(member.name());
    let event = |kind, reason, text: String| up.agent.event(&reference, kind, reason, text);
    let policy = policy.unwrap_or("IfNotPresent");
    let present = up.agent.options.runtime.image_status(name).await.map_err(|error| {
        let (reason, text) = match error {
            RuntimeError::Invalid(why) => {
                ("InvalidImageName", format!("Failed to apply default image tag {name:?}: {why}"))
            }
            error => ("ImageInspectError", format!("Failed to inspect image {name:?}: {error}")),
        };
        event(EventType::Warning, "InspectFailed", text.clone());
        failed(Fault::Image, reason, text)
    })?;
    // Images made from the own binary exist in no registry.
    let local = name.starts_with("localhost/skiff/");
    let mut owned = None;
    let is_there = match policy {
        "Always" => "unknown",
        _ if present.is_some() => "true",
        _ => "false",
    };
    let asked = |must_pull: &str| {
        let policy = policy.to_lowercase();
        let labels = [("pull_policy", policy.as_str()), ("present_locally", is_there), ("pull_required", must_pull)];
        up.agent.meter.count(&meter::ENSURED_IMAGES, &labels);
    };
    if let Some(image) = present.filter(|_| policy != "Always" || local)
        && (local || may_use(up, name, &image.id, &mut owned).await)
    {
        asked("false");
        let text = format!("Container image {name:?} already present on machine and can be accessed by the pod");
        event(EventType::Normal, "Pulled", text);
        return Ok(image);
    }
    asked(if policy == "Never" && is_there == "false" { "unknown" } else { "true" });
    if policy == "Never" {
        // One that the pod may not use is as good as not there: that it is there is not told either.
        let text = format!("Container image {name:?} is not present with pull policy of Never");
        event(EventType::Warning, "ErrImageNeverPull", text.clone());
        return Err(failed(Fault::Image, "ErrImageNeverPull", text));
    }
    event(EventType::Normal, "Pulling", format!("Pulling image {name:?}"));
    let since = tokio::time::Instant::now();
    let owned = match owned {
        Some(owned) => owned,
        None => pull_credentials(up, name).await,
    };
    match pull(up, name, owned).await {
        Ok(image) => {
            let size = [("image_size_in_bytes", size_range(image.size))];
            up.agent.meter.took(&meter::IMAGE_PULL, &size, since.elapsed());
            let took = go_duration(since.elapsed());
            let text = format!(
                "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {} bytes.",
                image.size
            );
            event(EventType::Normal, "Pulled", text);
            Ok(image)
        }
        Err(error) => {
            if error.fault != Fault::Container {
                event(EventType::Warning, "Failed", format!("Failed to pull image {name:?}: {}", error.message));
            }
            Err(error)
        }
    }
}

/// Whether the pod may use an image that is there. What it has for it is looked up only if that decides.
async fn may_use(up: &Up, name: &str, id: &str, owned: &mut Option<Owned>) -> bool {
    let of_image = (name.to_owned(), id.to_owned());
    let result = match up.agent.images.judge(name, id) {
        Verdict::Exempt => "credentialPolicyAllowed",
        Verdict::Preloaded => {
            let _ = written(up, move |access| access.preloaded(&of_image.0, &of_image.1)).await;
            "credentialPolicyAllowed"
        }
        Verdict::Open => "credentialRecordFound",
        Verdict::Closed => "mustAuthenticate",
        Verdict::AskPod => {
            let found = owned.insert(pull_credentials(up, name).await);
            let secrets: Vec<PullSecret> = found.iter().map(|(_, secret)| secret.clone()).collect();
            match written(up, move |access| access.admits(&of_image.0, &of_image.1, &secrets)).await {
                Ok(true) => "credentialRecordFound",
                Ok(false) => "mustAuthenticate",
                Err(_) => "error",
            }
        }
    };
    up.agent.meter.count(&meter::IMAGE_CHECKS, &[("result", result)]);
    matches!(result, "credentialPolicyAllowed" | "credentialRecordFound")
}

/// The range in which upstream counts the pulls of images of this size.
fn size_range(bytes: u64) -> &'static str {
    const MB: u64 = 1 << 20;
    const GB: u64 = 1 << 30;
    const RANGES: &[(u64, &str)] = &[
        (10 * MB, "0-10MB"),
        (100 * MB, "10MB-100MB"),
        (500 * MB, "100MB-500MB"),
        (GB, "500MB-1GB"),
        (5 * GB, "1GB-5GB"),
        (10 * GB, "5GB-10GB"),
        (20 * GB, "10GB-20GB"),
        (30 * GB, "20GB-30GB"),
        (40 * GB, "30GB-40GB"),
        (60 * GB, "40GB-60GB"),
        (100 * GB, "60GB-100GB"),
    ];
    RANGES.iter().find(|(end, _)| bytes <= *end).map_or("GT100GB", |(_, name)| name)
}

/// Pulls an image with what the pod has, and keeps what the registry took.
async fn pull(up: &Up, name: &str, owned: Owned) -> Result<ImageStatus, StartError> {
    let image = name.to_owned();
    if let Err(error) = written(up, move |access| access.begin(&image)).await.and_then(|begun| begun) {
        let text = format!("Failed to record image pull intent for container image {name:?}: {error}");
        return Err(failed(Fault::Pull, "ErrImagePull", text));
    }
    let (credentials, secrets): (Vec<Credentials>, Vec<PullSecret>) = owned.into_iter().unzip();
    let (runtime, access, image) = (up.agent.options.runtime.clone(), up.agent.images.clone(), name.to_owned());
    let mut cancel = up.cancel.clone();
    let ended = up.cancel.clone();
    // It goes on when the pod ends: what it brings is there then, and must not pass for something that nobody pulled.
    let pulled = tokio::spawn(async move {
        let pulled = tokio::select! {
            pulled = runtime.pull_image(&image, credentials) => pulled,
            // Nobody knows what comes of it: it stays known as begun.
            () = unwanted(ended) => return Err(RuntimeError::Failed(POD_ENDS.to_owned())),
        };
        let kept = tokio::task::spawn_blocking(move || {
            match &pulled {
                Ok(pulled) => {
                    let secret = pulled.credentials.and_then(|index| secrets.get(index));
                    let pullers = secret.map_or_else(Pullers::everybody, |secret| Pullers::one(secret.clone()));
                    access.pulled(&image, &pulled.image.id, Some(&pullers));
                }
                Err(_) => access.failed(&image),
            }
            pulled
        });
        kept.await.unwrap_or_else(|error| Err(RuntimeError::Failed(error.to_string())))
    });
    let pulled = tokio::select! {
        pulled = pulled => pulled.unwrap_or_else(|error| Err(RuntimeError::Failed(error.to_string()))),
        _ = cancel.wait_for(|c| *c) => return Err(StartError::new("ContainerCreating", POD_ENDS)),
    };
    pulled.map(|pulled| pulled.image).map_err(|error| {
        let text = error.to_string();
        match error {
            RuntimeError::Invalid(_) | RuntimeError::Pull { reason: "InvalidImageName", .. } => {
                failed(Fault::Image, "InvalidImageName", text)
            }
            RuntimeError::Pull { reason, .. } => failed(Fault::Pull, reason, text),
            _ => failed(Fault::Pull, "ErrImagePull", text),
        }
    })
}

/// Returns when a pod ended a while ago.
async fn unwanted(mut ended: watch::Receiver<bool>) {
    // A sender that is gone is a pod that ended.
    let _ = ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(UNWANTED_MAX).await;
}

/// The credentials of the pod's pull secrets that fit the image's registry.
async fn pull_credentials(up: &Up, image: &str) -> Owned {
    let api = Api::<Secret>::namespaced(&up.agent.options.client, up.wanted.namespace());
    let mut list = Vec::new();
    for reference in up.wanted.spec().image_pull_secrets.iter().flatten() {
        match api.get(&reference.name).await {
            Ok(secret) => list.extend(secrets::credentials(&secret, image)),
            Err(error) => {
                let text = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                tracing::debug!(%error, "pull secret not read");
                up.agent.event(&up.wanted.reference(), EventType::Warning, "FailedToRetrieveImagePullSecret", text);
            }
        }
    }
    list
}
