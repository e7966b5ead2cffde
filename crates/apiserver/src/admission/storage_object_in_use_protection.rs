//! StorageObjectInUseProtection: new volumes, claims and attribute classes get the finalizer by which their controllers keep
//! them as long as they are in use.

use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

/// Resources, and their finalizers.
const PROTECTED: [(&str, &str, &str); 3] = [
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub(super) struct StorageObjectInUseProtection;

impl Plugin for StorageObjectInUseProtection {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if (review.operation, review.target) != (Operation::Create, Target::Object) {
            return Ok(());
        }
        let row = &review.kind.row;
        let mut known = PROTECTED.iter().filter(|(group, plural, _)| row.group == *group && row.plural == *plural);
        let Some((_, _, finalizer)) = known.next() else { return Ok(()) };
        if review.object.finalizers().iter().any(|known| known == finalizer) {
            return Ok(());
        }
        let list = review.object.at(&["metadata", "finalizers"]).and_then(Value::as_array);
        let mut list = list.cloned().unwrap_or_default();
        list.push((*finalizer).into());
        review.object.set_at(&["metadata", "finalizers"], list);
        Ok(())
    }
}
