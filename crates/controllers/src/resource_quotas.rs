//! What a namespace uses of its quotas is counted: when a quota is new or changes, when something is gone, and now and then.
//!
//! Admission charges what is made; here it is put right. Objects are counted from lists of the one namespace, of resources that
//! the quota names: in process these are the API server's own entries, and no copy of all objects is kept for it. That something
//! is gone is told by the garbage collector, which watches every resource.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::reconcile::{self, Next};
use client::{Action, Api, Change, Client, ObjectKey, Options, Queue, Reply, Request, Shutdown};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota, ResourceQuotaStatus, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Amount;
use machinery::amounts::{self, Amounts};
use machinery::json::{Value, to_value};
use machinery::quantity::Quantity;
use machinery::quota::Counted;
use machinery::{ApiError, Entry};

use crate::context::{ApiResource, Context};
use crate::pods;

const WORKERS: usize = 5;
/// How often all is counted anew (upstream's `--resource-quota-sync-period`).
const RESYNC: Duration = Duration::from_secs(300);
/// What was just put right may have been charged for an object that was not stored yet: it is counted once more.
const SECOND_LOOK: Duration = Duration::from_secs(2);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    follow(&context, &queue);
    context.informers.resource_quotas.synced().await;
    context.custom_resources.synced().await;
    let client = context.client_of("resourcequota-controller");
    reconcile::run("resourcequota-controller", WORKERS, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile(&context, &client, &key).await }
    })
    .await;
}

fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) {
    let changed = queue.clone();
    context.informers.resource_quotas.on_change(move |change| {
        if let Change::Applied { old, new } = change
            && old.is_none_or(|old| old.spec != new.spec)
        {
            changed.add(ObjectKey::of(new.as_ref()));
        }
    });
    let (less, quotas) = (queue.clone(), Arc::downgrade(context));
    context.removals.on_removal(move |resource, namespace| {
        if let Some(quotas) = quotas.upgrade() {
            add_those_that_count(&quotas, &less, counted(resource), namespace);
        }
    });
    let (less, quotas) = (queue.clone(), context.clone());
    context.informers.pods.on_change(move |change| {
        if let Change::Applied { old: Some(old), new } = change
            && uses_less(old, new)
        {
            let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
            add_those_that_count(&quotas, &less, Counted { group: "", resource: "pods" }, namespace);
        }
    });
    let (less, quotas) = (queue.clone(), context.clone());
    context.informers.services.on_change(move |change| {
        if let Change::Applied { old: Some(old), new } = change
            && kind_of(old) != kind_of(new)
        {
            let namespace = new.metadata.namespace.as_deref().unwrap_or_default();
            add_those_that_count(&quotas, &less, Counted { group: "", resource: "services" }, namespace);
        }
    });
}

fn counted(resource: &ApiResource) -> Counted<'_> {
    Counted { group: &resource.resource.group, resource: &resource.resource.resource }
}

fn add_those_that_count(context: &Context, queue: &Queue<ObjectKey>, counted: Counted<'_>, namespace: &str) {
    for quota in context.informers.resource_quotas.list_in(namespace) {
        if hard(&quota).keys().any(|name| counted.tracks(name)) {
            queue.add(ObjectKey::of(quota.as_ref()));
        }
    }
}

/// Whether a pod is charged for less than before: it ended, or was resized.
fn uses_less(old: &Pod, new: &Pod) -> bool {
    let resources = |pod: &Pod| {
        let containers = pod.spec.as_ref().map(|s| s.containers.as_slice()).unwrap_or_default();
        containers.iter().map(|c| c.resources.clone()).collect::<Vec<_>>()
    };
    pods::is_finished(old) != pods::is_finished(new) || resources(old) != resources(new)
}

fn kind_of(service: &Service) -> (Option<&str>, usize) {
    let spec = service.spec.as_ref();
    (spec.and_then(|s| s.type_.as_deref()), spec.and_then(|s| s.ports.as_ref()).map_or(0, Vec::len))
}

fn hard(quota: &ResourceQuota) -> BTreeMap<String, Amount> {
    quota.spec.as_ref().and_then(|s| s.hard.clone()).unwrap_or_default()
}

async fn reconcile(context: &Context, client: &Client, key: &ObjectKey) -> Result<Next, ApiError> {
    let Some(quota) = context.informers.resource_quotas.get(&key.namespace, &key.name) else { return Ok(Next::Wait) };
    let tree = to_value(quota.as_ref()).map_err(|e| ApiError::Internal(e.to_string()))?;
    let hard = hard(&quota);
    let mut used = Amounts::new();
    for resource in context.resources().iter().filter(|r| r.namespaced) {
        let counted = counted(resource);
        let names: Vec<&String> = hard.keys().filter(|name| counted.tracks(name)).collect();
        // Events are many, and admission does not count them.
        if names.is_empty() || counted.resource == "events" {
            continue;
        }
        let items = list(client, resource, &key.namespace).await?;
        let of_all = used_by(counted, &tree, &items);
        for name in names {
            let amount = of_all.get(name).cloned().unwrap_or_default();
            used.insert(name.clone(), amount);
        }
    }
    let status = status(&quota, hard, used);
    if !differs(&quota, &status) {
        return Ok(Next::After(RESYNC));
    }
    let changed = ResourceQuota { status: Some(status), ..quota.as_ref().clone() };
    match Api::<ResourceQuota>::namespaced(client, &key.namespace).replace_status(&key.name, &changed).await {
        Err(error) if error.is_not_found() => Ok(Next::Wait),
        written => written.map(|_| Next::After(SECOND_LOOK)),
    }
}

async fn list(client: &Client, resource: &ApiResource, namespace: &str) -> Result<Vec<Arc<Entry>>, ApiError> {
    let request = Request {
        action: Action::List,
        resource: resource.resource.clone(),
        namespace: Some(namespace.to_owned()),
        name: None,
        subresource: None,
        options: Options::default(),
    };
    match client.call(request).await? {
        Reply::List(list) => Ok(list.items),
        _ => Err(ApiError::Internal("no list came where one was asked for".to_owned())),
    }
}

/// What objects use together, as far as they are among those that the quota is about.
fn used_by(counted: Counted<'_>, quota: &Value, items: &[Arc<Entry>]) -> Amounts {
    let now = seams::clock::now();
    let mut used = Amounts::new();
    for item in items.iter().filter(|item| counted.fits_scopes(quota, item.tree())) {
        amounts::add(&mut used, &counted.usage(item.tree(), now));
    }
    used
}

/// The status that is true now. What nothing counts stays as it was.
fn status(quota: &ResourceQuota, hard: BTreeMap<String, Amount>, used: Amounts) -> ResourceQuotaStatus {
    let known = quota.status.as_ref().and_then(|s| s.used.clone()).unwrap_or_default();
    let mut all: BTreeMap<String, Amount> = known.into_iter().filter(|(name, _)| hard.contains_key(name)).collect();
    all.extend(used.into_iter().map(|(name, amount)| (name, Amount(amount.to_string()))));
    ResourceQuotaStatus { hard: Some(hard), used: Some(all) }
}

/// Whether a status says something else than the one that is known.
fn differs(quota: &ResourceQuota, status: &ResourceQuotaStatus) -> bool {
    let same = |a: &Option<BTreeMap<String, Amount>>, b: &Option<BTreeMap<String, Amount>>| {
        let parsed = |list: &Option<BTreeMap<String, Amount>>| -> BTreeMap<String, Option<Quantity>> {
            list.iter().flatten().map(|(name, amount)| (name.clone(), Quantity::parse(&amount.0).ok())).collect()
        };
        a.is_some() == b.is_some() && parsed(a) == parsed(b)
    };
    let known = quota.status.clone().unwrap_or_default();
    !same(&known.hard, &status.hard) || !same(&known.used, &status.used)
}

#[cfg(test)]
mod tests {
    use machinery::json::from_value;

    use super::*;

    fn quota(json: &str) -> ResourceQuota {
        from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_status_keeps_what_nothing_counts() {
        let known = quota(
            r#"{"spec":{"hard":{"pods":"2","count/unknown":"1"}},
            "status":{"hard":{"pods":"2","secrets":"1"},"used":{"pods":"1","count/unknown":"1","secrets":"1"}}}"#,
        );
        let used = Amounts::from([("pods".to_owned(), Quantity::parse("2").unwrap())]);
        let status = status(&known, hard(&known), used);
        let used: Vec<_> = status.used.as_ref().unwrap().iter().map(|(name, a)| format!("{name}={}", a.0)).collect();
        assert_eq!(used, ["count/unknown=1", "pods=2"]);
        assert!(differs(&known, &status));
        assert!(!differs(&ResourceQuota { status: Some(status.clone()), ..known }, &status));
    }

    #[test]
    fn the_same_amount_may_be_written_in_two_ways() {
        let known = quota(r#"{"status":{"hard":{"cpu":"1"},"used":{"cpu":"500m"}}}"#);
        let status = quota(r#"{"status":{"hard":{"cpu":"1000m"},"used":{"cpu":"0.5"}}}"#).status.unwrap();
        assert!(!differs(&known, &status));
    }
}
