//! All rows in service: those of the built-in table, and those of custom resources, which come and go.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use machinery::{ApiError, Entry};
use resources::Resource;

use crate::cache::Cache;
use crate::cache::caches::Caches;
use crate::cache::envelope::Sealer;
use crate::custom::{self, Defined, Definitions};
use crate::kind::Kind;

/// All rows in service.
pub(crate) struct Kinds {
    /// Of the built-in table.
    by_plural: HashMap<String, Vec<Arc<Kind>>>,
    rows: Vec<Arc<Resource>>,
    pub caches: Arc<Caches>,
    /// Replaced as a whole: a request goes on with what it found.
    custom: RwLock<Arc<Definitions>>,
}

impl Kinds {
    pub(crate) fn new(rows: Vec<Arc<Resource>>, sealer: Option<Sealer>) -> Arc<Self> {
        let sealer = sealer.map(Arc::new);
        let mut caches: HashMap<String, Arc<Cache>> = HashMap::new();
        let mut by_plural: HashMap<String, Vec<Arc<Kind>>> = HashMap::new();
        for row in &rows {
            let known = caches.get(&row.storage).cloned();
            let converts = known.is_some();
            let sealer = sealer.clone().filter(|_| row.group.is_empty() && row.plural == "secrets");
            let cache = known.unwrap_or_else(|| Arc::new(Cache::new(&row.storage, sealer)));
            cache.hold(row);
            if row.stored {
                caches.insert(row.storage.clone(), cache.clone());
            }
            by_plural.entry(row.plural.clone()).or_default().push(Arc::new(Kind::new(row, cache, converts)));
        }
        let custom = RwLock::new(Arc::new(Definitions::new(&rows, Default::default())));
        Arc::new(Self { by_plural, rows, caches: Arc::new(Caches::new(caches)), custom })
    }

    /// From now on the definitions of custom resources are followed: a resource is served before anyone can read that it is.
    pub(crate) fn follow_definitions(self: &Arc<Self>) {
        let Some(kind) = self.get(custom::GROUP, "v1", custom::PLURAL) else { return };
        let kinds = Arc::downgrade(self);
        kind.cache.observe(Box::new(move |old, new| {
            if let Some(kinds) = kinds.upgrade() {
                kinds.defined(old, new);
            }
        }));
    }

    fn defined(&self, old: Option<&Entry>, new: Option<&Entry>) {
        let before = self.custom();
        let name = new.or(old).and_then(|entry| entry.tree().str_at(&["metadata", "name"])).unwrap_or_default();
        let known = before.get(name);
        let made = new.and_then(|entry| Defined::of(entry, known, &self.caches));
        if made.is_none() && known.is_none() {
            return;
        }
        if let (Some(made), Some(known)) = (&made, known)
            && Arc::ptr_eq(made, known)
        {
            return;
        }
        let gone = known.filter(|_| made.is_none()).cloned();
        let after = Definitions::new(&self.rows, before.with(name, made));
        *self.custom.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(after);
        if let Some(gone) = gone {
            self.caches.close(&gone.storage);
        }
    }

    /// The custom resources of this moment.
    pub(crate) fn custom(&self) -> Arc<Definitions> {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A kind of the built-in table.
    pub(crate) fn get(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        let kinds = self.by_plural.get(plural)?;
        kinds.iter().find(|kind| kind.row.group == group && kind.row.version == version)
    }

    /// Any kind.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        if let Some(kind) = self.get(group, version, plural) {
            return Some(kind.clone());
        }
        let custom = self.custom();
        let kinds = &custom.of_resource(group, plural)?.kinds;
        kinds.iter().find(|kind| kind.row.version == version).cloned()
    }

    /// All rows.
    pub(crate) fn rows(&self) -> Arc<[Arc<Resource>]> {
        self.custom().rows.clone()
    }

    /// How many objects a resource has, and their bytes together; none when it is not served.
    pub(crate) fn volume(&self, group: &str, plural: &str) -> Option<(u64, u64)> {
        let fixed = self.by_plural.get(plural).and_then(|kinds| kinds.iter().find(|kind| kind.row.group == group));
        match fixed {
            Some(kind) => Some(kind.cache.volume()),
            None => Some(self.custom().of_resource(group, plural)?.kinds.first()?.cache.volume()),
        }
    }

    /// All kinds that a kind's objects can be had as.
    pub(crate) fn versions_of(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        let row = &kind.row;
        if kind.custom.is_some() {
            let custom = self.custom();
            return custom
                .of_resource(&row.group, &row.plural)
                .map(|defined| defined.kinds.clone())
                .unwrap_or_default();
        }
        let all = self.by_plural.get(&row.plural).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(|other| other.row.storage == row.storage).cloned().collect()
    }

    /// A kind of the core group, which every cluster has.
    pub(crate) fn core(&self, plural: &str) -> Result<&Arc<Kind>, ApiError> {
        self.get("", "v1", plural).ok_or(ApiError::UnknownPath)
    }
}
