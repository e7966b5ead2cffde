//! Containers: images, layers, sandboxes, processes, behind one trait with the semantics of Kubernetes' CRI v1.
//!
//! The node agent speaks only to [`Runtime`]. The built-in runtime ([`BuiltinRuntime`]) is: this process, which holds the
//! images and knows all sandboxes, and one small [`shim`](shim_main) process per pod, which holds the pod's namespaces and
//! its containers and outlives this one.

mod api;
mod builtin;
mod cgroup;
mod image;
mod record;
mod seccomp;
mod shim;
mod sys;

pub use api::*;
pub use builtin::{BuiltinOptions, BuiltinRuntime};
pub use image::HELLO_PREFIX;
pub use shim::shim_main;
