//! The watch cache: all objects of one resource, and what happened to them lately.
//!
//! One feed ([`feed`]) brings the store's events in the order of revisions to the caches of all resources. A write is
//! acknowledged once the feed has applied it, so a read from the cache sees every acknowledged write. Watchers read the
//! ring of recent events at their own pace: an event costs each of them a pointer, and who falls out of the ring starts anew.

pub(crate) mod envelope;
pub(crate) mod feed;
pub(crate) mod selection;
pub(crate) mod watching;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use machinery::{ApiError, Entry, Value};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use envelope::Sealer;

/// Events that the ring of one resource holds at most.
pub(crate) const RING_EVENTS_MAX: usize = 8192;
/// Events that it keeps however old they are.
const RING_EVENTS_MIN: usize = 100;
/// Events above that number leave the ring at this age: longer than a watcher needs to come back.
const RING_AGE_MAX: Duration = Duration::from_secs(120);
/// Events that a watcher takes from the ring at once.
const TAKEN_EVENTS_MAX: usize = 128;

/// One change of one object.
pub(crate) struct Changed {
    pub revision: u64,
    pub key: Arc<str>,
    pub old: Option<Arc<Entry>>,
    pub new: Option<Arc<Entry>>,
    at: Instant,
    gone: OnceLock<Arc<Entry>>,
}

impl Changed {
    /// The old object at this change's revision: what a deletion, or a selector that matches no longer, sends.
    pub(crate) fn gone(&self) -> Option<&Arc<Entry>> {
        let old = self.old.as_ref()?;
        Some(self.gone.get_or_init(|| Arc::new(at_revision(old, self.revision))))
    }
}

/// An object as it was, with another resourceVersion.
pub(crate) fn at_revision(entry: &Entry, revision: u64) -> Entry {
    let mut tree = Value::clone(entry.tree());
    tree.set_at(&["metadata", "resourceVersion"], revision.to_string());
    Entry::from_tree(revision, Arc::new(tree))
}

/// Called with every change, in order: old and new.
pub(crate) type Observer = Box<dyn Fn(Option<&Entry>, Option<&Entry>) + Send + Sync>;

/// All objects of one resource.
pub(crate) struct Cache {
    /// `/registry/pods/`
    pub prefix: String,
    pub sealer: Option<Arc<Sealer>>,
    observer: OnceLock<Observer>,
    state: RwLock<State>,
    /// Counts up with each change.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Entry>>,
    ring: VecDeque<Arc<Changed>>,
    /// All events after this revision are in the ring.
    ring_after: u64,
    /// The revision of the newest event.
    newest: u64,
}

impl State {
    /// Makes room for one more event. The old objects which events refer to are what a ring costs.
    fn forget(&mut self, now: Instant) {
        while let Some(oldest) = self.ring.front() {
            let len = self.ring.len();
            let aged = len >= RING_EVENTS_MIN && now.duration_since(oldest.at) > RING_AGE_MAX;
            if len < RING_EVENTS_MAX && !aged {
                return;
            }
            self.ring_after = oldest.revision;
            self.ring.pop_front();
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
            changed: watch::Sender::new(0),
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

    /// Objects whose keys start with `prefix`, after `after`; at most `limit` unless that is 0.
    pub(crate) fn stretch(&self, prefix: &str, after: Option<&str>, limit: usize) -> Stretch {
        let state = self.read();
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut range = state
            .objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, entry)| (key.clone(), entry.clone()));
        let most = if limit == 0 { usize::MAX } else { limit };
        let items: Vec<_> = range.by_ref().take(most).collect();
        let remaining = if limit == 0 { 0 } else { range.count() as u64 };
        Stretch { items, remaining, newest: state.newest }
    }

    /// Wakes with each change.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Some events after a revision, oldest first.
    fn after(&self, revision: u64) -> Result<Vec<Arc<Changed>>, ApiError> {
        let state = self.read();
        if revision < state.ring_after {
            return Err(too_old(revision, state.ring_after));
        }
        if revision >= state.newest {
            return Ok(Vec::new());
        }
        let start = state.ring.partition_point(|event| event.revision <= revision);
        Ok(state.ring.iter().skip(start).take(TAKEN_EVENTS_MAX).cloned().collect())
    }

    /// Starts anew with what stands in the store at a revision; watchers from before must start anew too.
    fn load(&self, revision: u64, objects: BTreeMap<Arc<str>, Arc<Entry>>) {
        let mut state = self.write();
        let old = std::mem::replace(
            &mut *state,
            State { objects, ring: VecDeque::new(), ring_after: revision, newest: revision },
        );
        if let Some(observer) = self.observer.get() {
            old.objects.values().for_each(|entry| observer(Some(entry), None));
            state.objects.values().for_each(|entry| observer(None, Some(entry)));
        }
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    fn apply(&self, key: Arc<str>, revision: u64, new: Option<Arc<Entry>>) {
        let mut state = self.write();
        let old = match &new {
            Some(entry) => state.objects.insert(key.clone(), entry.clone()),
            None => state.objects.remove(&key),
        };
        if let Some(observer) = self.observer.get() {
            observer(old.as_deref(), new.as_deref());
        }
        let at = Instant::now();
        state.forget(at);
        state.newest = revision;
        state.ring.push_back(Arc::new(Changed { revision, key, old, new, at, gone: OnceLock::new() }));
    }

    fn announce(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 410: events that old are no longer known.
pub(crate) fn too_old(revision: u64, oldest: u64) -> ApiError {
    ApiError::Expired { message: format!("too old resource version: {revision} ({oldest})"), continue_token: None }
}
