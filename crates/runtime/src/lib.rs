//! Containers: images, layers, sandboxes, processes, behind one trait with the semantics of Kubernetes' CRI v1.
//!
//! The node agent speaks only to [`Runtime`]. The built-in runtime and, later, a CRI client implement it.

mod api;

pub use api::*;
