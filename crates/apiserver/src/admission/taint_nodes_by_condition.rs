//! TaintNodesByCondition: a new node takes no pods before the node lifecycle controller has seen that it is ready.

use machinery::{ApiError, Map, Value};

use super::{Operation, Plugin, Review};

const NOT_READY: (&str, &str) = ("node.kubernetes.io/not-ready", "NoSchedule");

pub(super) struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if !review.is(Operation::Create, "nodes") {
            return Ok(());
        }
        let (key, effect) = NOT_READY;
        let known = review.object.at(&["spec", "taints"]).and_then(Value::as_array);
        let mut taints = known.cloned().unwrap_or_default();
        if !taints.iter().any(|taint| taint.str_at(&["key"]) == Some(key) && taint.str_at(&["effect"]) == Some(effect))
        {
            taints.push(Map::from_iter([("key", key), ("effect", effect)]).into());
            review.object.set_at(&["spec", "taints"], taints);
        }
        Ok(())
    }
}
