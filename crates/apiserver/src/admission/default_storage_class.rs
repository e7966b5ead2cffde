//! DefaultStorageClass: a claim that names no class gets the newest of those that are marked as the default.

use std::cmp::Reverse;

use machinery::object::ObjectExt;
use machinery::{ApiError, Value};

use super::{Operation, Plugin, Review};

const GROUP: &str = "storage.k8s.io";
/// How claims named their class at first.
pub(super) const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const IS_DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

pub(super) struct DefaultStorageClass;

impl Plugin for DefaultStorageClass {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        if !review.is(Operation::Create, "persistentvolumeclaims") {
            return Ok(());
        }
        // An empty name wants no class at all.
        let path = ["spec", "storageClassName"];
        if review.object.str_at(&path).is_some() || review.object.annotation(OLD_CLASS).is_some() {
            return Ok(());
        }
        let Some(kind) = review.kinds.get(GROUP, "v1", "storageclasses") else { return Ok(()) };
        let classes = kind.cache.stretch(&kind.cache.prefix, None, 0).items;
        let is_default = |class: &Value| IS_DEFAULT.iter().any(|name| class.annotation(name) == Some("true"));
        let marked = classes.iter().map(|(_, entry)| entry.tree()).filter(|class| is_default(class));
        let made = |class: &Value| class.str_at(&["metadata", "creationTimestamp"]).unwrap_or_default().to_owned();
        if let Some(class) = marked.min_by_key(|class| (Reverse(made(class)), class.name().to_owned())) {
            review.object.set_at(&path, class.name());
        }
        Ok(())
    }
}
