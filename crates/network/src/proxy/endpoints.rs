//! Which endpoints take a service's traffic.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use super::rules::{NodeFacts, Target};
use crate::hash::fnv;
use crate::port::Protocol;

/// The endpoints of one service port that take traffic.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// On any node, in order.
    pub cluster: Vec<Target>,
    /// On this node, in order.
    pub local: Vec<Target>,
}

struct Candidate<'a> {
    endpoint: &'a Endpoint,
    target: Target,
}

impl Candidate<'_> {
    /// Absent means ready: the API says to treat "unknown" so.
    fn is_ready(&self) -> bool {
        self.endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    }

    /// Still answers while it ends (KEP-1669). An absent `serving` means the same as `ready`.
    fn is_serving_terminating(&self) -> bool {
        let Some(conditions) = &self.endpoint.conditions else { return false };
        let serving = conditions.serving.unwrap_or(self.is_ready());
        serving && conditions.terminating.unwrap_or(false)
    }

    fn is_local(&self, node: &NodeFacts) -> bool {
        self.endpoint.node_name.as_deref() == Some(node.name.as_str())
    }
}

/// Chooses the endpoints of `port`: the ready ones; with none ready, those that still serve while they end (KEP-1669).
pub fn choose(port: &ServicePort, slices: &[Arc<EndpointSlice>], node: &NodeFacts) -> Endpoints {
    let candidates = candidates(port, slices);
    let near = topology(&candidates, node);
    let chosen = |local_only: bool| -> Vec<Target> {
        let here: Vec<&Candidate<'_>> = candidates.values().filter(|c| !local_only || c.is_local(node)).collect();
        let ready: Vec<Target> = here
            .iter()
            .filter(|c| c.is_ready() && (local_only || near.as_ref().is_none_or(|near| near.contains(&c.target))))
            .map(|c| c.target)
            .collect();
        if !ready.is_empty() {
            return ready;
        }
        here.iter().filter(|c| c.is_serving_terminating()).map(|c| c.target).collect()
    };
    Endpoints { cluster: chosen(false), local: chosen(true) }
}

/// The endpoints of the port's name and protocol, each once. One that is listed twice counts as its better half.
fn candidates<'a>(port: &ServicePort, slices: &'a [Arc<EndpointSlice>]) -> BTreeMap<Target, Candidate<'a>> {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol: Option<Protocol> = port.protocol.as_deref().unwrap_or("TCP").parse().ok();
    let mut all: BTreeMap<Target, Candidate<'a>> = BTreeMap::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let ports = slice.ports.iter().flatten().filter(|p| {
            p.name.as_deref().unwrap_or_default() == name
                && p.protocol.as_deref().unwrap_or("TCP").parse().ok() == protocol
        });
        for number in ports.filter_map(|p| u16::try_from(p.port?).ok()).filter(|number| *number > 0) {
            for endpoint in slice.endpoints.iter().flatten() {
                // All addresses of an endpoint are the same machine; upstream's proxy uses the first.
                let Some(Ok(address)) = endpoint.addresses.first().map(|a| a.parse::<IpAddr>()) else { continue };
                let target = Target { address, port: number };
                let candidate = Candidate { endpoint, target };
                if candidate.is_ready() || !all.contains_key(&target) {
                    all.insert(target, candidate);
                }
            }
        }
    }
    all
}

/// The endpoints that the hints assign to this node or its zone; `None` when hints do not apply: all ready endpoints must
/// have them, and one at least must name us.
fn topology(candidates: &BTreeMap<Target, Candidate<'_>>, node: &NodeFacts) -> Option<BTreeSet<Target>> {
    let ready: Vec<&Candidate<'_>> = candidates.values().filter(|c| c.is_ready()).collect();
    let assigned = |names: &dyn Fn(&Endpoint) -> Option<Vec<String>>, ours: &str| {
        let mut near = BTreeSet::new();
        for candidate in &ready {
            let names = names(candidate.endpoint).filter(|names| !names.is_empty())?;
            if names.iter().any(|name| name == ours) {
                near.insert(candidate.target);
            }
        }
        (!near.is_empty()).then_some(near)
    };
    let by_node = |e: &Endpoint| Some(e.hints.as_ref()?.for_nodes.iter().flatten().map(|n| n.name.clone()).collect());
    let by_zone = |e: &Endpoint| Some(e.hints.as_ref()?.for_zones.iter().flatten().map(|z| z.name.clone()).collect());
    assigned(&by_node, &node.name).or_else(|| assigned(&by_zone, node.zone.as_deref()?))
}

/// Slots for session affinity: a client's address is hashed to a slot, so the table has a fixed size for a span of
/// endpoint counts, and each endpoint claims slots in an order of its own (as in Maglev, NSDI 2016). When one endpoint
/// comes or goes, most clients keep theirs.
pub fn sticky_slots(targets: &[Target]) -> Vec<Target> {
    let size: u64 = match targets.len() {
        0..=1 => return targets.to_vec(),
        2..=8 => 61,
        9..=64 => 509,
        _ => 4093,
    };
    let mut walks: Vec<(u64, u64)> = targets
        .iter()
        .map(|target| {
            let hash = fnv(format!("{}:{}", target.address, target.port).as_bytes());
            (hash % size, (hash >> 32) % (size - 1) + 1)
        })
        .collect();
    let mut slots: Vec<Option<Target>> = vec![None; size as usize];
    let mut free = size;
    while free > 0 {
        for (target, (position, step)) in targets.iter().zip(&mut walks) {
            // The size is prime, so each walk visits every slot and finds a free one while there is any.
            while free > 0 && slots[*position as usize].is_some() {
                *position = (*position + *step) % size;
            }
            if free > 0 {
                slots[*position as usize] = Some(*target);
                free -= 1;
            }
        }
    }
    slots.into_iter().flatten().collect()
}
