//! PersistentVolumeClaimResize: a claim may only grow when it is bound and its class says that volumes can be expanded.

use machinery::object::ObjectExt;
use machinery::quantity::Quantity;
use machinery::{ApiError, Value};

use super::default_storage_class::OLD_CLASS;
use super::{Operation, Plugin, Review};

pub(super) struct PersistentVolumeClaimResize;

impl Plugin for PersistentVolumeClaimResize {
    fn validate(&self, review: &Review<'_>) -> Result<(), ApiError> {
        if !review.is(Operation::Update, "persistentvolumeclaims") {
            return Ok(());
        }
        let Some(old) = review.old else { return Ok(()) };
        let size = |claim: &Value| {
            let text = claim.str_at(&["spec", "resources", "requests", "storage"]);
            text.and_then(|text| Quantity::parse(text).ok())
        };
        if size(review.object) <= size(old) {
            return Ok(());
        }
        if old.str_at(&["status", "phase"]) != Some("Bound") {
            return Err(review.forbidden("Only bound persistent volume claims can be expanded"));
        }
        let name = class(review.object);
        let found = review.kinds.get("storage.k8s.io", "v1", "storageclasses").and_then(|kind| kind.find("", name));
        let allows = |class: &Value| class.get("allowVolumeExpansion").and_then(Value::as_bool) == Some(true);
        if name.is_empty() || name != class(old) || !found.is_some_and(|entry| allows(entry.tree())) {
            return Err(review.forbidden(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                 support resize",
            ));
        }
        Ok(())
    }
}

fn class(claim: &Value) -> &str {
    claim.annotation(OLD_CLASS).or_else(|| claim.str_at(&["spec", "storageClassName"])).unwrap_or_default()
}
