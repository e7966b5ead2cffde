//! One stored object, shared by everyone in the process: its bytes, its tree and its typed value, each made once.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::error::ApiError;
use crate::json::Value;

/// A stored object at one revision. Never changed; shared by `Arc`.
#[derive(Debug)]
pub struct Entry {
    /// The revision of the write that made it: its `metadata.resourceVersion`.
    pub revision: u64,
    bytes: OnceLock<Bytes>,
    tree: OnceLock<Arc<Value>>,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Entry {
    /// An entry of an object's JSON, resourceVersion included.
    pub fn from_bytes(revision: u64, bytes: Bytes) -> Self {
        Self { revision, bytes: bytes.into(), tree: OnceLock::new(), typed: OnceLock::new() }
    }

    /// An entry of an object's tree, resourceVersion included.
    pub fn from_tree(revision: u64, tree: Arc<Value>) -> Self {
        Self { revision, bytes: OnceLock::new(), tree: tree.into(), typed: OnceLock::new() }
    }

    /// An entry of which both are known already; they must say the same.
    pub fn from_parts(revision: u64, bytes: Bytes, tree: Arc<Value>) -> Self {
        Self { revision, bytes: bytes.into(), tree: tree.into(), typed: OnceLock::new() }
    }

    /// The object's JSON.
    pub fn bytes(&self) -> Bytes {
        self.json().clone()
    }

    /// The same for those who only look at it.
    pub fn json(&self) -> &Bytes {
        self.bytes.get_or_init(|| Bytes::from(self.tree().to_bytes()))
    }

    /// The object's tree. What the store gave us was checked when it was written, so unreadable bytes read as null.
    pub fn tree(&self) -> &Arc<Value> {
        self.tree.get_or_init(|| {
            let bytes = self.bytes.get().expect("an entry has bytes or a tree");
            Arc::new(Value::parse_own(bytes).unwrap_or_default())
        })
    }

    /// Looks at the object's tree without keeping it, if it is not there already: for those who pass by all objects once.
    pub fn with_tree<T>(&self, look: impl FnOnce(&Value) -> T) -> T {
        match (self.tree.get(), self.bytes.get()) {
            (None, Some(bytes)) => look(&Value::parse_own(bytes).unwrap_or_default()),
            _ => look(self.tree()),
        }
    }

    /// The object as `K`. Made once per entry: all readers of one entry ask for the same type.
    pub fn typed<K: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<K>, ApiError> {
        if let Some(known) = self.typed.get() {
            if let Ok(known) = Arc::clone(known).downcast::<K>() {
                return Ok(known);
            }
            return self.decode().map(Arc::new);
        }
        let made: Arc<K> = Arc::new(self.decode()?);
        let _ = self.typed.set(made.clone());
        Ok(made)
    }

    fn decode<K: DeserializeOwned>(&self) -> Result<K, ApiError> {
        crate::json::from_value(self.tree())
            .map_err(|e| ApiError::Internal(format!("a stored object does not decode: {e}")))
    }
}
