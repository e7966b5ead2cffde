//! What to change to get from one rule set to another.

use std::cmp::Ordering;
use std::sync::Arc;

use super::chain::Chain;
use super::rules::{Elements, Key, RuleSet, Value};
use crate::port::Protocol;

/// A change of the table.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Diff {
    /// Elements that go, or whose value changes.
    pub removed: Vec<Key>,
    /// Chains to make, those that others lead to first.
    pub chains_added: Vec<Chain>,
    /// Elements that come, or whose value changed.
    pub added: Vec<(Key, Value)>,
    /// Chains to delete, those that lead to others first.
    pub chains_removed: Vec<Chain>,
}

impl Diff {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
            && self.added.is_empty()
            && self.chains_added.is_empty()
            && self.chains_removed.is_empty()
    }

    /// Whether an element of a UDP port changes: the kernel may then remember flows to what is gone.
    pub fn touches_udp(&self) -> bool {
        let keys = self.removed.iter().chain(self.added.iter().map(|(key, _)| key));
        keys.filter_map(Key::frontend).any(|frontend| frontend.protocol == Protocol::Udp)
    }
}

/// The change from `old` to `new`. Services whose elements are the same allocation are passed over.
pub fn diff(old: &RuleSet, new: &RuleSet) -> Diff {
    let mut result = Diff::default();
    let none: Arc<Elements> = Arc::default();
    let (mut left, mut right) = (old.services().peekable(), new.services().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.cmp(b),
        };
        let before = if order.is_le() { left.next().map(|(_, elements)| elements) } else { None };
        let after = if order.is_ge() { right.next().map(|(_, elements)| elements) } else { None };
        compare(before.unwrap_or(&none), after.unwrap_or(&none), &mut result);
    }
    // A chain's depth follows from its kind, and `Ord` sorts by kind: simple ones first.
    result.chains_added = new.chains().difference(old.chains()).cloned().collect();
    result.chains_removed = old.chains().difference(new.chains()).cloned().collect();
    result.chains_removed.reverse();
    result
}

fn compare(before: &Arc<Elements>, after: &Arc<Elements>, result: &mut Diff) {
    if Arc::ptr_eq(before, after) {
        return;
    }
    result.removed.extend(before.iter().filter(|(key, value)| after.get(key) != Some(value)).map(|(key, _)| *key));
    let come = after.iter().filter(|(key, value)| before.get(key) != Some(value));
    result.added.extend(come.map(|(key, value)| (*key, value.clone())));
}
