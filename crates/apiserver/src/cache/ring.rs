//! Recent changes of objects, oldest first: what watchers read, each at its own pace.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use machinery::{Entry, Value};
use tokio::time::{Duration, Instant};

/// Events that a ring holds at most.
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
    pub at: Instant,
    gone: OnceLock<Arc<Entry>>,
}

impl Changed {
    /// A change that happened just now.
    pub(crate) fn new(revision: u64, key: Arc<str>, old: Option<Arc<Entry>>, new: Option<Arc<Entry>>) -> Self {
        Self { revision, key, old, new, at: Instant::now(), gone: OnceLock::new() }
    }

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

/// A bounded run of events.
#[derive(Default)]
pub(crate) struct Ring {
    events: VecDeque<Arc<Changed>>,
    /// All events after this revision are here.
    after: u64,
}

impl Ring {
    /// A ring that will hold all events after a revision.
    pub(crate) fn new(after: u64) -> Self {
        Self { events: VecDeque::new(), after }
    }

    /// The revision after which nothing is missing.
    pub(crate) fn begins_after(&self) -> u64 {
        self.after
    }

    /// Adds an event.
    pub(crate) fn push(&mut self, event: Arc<Changed>) {
        self.events.push_back(event);
    }

    /// Takes out an event that is too much, or too old, before another one comes at `now`. The old objects which events
    /// refer to are what a ring costs.
    pub(crate) fn pop_surplus(&mut self, now: Instant) -> Option<Arc<Changed>> {
        let oldest = self.events.front()?;
        let len = self.events.len();
        let aged = len >= RING_EVENTS_MIN && now.duration_since(oldest.at) > RING_AGE_MAX;
        if len < RING_EVENTS_MAX && !aged {
            return None;
        }
        self.after = oldest.revision;
        self.events.pop_front()
    }

    /// Takes out the events up to a revision.
    pub(crate) fn forget(&mut self, revision: u64) {
        while let Some(oldest) = self.events.front().filter(|oldest| oldest.revision <= revision) {
            self.after = oldest.revision;
            self.events.pop_front();
        }
    }

    /// Some events after a revision, oldest first; `None` when some of them are forgotten.
    pub(crate) fn since(&self, revision: u64) -> Option<Vec<Arc<Changed>>> {
        if revision < self.after {
            return None;
        }
        let start = self.events.partition_point(|event| event.revision <= revision);
        Some(self.events.iter().skip(start).take(TAKEN_EVENTS_MAX).cloned().collect())
    }
}
