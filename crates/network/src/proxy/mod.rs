//! The service proxy: Services and EndpointSlices become elements of a few nftables maps.
//!
//! [`rules`] decides, [`diff`] finds what changed, [`table`] says it to the kernel in one transaction, [`Proxy`] holds
//! what was applied, [`run`] drives it from informers. Services of any number share a handful of chains: one for each
//! number of endpoints, not one for each service.

mod chain;
mod diff;
mod endpoints;
mod rules;
mod run;
mod stale;
mod sync;
mod table;

pub use chain::{Chain, Pick};
pub use diff::{Diff, diff};
pub use rules::{Frontend, Key, NodeFacts, RuleSet, Target, Value, rules};
pub use run::{RunConfig, run};
pub use sync::{Proxy, ProxyConfig, SyncReport};
