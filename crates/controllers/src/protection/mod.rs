//! Storage objects that are in use are not deleted: their finalizer goes when nobody uses them any more. Those that were made
//! without it get it.

mod attributes_classes;
mod claims;
mod volumes;

use std::sync::Arc;

use client::reconcile::{self, Next};
use client::{Api, Client, Informer, ObjectKey, Queue, Resource, Shutdown};
use k8s_openapi::Metadata;
use machinery::ApiError;

use crate::context::{Context, Informers};

pub(crate) use attributes_classes::AttributesClasses;
pub(crate) use claims::{Claims, claims_of};
pub(crate) use volumes::Volumes;

/// What one kind's protection is about.
pub(crate) trait Protection: Send + Sync + 'static {
    /// What is protected.
    type Object: Resource;
    /// The controller's name.
    const NAME: &'static str;
    /// Its service account.
    const ACCOUNT: &'static str;
    const FINALIZER: &'static str;

    fn informer(informers: &Informers) -> &Informer<Self::Object>;

    /// Adds objects to the queue when others change that may use them, and waits until these are known.
    fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) -> impl Future<Output = ()> + Send;

    /// Whether somebody uses it.
    fn is_in_use(context: &Context, object: &Self::Object) -> bool;
}

/// Runs until shutdown.
pub(crate) async fn run<P: Protection>(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    P::informer(&context.informers).on_change(move |change| {
        let object = change.object();
        // Others are left alone.
        if wants_finalizer::<P>(object) || is_leaving::<P>(object) {
            changed.add(ObjectKey::of(object.as_ref()));
        }
    });
    P::follow(&context, &queue).await;
    P::informer(&context.informers).synced().await;
    let client = context.client_of(P::ACCOUNT);
    reconcile::run(P::NAME, 1, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile::<P>(&context, &client, &key).await }
    })
    .await;
}

async fn reconcile<P: Protection>(context: &Context, client: &Client, key: &ObjectKey) -> Result<Next, ApiError> {
    let Some(object) = P::informer(&context.informers).get(&key.namespace, &key.name) else { return Ok(Next::Wait) };
    let mut wanted = object.as_ref().clone();
    let finalizers = wanted.metadata_mut().finalizers.get_or_insert_default();
    if wants_finalizer::<P>(&object) {
        finalizers.push(P::FINALIZER.to_owned());
    } else if is_leaving::<P>(&object) && !P::is_in_use(context, &object) {
        finalizers.retain(|finalizer| finalizer != P::FINALIZER);
    } else {
        return Ok(Next::Wait);
    }
    let api = match &*key.namespace {
        "" => Api::<P::Object>::all(client),
        namespace => Api::<P::Object>::namespaced(client, namespace),
    };
    match api.replace(&key.name, &wanted).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Next::Wait),
    }
}

fn has_finalizer<P: Protection>(object: &P::Object) -> bool {
    object.metadata().finalizers.iter().flatten().any(|finalizer| finalizer == P::FINALIZER)
}

fn is_deleting<P: Protection>(object: &P::Object) -> bool {
    object.metadata().deletion_timestamp.is_some()
}

fn wants_finalizer<P: Protection>(object: &P::Object) -> bool {
    !is_deleting::<P>(object) && !has_finalizer::<P>(object)
}

fn is_leaving<P: Protection>(object: &P::Object) -> bool {
    is_deleting::<P>(object) && has_finalizer::<P>(object)
}

#[cfg(test)]
mod tests {
    use client::DeleteOptions;
    use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
    use k8s_openapi::api::storage::v1::VolumeAttributesClass;

    use super::*;
    use crate::testing::{Cluster, until};

    const CLAIM: &str = r#"{"metadata":{"name":"c"},"spec":{"volumeAttributesClassName":"v","accessModes":["ReadWriteOnce"],
        "resources":{"requests":{"storage":"1Gi"}}}}"#;

    async fn cluster() -> Cluster {
        Cluster::start(&[
            "persistentvolumeclaim-protection-controller",
            "persistentvolume-protection-controller",
            "volumeattributesclass-protection-controller",
        ])
        .await
    }

    async fn gone<K: Resource>(cluster: &Cluster, namespace: &str, name: &str) {
        let api = cluster.api::<K>(namespace);
        until("the object goes", async || api.get_opt(name).await.unwrap().is_none().then_some(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_stays_as_long_as_a_pod_uses_it_and_its_class_as_long_as_the_claim() {
        let cluster = cluster().await;
        let class = r#"{"metadata":{"name":"v"},"driverName":"d","parameters":{"a":"b"}}"#;
        cluster.create::<VolumeAttributesClass>("", class).await;
        let claim = cluster.create::<PersistentVolumeClaim>("default", CLAIM).await;
        assert_eq!(claim.metadata.finalizers.as_deref(), Some(&["kubernetes.io/pvc-protection".to_owned()][..]));
        let pod = r#"{"metadata":{"name":"p"},"spec":{"nodeName":"n","containers":[{"name":"c","image":"i"}],
            "volumes":[{"name":"x","persistentVolumeClaim":{"claimName":"c"}}]}}"#;
        cluster.create::<Pod>("default", pod).await;
        let (claims, classes) =
            (cluster.api::<PersistentVolumeClaim>("default"), cluster.api::<VolumeAttributesClass>(""));
        classes.delete("v", DeleteOptions::default()).await.unwrap();
        claims.delete("c", DeleteOptions::default()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(claims.get_opt("c").await.unwrap().is_some() && classes.get_opt("v").await.unwrap().is_some());
        let at_once = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        cluster.api::<Pod>("default").delete("p", at_once).await.unwrap();
        gone::<PersistentVolumeClaim>(&cluster, "default", "c").await;
        gone::<VolumeAttributesClass>(&cluster, "", "v").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_volume_stays_as_long_as_it_is_bound_and_all_have_their_finalizer() {
        let cluster = cluster().await;
        let volume = r#"{"metadata":{"name":"v"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],
            "hostPath":{"path":"/x"}}}"#;
        cluster.create::<PersistentVolume>("", volume).await;
        cluster.merge::<PersistentVolume>("", "v", r#"{"metadata":{"finalizers":null}}"#).await;
        let api = cluster.api::<PersistentVolume>("");
        until("the volume has its finalizer again", async || {
            let volume = api.get("v").await.unwrap();
            has_finalizer::<Volumes>(&volume).then_some(())
        })
        .await;
        let phase = |phase: &str| {
            let patch = format!(r#"{{"status":{{"phase":"{phase}"}}}}"#);
            machinery::json::Value::parse(patch.as_bytes()).unwrap()
        };
        api.patch_status("v", client::PatchKind::Merge, phase("Bound")).await.unwrap();
        api.delete("v", DeleteOptions::default()).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        assert!(api.get_opt("v").await.unwrap().is_some());
        api.patch_status("v", client::PatchKind::Merge, phase("Released")).await.unwrap();
        gone::<PersistentVolume>(&cluster, "", "v").await;
    }
}
