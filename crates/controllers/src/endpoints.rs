//! Each service with a selector has an Endpoints object: the older form of endpoint slices, at most a thousand addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::reconcile::{self, Next};
use client::{Api, Client, DeleteOptions, ObjectKey, Queue, Shutdown};
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::context::Context;
use crate::service_endpoints::{self, Backend, HEADLESS_LABEL, Port, TRIGGER_TIME};

/// Most addresses of one object, and the annotation that says that there would be more.
const ADDRESSES_MAX: usize = 1_000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Who keeps it, for those that mirror objects of others.
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const WORKERS: usize = 4;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    service_endpoints::follow(&context, &queue);
    let changed = queue.clone();
    context.informers.endpoints.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let informers = &context.informers;
    tokio::join!(informers.services.synced(), informers.pods.synced(), informers.endpoints.synced());
    let client = context.client_of("endpoint-controller");
    reconcile::run("endpoints-controller", WORKERS, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile(&context, &client, &key).await }
    })
    .await;
}

async fn reconcile(context: &Context, client: &Client, key: &ObjectKey) -> Result<Next, ApiError> {
    let known = context.informers.endpoints.get(&key.namespace, &key.name);
    let api = Api::<Endpoints>::namespaced(client, &key.namespace);
    let Some(service) = context.informers.services.get(&key.namespace, &key.name) else {
        // Only what was made here goes: users may keep endpoints before there is a service.
        let ours = |e: &&Arc<Endpoints>| e.metadata.labels.as_ref().is_some_and(|l| l.contains_key(MANAGED_BY.0));
        if let Some(left) = known.as_ref().filter(ours) {
            let exactly = DeleteOptions { uid: left.metadata.uid.clone(), ..DeleteOptions::default() };
            api.delete(&key.name, exactly).await.or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
        }
        return Ok(Next::Wait);
    };
    if !service_endpoints::is_selecting(&service) || service.metadata.deletion_timestamp.is_some() {
        return Ok(Next::Wait);
    }
    let backends = service_endpoints::backends(context, &service);
    let wanted = wanted(&service, &backends, known.as_deref());
    match known {
        None => {
            let made = api.create(&wanted).await;
            made.map(drop).or_else(|e| if e.is_already_exists() { Ok(()) } else { Err(e) })?;
        }
        Some(known) if differs(&known, &wanted) => drop(api.replace(&key.name, &wanted).await?),
        Some(_) => {}
    }
    Ok(Next::Wait)
}

/// Whether more differs than the time of the last change.
fn differs(known: &Endpoints, wanted: &Endpoints) -> bool {
    let without_time = |e: &Endpoints| {
        let mut annotations = e.metadata.annotations.clone().unwrap_or_default();
        annotations.remove(TRIGGER_TIME);
        annotations
    };
    let subsets = |e: &Endpoints| e.subsets.clone().unwrap_or_default();
    subsets(known) != subsets(wanted)
        || known.metadata.labels != wanted.metadata.labels
        || without_time(known) != without_time(wanted)
}

fn wanted(service: &Service, backends: &[Backend], known: Option<&Endpoints>) -> Endpoints {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let headless = service_endpoints::is_headless(service);
    let serving: Vec<&Backend> = backends.iter().filter(|b| !b.is_terminating() || unready_counts(service)).collect();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    labels.remove(HEADLESS_LABEL);
    if headless {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    let mut annotations = known.and_then(|k| k.metadata.annotations.clone()).unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if let Some(time) = service_endpoints::trigger_time(service, backends) {
        annotations.insert(TRIGGER_TIME.to_owned(), time);
    }
    if serving.len() > ADDRESSES_MAX {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    let metadata = ObjectMeta {
        name: service.metadata.name.clone(),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        resource_version: known.and_then(|k| k.metadata.resource_version.clone()),
        ..ObjectMeta::default()
    };
    let subsets = subsets(service, name, headless, &serving[..serving.len().min(ADDRESSES_MAX)]);
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

fn unready_counts(service: &Service) -> bool {
    service_endpoints::publishes_unready(service)
}

/// Addresses that serve the same ports stand in one subset (upstream's RepackSubsets).
fn subsets(service: &Service, name: &str, headless: bool, backends: &[&Backend]) -> Vec<EndpointSubset> {
    let has_ports = service.spec.as_ref().is_some_and(|s| s.ports.as_ref().is_some_and(|p| !p.is_empty()));
    let mut by_ports: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for backend in backends {
        if backend.ports.is_empty() && (has_ports || !headless) {
            continue;
        }
        let mut ports = backend.ports.clone();
        ports.sort();
        let address = EndpointAddress {
            ip: backend.address.clone(),
            hostname: backend.hostname(name),
            node_name: backend.node_name(),
            target_ref: Some(backend.reference()),
        };
        let (ready, unready) = by_ports.entry(ports).or_default();
        if backend.is_ready(service) { ready.push(address) } else { unready.push(address) }
    }
    let filled = |mut list: Vec<EndpointAddress>| {
        list.sort_by(|a, b| a.ip.cmp(&b.ip));
        (!list.is_empty()).then_some(list)
    };
    let subset = |(ports, (ready, unready)): (Vec<Port>, (Vec<_>, Vec<_>))| EndpointSubset {
        addresses: filled(ready),
        not_ready_addresses: filled(unready),
        ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
    };
    by_ports.into_iter().map(subset).collect()
}

fn port(port: Port) -> EndpointPort {
    EndpointPort {
        name: (!port.name.is_empty()).then_some(port.name),
        port: port.number,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus, ServicePort, ServiceSpec};

    use super::*;

    fn backend(name: &str, address: &str, number: i32, ready: bool) -> Backend {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        let status = if ready { "True" } else { "False" };
        let condition = PodCondition { type_: "Ready".into(), status: status.into(), ..PodCondition::default() };
        pod.status = Some(PodStatus { conditions: Some(vec![condition]), ..PodStatus::default() });
        let port = Port { name: String::new(), number, protocol: "TCP".into(), app_protocol: None };
        Backend { pod: Arc::new(pod), address: address.into(), ports: vec![port] }
    }

    fn service() -> Service {
        let ports = Some(vec![ServicePort { port: 80, ..ServicePort::default() }]);
        let mut service = Service { spec: Some(ServiceSpec { ports, ..ServiceSpec::default() }), ..Service::default() };
        service.metadata.name = Some("web".into());
        service
    }

    #[test]
    fn addresses_with_the_same_ports_share_a_subset() {
        let backends = [
            backend("a", "10.0.0.2", 80, true),
            backend("b", "10.0.0.1", 80, true),
            backend("c", "10.0.0.3", 80, false),
            backend("d", "10.0.0.4", 81, true),
        ];
        let subsets = wanted(&service(), &backends, None).subsets.unwrap();
        assert_eq!(subsets.len(), 2);
        let ips = |list: &Option<Vec<EndpointAddress>>| {
            list.iter().flatten().map(|a| a.ip.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(ips(&subsets[0].addresses), "10.0.0.1 10.0.0.2");
        assert_eq!(ips(&subsets[0].not_ready_addresses), "10.0.0.3");
        assert_eq!(ips(&subsets[1].addresses), "10.0.0.4");
    }

    #[test]
    fn only_the_time_is_no_difference() {
        let known = wanted(&service(), &[backend("a", "10.0.0.2", 80, true)], None);
        let mut again = known.clone();
        again.metadata.annotations.get_or_insert_default().insert(TRIGGER_TIME.into(), "later".into());
        assert!(!differs(&known, &again));
        again.subsets = None;
        assert!(differs(&known, &again));
    }
}
