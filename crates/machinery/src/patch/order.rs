//! The order of a merged list: `$setElementOrder` first, then the patch's order, then the live object's.

use crate::json::Value;

/// What elements are compared by: a merge key's value, or the element itself.
pub(super) fn identity<'v>(value: &'v Value, key: Option<&str>) -> Option<&'v Value> {
    key.map_or(Some(value), |key| value.get(key))
}

pub(super) fn position(list: &[Value], value: &Value, key: Option<&str>) -> Option<usize> {
    let wanted = identity(value, key)?;
    list.iter().position(|v| identity(v, key) == Some(wanted))
}

/// Puts a merged list into order: what `order` names follows it, the rest keeps the live order; both are woven together
/// so that the live order is disturbed as little as the patch's order allows.
pub(super) fn arrange(merged: Vec<Value>, order: &[Value], live: &[Value], key: Option<&str>) -> Vec<Value> {
    let (mut ordered, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|v| position(order, v, key).is_some());
    ordered.sort_by_key(|v| position(order, v, key));
    rest.sort_by_key(|v| position(live, v, key));
    weave(rest, ordered, live, key)
}

fn weave(left: Vec<Value>, right: Vec<Value>, live: &[Value], key: Option<&str>) -> Vec<Value> {
    let mut result = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let take_left = match (left.peek(), right.peek()) {
            (Some(l), Some(r)) => match (position(live, l, key), position(live, r, key)) {
                (Some(l), Some(r)) => l < r,
                _ => false,
            },
            (left, _) => left.is_some(),
        };
        match if take_left { left.next() } else { right.next() } {
            Some(value) => result.push(value),
            None => return result,
        }
    }
}
