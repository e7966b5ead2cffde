//! Reading an object's metadata in the tree.

use crate::json::Value;

/// What every object has, read from its tree.
pub trait ObjectExt {
    /// The tree.
    fn tree(&self) -> &Value;

    /// `apiVersion`
    fn api_version(&self) -> &str {
        self.tree().str_at(&["apiVersion"]).unwrap_or_default()
    }
    /// `kind`
    fn kind(&self) -> &str {
        self.tree().str_at(&["kind"]).unwrap_or_default()
    }
    /// `metadata.name`; empty when there is none.
    fn name(&self) -> &str {
        self.tree().str_at(&["metadata", "name"]).unwrap_or_default()
    }
    /// `metadata.namespace`; empty when there is none.
    fn namespace(&self) -> &str {
        self.tree().str_at(&["metadata", "namespace"]).unwrap_or_default()
    }
    /// `metadata.uid`; empty when there is none.
    fn uid(&self) -> &str {
        self.tree().str_at(&["metadata", "uid"]).unwrap_or_default()
    }
    /// `metadata.resourceVersion`; empty when there is none.
    fn resource_version(&self) -> &str {
        self.tree().str_at(&["metadata", "resourceVersion"]).unwrap_or_default()
    }
    /// `metadata.generation`; 0 when there is none.
    fn generation(&self) -> i64 {
        self.tree().i64_at(&["metadata", "generation"]).unwrap_or_default()
    }
    /// A label's value.
    fn label(&self, key: &str) -> Option<&str> {
        self.tree().str_at(&["metadata", "labels", key])
    }
    /// An annotation's value.
    fn annotation(&self, key: &str) -> Option<&str> {
        self.tree().str_at(&["metadata", "annotations", key])
    }
    /// Whether deletion has begun.
    fn is_deleting(&self) -> bool {
        self.tree().str_at(&["metadata", "deletionTimestamp"]).is_some()
    }
    /// `metadata.finalizers`
    fn finalizers(&self) -> Vec<&str> {
        let list = self.tree().at(&["metadata", "finalizers"]).and_then(Value::as_array);
        list.map(|l| l.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
    }
}

impl ObjectExt for Value {
    fn tree(&self) -> &Value {
        self
    }
}
