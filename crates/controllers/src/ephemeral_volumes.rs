//! Makes the claims of pods' ephemeral volumes (KEP-1698). They belong to their pod and go with it.

use std::sync::Arc;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Api, Change, Client, ObjectKey, Queue, Shutdown, claims};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::ApiError;

use crate::context::Context;

const NAME: &str = "ephemeral-volume-controller";
const WORKERS: usize = 2;

/// Runs until shutdown.
pub(crate) async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    context.informers.pods.on_change(move |change| {
        if let Change::Applied { new, .. } = change
            && has_ephemeral(new)
            && new.metadata.deletion_timestamp.is_none()
        {
            changed.add(ObjectKey::of(new.as_ref()));
        }
    });
    let (changed, all) = (queue.clone(), context.clone());
    context.informers.persistent_volume_claims.on_change(move |change| {
        if let Change::Deleted(claim) = change {
            let key = ObjectKey::of(claim.as_ref());
            let pods = all.informers.pods.by_index("claim", &key.to_string());
            pods.iter().filter(|pod| has_ephemeral(pod)).for_each(|pod| changed.add(ObjectKey::of(pod.as_ref())));
        }
    });
    tokio::join!(context.informers.pods.synced(), context.informers.persistent_volume_claims.synced());
    let (client, recorder) = (context.client_of(NAME), context.recorder("ephemeral_volume"));
    reconcile::run(NAME, WORKERS, queue, shutdown, move |key| {
        let (context, client, recorder) = (context.clone(), client.clone(), recorder.clone());
        async move { reconcile(&context, &client, &recorder, &key).await }
    })
    .await;
}

fn has_ephemeral(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| volume.ephemeral.is_some())
}

async fn reconcile(context: &Context, client: &Client, recorder: &Recorder, key: &ObjectKey) -> Result<Next, ApiError> {
    let Some(pod) = context.informers.pods.get(&key.namespace, &key.name) else { return Ok(Next::Wait) };
    if pod.metadata.deletion_timestamp.is_some() {
        return Ok(Next::Wait);
    }
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    for volume in volumes.filter(|volume| volume.ephemeral.is_some()) {
        if let Err(error) = make_claim(context, client, &pod, volume).await {
            let message = format!("ephemeral volume {}: {error}", volume.name);
            recorder.event_on(pod.as_ref(), EventType::Warning, "FailedBinding", message);
            return Err(ApiError::Internal(error));
        }
    }
    Ok(Next::Wait)
}

async fn make_claim(context: &Context, client: &Client, pod: &Pod, volume: &Volume) -> Result<(), String> {
    let Some(name) = claims::claim_name(pod, volume) else { return Ok(()) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(known) = context.informers.persistent_volume_claims.get(namespace, &name) {
        return claims::check_owner(pod, &known);
    }
    let api = Api::<PersistentVolumeClaim>::namespaced(client, namespace);
    match api.create(&claim(pod, volume, &name)).await {
        // The copy here is behind, or somebody else was faster.
        Err(error) if error.is_already_exists() => {
            let known = api.get(&name).await.map_err(|e| e.to_string())?;
            claims::check_owner(pod, &known)
        }
        result => result.map(|_| ()).map_err(|e| format!("create PVC {name}: {e}")),
    }
}

fn claim(pod: &Pod, volume: &Volume, name: &str) -> PersistentVolumeClaim {
    let template = volume.ephemeral.as_ref().and_then(|e| e.volume_claim_template.clone());
    let (meta, spec) = template.map(|t| (t.metadata.unwrap_or_default(), t.spec)).unzip();
    let meta: ObjectMeta = meta.unwrap_or_default();
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: meta.annotations,
            labels: meta.labels,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}
