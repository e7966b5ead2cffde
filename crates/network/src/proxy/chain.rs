//! The chains that services share. A chain's content follows from its identity, so no chain ever changes.

use std::sync::Arc;

use crate::cidr::Cidr;
use crate::hash::fnv;

/// Slots of endpoints on this node start here, beside those of all endpoints.
pub const LOCAL_SLOTS_START: u32 = 1 << 16;

/// Picks a slot and translates to the endpoint in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pick {
    /// How many slots there are; at least one.
    pub slots: u32,
    /// Among the slots of this node's endpoints only.
    pub local: bool,
    /// The client's address decides instead of chance.
    pub sticky: bool,
    /// The packet came for a node port: the slots stand under no address.
    pub node_port: bool,
}

impl Pick {
    /// The first slot.
    pub fn start(self) -> u32 {
        if self.local { LOCAL_SLOTS_START } else { 0 }
    }

    fn name(self) -> String {
        let kind = if self.sticky { "stick" } else { "pick" };
        let local = if self.local { "-local" } else { "" };
        let port = if self.node_port { "-port" } else { "" };
        format!("{kind}-{}{local}{port}", self.slots)
    }
}

/// Where a service's first packet goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// To an endpoint.
    Pick(Pick),
    /// From outside to any endpoint: the source becomes this node, so that the answer comes back through it.
    External(Pick),
    /// `externalTrafficPolicy: Local`: from outside to this node's endpoints with the client's address kept; from pods
    /// and from this node to any endpoint.
    Edge {
        /// Any endpoint.
        cluster: Pick,
        /// This node's endpoints; without them, traffic from outside is dropped.
        local: Option<Pick>,
    },
    /// `loadBalancerSourceRanges`: who may come in; others are dropped.
    Firewall {
        /// The ranges.
        sources: Arc<[Cidr]>,
        /// Where those within go.
        then: Box<Chain>,
    },
}

impl Chain {
    /// The chain's name in the table.
    pub fn name(&self) -> String {
        match self {
            Self::Pick(pick) => pick.name(),
            Self::External(pick) => format!("external-{}", pick.name()),
            Self::Edge { cluster, local: Some(local) } => format!("edge-{}-{}", cluster.name(), local.name()),
            Self::Edge { cluster, local: None } => format!("edge-{}-none", cluster.name()),
            Self::Firewall { sources, then } => {
                let text: Vec<String> = sources.iter().map(ToString::to_string).collect();
                format!("firewall-{:016x}-{}", fnv(text.join(",").as_bytes()), then.name())
            }
        }
    }

    /// The chains that this one leads to.
    pub fn next(&self) -> Vec<Chain> {
        match self {
            Self::Pick(_) => Vec::new(),
            Self::External(pick) => vec![Self::Pick(*pick)],
            Self::Edge { cluster, local } => std::iter::once(*cluster).chain(*local).map(Self::Pick).collect(),
            Self::Firewall { then, .. } => vec![(**then).clone()],
        }
    }
}
