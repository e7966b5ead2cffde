//! What the table should hold: a pure function of Services, EndpointSlices and the node.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::chain::{Chain, Pick};
use super::endpoints::{Endpoints, choose, sticky_slots};
use crate::cidr::Cidr;
use crate::port::Protocol;

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// Services and slices with this label belong to another proxy.
const OTHER_PROXY_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// What the rules need to know of the node that they are for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Its name.
    pub name: String,
    /// The value of its label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// Where clients reach a service. Node ports stand under the address 0.0.0.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// Cluster, external or load-balancer address.
    pub address: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

/// Where an endpoint listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// The key of an element, with the map that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// An address and port that has endpoints.
    Service(Frontend),
    /// A node port that has endpoints.
    NodePort(Frontend),
    /// One slot of a frontend.
    Endpoint(Frontend, u32),
    /// An address and port without endpoints.
    Refused(Frontend),
    /// A node port without endpoints.
    RefusedNodePort(Frontend),
    /// A cluster address in use; its other ports are refused.
    ClusterAddress(IpAddr),
}

impl Key {
    /// The frontend that the element belongs to.
    pub fn frontend(&self) -> Option<&Frontend> {
        match self {
            Self::Service(f)
            | Self::NodePort(f)
            | Self::Endpoint(f, _)
            | Self::Refused(f)
            | Self::RefusedNodePort(f) => Some(f),
            Self::ClusterAddress(_) => None,
        }
    }
}

/// What a key maps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// On to a chain.
    Goto(Chain),
    /// Answered with an error.
    Reject,
    /// Thrown away.
    Drop,
    /// Translated.
    To(Target),
    /// The key alone says it.
    Present,
}

/// The elements of one service.
pub type Elements = BTreeMap<Key, Value>;

/// One service with what was made of it.
#[derive(Debug, Clone)]
struct Planned {
    service: Arc<Service>,
    slices: Vec<Arc<EndpointSlice>>,
    /// As planned.
    planned: Arc<Elements>,
    /// The planned keys that no other service may have too: all but slots.
    claims: Arc<[Key]>,
    /// The chains that the planned elements lead to.
    chains: Arc<[Chain]>,
    /// Less what an earlier service already claims.
    granted: Arc<Elements>,
}

impl Planned {
    fn new(service: Arc<Service>, slices: Vec<Arc<EndpointSlice>>, node: &NodeFacts) -> Self {
        let planned = Arc::new(plan(&service, &slices, node));
        let claims = planned.keys().filter(|key| !matches!(key, Key::Endpoint(..))).copied().collect();
        let chains = chains_of(&planned).cloned().collect();
        Self { service, slices, granted: planned.clone(), planned, claims, chains }
    }
}

fn chains_of(elements: &Elements) -> impl Iterator<Item = &Chain> {
    elements.values().filter_map(|value| if let Value::Goto(chain) = value { Some(chain) } else { None })
}

/// All that the table should hold.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    node: NodeFacts,
    /// In the order of namespace and name.
    services: Vec<Planned>,
    chains: BTreeSet<Chain>,
}

impl RuleSet {
    /// The chains that the elements lead to, with those behind them.
    pub fn chains(&self) -> &BTreeSet<Chain> {
        &self.chains
    }

    /// All elements.
    pub fn elements(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.services.iter().flat_map(|planned| planned.granted.iter())
    }

    /// Each service's namespace, name and elements, in order.
    pub(super) fn services(&self) -> impl Iterator<Item = ((&str, &str), &Arc<Elements>)> {
        self.services.iter().map(|planned| (name_of(&planned.service), &planned.granted))
    }
}

/// Decides what the table should hold. `previous` saves planning anew what did not change: objects are compared by
/// identity, as informers keep one `Arc` until an object changes.
pub fn rules(
    previous: Option<&RuleSet>,
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    node: &NodeFacts,
) -> RuleSet {
    let known: HashMap<*const Service, &Planned> = previous
        .filter(|previous| previous.node == *node)
        .map(|previous| previous.services.iter().map(|p| (Arc::as_ptr(&p.service), p)).collect())
        .unwrap_or_default();
    let mut by_service = group(slices);
    let mut planned: Vec<Planned> = services
        .iter()
        .filter(|service| is_proxied(service))
        .map(|service| {
            let slices = by_service.remove(&name_of(service)).unwrap_or_default();
            match known.get(&Arc::as_ptr(service)) {
                Some(known) if same(&known.slices, &slices) => (*known).clone(),
                _ => Planned::new(service.clone(), slices, node),
            }
        })
        .collect();
    planned.sort_by(|a, b| name_of(&a.service).cmp(&name_of(&b.service)));
    grant(&mut planned);
    let mut chains = BTreeSet::new();
    for service in &planned {
        match Arc::ptr_eq(&service.planned, &service.granted) {
            true => service.chains.iter().for_each(|chain| add_chain(&mut chains, chain)),
            false => chains_of(&service.granted).for_each(|chain| add_chain(&mut chains, chain)),
        }
    }
    RuleSet { node: node.clone(), services: planned, chains }
}

fn add_chain(chains: &mut BTreeSet<Chain>, chain: &Chain) {
    if !chains.contains(chain) {
        chain.next().iter().for_each(|next| add_chain(chains, next));
        chains.insert(chain.clone());
    }
}

fn name_of(service: &Service) -> (&str, &str) {
    let metadata = &service.metadata;
    (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

fn group(slices: &[Arc<EndpointSlice>]) -> HashMap<(&str, &str), Vec<Arc<EndpointSlice>>> {
    let mut groups: HashMap<(&str, &str), Vec<Arc<EndpointSlice>>> = HashMap::with_capacity(slices.len());
    for slice in slices {
        let labels = slice.metadata.labels.as_ref();
        if labels.is_some_and(|labels| labels.contains_key(OTHER_PROXY_LABEL)) {
            continue;
        }
        let name = labels.and_then(|labels| labels.get(SERVICE_NAME_LABEL));
        if let (Some(namespace), Some(name)) = (slice.metadata.namespace.as_deref(), name) {
            groups.entry((namespace, name)).or_default().push(slice.clone());
        }
    }
    groups
}

fn same(a: &[Arc<EndpointSlice>], b: &[Arc<EndpointSlice>]) -> bool {
    a.len() == b.len() && a.iter().all(|one| b.iter().any(|other| Arc::ptr_eq(one, other)))
}

/// Headless services and aliases have nothing to proxy.
fn is_proxied(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    let labels = service.metadata.labels.as_ref();
    let elsewhere = labels.is_some_and(|labels| labels.contains_key(OTHER_PROXY_LABEL));
    let alias = spec.type_.as_deref() == Some("ExternalName");
    !elsewhere && !alias && !matches!(spec.cluster_ip.as_deref(), None | Some("" | "None"))
}

/// A key may be in the table once. The API server hands cluster addresses and node ports out once, but anyone may write
/// the same external address into two services: the first by namespace and name has it.
fn grant(services: &mut [Planned]) {
    let mut claims: HashSet<Frontend> = HashSet::with_capacity(services.len());
    let mut addresses: HashSet<IpAddr> = HashSet::with_capacity(services.len());
    for service in services {
        let mut lost: Vec<Frontend> = Vec::new();
        let mut lost_addresses: Vec<IpAddr> = Vec::new();
        for key in service.claims.iter() {
            match key {
                Key::ClusterAddress(address) if !addresses.insert(*address) => lost_addresses.push(*address),
                key => lost.extend(key.frontend().filter(|frontend| !claims.insert(**frontend))),
            }
        }
        if lost.is_empty() && lost_addresses.is_empty() {
            service.granted = service.planned.clone();
            continue;
        }
        let kept = service.planned.iter().filter(|(key, _)| match key {
            Key::ClusterAddress(address) => !lost_addresses.contains(address),
            key => key.frontend().is_none_or(|frontend| !lost.contains(frontend)),
        });
        let kept: Elements = kept.map(|(key, value)| (*key, value.clone())).collect();
        if kept != *service.granted {
            service.granted = Arc::new(kept);
        }
    }
}

/// The elements of one service.
fn plan(service: &Service, slices: &[Arc<EndpointSlice>], node: &NodeFacts) -> Elements {
    let mut elements = Elements::new();
    let Some(spec) = &service.spec else { return elements };
    let facts = ServiceFacts::of(service, spec);
    elements.extend(facts.cluster.iter().map(|address| (Key::ClusterAddress(*address), Value::Present)));
    for port in spec.ports.iter().flatten() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP").parse();
        let number = u16::try_from(port.port).ok().filter(|number| *number > 0);
        let (Ok(protocol), Some(number)) = (protocol, number) else { continue };
        PortPlan { facts: &facts, endpoints: choose(port, slices, node), elements: &mut elements }
            .plan(protocol, number, port);
    }
    elements
}

/// A service's fields in the form in which planning needs them.
struct ServiceFacts {
    cluster: BTreeSet<IpAddr>,
    external: BTreeSet<IpAddr>,
    balancers: BTreeSet<IpAddr>,
    sources: Option<Arc<[Cidr]>>,
    sticky: bool,
    internal_local: bool,
    external_local: bool,
}

impl ServiceFacts {
    fn of(service: &Service, spec: &ServiceSpec) -> Self {
        let cluster = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let ingress = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
        let ingress = ingress.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
        // A balancer of mode `Proxy` wants its traffic to go through it (KEP-1860).
        let balancers = ingress.filter(|i| i.ip_mode.as_deref() != Some("Proxy")).filter_map(|i| i.ip.as_ref());
        let is_balancer = spec.type_.as_deref() == Some("LoadBalancer");
        let sources = spec.load_balancer_source_ranges.as_ref().filter(|ranges| !ranges.is_empty());
        Self {
            cluster: addresses(cluster),
            external: addresses(spec.external_ips.iter().flatten()),
            balancers: if is_balancer { addresses(balancers) } else { BTreeSet::new() },
            sources: sources.map(|ranges| {
                let v4 = ranges.iter().filter_map(|range| range.trim().parse::<Cidr>().ok());
                v4.filter(|range| range.address().is_ipv4()).collect()
            }),
            // DIVERGES: a client keeps its endpoint for as long as the endpoints stay; upstream forgets it after
            // sessionAffinityConfig.clientIP.timeoutSeconds without a connection. A hash needs no memory per client.
            sticky: spec.session_affinity.as_deref() == Some("ClientIP"),
            internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
        }
    }
}

/// The IPv4 addresses among these texts.
fn addresses<'a>(texts: impl Iterator<Item = &'a String>) -> BTreeSet<IpAddr> {
    texts.filter_map(|text| text.parse::<Ipv4Addr>().ok()).map(IpAddr::V4).collect()
}

/// Plans one port of a service.
struct PortPlan<'a> {
    facts: &'a ServiceFacts,
    endpoints: Endpoints,
    elements: &'a mut Elements,
}

impl PortPlan<'_> {
    fn plan(mut self, protocol: Protocol, number: u16, port: &ServicePort) {
        let facts = self.facts;
        for address in &facts.cluster {
            self.internal(Frontend { address: *address, protocol, port: number });
        }
        for address in facts.external.difference(&facts.cluster) {
            self.external(Frontend { address: *address, protocol, port: number }, None);
        }
        for address in facts.balancers.difference(&facts.cluster).filter(|a| !facts.external.contains(a)) {
            self.external(Frontend { address: *address, protocol, port: number }, facts.sources.clone());
        }
        let node_port = port.node_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
        if let Some(node_port) = node_port {
            let frontend = Frontend { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), protocol, port: node_port };
            self.external(frontend, None);
        }
    }

    fn internal(&mut self, frontend: Frontend) {
        let targets = if self.facts.internal_local { &self.endpoints.local } else { &self.endpoints.cluster };
        if targets.is_empty() {
            let nowhere = self.endpoints.cluster.is_empty();
            self.elements.insert(Key::Refused(frontend), if nowhere { Value::Reject } else { Value::Drop });
            return;
        }
        let targets = targets.clone();
        let pick = self.slots(frontend, &targets, false);
        self.elements.insert(Key::Service(frontend), Value::Goto(Chain::Pick(pick)));
    }

    fn external(&mut self, frontend: Frontend, sources: Option<Arc<[Cidr]>>) {
        let node_port = frontend.address.is_unspecified();
        let (cluster, local) = (self.endpoints.cluster.clone(), self.endpoints.local.clone());
        if cluster.is_empty() {
            let key = if node_port { Key::RefusedNodePort(frontend) } else { Key::Refused(frontend) };
            self.elements.insert(key, Value::Reject);
            return;
        }
        let cluster = self.slots(frontend, &cluster, false);
        let mut chain = Chain::External(cluster);
        if self.facts.external_local {
            let local = (!local.is_empty()).then(|| self.slots(frontend, &local, true));
            chain = Chain::Edge { cluster, local };
        }
        if let Some(sources) = sources {
            chain = Chain::Firewall { sources, then: Box::new(chain) };
        }
        let key = if node_port { Key::NodePort(frontend) } else { Key::Service(frontend) };
        self.elements.insert(key, Value::Goto(chain));
    }

    /// Puts the targets into slots of the frontend.
    fn slots(&mut self, frontend: Frontend, targets: &[Target], local: bool) -> Pick {
        let filled = if self.facts.sticky { sticky_slots(targets) } else { targets.to_vec() };
        let node_port = frontend.address.is_unspecified();
        let pick = Pick { slots: filled.len() as u32, local, sticky: self.facts.sticky, node_port };
        let slots = filled.into_iter().zip(pick.start()..);
        self.elements.extend(slots.map(|(target, slot)| (Key::Endpoint(frontend, slot), Value::To(target))));
        pick
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
pub(super) mod tests;
