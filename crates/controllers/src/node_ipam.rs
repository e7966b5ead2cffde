//! Each node gets its part of the pod addresses (`spec.podCIDR`).

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Api, Change, Client, ObjectKey, PatchKind, Queue, Shutdown};
use k8s_openapi::api::core::v1::Node;
use machinery::ApiError;
use machinery::json::Value;

use crate::context::Context;

struct Ipam {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
    /// Which part each node has, by node name. Parts are given before the API knows, so that none is given twice.
    given: Mutex<BTreeMap<String, u32>>,
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    let queue = Queue::new();
    let ipam = Arc::new(Ipam {
        client: context.client_of("node-controller"),
        recorder: context.recorder("cidrAllocator"),
        given: Mutex::default(),
        context: context.clone(),
    });
    // Parts that nodes already have are known before the first is given.
    context.informers.nodes.synced().await;
    let (changed, observer) = (queue.clone(), ipam.clone());
    context.informers.nodes.on_change(move |change| {
        let node = change.object();
        let name = node.metadata.name.clone().unwrap_or_default();
        match (change, observer.part_of(node)) {
            (Change::Deleted(_), _) => observer.given(|all| all.remove(&name)),
            (_, Some(part)) => observer.given(|all| all.insert(name, part)),
            (_, None) => None,
        };
        changed.add(ObjectKey::of(node.as_ref()));
    });
    reconcile::run("node-ipam-controller", 1, queue, shutdown, move |key| {
        let ipam = ipam.clone();
        async move { ipam.reconcile(&key.name).await }
    })
    .await;
}

impl Ipam {
    fn given<T>(&self, act: impl FnOnce(&mut BTreeMap<String, u32>) -> T) -> T {
        act(&mut self.given.lock().unwrap_or_else(|e| e.into_inner()))
    }

    fn range(&self) -> Range {
        let (network, prefix) = self.context.options.cluster_cidr;
        Range { network, prefix, node_prefix: self.context.options.node_cidr_prefix }
    }

    /// The number of the part that a node says it has; `None` when it has none of this range.
    fn part_of(&self, node: &Node) -> Option<u32> {
        let cidr = node.spec.as_ref()?.pod_cidr.as_ref()?;
        let address = cidr.split_once('/')?.0.parse().ok()?;
        self.range().number_of(address)
    }

    async fn reconcile(&self, name: &str) -> Result<Next, ApiError> {
        let Some(node) = self.context.informers.nodes.get("", name) else { return Ok(Next::Wait) };
        if node.spec.as_ref().is_some_and(|s| s.pod_cidr.is_some()) {
            return Ok(Next::Wait);
        }
        let range = self.range();
        let part = self.given(|all| {
            let free = all.get(name).copied().or_else(|| range.free(&all.values().copied().collect()));
            free.inspect(|part| {
                all.insert(name.to_owned(), *part);
            })
        });
        let Some(cidr) = part.and_then(|p| range.cidr(p)) else {
            let message = format!("Node {name} status is now: CIDRNotAvailable");
            self.recorder.event_on(node.as_ref(), EventType::Normal, "CIDRNotAvailable", message);
            return Err(ApiError::Internal(
                "there are no remaining CIDRs left to allocate in the accepted range".into(),
            ));
        };
        let mut patch = Value::object();
        patch.set_at(&["spec", "podCIDR"], cidr.clone());
        patch.set_at(&["spec", "podCIDRs"], vec![Value::from(cidr)]);
        Api::<Node>::all(&self.client).patch(name, PatchKind::StrategicMerge, patch).await?;
        Ok(Next::Wait)
    }
}

/// All pod addresses, cut into parts of equal size.
struct Range {
    network: IpAddr,
    prefix: u8,
    node_prefix: u8,
}

impl Range {
    fn parts(&self) -> u32 {
        1u32.checked_shl(u32::from(self.node_prefix.saturating_sub(self.prefix))).unwrap_or(u32::MAX)
    }

    fn size(&self) -> u32 {
        1u32.checked_shl(32 - u32::from(self.node_prefix.min(32))).unwrap_or(1)
    }

    fn base(&self) -> Option<u32> {
        match self.network {
            IpAddr::V4(network) => Some(u32::from(network)),
            IpAddr::V6(_) => None,
        }
    }

    fn free(&self, taken: &BTreeSet<u32>) -> Option<u32> {
        (0..self.parts()).find(|part| !taken.contains(part))
    }

    fn cidr(&self, part: u32) -> Option<String> {
        let address = self.base()?.checked_add(part.checked_mul(self.size())?)?;
        Some(format!("{}/{}", Ipv4Addr::from(address), self.node_prefix))
    }

    fn number_of(&self, address: IpAddr) -> Option<u32> {
        let IpAddr::V4(address) = address else { return None };
        let part = u32::from(address).checked_sub(self.base()?)? / self.size();
        (part < self.parts()).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_given_in_order_and_found_again() {
        let range = Range { network: "10.42.0.0".parse().unwrap(), prefix: 16, node_prefix: 24 };
        assert_eq!(range.parts(), 256);
        assert_eq!(range.cidr(0).unwrap(), "10.42.0.0/24");
        assert_eq!(range.cidr(255).unwrap(), "10.42.255.0/24");
        assert_eq!(range.free(&[0, 1, 3].into()), Some(2));
        assert_eq!(range.free(&(0..256).collect()), None);
        assert_eq!(range.number_of("10.42.7.0".parse().unwrap()), Some(7));
        assert_eq!(range.number_of("10.43.0.0".parse().unwrap()), None);
        assert_eq!(range.number_of("9.0.0.0".parse().unwrap()), None);
    }
}
