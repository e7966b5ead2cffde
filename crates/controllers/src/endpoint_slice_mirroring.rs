//! Endpoints that users keep for services without a selector are mirrored into endpoint slices, which is where proxies look.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Change, Client, ObjectKey, Queue, Shutdown};
use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::ApiError;

use crate::context::Context;
use crate::owners;
use crate::service_endpoints::{Port, SERVICE_NAME_LABEL, TRIGGER_TIME};
use crate::slice_plan::Plan;

/// Most addresses of one subset that are mirrored (upstream's default).
const ADDRESSES_MAX: usize = 1_000;
/// The label that says who keeps a slice.
const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "endpointslicemirroring-controller.k8s.io");
/// The label by which endpoints ask not to be mirrored.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// What endpoints that serve as a lock carry.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are not mirrored.
const OWN_ANNOTATIONS: [&str; 2] = [TRIGGER_TIME, "kubectl.kubernetes.io/last-applied-configuration"];
const WORKERS: usize = 4;

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let changed = queue.clone();
    context.informers.services.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let changed = queue.clone();
    context.informers.endpoints.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let changed = queue.clone();
    context.informers.endpoint_slices.on_change(move |change| {
        let old = if let Change::Applied { old: Some(old), .. } = change { mirrored(old) } else { None };
        for service in old.into_iter().chain(mirrored(change.object())) {
            changed.add(service);
        }
    });
    let informers = &context.informers;
    tokio::join!(informers.services.synced(), informers.endpoints.synced(), informers.endpoint_slices.synced());
    for service in informers.endpoint_slices.list().iter().filter_map(|slice| mirrored(slice)) {
        queue.add(service);
    }
    let client = context.client_of("endpointslicemirroring-controller");
    let recorder = context.recorder("endpoint-slice-mirroring-controller");
    reconcile::run("endpointslice-mirroring-controller", WORKERS, queue, shutdown, move |key| {
        let (context, client, recorder) = (context.clone(), client.clone(), recorder.clone());
        async move { reconcile(&context, &client, &recorder, &key).await }
    })
    .await;
}

/// The endpoints of which a slice is a mirror; `None` when it is no mirror.
fn mirrored(slice: &EndpointSlice) -> Option<ObjectKey> {
    let labels = slice.metadata.labels.as_ref()?;
    labels.get(MANAGED_BY.0).filter(|by| *by == MANAGED_BY.1)?;
    let service = labels.get(SERVICE_NAME_LABEL)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), service))
}

async fn reconcile(context: &Context, client: &Client, recorder: &Recorder, key: &ObjectKey) -> Result<Next, ApiError> {
    let all = context.informers.endpoint_slices.by_index("service", &format!("{}/{}", key.namespace, key.name));
    let known: Vec<Arc<EndpointSlice>> = all.into_iter().filter(|slice| mirrored(slice).is_some()).collect();
    let endpoints = context.informers.endpoints.get(&key.namespace, &key.name).filter(|e| wants_mirror(e));
    let service = context.informers.services.get(&key.namespace, &key.name);
    let has_selector = |service: &k8s_openapi::api::core::v1::Service| {
        service.spec.as_ref().and_then(|s| s.selector.as_ref()).is_some_and(|s| !s.is_empty())
    };
    let plan = match (endpoints, service) {
        (Some(endpoints), Some(service)) if !has_selector(&service) => {
            let wanted = wanted(&endpoints);
            if wanted.skipped > 0 {
                let text = format!(
                    "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {} \
                     addresses were skipped",
                    wanted.skipped
                );
                recorder.event_on(endpoints.as_ref(), EventType::Warning, "TooManyAddressesToMirror", text);
            }
            plan(&endpoints, wanted, &known)
        }
        _ => Plan { delete: known, ..Plan::default() },
    };
    plan.apply(client, &key.namespace).await?;
    Ok(Next::Wait)
}

/// Whether endpoints are of the kind that is mirrored.
fn wants_mirror(endpoints: &Endpoints) -> bool {
    let skip = endpoints.metadata.labels.as_ref().and_then(|l| l.get(SKIP_MIRROR)).is_some_and(|v| v == "true");
    let is_lock = endpoints.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(LEADER));
    !skip && !is_lock
}

/// What sets slices apart: the family of their addresses, and their ports.
type SliceKey = (&'static str, Vec<Port>);

/// What should be in slices.
#[derive(Default)]
struct Wanted {
    slices: BTreeMap<SliceKey, Vec<Endpoint>>,
    /// Addresses that there is no room for.
    skipped: usize,
}

/// An address as far as it is one: the same in two subsets is one.
type AddressKey = (String, Option<String>);

/// Ports that are served by the same addresses stand together, as upstream's RepackSubsets puts them.
fn wanted(endpoints: &Endpoints) -> Wanted {
    let mut addresses: BTreeMap<AddressKey, &EndpointAddress> = BTreeMap::new();
    let mut by_port: BTreeMap<Option<Port>, BTreeMap<AddressKey, bool>> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let mut ports: Vec<Option<Port>> = subset.ports.iter().flatten().map(|p| Some(port_of(p))).collect();
        if ports.is_empty() {
            ports.push(None);
        }
        let ready = subset.addresses.iter().flatten().map(|a| (a, true));
        let all = ready.chain(subset.not_ready_addresses.iter().flatten().map(|a| (a, false)));
        for (address, ready) in all {
            let key = (address.ip.clone(), address.target_ref.as_ref().and_then(|r| r.uid.clone()));
            addresses.entry(key.clone()).or_insert(address);
            for port in &ports {
                // Whoever is not ready in one subset is not ready.
                *by_port.entry(port.clone()).or_default().entry(key.clone()).or_insert(true) &= ready;
            }
        }
    }
    let mut by_addresses: BTreeMap<BTreeMap<AddressKey, bool>, Vec<Port>> = BTreeMap::new();
    for (port, served_by) in by_port {
        by_addresses.entry(served_by).or_default().extend(port);
    }
    let mut wanted = Wanted::default();
    for (served_by, ports) in by_addresses {
        wanted.skipped += served_by.len().saturating_sub(ADDRESSES_MAX);
        // The ready ones come first, so that those are left out that nobody can use.
        let (ready, unready): (Vec<_>, Vec<_>) = served_by.into_iter().partition(|(_, ready)| *ready);
        for (key, ready) in ready.into_iter().chain(unready).take(ADDRESSES_MAX) {
            let Some(family) = family(&key.0) else { continue };
            wanted.slices.entry((family, ports.clone())).or_default().push(endpoint(addresses[&key], ready));
        }
    }
    wanted
}

fn port_of(port: &k8s_openapi::api::core::v1::EndpointPort) -> Port {
    Port {
        name: port.name.clone().unwrap_or_default(),
        number: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: port.app_protocol.clone(),
    }
}

/// The address type of slices; `None` for what is no address.
fn family(address: &str) -> Option<&'static str> {
    match address.parse().ok()? {
        IpAddr::V4(_) => Some("IPv4"),
        IpAddr::V6(_) => Some("IPv6"),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|h| !h.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

/// One slice for each family and set of ports; slices that are not wanted as they are become those that are missing.
fn plan(endpoints: &Endpoints, wanted: Wanted, known: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan { delete: known.to_vec(), ..Plan::default() };
    let meta = slice_meta(endpoints);
    for (key, list) in wanted.slices {
        let slice = new_slice(&meta, &key, list);
        match plan.delete.iter().position(|known| key_of(known).is_some_and(|k| k == key)) {
            Some(at) => {
                let known = plan.delete.remove(at);
                if differs(&known, &slice) {
                    plan.update.push(in_place_of(&known, slice));
                }
            }
            None => plan.create.push(slice),
        }
    }
    for slice in std::mem::take(&mut plan.create) {
        match plan.delete.iter().position(|known| known.address_type == slice.address_type) {
            Some(at) => plan.update.push(in_place_of(&plan.delete.remove(at), slice)),
            None => plan.create.push(slice),
        }
    }
    if endpoints.metadata.deletion_timestamp.is_some() {
        plan.create.clear();
    }
    plan
}

fn key_of(slice: &EndpointSlice) -> Option<SliceKey> {
    let family = ["IPv4", "IPv6"].into_iter().find(|f| *f == slice.address_type)?;
    let ports = slice.ports.iter().flatten().map(|p| Port {
        name: p.name.clone().unwrap_or_default(),
        number: p.port.unwrap_or(0),
        protocol: p.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        app_protocol: p.app_protocol.clone(),
    });
    let mut ports: Vec<Port> = ports.collect();
    ports.sort();
    Some((family, ports))
}

fn differs(known: &EndpointSlice, wanted: &EndpointSlice) -> bool {
    let annotations = |slice: &EndpointSlice| slice.metadata.annotations.clone().unwrap_or_default();
    known.endpoints != wanted.endpoints
        || known.metadata.labels != wanted.metadata.labels
        || annotations(known) != annotations(wanted)
}

/// The slice under the name of one that there is.
fn in_place_of(known: &EndpointSlice, mut slice: EndpointSlice) -> EndpointSlice {
    slice.metadata.generate_name = None;
    slice.metadata.name.clone_from(&known.metadata.name);
    slice.metadata.uid.clone_from(&known.metadata.uid);
    slice.metadata.resource_version.clone_from(&known.metadata.resource_version);
    slice
}

fn slice_meta(endpoints: &Endpoints) -> ObjectMeta {
    let name = endpoints.metadata.name.as_deref().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME_LABEL.to_owned(), name.to_owned());
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
    ObjectMeta {
        generate_name: Some(format!("{name}-")),
        namespace: endpoints.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: (!annotations.is_empty()).then_some(annotations),
        owner_references: Some(vec![owners::reference_to(endpoints)]),
        ..ObjectMeta::default()
    }
}

fn new_slice(meta: &ObjectMeta, (family, ports): &SliceKey, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let port = |port: &Port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    };
    EndpointSlice {
        address_type: (*family).to_owned(),
        endpoints: Some(endpoints),
        metadata: meta.clone(),
        ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
    }
}

#[cfg(test)]
mod tests {
    use machinery::json::{Value, from_value};

    use super::*;

    fn endpoints(subsets: &str) -> Endpoints {
        let json = format!(
            r#"{{"metadata":{{"name":"db","namespace":"default","labels":{{"a":"b"}},"annotations":{{"x":"y",
            "endpoints.kubernetes.io/last-change-trigger-time":"2024-01-02T03:04:05Z"}}}},"subsets":{subsets}}}"#
        );
        from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap()
    }

    /// What would be done, as text; the slices that would be there afterwards.
    fn told(endpoints: &Endpoints, known: &[Arc<EndpointSlice>]) -> (String, Vec<Arc<EndpointSlice>>) {
        let plan = plan(endpoints, wanted(endpoints), known);
        let text = |slice: &EndpointSlice| {
            let ports: Vec<String> =
                slice.ports.iter().flatten().map(|p| p.port.unwrap_or_default().to_string()).collect();
            let mark = |e: &Endpoint| if e.conditions.as_ref().unwrap().ready == Some(true) { "" } else { "!" };
            let list = slice.endpoints.iter().flatten().map(|e| format!("{}{}", mark(e), e.addresses[0]));
            format!("{} {}", ports.join("+"), list.collect::<Vec<_>>().join(","))
        };
        let mut lines: Vec<String> = plan.create.iter().map(|s| format!("create {}", text(s))).collect();
        lines.extend(plan.update.iter().map(|s| format!("update {}", text(s))));
        lines.extend(plan.delete.iter().map(|s| format!("delete {}", text(s))));
        let gone = |s: &Arc<EndpointSlice>| {
            let same = |other: &ObjectMeta| other.name == s.metadata.name;
            plan.delete.iter().any(|d| same(&d.metadata)) || plan.update.iter().any(|u| same(&u.metadata))
        };
        let mut after: Vec<Arc<EndpointSlice>> = known.iter().filter(|s| !gone(s)).cloned().collect();
        after.extend(plan.update.iter().cloned().map(Arc::new));
        for mut slice in plan.create.iter().cloned() {
            slice.metadata.name = Some(format!("db-{}", after.len()));
            after.push(Arc::new(slice));
        }
        (lines.join("; "), after)
    }

    #[test]
    fn slices_follow_endpoints() {
        let steps = [
            (r#"[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]"#, "create 80 10.0.0.1"),
            (r#"[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]"#, ""),
            (
                r#"[{"addresses":[{"ip":"10.0.0.2"}],"notReadyAddresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]"#,
                "update 80 10.0.0.2,!10.0.0.1",
            ),
            // Another port: the slice is used again.
            (r#"[{"addresses":[{"ip":"10.0.0.2"}],"ports":[{"port":81}]}]"#, "update 81 10.0.0.2"),
            // The same address in two subsets is one; ports with the same addresses share a slice.
            (
                r#"[{"addresses":[{"ip":"10.0.0.2"}],"ports":[{"port":81}]},{"addresses":[{"ip":"10.0.0.2"}],"ports":[{"port":82}]}]"#,
                "update 81+82 10.0.0.2",
            ),
            (
                r#"[{"addresses":[{"ip":"10.0.0.2"},{"ip":"2001:db8::1"}],"ports":[{"port":81}]}]"#,
                "create 81 2001:db8::1; update 81 10.0.0.2",
            ),
            ("[]", "delete 81 10.0.0.2; delete 81 2001:db8::1"),
        ];
        let mut known = Vec::new();
        for (subsets, wanted) in steps {
            let (text, mut after) = told(&endpoints(subsets), &known);
            assert_eq!(text, wanted, "{subsets}");
            after.sort_by(|a, b| a.address_type.cmp(&b.address_type));
            known = after;
        }
    }

    #[test]
    fn labels_and_annotations_are_mirrored() {
        let meta = slice_meta(&endpoints("[]"));
        let labels = meta.labels.unwrap();
        assert_eq!((labels["a"].as_str(), labels[SERVICE_NAME_LABEL].as_str()), ("b", "db"));
        assert_eq!(meta.annotations.unwrap().into_iter().collect::<Vec<_>>(), [("x".to_owned(), "y".to_owned())]);
    }

    #[test]
    fn a_thousand_addresses_of_a_subset_are_mirrored() {
        let ips = (0..1_003).map(|n| format!(r#"{{"ip":"10.1.{}.{}"}}"#, n / 250, n % 250 + 1));
        let ips = ips.collect::<Vec<_>>().join(",");
        let wanted = wanted(&endpoints(&format!(
            r#"[{{"notReadyAddresses":[{ips}],"addresses":[{{"ip":"10.2.0.1"}}],"ports":[{{"port":80}}]}}]"#
        )));
        assert_eq!(wanted.skipped, 4);
        let list = wanted.slices.values().next().unwrap();
        assert_eq!((list.len(), list[0].addresses[0].as_str()), (ADDRESSES_MAX, "10.2.0.1"));
    }

    #[test]
    fn locks_and_those_that_ask_are_not_mirrored() {
        let mut endpoints = endpoints("[]");
        assert!(wants_mirror(&endpoints));
        endpoints.metadata.labels = Some([(SKIP_MIRROR.to_owned(), "true".to_owned())].into());
        assert!(!wants_mirror(&endpoints));
        endpoints.metadata.labels = None;
        endpoints.metadata.annotations = Some([(LEADER.to_owned(), "{}".to_owned())].into());
        assert!(!wants_mirror(&endpoints));
    }
}
