//! The watch cache: all objects of one resource, and what happened to them lately.
//!
//! One feed ([`feed`]) brings the store's events in the order of revisions to the caches of all resources. A write is
//! acknowledged once the feed has applied it, so a read from the cache sees every acknowledged write. Watchers read the
//! ring of recent events at their own pace: an event costs each of them a pointer, and who falls out of the ring starts anew.

pub(crate) mod caches;
pub(crate) mod ending;
pub(crate) mod envelope;
pub(crate) mod feed;
pub(crate) mod ring;
pub(crate) mod selection;
pub(crate) mod topics;
pub(crate) mod watching;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use machinery::{ApiError, Entry};
use resources::{Resource, SelectableField};
use tokio::sync::watch;

use envelope::Sealer;
use ring::{Changed, Ring};
use topics::{Topic, TopicRing, Topics};

/// Called with every change, in order: old and new.
pub(crate) type Observer = Box<dyn Fn(Option<&Entry>, Option<&Entry>) + Send + Sync>;

/// All objects of one resource.
pub(crate) struct Cache {
    /// `/registry/pods/`
    pub prefix: String,
    pub sealer: Option<Arc<Sealer>>,
    observer: OnceLock<Observer>,
    state: RwLock<State>,
    /// Locked after the state, when both are.
    topics: Mutex<Topics>,
    /// Wakes with each change.
    changed: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    objects: Objects,
    ring: Ring,
    /// The revision of the newest event.
    newest: u64,
    /// Bytes of all objects together.
    bytes: u64,
    /// Made when it is first asked for: it needs the tree of every object.
    index: Option<Index>,
}

type Objects = BTreeMap<Arc<str>, Arc<Entry>>;

/// Objects by the value of one field.
struct Index {
    field: SelectableField,
    values: HashMap<String, Objects>,
}

impl Index {
    fn new(field: SelectableField, objects: &Objects) -> Self {
        let mut index = Self { field, values: HashMap::new() };
        for (key, entry) in objects {
            index.change(key, None, Some(entry));
        }
        index
    }

    fn change(&mut self, key: &Arc<str>, old: Option<&Arc<Entry>>, new: Option<&Arc<Entry>>) {
        let value = |entry: &Arc<Entry>| self.field.value.of(entry.tree());
        let (old, new_value) = (old.map(value), new.map(value));
        if let Some(old) = old.filter(|old| new_value.as_ref() != Some(old))
            && let Some(objects) = self.values.get_mut(&old)
        {
            objects.remove(key);
            if objects.is_empty() {
                self.values.remove(&old);
            }
        }
        if let (Some(value), Some(entry)) = (new_value, new) {
            self.values.entry(value).or_default().insert(key.clone(), entry.clone());
        }
    }
}

/// A stretch of a list.
#[derive(Default)]
pub(crate) struct Stretch {
    pub items: Vec<(Arc<str>, Arc<Entry>)>,
    /// Objects behind the stretch.
    pub remaining: u64,
    /// The newest change of any object of the resource.
    pub newest: u64,
}

impl Cache {
    pub(crate) fn new(storage: &str, sealer: Option<Arc<Sealer>>) -> Self {
        Self {
            prefix: format!("/registry/{storage}/"),
            sealer,
            observer: OnceLock::new(),
            state: RwLock::default(),
            topics: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// Holds the objects of a row that are always there.
    pub(crate) fn hold(&self, row: &Resource) {
        let mut state = self.write();
        for object in &row.fixed {
            let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
            let entry = Entry::from_tree(0, Arc::new(object.clone()));
            state.bytes += size(&entry);
            state.objects.insert(row.key("", name).into(), Arc::new(entry));
        }
    }

    /// From now on `observer` sees every change; first every object that is there.
    pub(crate) fn observe(&self, observer: Observer) {
        let state = self.write();
        for entry in state.objects.values() {
            observer(None, Some(entry));
        }
        let _ = self.observer.set(observer);
    }

    /// One object.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.read().objects.get(key).cloned()
    }

    /// How many objects there are, and their bytes together.
    pub(crate) fn volume(&self) -> (u64, u64) {
        let state = self.read();
        (state.objects.len() as u64, state.bytes)
    }

    /// The revision of the newest change.
    pub(crate) fn newest(&self) -> u64 {
        self.read().newest
    }

    /// Objects whose keys start with `prefix`, after `after`; at most `limit` unless that is 0.
    pub(crate) fn stretch(&self, prefix: &str, after: Option<&str>, limit: usize) -> Stretch {
        let state = self.read();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut range =
            state.objects.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
        let most = if limit == 0 { usize::MAX } else { limit };
        // What remains is only counted: taking part in each object costs more than looking at it.
        let items: Vec<_> = range.by_ref().take(most).map(|(key, entry)| (key.clone(), entry.clone())).collect();
        let remaining = if limit == 0 { 0 } else { range.count() as u64 };
        Stretch { items, remaining, newest: state.newest }
    }

    /// All objects whose keys start with `prefix`, which ends with a slash, and the revision of the newest change. Keys are not
    /// looked at: with many objects each costs a cache miss.
    pub(crate) fn whole(&self, prefix: &str) -> (Vec<Arc<Entry>>, u64) {
        let state = self.read();
        // What comes after the slash in ASCII: all keys with the prefix are before it.
        let behind = format!("{}0", prefix.trim_end_matches('/'));
        let range = (Bound::Included(prefix), Bound::Excluded(behind.as_str()));
        (state.objects.range::<str, _>(range).map(|(_, entry)| entry.clone()).collect(), state.newest)
    }

    /// Objects with a value in a field, after `after`, by an index that is kept from the first question on. One field of a
    /// resource has one.
    pub(crate) fn indexed(&self, field: SelectableField, value: &str, after: Option<&str>) -> Stretch {
        if self.read().index.is_none() {
            // Trees are made without holding up others.
            let objects: Vec<_> = self.read().objects.values().cloned().collect();
            objects.iter().for_each(|entry| _ = entry.tree());
            let mut state = self.write();
            if state.index.is_none() {
                state.index = Some(Index::new(field, &state.objects));
            }
        }
        let state = self.read();
        let found = state.index.as_ref().and_then(|index| index.values.get(value));
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let items = found.into_iter().flat_map(|objects| objects.range::<str, _>((from, Bound::Unbounded)));
        let items = items.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        Stretch { items, remaining: 0, newest: state.newest }
    }

    /// Wakes with each change of any object.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Follows the events of a topic from now on; those from before can be had too, as long as the ring knows them.
    pub(crate) fn follow(self: &Arc<Self>, topic: Topic) -> Subscription {
        let state = self.read();
        let ring = self.topics().join(&topic, state.newest);
        drop(state);
        let changed = ring.as_ref().map_or_else(|| self.changed.subscribe(), |ring| ring.subscribe());
        Subscription { cache: self.clone(), topic, ring, changed }
    }

    /// Starts anew with what stands in the store at a revision; watchers from before must start anew too.
    fn load(&self, revision: u64, objects: Objects) {
        let mut state = self.write();
        let index = state.index.as_ref().map(|index| Index::new(index.field.clone(), &objects));
        let bytes = objects.values().map(|entry| size(entry)).sum();
        let fresh = State { objects, ring: Ring::new(revision), newest: revision, bytes, index };
        let old = std::mem::replace(&mut *state, fresh);
        if let Some(observer) = self.observer.get() {
            old.objects.values().for_each(|entry| observer(Some(entry), None));
            state.objects.values().for_each(|entry| observer(None, Some(entry)));
        }
        self.topics().restart(revision);
        drop(state);
        self.changed.send_replace(());
    }

    fn apply(&self, key: Arc<str>, revision: u64, new: Option<Arc<Entry>>) {
        let mut state = self.write();
        let old = match &new {
            Some(entry) => state.objects.insert(key.clone(), entry.clone()),
            None => state.objects.remove(&key),
        };
        let sizes = [&new, &old].map(|entry| entry.as_deref().map_or(0, size));
        state.bytes = (state.bytes + sizes[0]).saturating_sub(sizes[1]);
        if let Some(observer) = self.observer.get() {
            observer(old.as_deref(), new.as_deref());
        }
        if let Some(index) = &mut state.index {
            index.change(&key, old.as_ref(), new.as_ref());
        }
        let event = Arc::new(Changed::new(revision, key, old, new));
        let mut topics = self.topics();
        while let Some(surplus) = state.ring.pop_surplus(event.at) {
            topics.forget(&surplus);
        }
        topics.tell(&event);
        drop(topics);
        state.newest = revision;
        state.ring.push(event);
    }

    fn announce(&self) {
        self.changed.send_replace(());
        self.topics().announce();
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(entry: &Entry) -> u64 {
    entry.bytes().len() as u64
}

/// Follows the events of a topic.
pub(crate) struct Subscription {
    cache: Arc<Cache>,
    topic: Topic,
    ring: Option<Arc<TopicRing>>,
    /// Wakes when there may be more.
    pub changed: watch::Receiver<()>,
}

impl Subscription {
    /// Some events after a revision, oldest first; of the whole resource as long as they are older than the subscription.
    pub(crate) fn after(&self, revision: u64) -> Result<Vec<Arc<Changed>>, ApiError> {
        if let Some(events) = self.ring.as_ref().and_then(|ring| ring.ring().since(revision)) {
            return Ok(events);
        }
        let state = self.cache.read();
        let events = state.ring.since(revision);
        events.ok_or_else(|| too_old(revision, state.ring.begins_after()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(ring) = self.ring.take() {
            self.cache.topics().leave(&self.topic, &ring);
        }
    }
}

/// 410: events that old are no longer known.
pub(crate) fn too_old(revision: u64, oldest: u64) -> ApiError {
    ApiError::Expired { message: format!("too old resource version: {revision} ({oldest})"), continue_token: None }
}
