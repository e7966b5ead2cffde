//! How often probes were made, for `/metrics/probes`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use super::Kind;

/// What is counted apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The pod's UID.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// The container.
    pub container: String,
    /// Which probe.
    pub kind: Kind,
    /// With what result.
    pub passed: bool,
}

/// The counts of all pods that are here.
#[derive(Default)]
pub struct Counts(Mutex<BTreeMap<Key, u64>>);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, u64>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// One more.
    pub fn count(&self, key: Key) {
        *self.lock().entry(key).or_default() += 1;
    }

    /// A pod is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().retain(|key, _| key.uid != uid);
    }

    /// All of them, in order.
    pub fn all(&self) -> Vec<(Key, u64)> {
        self.lock().iter().map(|(key, count)| (key.clone(), *count)).collect()
    }
}
