//! Everything between the socket and the pipeline: connections, routes, options, negotiation, bodies.

mod audit;
mod encode;
pub mod info;
pub(crate) mod lists;
mod metrics;
pub mod negotiate;
pub mod options;
mod paths;
mod protobuf;
pub mod query;
pub(crate) mod respond;
mod server;
mod service;
mod watches;

pub use options::{HealthCheck, Limits, ServeOptions, ServingCertificate, authorities, node_client};
pub use server::serve;

#[cfg(test)]
mod tests;
