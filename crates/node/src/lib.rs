//! The node agent: from a pod's spec to running containers and back to its status.

pub mod config;
pub mod plan;
mod quantity;
pub mod status;
pub mod wanted;
