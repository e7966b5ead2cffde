//! NamespaceLifecycle: nothing is made in a namespace that is not there or on its way out; some namespaces stay.

use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

/// Namespaces which nobody deletes (upstream's immortal ones).
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct NamespaceLifecycle;

impl Plugin for NamespaceLifecycle {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if review.is(Operation::Delete, "namespaces") && IMMORTAL.contains(&review.name) {
            return Err(review.forbidden("this namespace may not be deleted"));
        }
        if review.operation != Operation::Create || review.target != Target::Object || !review.kind.row.namespaced {
            return Ok(());
        }
        let namespaces = review.kinds.core("namespaces")?;
        let found = namespaces.find("", review.namespace);
        let entry = found.ok_or_else(|| ApiError::not_found(&namespaces.resource, review.namespace))?;
        let namespace: &Value = entry.tree();
        if !namespace.is_deleting() && namespace.str_at(&["status", "phase"]) != Some("Terminating") {
            return Ok(());
        }
        let detail =
            format!("unable to create new content in namespace {} because it is being terminated", review.namespace);
        Err(match review.forbidden(&detail) {
            ApiError::Forbidden { message, resource, name, .. } => {
                let cause = format!("namespace {} is being terminated", review.namespace);
                let causes = vec![("NamespaceTerminating", cause, "metadata.namespace")];
                ApiError::Forbidden { message, resource, name, causes }
            }
            other => other,
        })
    }
}
