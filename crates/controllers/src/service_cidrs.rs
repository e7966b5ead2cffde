//! ServiceCIDRs stay until no address of theirs is in use, and say whether new ones may come from them (KEP-1880).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use client::reconcile::{self, Next};
use client::{Api, Client, ObjectKey, Options, PatchKind, Queue, Shutdown};
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use machinery::json::Value;
use machinery::{ApiError, time};

use crate::context::Context;

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const ALLOCATOR: &str = "ipallocator.k8s.io";
/// How long a ServiceCIDR that is being deleted stays at least, so that every API server knows of it.
const DELETION_GRACE: Duration = Duration::from_secs(10);

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let (changed, all) = (queue.clone(), context.clone());
    context.informers.service_cidrs.on_change(move |change| {
        changed.add(ObjectKey::of(change.object().as_ref()));
        // One that comes or goes may let others go, or hold them.
        let leaving = all.informers.service_cidrs.list().into_iter().filter(|cidr| is_leaving(cidr));
        leaving.for_each(|cidr| changed.add(ObjectKey::of(cidr.as_ref())));
    });
    let (changed, all) = (queue.clone(), context.clone());
    context.informers.ip_addresses.on_change(move |change| {
        let Some(address) = managed(change.object()) else { return };
        let leaving = all.informers.service_cidrs.list().into_iter().filter(|cidr| is_leaving(cidr));
        leaving.filter(|cidr| covers(cidr, address)).for_each(|cidr| changed.add(ObjectKey::of(cidr.as_ref())));
    });
    context.informers.service_cidrs.synced().await;
    context.informers.ip_addresses.synced().await;
    let client = context.client_of("service-cidrs-controller");
    reconcile::run("service-cidr-controller", 1, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile(&context, &client, &key.name).await }
    })
    .await;
}

async fn reconcile(context: &Context, client: &Client, name: &str) -> Result<Next, ApiError> {
    let Some(cidr) = context.informers.service_cidrs.get("", name) else { return Ok(Next::Wait) };
    let done = match &cidr.metadata.deletion_timestamp {
        None => keep(client, &cidr, name).await.map(|()| Next::Wait),
        Some(since) => {
            let others = context.informers.service_cidrs.list();
            let in_use = || context.informers.ip_addresses.list().iter().any(|ip| needs(ip, &cidr, &others));
            let left = DELETION_GRACE.saturating_sub(seams::clock::since(since.0));
            if !is_contained(&cidr, &others) && in_use() {
                tell(client, &cidr, Readiness::Terminating).await.map(|()| Next::Wait)
            } else if !left.is_zero() {
                Ok(Next::After(left))
            } else {
                let_go(client, &cidr, name).await.map(|()| Next::Wait)
            }
        }
    };
    done.or_else(|error| if error.is_not_found() { Ok(Next::Wait) } else { Err(error) })
}

/// One that is there to stay has the finalizer and is ready.
async fn keep(client: &Client, cidr: &ServiceCIDR, name: &str) -> Result<(), ApiError> {
    if !is_held(cidr) {
        let mut patch = Value::object();
        patch.set_at(&["metadata", "finalizers"], vec![FINALIZER]);
        Api::<ServiceCIDR>::all(client).patch(name, PatchKind::StrategicMerge, patch).await?;
    }
    tell(client, cidr, Readiness::Ready).await
}

async fn let_go(client: &Client, cidr: &ServiceCIDR, name: &str) -> Result<(), ApiError> {
    if !is_held(cidr) {
        return Ok(());
    }
    let mut patch = Value::object();
    patch.set_at(&["metadata", "$deleteFromPrimitiveList/finalizers"], vec![FINALIZER]);
    Api::<ServiceCIDR>::all(client).patch(name, PatchKind::StrategicMerge, patch).await.map(|_| ())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readiness {
    Ready,
    Terminating,
}

/// Writes the condition, unless it says so already.
async fn tell(client: &Client, cidr: &ServiceCIDR, readiness: Readiness) -> Result<(), ApiError> {
    let (status, reason, message) = match readiness {
        Readiness::Ready => ("True", "", "Kubernetes Service CIDR is ready"),
        Readiness::Terminating => (
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        ),
    };
    let conditions = cidr.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    if conditions.iter().any(|c| c.type_ == "Ready" && c.status == status && c.reason == reason) {
        return Ok(());
    }
    let name = cidr.metadata.name.as_deref().unwrap_or_default();
    let mut condition = Value::object();
    let now = time::format(seams::clock::now_seconds());
    let fields =
        [("type", "Ready"), ("status", status), ("reason", reason), ("message", message), ("lastTransitionTime", &now)];
    fields.iter().for_each(|(field, value)| condition.set_at(&[field], *value));
    let mut object = Value::object();
    object.set_at(&["apiVersion"], "networking.k8s.io/v1");
    object.set_at(&["kind"], "ServiceCIDR");
    object.set_at(&["metadata", "name"], name);
    object.set_at(&["status", "conditions"], vec![condition]);
    let request = client::Request {
        action: client::Action::Patch(PatchKind::Apply, object),
        resource: Api::<ServiceCIDR>::resource(),
        namespace: None,
        name: Some(name.to_owned()),
        subresource: Some("status".to_owned()),
        options: Options { field_manager: "service-cidr-controller".to_owned(), force: true, ..Options::default() },
    };
    client.call(request).await.map(|_| ())
}

fn is_leaving(cidr: &ServiceCIDR) -> bool {
    cidr.metadata.deletion_timestamp.is_some()
}

fn is_held(cidr: &ServiceCIDR) -> bool {
    cidr.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == FINALIZER)
}

/// The address of an object that the allocator made.
fn managed(address: &IPAddress) -> Option<IpAddr> {
    let labels = address.metadata.labels.as_ref()?;
    labels.get(MANAGED_BY).filter(|manager| *manager == ALLOCATOR)?;
    address.metadata.name.as_deref()?.parse().ok()
}

/// Whether an address would lie in no range any more without this one.
fn needs(address: &IPAddress, cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    managed(address).is_some_and(|address| {
        covers(cidr, address) && !all.iter().any(|other| !is_same(other, cidr) && covers(other, address))
    })
}

/// Whether each range of one lies within some other's.
fn is_contained(cidr: &ServiceCIDR, all: &[Arc<ServiceCIDR>]) -> bool {
    let within = |(network, length): (IpAddr, u8)| {
        let mut others = all.iter().filter(|other| !is_same(other, cidr)).flat_map(|other| prefixes(other));
        others.any(|(wider, shorter)| shorter <= length && is_within(network, (wider, shorter)))
    };
    prefixes(cidr).all(within)
}

fn is_same(one: &ServiceCIDR, other: &ServiceCIDR) -> bool {
    one.metadata.name == other.metadata.name
}

fn covers(cidr: &ServiceCIDR, address: IpAddr) -> bool {
    prefixes(cidr).any(|prefix| is_within(address, prefix))
}

fn prefixes(cidr: &ServiceCIDR) -> impl Iterator<Item = (IpAddr, u8)> {
    let cidrs = cidr.spec.iter().flat_map(|spec| spec.cidrs.iter().flatten());
    cidrs.filter_map(|text| {
        let (network, length) = text.split_once('/')?;
        Some((network.parse().ok()?, length.parse().ok()?))
    })
}

fn is_within(address: IpAddr, (network, length): (IpAddr, u8)) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 4),
        IpAddr::V6(address) => (u128::from(address), 6),
    };
    let ((one, family), (other, other_family)) = (bits(address), bits(network));
    let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
    family == other_family && (one & mask) == (other & mask)
}

#[cfg(test)]
mod tests {
    use client::DeleteOptions;
    use k8s_openapi::api::core::v1::Service;

    use super::*;
    use crate::testing::{Cluster, until};

    #[test]
    fn addresses_lie_in_their_networks() {
        let cases = [
            ("10.1.2.3", "10.1.0.0/16", true),
            ("10.2.2.3", "10.1.0.0/16", false),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3/32", true),
            ("10.1.2.4", "10.1.2.3/32", false),
            ("fd00::1", "fd00::/112", true),
            ("fd00::1:1", "fd00::/112", false),
            ("fd00::1", "0.0.0.0/0", false),
        ];
        for (address, network, wanted) in cases {
            let (network, length) = network.split_once('/').unwrap();
            let prefix = (network.parse().unwrap(), length.parse().unwrap());
            assert_eq!(is_within(address.parse().unwrap(), prefix), wanted, "{address} {network}/{length}");
        }
    }

    async fn condition(cluster: &Cluster, name: &str) -> Option<String> {
        let cidr = cluster.api::<ServiceCIDR>("").get_opt(name).await.unwrap()?;
        let conditions = cidr.status.as_ref()?.conditions.as_ref()?;
        conditions.first().map(|c| format!("{} {}", c.status, c.reason))
    }

    #[tokio::test(start_paused = true)]
    async fn a_range_in_use_stays_until_its_last_address_is_given_back() {
        seams::clock::simulate("2026-01-01T00:00:00Z".parse().unwrap());
        let cluster = Cluster::start(&["service-cidr-controller"]).await;
        let api = cluster.api::<ServiceCIDR>("");
        cluster.create::<ServiceCIDR>("", r#"{"metadata":{"name":"more"},"spec":{"cidrs":["10.99.0.0/24"]}}"#).await;
        for name in ["more", "kubernetes"] {
            until("the range is ready and held", async || {
                let held = is_held(api.get(name).await.unwrap().as_ref());
                (held && condition(&cluster, name).await.as_deref() == Some("True ")).then_some(())
            })
            .await;
        }
        let service = r#"{"metadata":{"name":"a"},"spec":{"clusterIP":"10.99.0.7","ports":[{"port":80}]}}"#;
        cluster.create::<Service>("default", service).await;
        api.delete("more", DeleteOptions::default()).await.unwrap();
        until("the range says that it is in use", async || {
            (condition(&cluster, "more").await.as_deref() == Some("False Terminating")).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(api.get_opt("more").await.unwrap().is_some());
        cluster.api::<Service>("default").delete("a", DeleteOptions::default()).await.unwrap();
        until("the range goes", async || api.get_opt("more").await.unwrap().is_none().then_some(())).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_range_within_another_goes_although_it_is_in_use() {
        seams::clock::simulate("2026-01-01T00:00:00Z".parse().unwrap());
        let cluster = Cluster::start(&["service-cidr-controller"]).await;
        let api = cluster.api::<ServiceCIDR>("");
        cluster.create::<ServiceCIDR>("", r#"{"metadata":{"name":"part"},"spec":{"cidrs":["10.43.9.0/24"]}}"#).await;
        until("the range is held", async || is_held(api.get("part").await.unwrap().as_ref()).then_some(())).await;
        let service = r#"{"metadata":{"name":"a"},"spec":{"clusterIP":"10.43.9.7","ports":[{"port":80}]}}"#;
        cluster.create::<Service>("default", service).await;
        api.delete("part", DeleteOptions::default()).await.unwrap();
        until("the range goes", async || api.get_opt("part").await.unwrap().is_none().then_some(())).await;
    }
}
