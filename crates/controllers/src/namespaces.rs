//! A namespace that is deleted takes its contents with it: pods first, then the rest, then itself (KEP-5080).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::reconcile::{self, Next};
use client::{Action, Api, Change, Client, DeleteOptions, List, ObjectKey, Options, Queue, Reply, Request, Shutdown};
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use machinery::ApiError;
use machinery::json::Value;

use crate::context::{ApiResource, Context};

/// The finalizer in `spec` that is this controller's.
const FINALIZER: &str = "kubernetes";
const WORKERS: usize = 4;
/// How soon a namespace whose contents linger is looked at again.
const RETRY: Duration = Duration::from_millis(500);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    context.informers.namespaces.on_change(move |change| {
        if change.object().metadata.deletion_timestamp.is_some() {
            changed.add(ObjectKey::of(change.object().as_ref()));
        }
    });
    let (changed, all) = (queue.clone(), context.clone());
    context.informers.pods.on_change(move |change| {
        let Change::Deleted(pod) = change else { return };
        let name = pod.metadata.namespace.as_deref().unwrap_or_default();
        let namespace = all.informers.namespaces.get("", name);
        if namespace.is_some_and(|n| n.metadata.deletion_timestamp.is_some()) {
            changed.add(ObjectKey::new("", name));
        }
    });
    // What is not known cannot be deleted.
    context.custom_resources.synced().await;
    let client = context.client_of("namespace-controller");
    reconcile::run("namespace-controller", WORKERS, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile(&context, &client, &key.name).await }
    })
    .await;
}

async fn reconcile(context: &Context, client: &Client, name: &str) -> Result<Next, ApiError> {
    let Some(namespace) = Api::<Namespace>::all(client).get_opt(name).await? else { return Ok(Next::Wait) };
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
    if namespace.metadata.deletion_timestamp.is_none() || !finalizers.iter().any(|f| f == FINALIZER) {
        return Ok(Next::Wait);
    }
    let remains = empty(context, client, name).await;
    tell(client, &namespace, &remains).await?;
    if !remains.failures.is_empty() || !remains.counts.is_empty() {
        return Ok(Next::After(RETRY));
    }
    finalize(client, name, finalizers).await?;
    Ok(Next::Wait)
}

/// What is left in a namespace.
#[derive(Default)]
struct Remains {
    /// Objects by resource (`pods.`, `deployments.apps`).
    counts: BTreeMap<String, usize>,
    /// Objects by finalizer.
    finalizers: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// Deletes everything in a namespace; while pods are left, nothing but pods.
async fn empty(context: &Context, client: &Client, namespace: &str) -> Remains {
    let mut remains = Remains::default();
    let all = context.resources().into_iter().filter(|r| r.namespaced);
    let (pods, rest): (Vec<_>, Vec<_>) = all.partition(|r| is_pods(r));
    for resource in &pods {
        empty_of(client, namespace, resource, &mut remains).await;
    }
    if remains.counts.is_empty() && remains.failures.is_empty() {
        for resource in &rest {
            empty_of(client, namespace, resource, &mut remains).await;
        }
    }
    remains
}

fn is_pods(resource: &ApiResource) -> bool {
    resource.resource.group.is_empty() && resource.resource.resource.as_ref() == "pods"
}

async fn empty_of(client: &Client, namespace: &str, resource: &ApiResource, remains: &mut Remains) {
    if let Err(error) = try_empty_of(client, namespace, resource, remains).await {
        remains.failures.push(error.to_string());
    }
}

async fn try_empty_of(
    client: &Client,
    namespace: &str,
    resource: &ApiResource,
    remains: &mut Remains,
) -> Result<(), ApiError> {
    if list(client, namespace, resource).await?.items.is_empty() {
        return Ok(());
    }
    let options = DeleteOptions { propagation_policy: Some("Background".to_owned()), ..DeleteOptions::default() };
    if resource.delete_collection {
        client.call(request(namespace, resource, None, Action::DeleteCollection(options))).await?;
    } else {
        for entry in list(client, namespace, resource).await?.items {
            let name = entry.tree().str_at(&["metadata", "name"]).map(str::to_owned);
            let deleted = client.call(request(namespace, resource, name, Action::Delete(options.clone()))).await;
            deleted.map(drop).or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
        }
    }
    let left = list(client, namespace, resource).await?.items;
    if !left.is_empty() {
        let gvr = &resource.resource;
        remains.counts.insert(format!("{}.{}", gvr.resource, gvr.group), left.len());
    }
    for entry in left {
        let finalizers = entry.tree().at(&["metadata", "finalizers"]).and_then(Value::as_array).cloned();
        for finalizer in finalizers.into_iter().flatten() {
            *remains.finalizers.entry(finalizer.as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

async fn list(client: &Client, namespace: &str, resource: &ApiResource) -> Result<List, ApiError> {
    match client.call(request(namespace, resource, None, Action::List)).await? {
        Reply::List(list) => Ok(list),
        _ => Err(ApiError::Internal("no list came where one was asked for".to_owned())),
    }
}

fn request(namespace: &str, resource: &ApiResource, name: Option<String>, action: Action) -> Request {
    Request {
        action,
        resource: resource.resource.clone(),
        namespace: Some(namespace.to_owned()),
        name,
        subresource: None,
        options: Options::default(),
    }
}

/// Takes the finalizer away, upon which the namespace goes.
async fn finalize(client: &Client, name: &str, finalizers: Vec<String>) -> Result<(), ApiError> {
    let rest: Vec<String> = finalizers.into_iter().filter(|f| f != FINALIZER).collect();
    let mut object = Value::object();
    object.set_at(&["apiVersion"], "v1");
    object.set_at(&["kind"], "Namespace");
    object.set_at(&["metadata", "name"], name);
    object.set_at(&["spec", "finalizers"], rest);
    let request = Request {
        action: Action::Update(object),
        resource: Api::<Namespace>::resource(),
        namespace: None,
        name: Some(name.to_owned()),
        subresource: Some("finalize".to_owned()),
        options: Options::default(),
    };
    client.call(request).await.map(drop).or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })
}

/// Writes what stands in the way into the namespace's conditions.
async fn tell(client: &Client, namespace: &Namespace, remains: &Remains) -> Result<(), ApiError> {
    let mut changed = namespace.clone();
    let conditions = changed.status.get_or_insert_default().conditions.get_or_insert_default();
    for (kind, status, reason, message) in conditions_of(remains) {
        put(conditions, kind, status, reason, message);
    }
    if changed.status != namespace.status {
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        // Somebody else may have written meanwhile; the next look tells anew.
        let written = Api::<Namespace>::all(client).replace_status(name, &changed).await;
        written.map(drop).or_else(|e| if e.is_conflict() || e.is_not_found() { Ok(()) } else { Err(e) })?;
    }
    Ok(())
}

fn conditions_of(remains: &Remains) -> [(&'static str, &'static str, &'static str, String); 5] {
    let counted = |all: &BTreeMap<String, usize>, join: &str| {
        let parts: Vec<String> = all.iter().map(|(what, n)| format!("{what}{join}{n} resource instances")).collect();
        parts.join(", ")
    };
    let content = if remains.failures.is_empty() {
        ("False", "ContentDeleted", "All content successfully deleted, may be waiting on finalization".to_owned())
    } else {
        let message = format!("Failed to delete all resource types, {} remaining: ", remains.failures.len());
        ("True", "ContentDeletionFailed", message + &remains.failures.join(", "))
    };
    let remaining = if remains.counts.is_empty() {
        ("False", "ContentRemoved", "All content successfully removed".to_owned())
    } else {
        let message = format!("Some resources are remaining: {}", counted(&remains.counts, " has "));
        ("True", "SomeResourcesRemain", message)
    };
    let finalizers = if remains.finalizers.is_empty() {
        ("False", "ContentHasNoFinalizers", "All content-preserving finalizers finished".to_owned())
    } else {
        let all = counted(&remains.finalizers, " in ");
        ("True", "SomeFinalizersRemain", format!("Some content in the namespace has finalizers remaining: {all}"))
    };
    let discovered = "All resources successfully discovered".to_owned();
    let parsed = "All legacy kube types successfully parsed".to_owned();
    [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", discovered),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions", parsed),
        ("NamespaceDeletionContentFailure", content.0, content.1, content.2),
        ("NamespaceContentRemaining", remaining.0, remaining.1, remaining.2),
        ("NamespaceFinalizersRemaining", finalizers.0, finalizers.1, finalizers.2),
    ]
}

fn put(conditions: &mut Vec<NamespaceCondition>, kind: &str, status: &str, reason: &str, message: String) {
    let now = Time(seams::clock::now_seconds());
    let known = conditions.iter_mut().find(|c| c.type_ == kind);
    match known {
        Some(known) => {
            if known.status != status {
                known.last_transition_time = Some(now);
            }
            known.status = status.to_owned();
            known.reason = Some(reason.to_owned());
            known.message = Some(message);
        }
        None => conditions.push(NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: Some(now),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_told() {
        let remains = Remains {
            counts: [("pods.".to_owned(), 2)].into(),
            finalizers: [("example.com/hold".to_owned(), 1)].into(),
            failures: vec![],
        };
        let told = conditions_of(&remains);
        assert_eq!(told[3].3, "Some resources are remaining: pods. has 2 resource instances");
        assert_eq!(
            told[4].3,
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        );
        assert_eq!(told[2].1, "False");
    }
}
