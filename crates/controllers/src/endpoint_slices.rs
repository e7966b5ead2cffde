//! Each service with a selector has endpoint slices of at most a hundred endpoints; few slices change at a time.

use std::collections::BTreeMap;
use std::sync::Arc;

use client::reconcile::{self, Next};
use client::{Change, Client, ObjectKey, Queue, Shutdown};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::context::Context;
use crate::owners;
use crate::service_endpoints::{self, Backend, HEADLESS_LABEL, Port, SERVICE_NAME_LABEL, TRIGGER_TIME};
use crate::slice_plan::Plan;

/// Most endpoints of one slice (upstream's default).
const ENDPOINTS_MAX: usize = 100;
/// The label that says who keeps a slice.
const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslice-controller.k8s.io");
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const WORKERS: usize = 4;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    service_endpoints::follow(&context, &queue);
    let changed = queue.clone();
    context.informers.endpoint_slices.on_change(move |change| {
        let slice = change.object();
        // What was just written comes back as an update: only what others did, or a slice lost, needs a look.
        if is_ours(slice)
            && let Some(service) = service_of(slice)
            && matches!(change, Change::Deleted(_) | Change::Applied { old: Some(_), .. })
        {
            changed.add(service);
        }
    });
    let informers = &context.informers;
    tokio::join!(informers.services.synced(), informers.pods.synced(), informers.endpoint_slices.synced());
    informers.nodes.synced().await;
    for slice in informers.endpoint_slices.list() {
        queue_if_ours(&queue, &slice);
    }
    let client = context.client_of("endpointslice-controller");
    reconcile::run("endpointslice-controller", WORKERS, queue, shutdown, move |key| {
        let (context, client) = (context.clone(), client.clone());
        async move { reconcile(&context, &client, &key).await }
    })
    .await;
}

fn queue_if_ours(queue: &Queue<ObjectKey>, slice: &EndpointSlice) {
    if let Some(service) = service_of(slice).filter(|_| is_ours(slice)) {
        queue.add(service);
    }
}

fn label<'a>(slice: &'a EndpointSlice, name: &str) -> Option<&'a String> {
    slice.metadata.labels.as_ref()?.get(name)
}

fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY.0).is_some_and(|by| by == MANAGED_BY.1)
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let service = label(slice, SERVICE_NAME_LABEL)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

async fn reconcile(context: &Context, client: &Client, key: &ObjectKey) -> Result<Next, ApiError> {
    let all = context.informers.endpoint_slices.by_index("service", &format!("{}/{}", key.namespace, key.name));
    let known: Vec<Arc<EndpointSlice>> = all.into_iter().filter(|slice| is_ours(slice)).collect();
    let service = context.informers.services.get(&key.namespace, &key.name);
    let plan = match service {
        Some(service) if service.metadata.deletion_timestamp.is_some() => return Ok(Next::Wait),
        Some(service) if service_endpoints::is_selecting(&service) => {
            let backends = service_endpoints::backends(context, &service);
            let zone = |node: &str| {
                let node = context.informers.nodes.get("", node)?;
                node.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned()
            };
            plan(&service, &backends, &known, zone)
        }
        // Without a service or a selector, what was made for it goes.
        _ => Plan { delete: known, ..Plan::default() },
    };
    plan.apply(client, &key.namespace).await?;
    Ok(Next::Wait)
}

/// Endpoints stay in the slice that they are in; new ones fill slices that change anyway, then those with room, then new ones.
fn plan(
    service: &Service,
    backends: &[Backend],
    known: &[Arc<EndpointSlice>],
    zone: impl Fn(&str) -> Option<String>,
) -> Plan {
    let mut wanted: BTreeMap<Vec<Port>, BTreeMap<String, Endpoint>> = BTreeMap::new();
    for backend in backends {
        let (mut ports, endpoint) = (backend.ports.clone(), endpoint(service, backend, &zone));
        ports.sort();
        wanted.entry(ports).or_default().insert(identity(&endpoint), endpoint);
    }
    if wanted.is_empty() {
        // A slice without endpoints says that there is a service and nobody serves it.
        wanted.insert(Vec::new(), BTreeMap::new());
    }
    let meta = slice_meta(service, service_endpoints::trigger_time(service, backends));
    let mut plan = Plan::default();
    for slice in known {
        let stale = !wanted.contains_key(&ports_of(slice)) || slice.address_type != address_type(service);
        if stale {
            plan.delete.push(slice.clone());
        }
    }
    for (ports, endpoints) in wanted {
        let with_ports: Vec<&Arc<EndpointSlice>> = known
            .iter()
            .filter(|slice| ports_of(slice) == ports && slice.address_type == address_type(service))
            .collect();
        plan_ports(&mut plan, service, &meta, &ports, endpoints, &with_ports);
    }
    plan
}

/// A slice that stays, with what will stand in it.
struct Kept {
    slice: EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

impl Kept {
    /// Keeps what is still wanted; it is taken out of `endpoints`.
    fn new(slice: &EndpointSlice, meta: &ObjectMeta, endpoints: &mut BTreeMap<String, Endpoint>) -> Self {
        let old = slice.endpoints.iter().flatten();
        let now: Vec<Endpoint> = old.filter_map(|endpoint| endpoints.remove(&identity(endpoint))).collect();
        let changed = now != slice.endpoints.clone().unwrap_or_default() || !same_meta(&slice.metadata, meta);
        Self { slice: slice.clone(), endpoints: now, changed }
    }

    fn room(&self) -> usize {
        ENDPOINTS_MAX.saturating_sub(self.endpoints.len())
    }

    fn into_slice(mut self, meta: &ObjectMeta) -> EndpointSlice {
        self.slice.metadata.labels.clone_from(&meta.labels);
        self.slice.metadata.annotations.clone_from(&meta.annotations);
        self.slice.metadata.owner_references.clone_from(&meta.owner_references);
        self.slice.endpoints = (!self.endpoints.is_empty()).then_some(self.endpoints);
        self.slice
    }
}

fn plan_ports(
    plan: &mut Plan,
    service: &Service,
    meta: &ObjectMeta,
    ports: &[Port],
    mut endpoints: BTreeMap<String, Endpoint>,
    known: &[&Arc<EndpointSlice>],
) {
    let mut kept: Vec<Kept> = known.iter().map(|slice| Kept::new(slice, meta, &mut endpoints)).collect();
    let mut new: Vec<Endpoint> = endpoints.into_values().collect();
    // Slices that change anyway are filled first, the fullest before others.
    kept.sort_by_key(|k| (!k.changed, k.room()));
    for slice in &mut kept {
        let count = slice.room().min(new.len());
        slice.endpoints.extend(new.drain(..count));
        slice.changed |= count > 0;
    }
    let mut chunks: Vec<Vec<Endpoint>> = new.chunks(ENDPOINTS_MAX).map(<[Endpoint]>::to_vec).collect();
    if known.is_empty() && chunks.is_empty() {
        chunks.push(Vec::new());
    }
    let mut remaining = chunks.len() + kept.iter().filter(|k| !k.endpoints.is_empty()).count();
    for slice in kept {
        // One slice stays, even without endpoints.
        if slice.endpoints.is_empty() && remaining > 0 {
            plan.delete.push(Arc::new(slice.slice));
            continue;
        }
        remaining = remaining.max(1);
        if slice.changed {
            plan.update.push(slice.into_slice(meta));
        }
    }
    plan.create.extend(chunks.into_iter().map(|endpoints| EndpointSlice {
        address_type: address_type(service),
        endpoints: (!endpoints.is_empty()).then_some(endpoints),
        metadata: meta.clone(),
        ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
    }));
}

fn same_meta(known: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    known.labels == wanted.labels && known.owner_references == wanted.owner_references
}

fn slice_meta(service: &Service, trigger: Option<String>) -> ObjectMeta {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    if service_endpoints::is_headless(service) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME_LABEL.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: trigger.map(|time| [(TRIGGER_TIME.to_owned(), time)].into()),
        owner_references: Some(vec![owners::reference_to(service)]),
        ..ObjectMeta::default()
    }
}

/// What makes an endpoint the same one: its pod, or its address when it has none.
fn identity(endpoint: &Endpoint) -> String {
    let pod = endpoint.target_ref.as_ref().and_then(|r| r.uid.clone());
    let address = endpoint.addresses.first().cloned().unwrap_or_default();
    format!("{}/{address}", pod.unwrap_or_default())
}

fn address_type(service: &Service) -> String {
    let families = service.spec.as_ref().and_then(|s| s.ip_families.as_ref());
    families.and_then(|f| f.first()).cloned().unwrap_or_else(|| "IPv4".to_owned())
}

fn endpoint(service: &Service, backend: &Backend, zone: impl Fn(&str) -> Option<String>) -> Endpoint {
    let terminating = backend.is_terminating();
    let serving = crate::pods::is_ready(&backend.pod);
    let ready = service_endpoints::publishes_unready(service) || (serving && !terminating);
    let node_name = backend.node_name();
    Endpoint {
        addresses: vec![backend.address.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: backend.hostname(service.metadata.name.as_deref().unwrap_or_default()),
        zone: node_name.as_deref().and_then(zone),
        node_name,
        target_ref: Some(backend.reference()),
        ..Endpoint::default()
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let ports = slice.ports.iter().flatten().map(|p| Port {
        name: p.name.clone().unwrap_or_default(),
        number: p.port.unwrap_or(0),
        protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: p.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    ports
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Pod, ServiceSpec};

    use super::*;

    fn service() -> Service {
        let mut service = Service { spec: Some(ServiceSpec::default()), ..Service::default() };
        service.metadata.name = Some("web".into());
        service
    }

    fn backends(numbers: std::ops::Range<usize>) -> Vec<Backend> {
        let backend = |n: usize| {
            let mut pod = Pod::default();
            pod.metadata.uid = Some(format!("uid-{n}"));
            let port = Port { name: "http".into(), number: 80, protocol: "TCP".into(), app_protocol: None };
            Backend { pod: Arc::new(pod), address: format!("10.0.{}.{}", n / 250, n % 250 + 1), ports: vec![port] }
        };
        numbers.map(backend).collect()
    }

    fn count(slice: &EndpointSlice) -> usize {
        slice.endpoints.iter().flatten().count()
    }

    fn named(plan: &Plan) -> Vec<Arc<EndpointSlice>> {
        let name = |(number, slice): (usize, &EndpointSlice)| {
            let mut slice = slice.clone();
            slice.metadata.name = Some(format!("web-{number}"));
            Arc::new(slice)
        };
        plan.create.iter().enumerate().map(name).collect()
    }

    #[test]
    fn a_service_without_pods_has_one_empty_slice() {
        let first = plan(&service(), &[], &[], |_| None);
        assert_eq!((first.create.len(), first.create[0].endpoints.clone()), (1, None));
        let again = plan(&service(), &[], &named(&first), |_| None);
        assert!(again.create.is_empty() && again.update.is_empty() && again.delete.is_empty(), "{again:?}");
    }

    #[test]
    fn slices_hold_a_hundred_and_few_change() {
        let first = plan(&service(), &backends(0..250), &[], |_| None);
        assert_eq!(first.create.iter().map(count).collect::<Vec<_>>(), [100, 100, 50]);
        let known = named(&first);
        let more = plan(&service(), &backends(0..260), &known, |_| None);
        assert_eq!((more.create.len(), more.update.len(), more.delete.len()), (0, 1, 0));
        assert_eq!(count(&more.update[0]), 60);
        let fewer = plan(&service(), &backends(1..250), &known, |_| None);
        assert_eq!((fewer.create.len(), fewer.update.len(), fewer.delete.len()), (0, 1, 0));
        let none = plan(&service(), &[], &known, |_| None);
        assert_eq!((none.create.len(), none.delete.len()), (1, 3), "{none:?}");
    }

    #[test]
    fn a_terminating_pod_serves_on_but_is_not_ready() {
        let mut all = backends(0..1);
        let pod = Arc::get_mut(&mut all[0].pod).unwrap();
        pod.metadata.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(seams::clock::now_seconds()));
        let condition = k8s_openapi::api::core::v1::PodCondition {
            type_: "Ready".into(),
            status: "True".into(),
            ..Default::default()
        };
        pod.status =
            Some(k8s_openapi::api::core::v1::PodStatus { conditions: Some(vec![condition]), ..Default::default() });
        let conditions = endpoint(&service(), &all[0], |_| None).conditions.unwrap();
        let all = (conditions.ready, conditions.serving, conditions.terminating);
        assert_eq!(all, (Some(false), Some(true), Some(true)));
    }
}
