//! A shared, always current copy of all objects of a kind (client-go's informer).
//!
//! One task lists and then watches. In process the copies are the watch cache's own (`Arc<K>` made once per object), so an
//! informer costs a map of pointers. Handlers are called in the task, in the order of revisions, after the copy changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use futures_util::StreamExt;
use machinery::{ApiError, Entry};
use tokio::sync::watch;

use crate::api::{Api, Resource};
use crate::backend::{Options, WatchEvent};
use crate::queue::ObjectKey;

/// Waits between attempts to list and watch anew, after failures.
const RELIST_WAIT_MIN: Duration = Duration::from_millis(50);
const RELIST_WAIT_MAX: Duration = Duration::from_secs(10);

/// What happened to an object.
pub enum Change<'a, K> {
    /// It is new, or has a new state.
    Applied {
        /// What was known before.
        old: Option<&'a Arc<K>>,
        /// What is true now.
        new: &'a Arc<K>,
    },
    /// It is gone; this is the last state known.
    Deleted(&'a Arc<K>),
}

impl<K> Change<'_, K> {
    /// The newest state.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied { new, .. } => new,
            Self::Deleted(last) => last,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;
type IndexFn<K> = fn(&K) -> Vec<String>;

struct Index<K> {
    of: IndexFn<K>,
    keys: HashMap<String, BTreeMap<ObjectKey, Arc<K>>>,
}

struct Copy<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
}

struct Shared<K> {
    copy: RwLock<Copy<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

/// A shared copy of all objects of a kind. Cheap to clone; the task ends with the last clone.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
    _task: Arc<AbortOnDrop>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), _task: self._task.clone() }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<K: Resource> Informer<K> {
    /// Starts to follow what `api` sees, narrowed by the options' selectors.
    pub fn start(api: Api<K>, options: Options) -> Self {
        let copy = RwLock::new(Copy { objects: BTreeMap::new(), indexes: HashMap::new() });
        let shared = Arc::new(Shared { copy, handlers: Mutex::default(), synced: watch::Sender::new(false) });
        let task = tokio::spawn(follow(api, options, shared.clone()));
        Self { shared, _task: Arc::new(AbortOnDrop(task)) }
    }

    /// Resolves once the copy is complete for the first time.
    pub async fn synced(&self) {
        let _ = self.shared.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Whether the copy was complete at least once.
    pub fn is_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Calls `handler` for every object known now (as new) and for every change from now on.
    pub fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        let mut handlers = lock(&self.shared.handlers);
        for new in self.list() {
            handler(&Change::Applied { old: None, new: &new });
        }
        handlers.push(Box::new(handler));
    }

    /// Keeps an index by the values that `of` gives for an object.
    pub fn index_by(&self, name: &'static str, of: IndexFn<K>) {
        let mut copy = self.shared.copy.write().unwrap_or_else(|e| e.into_inner());
        let mut index = Index { of, keys: HashMap::new() };
        for (key, object) in &copy.objects {
            index.add(key, object);
        }
        copy.indexes.insert(name, index);
    }

    /// One object. Cluster-scoped ones have an empty namespace.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().objects.get(&ObjectKey::new(namespace, name)).cloned()
    }

    /// All objects, by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read().objects.values().cloned().collect()
    }

    /// All objects of a namespace.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let copy = self.read();
        let from = ObjectKey::new(namespace, "");
        copy.objects.range(from..).take_while(|(k, _)| *k.namespace == *namespace).map(|(_, o)| o.clone()).collect()
    }

    /// All objects which the index `name` files under `value`. Empty when there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let copy = self.read();
        let found = copy.indexes.get(name).and_then(|index| index.keys.get(value));
        found.map(|objects| objects.values().cloned().collect()).unwrap_or_default()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Copy<K>> {
        self.shared.copy.read().unwrap_or_else(|e| e.into_inner())
    }
}

impl<K> Index<K> {
    fn add(&mut self, key: &ObjectKey, object: &Arc<K>) {
        for value in (self.of)(object) {
            self.keys.entry(value).or_default().insert(key.clone(), object.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &Arc<K>) {
        for value in (self.of)(object) {
            if let Some(objects) = self.keys.get_mut(&value) {
                objects.remove(key);
                if objects.is_empty() {
                    self.keys.remove(&value);
                }
            }
        }
    }
}

impl<K: Resource> Shared<K> {
    fn apply(&self, new: &Arc<K>) {
        let key = ObjectKey::of(new.as_ref());
        let handlers = lock(&self.handlers);
        let old = {
            let mut copy = self.copy.write().unwrap_or_else(|e| e.into_inner());
            let old = copy.objects.insert(key.clone(), new.clone());
            for index in copy.indexes.values_mut() {
                if let Some(old) = &old {
                    index.remove(&key, old);
                }
                index.add(&key, new);
            }
            old
        };
        for handler in handlers.iter() {
            handler(&Change::Applied { old: old.as_ref(), new });
        }
    }

    fn delete(&self, key: &ObjectKey, last: Option<&Arc<K>>) {
        let handlers = lock(&self.handlers);
        let old = {
            let mut copy = self.copy.write().unwrap_or_else(|e| e.into_inner());
            let old = copy.objects.remove(key);
            if let Some(old) = &old {
                copy.indexes.values_mut().for_each(|index| index.remove(key, old));
            }
            old
        };
        if let Some(gone) = last.or(old.as_ref()) {
            for handler in handlers.iter() {
                handler(&Change::Deleted(gone));
            }
        }
    }

    /// Makes the copy equal to a fresh list; handlers hear of every difference.
    fn replace(&self, items: &[Arc<Entry>]) -> Result<(), ApiError> {
        let fresh: Vec<Arc<K>> = items.iter().map(|e| e.typed()).collect::<Result<_, _>>()?;
        let keys: std::collections::BTreeSet<ObjectKey> = fresh.iter().map(|o| ObjectKey::of(o.as_ref())).collect();
        let gone: Vec<ObjectKey> = {
            let copy = self.copy.read().unwrap_or_else(|e| e.into_inner());
            copy.objects.keys().filter(|k| !keys.contains(*k)).cloned().collect()
        };
        gone.iter().for_each(|key| self.delete(key, None));
        fresh.iter().for_each(|object| self.apply(object));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

async fn follow<K: Resource>(api: Api<K>, options: Options, shared: Arc<Shared<K>>) {
    let mut wait = RELIST_WAIT_MIN;
    loop {
        let started = tokio::time::Instant::now();
        match list_and_watch(&api, &options, &shared).await {
            Ok(()) => wait = RELIST_WAIT_MIN,
            Err(error) => tracing::debug!(kind = K::KIND, %error, "watch ended, listing anew"),
        }
        if started.elapsed() > RELIST_WAIT_MAX {
            wait = RELIST_WAIT_MIN;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RELIST_WAIT_MAX);
    }
}

/// Lists, then watches until the watch ends. A watch that ends by itself goes on where it was.
async fn list_and_watch<K: Resource>(api: &Api<K>, options: &Options, shared: &Shared<K>) -> Result<(), ApiError> {
    let list = api.list_entries(options.clone()).await?;
    shared.replace(&list.items)?;
    shared.synced.send_replace(true);
    let mut revision = list.resource_version;
    loop {
        let from = Options { resource_version: revision.to_string(), allow_watch_bookmarks: true, ..options.clone() };
        let mut events = api.watch(from).await?;
        let before = revision;
        while let Some(event) = events.next().await {
            match event {
                WatchEvent::Added(entry) | WatchEvent::Modified(entry) => {
                    revision = entry.revision;
                    shared.apply(&entry.typed::<K>()?);
                }
                WatchEvent::Deleted(entry) => {
                    revision = entry.revision;
                    let last = entry.typed::<K>()?;
                    shared.delete(&ObjectKey::of(last.as_ref()), Some(&last));
                }
                WatchEvent::Bookmark { revision: now, .. } => revision = now,
                WatchEvent::Error(error) => return Err(error),
            }
        }
        if revision == before {
            return Ok(());
        }
    }
}
