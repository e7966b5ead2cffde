//! PodTopologyLabels: a pod that gets its node gets the node's zone and region too, as labels (KEP-4742).

use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

/// Labels of nodes that their pods get.
const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) struct PodTopologyLabels;

impl Plugin for PodTopologyLabels {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if review.operation != Operation::Create || !review.is_core("pods") {
            return Ok(());
        }
        let node = match review.target {
            Target::Object => review.object.str_at(&["spec", "nodeName"]),
            Target::Subresource("binding") if review.object.str_at(&["target", "kind"]) == Some("Node") => {
                review.object.str_at(&["target", "name"])
            }
            Target::Subresource(_) => None,
        };
        let Some(node) = node.filter(|node| !node.is_empty()) else { return Ok(()) };
        let Some(node) = review.kinds.core("nodes")?.find("", node) else { return Ok(()) };
        for label in LABELS {
            if let Some(value) = node.tree().label(label) {
                review.object.set_at(&["metadata", "labels", label], Value::from(value));
            }
        }
        Ok(())
    }
}
