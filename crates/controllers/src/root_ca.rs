//! Every namespace has the certificate of the API server's authority, in the config map `kube-root-ca.crt`.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::reconcile::{self, Next};
use client::{Api, Client, ObjectKey, Queue, Shutdown};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::context::Context;

const NAME: &str = "kube-root-ca.crt";
const DESCRIPTION: &str = "kubernetes.io/description";

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    context.informers.namespaces.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let changed = queue.clone();
    context.informers.config_maps.on_change(move |change| {
        let meta = &change.object().metadata;
        if meta.name.as_deref() == Some(NAME) {
            changed.add(ObjectKey::new("", meta.namespace.as_deref().unwrap_or_default()));
        }
    });
    context.informers.config_maps.synced().await;
    let client = context.client_of("root-ca-cert-publisher");
    reconcile::run("root-ca-certificate-publisher-controller", 1, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { publish(&context, &client, &key.name).await }
    })
    .await;
}

async fn publish(context: &Context, client: &Client, namespace: &str) -> Result<Next, ApiError> {
    let alive =
        context.informers.namespaces.get("", namespace).is_some_and(|n| n.metadata.deletion_timestamp.is_none());
    if !alive {
        return Ok(Next::Wait);
    }
    let data: BTreeMap<String, String> = [("ca.crt".to_owned(), context.options.root_ca.clone())].into();
    let api = Api::<ConfigMap>::namespaced(client, namespace);
    let Some(known) = context.informers.config_maps.get(namespace, NAME) else {
        let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";
        let metadata = ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            annotations: Some([(DESCRIPTION.to_owned(), description.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let made = api.create(&ConfigMap { metadata, data: Some(data), ..ConfigMap::default() }).await;
        return made.map(|_| Next::Wait).or_else(|e| if e.is_already_exists() { Ok(Next::Wait) } else { Err(e) });
    };
    if known.data.as_ref() != Some(&data) {
        let mut wanted = known.as_ref().clone();
        wanted.data = Some(data);
        api.replace(NAME, &wanted).await?;
    }
    Ok(Next::Wait)
}
