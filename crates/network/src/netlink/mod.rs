//! Netlink without helper programs: messages, sockets, links and routes, network namespaces, conntrack entries.
//!
//! Everything here blocks, for microseconds as a rule; async callers go through `spawn_blocking`.

pub mod conntrack;
pub mod links;
pub mod message;
pub mod netns;
pub mod routes;
pub mod socket;

pub use socket::{RouteSocket, Socket};
