//! The ServiceCIDRs: which ranges addresses may come from.

use std::sync::{Arc, Mutex};

use machinery::object::ObjectExt;
use machinery::{Entry, Value};

use super::cluster_ip::Addresses;
use super::{Taken, lock};
use crate::kinds::Kinds;
use crate::request::ServiceCidr;

pub(super) const GROUP: &str = "networking.k8s.io";
/// The one that the server makes of the range that it was told.
pub(crate) const DEFAULT: &str = "kubernetes";

/// One range of a ServiceCIDR. Those of IPv6 are left out.
pub(super) struct Range {
    pub addresses: Addresses,
    /// Whether new addresses come from it: it is not said to be unready, and is not being deleted.
    pub is_ready: bool,
}

/// The default one is asked first, then the others by name.
pub(super) fn key(name: &str) -> (bool, String) {
    (name != DEFAULT, name.to_owned())
}

/// Follows the objects; without them the range that the server was told is all there is.
pub(super) fn follow(taken: &Arc<Mutex<Taken>>, cidr: ServiceCidr, kinds: &Kinds) {
    let Some(kind) = kinds.get(GROUP, "v1", "servicecidrs") else {
        let range = Range { addresses: Addresses::new(cidr), is_ready: true };
        lock(taken).ranges.insert(key(DEFAULT), vec![range]);
        return;
    };
    let followed = taken.clone();
    kind.cache.observe(Box::new(move |old, new| {
        let mut taken = lock(&followed);
        if let Some(old) = old {
            taken.ranges.remove(&key(old.tree().name()));
        }
        if let Some(new) = new {
            taken.ranges.insert(key(new.tree().name()), ranges(new));
        }
    }));
}

fn ranges(entry: &Entry) -> Vec<Range> {
    let tree: &Value = entry.tree();
    let is_ready = !tree.is_deleting() && is_ready(tree);
    let cidrs = tree.at(&["spec", "cidrs"]).and_then(Value::as_array).into_iter().flatten();
    let addresses = cidrs.filter_map(Value::as_str).filter_map(Addresses::parse);
    addresses.map(|addresses| Range { addresses, is_ready }).collect()
}

/// What says nothing is ready, so that a cluster without controllers works.
fn is_ready(tree: &Value) -> bool {
    let conditions = tree.at(&["status", "conditions"]).and_then(Value::as_array).into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition.str_at(&["type"]) == Some("Ready"));
    ready.next().is_none_or(|condition| condition.str_at(&["status"]) == Some("True"))
}
