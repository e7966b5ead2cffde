//! Services and IPAddress objects are compared at start, now and then, and when an object is gone that a service needs: what
//! is missing is made, what leaked is deleted, and events tell (upstream's ipallocator-repair-controller).

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use client::events::{EventType, Recorder};
use client::{Backend, Client, User};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value, time};

use super::{Allocators, addresses_of, lock, objects, ranges};
use crate::pipeline::Pipeline;

/// Time between looks.
const PERIOD: Duration = Duration::from_secs(180);
/// How long an object may be there before its service is: requests may take that long.
const LEAKED_AFTER: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug, PartialEq)]
enum Step<'a> {
    /// Make the object of a service's address.
    Make(Ipv4Addr, &'a Value),
    /// Delete an object.
    Delete(&'a Value),
    /// Tell of a service or an IPAddress.
    Tell(&'a Value, &'static str, String),
}

/// What is known.
struct Seen<'a> {
    services: Vec<&'a Value>,
    addresses: Vec<&'a Value>,
    /// Whether an address lies in any range.
    in_range: &'a dyn Fn(Ipv4Addr) -> bool,
    /// Objects that were made before this are not on their way to a service any more.
    leaked_before: Timestamp,
}

/// What is to be done, in order.
fn plan<'a>(seen: &Seen<'a>) -> Vec<Step<'a>> {
    let mut steps = Vec::new();
    let by_name: HashMap<(&str, &str), &Value> =
        seen.services.iter().map(|service| ((service.namespace(), service.name()), *service)).collect();
    let by_address: HashMap<Ipv4Addr, &Value> =
        seen.addresses.iter().filter_map(|object| Some((objects::address_of(object)?, *object))).collect();
    let has = |service: &Value, address: Ipv4Addr| addresses_of(service).contains(&address);
    for service in &seen.services {
        for address in addresses_of(service) {
            let mut repair = |message: String, old: Option<&'a Value>| {
                steps.push(Step::Tell(service, "ClusterIPNotAllocated", message));
                steps.extend(old.map(Step::Delete));
                steps.push(Step::Make(address, service));
            };
            if !(seen.in_range)(address) {
                let message = format!(
                    "Cluster IP [IPv4]: {address} is not within any configured Service CIDR; please recreate service"
                );
                steps.push(Step::Tell(service, "ClusterIPOutOfRange", message));
                continue;
            }
            let Some(object) = by_address.get(&address).copied() else {
                repair(format!("Cluster IP [IPv4]: {address} is not allocated; repairing"), None);
                continue;
            };
            let parent = objects::parent(object);
            let owner = parent.and_then(|parent| by_name.get(&parent)).filter(|owner| has(owner, address));
            match owner {
                None => {
                    let (namespace, name) = (service.namespace(), service.name());
                    let message = format!(
                        "the ClusterIP [IPv4]: {address} for Service {namespace}/{name} has a wrong reference; repairing"
                    );
                    repair(message, Some(object));
                }
                Some(owner) if (owner.namespace(), owner.name()) != (service.namespace(), service.name()) => {
                    let message = format!(
                        "Cluster IP [IPv4]:{address} was assigned to multiple services; please recreate service"
                    );
                    steps.push(Step::Tell(service, "ClusterIPAlreadyAllocated", message));
                }
                Some(_) if !objects::is_labelled(object) => {
                    steps.extend([Step::Delete(object), Step::Make(address, service)]);
                }
                Some(_) => {}
            }
        }
    }
    let all: HashSet<Ipv4Addr> = seen.services.iter().flat_map(|service| addresses_of(service)).collect();
    let needed = |object: &Value| objects::address_of(object).is_some_and(|address| all.contains(&address));
    for object in seen.addresses.iter().filter(|object| objects::is_managed(object) && !needed(object)) {
        steps.extend(clean_up(object, &by_name, seen.leaked_before));
    }
    steps
}

/// What is to be done about an object whose address no service has.
fn clean_up<'a>(
    object: &'a Value,
    services: &HashMap<(&str, &str), &Value>,
    leaked_before: Timestamp,
) -> Vec<Step<'a>> {
    let address = object.name();
    let (reason, message) = match objects::parent(object) {
        None => {
            let message =
                format!("IPAddress {address} appears to have been modified, not referencing a Service: cleaning up");
            ("IPAddressNotAllocated", message)
        }
        Some((namespace, name)) if services.contains_key(&(namespace, name)) => {
            let message =
                format!("IPAddress: {address} for Service {namespace}/{name} has a wrong reference; cleaning up");
            ("IPAddressWrongReference", message)
        }
        Some((namespace, name)) => {
            let message =
                format!("IPAddress: {address} for Service {namespace}/{name} appears to have leaked: cleaning up");
            ("IPAddressNotAllocated", message)
        }
    };
    let made = object.str_at(&["metadata", "creationTimestamp"]).and_then(|text| time::parse(text).ok());
    if made.is_some_and(|made| made > leaked_before) {
        return Vec::new();
    }
    vec![Step::Tell(object, reason, message), Step::Delete(object)]
}

/// Compares and repairs. At start no request is on its way, so everything without a service has leaked.
pub(crate) async fn run(pipeline: &Arc<Pipeline>, is_start: bool) -> Result<(), ApiError> {
    let Some(addresses) = pipeline.kinds.get(ranges::GROUP, "v1", "ipaddresses") else { return Ok(()) };
    let Ok(services) = pipeline.kinds.core("services") else { return Ok(()) };
    pipeline.feed.current().await?;
    let trees = |entries: Vec<(Arc<str>, Arc<Entry>)>| -> Vec<Arc<Value>> {
        entries.into_iter().map(|(_, entry)| entry.tree().clone()).collect()
    };
    // An object is there before its service and goes after it: one that is missing is, as long as the service stays.
    let (service_kind, address_kind) = (services, addresses);
    let services = trees(services.cache.stretch(&services.cache.prefix, None, 0).items);
    let addresses = trees(addresses.cache.stretch(&addresses.cache.prefix, None, 0).items);
    let in_range = |address| pipeline.allocators.is_in_range(address);
    let now = seams::clock::now();
    let steps = plan(&Seen {
        services: services.iter().map(AsRef::as_ref).collect(),
        addresses: addresses.iter().map(AsRef::as_ref).collect(),
        in_range: &in_range,
        leaked_before: if is_start { now } else { now - LEAKED_AFTER },
    });
    if steps.is_empty() {
        return Ok(());
    }
    let client =
        Client::new(pipeline.clone() as Arc<dyn Backend>, User::component("system:apiserver", &["system:masters"]));
    let recorder = Recorder::new(&client, "ipallocator-repair-controller", "");
    let is_current = |object: &Value| {
        let kind = if object.namespace().is_empty() { address_kind } else { service_kind };
        let found = kind.find(object.namespace(), object.name());
        found.is_some_and(|entry| entry.tree().resource_version() == object.resource_version())
    };
    for step in steps {
        let (Step::Make(_, object) | Step::Delete(object) | Step::Tell(object, ..)) = &step;
        if !is_current(object) {
            continue;
        }
        match step {
            Step::Make(address, service) => {
                match objects::make(pipeline, address, (service.namespace(), service.name())).await {
                    Err(error) if !error.is_already_exists() => return Err(error),
                    _ => {}
                }
            }
            Step::Delete(object) => objects::delete(pipeline, object).await?,
            Step::Tell(object, reason, message) => {
                tracing::info!(object = object.name(), "{message}");
                recorder.event(&reference(object), EventType::Warning, reason, message);
            }
        }
    }
    Ok(())
}

fn reference(object: &Value) -> ObjectReference {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ObjectReference {
        api_version: text(object.api_version()),
        kind: text(object.str_at(&["kind"]).unwrap_or_default()),
        name: text(object.name()),
        namespace: text(object.namespace()),
        uid: text(object.uid()),
        resource_version: text(object.resource_version()),
        field_path: None,
    }
}

impl Allocators {
    fn is_in_range(&self, address: Ipv4Addr) -> bool {
        lock(&self.taken).ranges.values().flatten().any(|range| range.addresses.covers(address))
    }
}

/// Repairs until the pipeline ends.
pub(crate) async fn keep(pipeline: Weak<Pipeline>) {
    let Some(amiss) = pipeline.upgrade().map(|pipeline| pipeline.allocators.amiss.clone()) else { return };
    loop {
        let _ = tokio::time::timeout(PERIOD, amiss.notified()).await;
        let Some(pipeline) = pipeline.upgrade() else { return };
        if let Err(error) = run(&pipeline, false).await {
            tracing::warn!(%error, "the addresses of services could not be compared with their objects");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str, address: &str) -> Value {
        let text = format!(r#"{{"metadata":{{"namespace":"a","name":"{name}"}},"spec":{{"clusterIP":"{address}"}}}}"#);
        Value::parse(text.as_bytes()).unwrap()
    }

    fn object(address: &str, parent: &str, labels: &str, made: &str) -> Value {
        let text = format!(
            r#"{{"metadata":{{"name":"{address}","labels":{{{labels}}},"creationTimestamp":"{made}"}},
            "spec":{{"parentRef":{{"group":"","resource":"services","namespace":"a","name":"{parent}"}}}}}}"#
        );
        Value::parse(text.as_bytes()).unwrap()
    }

    const LABELS: &str =
        r#""ipaddress.kubernetes.io/ip-family":"IPv4","ipaddress.kubernetes.io/managed-by":"ipallocator.k8s.io""#;
    const OLD: &str = "2026-01-01T00:00:00Z";

    fn told(services: &[Value], addresses: &[Value]) -> Vec<String> {
        let seen = Seen {
            services: services.iter().collect(),
            addresses: addresses.iter().collect(),
            in_range: &|address| address.octets()[0] == 10,
            leaked_before: "2026-01-02T00:00:00Z".parse().unwrap(),
        };
        let tell = |step: &Step<'_>| match step {
            Step::Make(address, service) => format!("make {address} {}", service.name()),
            Step::Delete(object) => format!("delete {}", object.name()),
            Step::Tell(object, reason, _) => format!("{reason} {}", object.name()),
        };
        plan(&seen).iter().map(tell).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_leaked_is_deleted() {
        let own = || service("s", "10.0.0.1");
        let good = || object("10.0.0.1", "s", LABELS, OLD);
        let cases: [(Vec<Value>, Vec<Value>, &[&str]); 10] = [
            (vec![own(), service("h", "None")], vec![good()], &[]),
            (vec![own()], vec![], &["ClusterIPNotAllocated s", "make 10.0.0.1 s"]),
            (vec![service("s", "11.0.0.1")], vec![], &["ClusterIPOutOfRange s"]),
            (
                vec![own()],
                vec![object("10.0.0.1", "gone", LABELS, OLD)],
                &["ClusterIPNotAllocated s", "delete 10.0.0.1", "make 10.0.0.1 s"],
            ),
            (vec![own(), service("t", "10.0.0.1")], vec![good()], &["ClusterIPAlreadyAllocated t"]),
            (vec![own()], vec![object("10.0.0.1", "s", "", OLD)], &["delete 10.0.0.1", "make 10.0.0.1 s"]),
            (vec![], vec![good()], &["IPAddressNotAllocated 10.0.0.1", "delete 10.0.0.1"]),
            (vec![], vec![object("10.0.0.1", "s", LABELS, "2026-01-03T00:00:00Z")], &[]),
            (vec![], vec![object("10.0.0.1", "s", "", OLD)], &[]),
            (
                vec![service("s", "10.0.0.2")],
                vec![good(), object("10.0.0.2", "s", LABELS, OLD)],
                &["IPAddressWrongReference 10.0.0.1", "delete 10.0.0.1"],
            ),
        ];
        for (services, addresses, wanted) in cases {
            assert_eq!(told(&services, &addresses), wanted, "{services:?} {addresses:?}");
        }
    }
}
