//! What every component uses to reach the API: typed handles, informers, work queues, reconcilers, events.
//!
//! [`Api`] has kube's method names. Behind it stands a [`Backend`]: in process it is the API server's pipeline (below the
//! socket: authorization, admission and validation hold, no bytes in between).

mod api;
mod backend;
pub mod claims;
pub mod events;
pub mod informer;
pub mod labels;
pub mod queue;
pub mod reconcile;

pub use api::{Api, Client, Resource};
pub use backend::*;
pub use informer::{Change, Informer};
pub use queue::{ObjectKey, Queue};

/// A component's signal to stop: it becomes true once and stays so.
pub type Shutdown = tokio::sync::watch::Receiver<bool>;

/// Resolves when the signal to stop is given (or nobody is left to give it).
pub async fn stopped(mut shutdown: Shutdown) {
    let _ = shutdown.wait_for(|stop| *stop).await;
}
