//! What every component uses to reach the API: typed handles, informers, work queues, events, leader election.
//!
//! [`Api`] has kube's method names. Behind it stands a [`Backend`]: in process it is the API server's pipeline (below the
//! socket: authorization, admission and validation hold, no bytes in between).

mod api;
mod backend;
pub mod events;
pub mod informer;
pub mod leader_election;
pub mod queue;

pub use api::{Api, Client, Resource};
pub use backend::*;
