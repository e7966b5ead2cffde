//! The caches of all resources: those of the built-in table, and those of custom resources, which come and go.
//!
//! The feed makes a cache for whatever is stored under a custom resource's name, whether it is defined or not. So there is
//! nothing to read when a definition comes: what is not there was never stored.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use machinery::Entry;

use super::Cache;

/// Keys of objects start so.
pub(super) const ROOT: &str = "/registry/";

/// All caches, by storage name.
pub(crate) struct Caches {
    fixed: HashMap<String, Arc<Cache>>,
    custom: RwLock<CustomCaches>,
}

#[derive(Default)]
struct CustomCaches {
    by_storage: HashMap<String, Arc<Cache>>,
    /// What happened up to here is not known to a cache that is made now.
    known_after: u64,
}

impl CustomCaches {
    fn open(&mut self, storage: &str) -> Arc<Cache> {
        if let Some(known) = self.by_storage.get(storage) {
            return known.clone();
        }
        let cache = Arc::new(Cache::new(storage, None));
        cache.load(self.known_after, BTreeMap::new());
        self.by_storage.insert(storage.to_owned(), cache.clone());
        cache
    }
}

impl Caches {
    /// The caches of the built-in table.
    pub(crate) fn new(fixed: HashMap<String, Arc<Cache>>) -> Self {
        Self { fixed, custom: RwLock::default() }
    }

    /// The cache of a custom resource.
    pub(crate) fn open(&self, storage: &str) -> Arc<Cache> {
        self.write().open(storage)
    }

    /// Forgets the cache of a custom resource that is not defined any more, unless objects are left.
    pub(crate) fn close(&self, storage: &str) {
        let mut custom = self.write();
        if let Some(cache) = custom.by_storage.get(storage)
            && cache.volume().0 == 0
        {
            custom.known_after = custom.known_after.max(cache.newest());
            custom.by_storage.remove(storage);
        }
    }

    /// The cache that an object belongs to, by its key.
    pub(super) fn of_key(&self, key: &str) -> Option<Arc<Cache>> {
        let rest = key.strip_prefix(ROOT)?;
        let (first, below) = rest.split_once('/')?;
        if let Some(cache) = self.fixed.get(first) {
            return Some(cache.clone());
        }
        // Groups of custom resources have a dot, plurals have none.
        let (plural, _) = below.split_once('/').filter(|_| first.contains('.'))?;
        let storage = &rest[..first.len() + 1 + plural.len()];
        let known = self.read().by_storage.get(storage).cloned();
        Some(known.unwrap_or_else(|| self.write().open(storage)))
    }

    /// Fills all caches with what stands in the store at a revision, by the prefix of their keys.
    pub(super) fn load(&self, revision: u64, mut objects: HashMap<String, BTreeMap<Arc<str>, Arc<Entry>>>) {
        let custom: Vec<Arc<Cache>> = {
            let mut custom = self.write();
            custom.known_after = revision;
            custom.by_storage.values().cloned().collect()
        };
        // Definitions are among the built-in resources: whoever follows them finds the caches of their objects filled.
        for cache in custom.iter().chain(self.fixed.values()) {
            cache.load(revision, objects.remove(&cache.prefix).unwrap_or_default());
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, CustomCaches> {
        self.custom.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, CustomCaches> {
        self.custom.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_to_their_caches() {
        let pods = Arc::new(Cache::new("pods", None));
        let caches = Caches::new([("pods".to_owned(), pods.clone())].into());
        caches.load(7, HashMap::new());
        assert!(Arc::ptr_eq(&caches.of_key("/registry/pods/default/a").unwrap(), &pods));
        assert!(caches.of_key("/registry/nothing/default/a").is_none());
        assert!(caches.of_key("/registry/example.com/").is_none());
        let widgets = caches.of_key("/registry/example.com/widgets/default/a").unwrap();
        assert_eq!((widgets.prefix.as_str(), widgets.newest()), ("/registry/example.com/widgets/", 7));
        assert!(Arc::ptr_eq(&caches.open("example.com/widgets"), &widgets));
    }

    #[test]
    fn a_cache_that_comes_again_does_not_claim_to_know_what_was_before() {
        let caches = Caches::new(HashMap::new());
        let first = caches.open("example.com/widgets");
        let entry = Arc::new(Entry::from_bytes(3, "{}".into()));
        first.apply("/registry/example.com/widgets/a".into(), 3, Some(entry));
        caches.close("example.com/widgets");
        assert!(Arc::ptr_eq(&caches.open("example.com/widgets"), &first), "objects are left");
        first.apply("/registry/example.com/widgets/a".into(), 4, None);
        caches.close("example.com/widgets");
        let again = caches.open("example.com/widgets");
        assert!(!Arc::ptr_eq(&again, &first));
        assert!(again.follow(super::super::topics::Topic::All).after(3).is_err());
        assert!(again.follow(super::super::topics::Topic::All).after(4).is_ok());
    }
}
