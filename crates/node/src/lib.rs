//! The node agent: from a pod's spec to running containers and back to its status.
//!
//! One worker per pod carries out a pure [`plan`] and reports a pure [`status`]. Containers are reached only through
//! [`runtime::Runtime`], the API only through [`client::Client`].

mod admission;
mod agent;
mod allocation;
pub mod capacity;
mod config;
mod disk;
mod eviction;
mod files;
mod images;
mod logs;
mod managers;
mod meter;
mod options;
pub mod plan;
mod probes;
mod quantity;
mod register;
mod server;
mod shutdown;
mod sources;
mod static_pods;
pub mod status;
mod streams;
#[cfg(test)]
mod tests;
mod volumes;
pub mod wanted;

pub use agent::run;
pub use capacity::{Limits, MemoryQos, Reserved};
pub use eviction::{Eviction, GracePeriods, Reclaims, Thresholds};
pub use images::Verification;
pub use images::access::ImagePattern;
pub use managers::devices::{fake as fake_plugin, proto as device_plugin};
pub use managers::pod_resources::proto as pod_resources;
pub use managers::{CpuOptions, CpuSet, Policies, Policy, ReservedMemory, Scope};
pub use options::NodeOptions;
pub use shutdown::{Periods, ShutdownOptions};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a mutex guards, even if somebody panicked who had it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
