//! The pod network and the service proxy: pure rules, applied by netlink.
//!
//! [`pod_network`] gives each pod a veth pair on the node's bridge, an address, host ports and masquerade; [`proxy`] turns
//! Services and EndpointSlices into two nftables maps. Both decide in pure functions and apply by netlink ([`netlink`],
//! [`nft`]): nothing here starts another program. Each owns a table of its own (`skiff-pods`, `skiff-services`), so that
//! either can run, restart or be repaired without the other. The tables stay when skiff stops.

pub mod cidr;
pub mod error;
mod hash;
pub mod netlink;
pub mod nft;
pub mod pod_network;
pub mod port;
pub mod proxy;

pub use cidr::Cidr;
pub use error::NetworkError;
pub use pod_network::{HostPort, PodAttachment, PodNetwork, PodNetworkConfig};
pub use port::Protocol;
pub use proxy::{Proxy, ProxyConfig};
