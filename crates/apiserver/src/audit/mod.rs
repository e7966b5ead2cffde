//! What is recorded of requests: an `audit.k8s.io/v1` Event at each stage of each request, for whoever listens.
//!
//! As long as nobody does, a request carries an empty [`Option`] and nothing else: an event is begun only for a listener.

mod event;
mod record;

use client::User;

pub use event::{Event, Level, ObjectReference, Stage};
pub(crate) use record::Origin;
pub use record::Record;

use crate::request::Attributes;

/// Listens to requests.
pub trait Audit: Send + Sync + 'static {
    /// How much is recorded of a request; `None` for nothing at all. Asked once, when it is known who asks.
    fn level(&self, user: &User, attributes: &Attributes) -> Option<Level>;

    /// Takes the event of one stage. It is called on the request's own way, and must not block.
    fn record(&self, event: &Event);
}
