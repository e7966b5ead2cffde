//! Priority: the number behind a pod's priority class.

use machinery::{ApiError, Value};

use super::{Operation, Plugin, Review};

/// Classes that every cluster has.
const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const PREEMPT: &str = "PreemptLowerPriority";

pub(super) struct Priority;

impl Plugin for Priority {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if !review.is(Operation::Create, "pods") {
            return Ok(());
        }
        let class = review.object.str_at(&["spec", "priorityClassName"]).unwrap_or_default().to_owned();
        let (priority, preempts) = if class.is_empty() { (0, PREEMPT.to_owned()) } else { look_up(review, &class)? };
        let spec = review.object.ensure_at(&["spec"]);
        if let Some(given) = spec.i64_at(&["priority"]).filter(|given| *given != priority) {
            let detail = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
                 computed {priority} from the given PriorityClass name"
            );
            return Err(review.forbidden(&detail));
        }
        spec.set_at(&["priority"], priority);
        if let Some(given) = spec.str_at(&["preemptionPolicy"]).filter(|given| *given != preempts) {
            let detail = format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {preempts} from the given PriorityClass name"
            );
            return Err(review.forbidden(&detail));
        }
        spec.set_at(&["preemptionPolicy"], preempts);
        Ok(())
    }
}

fn look_up(review: &Review<'_>, class: &str) -> Result<(i64, String), ApiError> {
    if let Some((_, priority)) = SYSTEM_CLASSES.iter().find(|(name, _)| *name == class) {
        return Ok((*priority, PREEMPT.to_owned()));
    }
    let found = review.kinds.get("scheduling.k8s.io", "v1", "priorityclasses").and_then(|kind| kind.find("", class));
    let entry = found.ok_or_else(|| review.forbidden(&format!("no PriorityClass with name {class} was found")))?;
    let tree: &Value = entry.tree();
    let preempts = tree.str_at(&["preemptionPolicy"]).unwrap_or(PREEMPT).to_owned();
    Ok((tree.i64_at(&["value"]).unwrap_or(0), preempts))
}
