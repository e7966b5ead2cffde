//! Every namespace has a `default` service account.

use std::sync::Arc;

use client::reconcile::{self, Next};
use client::{Api, Change, ObjectKey, Queue, Shutdown};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::context::Context;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    context.informers.namespaces.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let changed = queue.clone();
    context.informers.service_accounts.on_change(move |change| {
        if let Change::Deleted(account) = change {
            changed.add(ObjectKey::new("", account.metadata.namespace.as_deref().unwrap_or_default()));
        }
    });
    context.informers.service_accounts.synced().await;
    let client = context.client_of("service-account-controller");
    reconcile::run("serviceaccount-controller", 1, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile_namespace(&context, &client, &key.name).await }
    })
    .await;
}

async fn reconcile_namespace(context: &Context, client: &client::Client, namespace: &str) -> Result<Next, ApiError> {
    let alive =
        context.informers.namespaces.get("", namespace).is_some_and(|n| n.metadata.deletion_timestamp.is_none());
    if !alive || context.informers.service_accounts.get(namespace, "default").is_some() {
        return Ok(Next::Wait);
    }
    let metadata =
        ObjectMeta { name: Some("default".to_owned()), namespace: Some(namespace.to_owned()), ..Default::default() };
    let account = ServiceAccount { metadata, ..ServiceAccount::default() };
    match Api::namespaced(client, namespace).create(&account).await {
        Err(e) if !e.is_already_exists() => Err(e),
        _ => Ok(Next::Wait),
    }
}
