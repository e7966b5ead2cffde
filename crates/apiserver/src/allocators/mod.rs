//! Addresses and ports of services. The services themselves say what is taken, and for addresses IPAddress objects as well:
//! the allocators follow the caches, and only remember on their own what is on its way to the store. So nothing is lost or
//! doubled by a crash. Addresses come from the ServiceCIDRs that are ready (KEP-1880).

mod cluster_ip;
mod node_port;
mod objects;
mod ranges;
pub(crate) mod repair;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use machinery::field::{FieldError, Path};
use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value};
use resources::Target;
use tokio::sync::Notify;

use crate::kind::Kind;
use crate::kinds::Kinds;
use crate::request::ServiceCidr;
use cluster_ip::Addresses;
use node_port::Ports;
use ranges::Range;

pub(crate) use objects::{forget, record, release};
pub(crate) use ranges::DEFAULT as DEFAULT_RANGE;

/// What services have, and what is on its way to them.
#[derive(Default)]
struct Taken {
    /// How many services (or writes on their way) hold it.
    addresses: HashMap<Ipv4Addr, u32>,
    ports: HashMap<(u16, Protocol), u32>,
    /// Addresses that have an IPAddress object.
    named: HashSet<Ipv4Addr>,
    /// By [`ranges::key`], so that the default ones come first.
    ranges: BTreeMap<(bool, String), Vec<Range>>,
}

impl Taken {
    fn has(&self, address: &Ipv4Addr) -> bool {
        self.addresses.contains_key(address) || self.named.contains(address)
    }

    fn ready(&self) -> impl Iterator<Item = &Addresses> {
        self.ranges.values().flatten().filter(|range| range.is_ready).map(|range| &range.addresses)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// Gives out addresses and ports of services.
pub(crate) struct Allocators {
    /// The range that the server was told.
    default: Addresses,
    ports: Ports,
    taken: Arc<Mutex<Taken>>,
    /// Wakes when an IPAddress object is gone that a service needs.
    amiss: Arc<Notify>,
    mismatch_told: AtomicBool,
}

/// What one write has taken; given back when it is dropped. Once the write is done the cache holds it instead.
#[derive(Default)]
pub(crate) struct Allocation {
    /// Namespace and name of the service.
    service: (String, String),
    taken: Option<Arc<Mutex<Taken>>>,
    addresses: Vec<Ipv4Addr>,
    ports: Vec<(u16, Protocol)>,
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if let Some(taken) = &self.taken {
            let mut taken = lock(taken);
            self.addresses.drain(..).for_each(|address| give_back(&mut taken.addresses, &address));
            self.ports.drain(..).for_each(|port| give_back(&mut taken.ports, &port));
        }
    }
}

fn give_back<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Allocators {
    /// Allocators that follow the services in `kinds`.
    pub(crate) fn new(cidr: ServiceCidr, ports: RangeInclusive<u16>, kinds: &Kinds) -> Self {
        let taken: Arc<Mutex<Taken>> = Arc::default();
        if let Ok(services) = kinds.core("services") {
            let followed = taken.clone();
            services.cache.observe(Box::new(move |old, new| follow(&followed, old, new)));
        }
        let amiss = Arc::new(Notify::new());
        let default = Addresses::new(cidr);
        ranges::follow(&taken, cidr, kinds);
        objects::follow(&taken, &amiss, kinds);
        Self { default, ports: Ports::new(ports), taken, amiss, mismatch_told: AtomicBool::new(false) }
    }

    /// Tells, once, that the default ServiceCIDR says another range than the server was told. Somebody has to decide.
    pub(crate) fn tell_mismatch(&self) {
        if !self.mismatch_told.swap(true, Ordering::Relaxed) {
            let told = &self.default;
            tracing::warn!("the ServiceCIDR {DEFAULT_RANGE} does not match the configured range {told}");
        }
    }

    /// The range that the server was told.
    pub(crate) fn default_range(&self) -> String {
        self.default.to_string()
    }

    /// The address of the `kubernetes` service: the first of the range.
    pub(crate) fn first_address(&self) -> Ipv4Addr {
        self.default.first()
    }

    /// Gives a service that is about to be written what it lacks, and checks what it asks for.
    pub(crate) fn allocate(
        &self,
        kind: &Kind,
        target: Target,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocation, ApiError> {
        let is_service = kind.row.group.is_empty() && kind.row.plural == "services" && target == Target::Object;
        let mut allocation = Allocation::default();
        if !is_service {
            return Ok(allocation);
        }
        allocation.service = (object.namespace().to_owned(), object.name().to_owned());
        allocation.taken = Some(self.taken.clone());
        let mut taken = lock(&self.taken);
        let result = self
            .address(&mut taken, &mut allocation, object, old)
            .and_then(|()| self.node_ports(&mut taken, &mut allocation, object, old));
        // What was taken so far is given back when the allocation is dropped.
        drop(taken);
        result.map_err(|error| ApiError::invalid("", "Service", object.name(), vec![error]))?;
        Ok(allocation)
    }

    fn address(
        &self,
        taken: &mut Taken,
        allocation: &mut Allocation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), FieldError> {
        let wants = matches!(object.str_at(&["spec", "type"]), Some("ClusterIP" | "NodePort" | "LoadBalancer"));
        let given = object.str_at(&["spec", "clusterIP"]).unwrap_or_default().to_owned();
        let before = old.and_then(|old| old.str_at(&["spec", "clusterIP"])).unwrap_or_default();
        if !wants || given == "None" || (!given.is_empty() && given == before) {
            return Ok(());
        }
        let is_kubernetes = object.name() == "kubernetes" && object.namespace() == "default";
        let address = match given.as_str() {
            "" if is_kubernetes => self.default.first(),
            "" => self.free(taken).ok_or_else(|| {
                let path = Path::new("spec").child("clusterIPs");
                FieldError::internal(&path, "failed to allocate a serviceIP: range is full")
            })?,
            text => self.wanted(taken, text, is_kubernetes)?,
        };
        *taken.addresses.entry(address).or_default() += 1;
        allocation.addresses.push(address);
        let text = address.to_string();
        object.set_at(&["spec", "clusterIPs"], vec![text.as_str()]);
        object.set_at(&["spec", "clusterIP"], text);
        Ok(())
    }

    fn wanted(&self, taken: &Taken, text: &str, is_kubernetes: bool) -> Result<Ipv4Addr, FieldError> {
        let path = Path::new("spec").child("clusterIPs");
        let refuse = |why: &str| {
            let detail = format!("failed to allocate IP {text}: {why}");
            FieldError::invalid(&path, &Value::from(vec![text]), &detail)
        };
        let address: Ipv4Addr = text.parse().map_err(|_| refuse("it is no IPv4 address"))?;
        let covering = || taken.ready().filter(|range| range.covers(address));
        let reserved = address == self.default.first();
        let is_its_own = reserved && is_kubernetes;
        match covering().next() {
            // The first address is there before the ranges are.
            None if is_its_own => {}
            None => return Err(refuse("the provided network does not match the current range")),
            Some(range) if !covering().any(|range| range.contains(address)) => {
                let why =
                    format!("the provided IP ({text}) is not in the valid range. The range of valid IPs is {range}");
                return Err(refuse(&why));
            }
            Some(_) => {}
        }
        if !is_its_own && (reserved || taken.has(&address)) {
            return Err(refuse("provided IP is already allocated"));
        }
        Ok(address)
    }

    /// Any address that is free; never the first one of all.
    fn free(&self, taken: &Taken) -> Option<Ipv4Addr> {
        let first = self.default.first();
        taken.ready().find_map(|range| range.free(|address| *address == first || taken.has(address)))
    }

    fn node_ports(
        &self,
        taken: &mut Taken,
        allocation: &mut Allocation,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), FieldError> {
        let kind = object.str_at(&["spec", "type"]).unwrap_or_default();
        let load_balancer = kind == "LoadBalancer"
            && object.at(&["spec", "allocateLoadBalancerNodePorts"]).and_then(Value::as_bool).unwrap_or(true);
        if kind != "NodePort" && kind != "LoadBalancer" {
            return Ok(());
        }
        let allocates = kind == "NodePort" || load_balancer;
        let before: Vec<(u16, Protocol)> = old.map(node_ports_of).unwrap_or_default();
        let Some(ports) = object.at_mut(&["spec", "ports"]).and_then(Value::as_array_mut) else { return Ok(()) };
        // Those asked for come first, so that none of them is given away.
        for (index, port) in ports.iter().enumerate() {
            let Some(number) = number_of(port) else { continue };
            let key = (number, protocol_of(port));
            if before.contains(&key) || allocation.ports.contains(&key) {
                continue;
            }
            self.check_port(taken, key, index)?;
            take_port(taken, allocation, key);
        }
        for index in 0..ports.len() {
            if !allocates || number_of(&ports[index]).is_some() {
                continue;
            }
            let protocol = protocol_of(&ports[index]);
            // One port number with several protocols shares its node port, as upstream does.
            let twin = ports.iter().find(|p| p.get("port") == ports[index].get("port") && protocol_of(p) != protocol);
            let twin = twin.and_then(number_of).filter(|n| !taken.ports.contains_key(&(*n, protocol)));
            let free = || self.ports.free(|n| taken.ports.keys().any(|(taken, _)| *taken == n));
            let number = twin.or_else(free).ok_or_else(|| {
                let path = Path::new("spec").child("ports").index(index).child("nodePort");
                FieldError::internal(&path, "failed to allocate a nodePort: range is full")
            })?;
            take_port(taken, allocation, (number, protocol));
            ports[index].set_at(&["nodePort"], i64::from(number));
        }
        Ok(())
    }

    fn check_port(&self, taken: &Taken, key: (u16, Protocol), index: usize) -> Result<(), FieldError> {
        let path = Path::new("spec").child("ports").index(index).child("nodePort");
        if !self.ports.contains(key.0) {
            let detail = format!("provided port is not in the valid range. The range of valid ports is {}", self.ports);
            return Err(FieldError::invalid(&path, i64::from(key.0), &detail));
        }
        if taken.ports.contains_key(&key) {
            return Err(FieldError::invalid(&path, i64::from(key.0), "provided port is already allocated"));
        }
        Ok(())
    }
}

fn take_port(taken: &mut Taken, allocation: &mut Allocation, key: (u16, Protocol)) {
    *taken.ports.entry(key).or_default() += 1;
    allocation.ports.push(key);
}

fn follow(taken: &Mutex<Taken>, old: Option<&Entry>, new: Option<&Entry>) {
    let mut taken = lock(taken);
    if let Some(entry) = new {
        for address in addresses_of(entry.tree()) {
            *taken.addresses.entry(address).or_default() += 1;
        }
        for port in node_ports_of(entry.tree()) {
            *taken.ports.entry(port).or_default() += 1;
        }
    }
    if let Some(entry) = old {
        addresses_of(entry.tree()).iter().for_each(|address| give_back(&mut taken.addresses, address));
        node_ports_of(entry.tree()).iter().for_each(|port| give_back(&mut taken.ports, port));
    }
}

fn addresses_of(service: &Value) -> Vec<Ipv4Addr> {
    service.str_at(&["spec", "clusterIP"]).and_then(|text| text.parse().ok()).into_iter().collect()
}

fn node_ports_of(service: &Value) -> Vec<(u16, Protocol)> {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut keys: Vec<(u16, Protocol)> = Vec::new();
    for key in ports.iter().filter_map(|port| Some((number_of(port)?, protocol_of(port)))) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn number_of(port: &Value) -> Option<u16> {
    port.i64_at(&["nodePort"]).filter(|n| *n != 0).and_then(|n| u16::try_from(n).ok())
}

fn protocol_of(port: &Value) -> Protocol {
    match port.str_at(&["protocol"]) {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}
