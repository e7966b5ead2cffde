//! Containers: images, layers, sandboxes, processes, behind one trait with the semantics of Kubernetes' CRI v1.
//!
//! The node agent speaks only to [`Runtime`]. The built-in runtime ([`BuiltinRuntime`]) is: this process, which holds the
//! images and knows all sandboxes, and one small [`shim`](shim_main) process per pod, which holds the pod's namespaces and
//! its containers and outlives this one. [`CriRuntime`] asks another runtime instead, such as containerd.
//! [`FakeRuntime`] has no containers at all, for tests and simulations.

mod api;
mod app_armor;
mod builtin;
mod cgroup;
mod cri;
mod fake;
mod image;
mod record;
mod seccomp;
mod shim;
mod sys;

pub use api::*;
pub use app_armor::is_enabled as app_armor_is_enabled;
pub use builtin::{BuiltinOptions, BuiltinRuntime};
pub use cri::{CniDirectories, CriOptions, CriRuntime, parse_endpoint};
pub use fake::{FakeRuntime, FakeState};
pub use image::{HELLO_PREFIX, normalize as normalize_image, repository as image_repository};
pub use shim::shim_main;
