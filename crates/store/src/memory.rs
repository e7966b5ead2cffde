//! A store in memory: for tests and simulation. It starts no thread, reads no clock and answers at once, so a seeded run
//! replays exactly.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex};

use futures_util::future::{BoxFuture, FutureExt, ready};

use crate::keys::range_start;
use crate::watch::{Hub, Log, LogPage, LogResult, WATCH_EVENTS_MAX, lock, stream};
use crate::{Event, EventStream, Expect, Page, RangeQuery, Record, Revision, Store, StoreError, Write, Written};

/// Events a watcher takes from the log at once.
const LOG_EVENTS_MAX: usize = 256;

/// A store in memory.
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    hub: Hub,
}

#[derive(Default)]
struct State {
    revision: Revision,
    compacted: Revision,
    /// Each key's versions, oldest first.
    keys: BTreeMap<Arc<str>, Vec<Version>>,
    /// All events after `compacted`.
    log: VecDeque<Event>,
    refusal: Option<StoreError>,
}

/// What stands at a key from a revision on; no record after a delete.
struct Version {
    revision: Revision,
    record: Option<Record>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(WATCH_EVENTS_MAX)
    }
}

impl MemoryStore {
    /// An empty store whose watchers may leave `watch_events_max` events unread before they are served from the log.
    pub fn new(watch_events_max: usize) -> Self {
        let hub = Hub::new(0, watch_events_max);
        Self { shared: Arc::new(Shared { state: Mutex::default(), hub }) }
    }

    /// From now on all writes fail with `error` (a full disk, say); `None` heals the store.
    pub fn refuse_writes(&self, error: Option<StoreError>) {
        lock(&self.shared.state).refusal = error;
    }

    /// Ends all watches with `error`, as a store does that is closed.
    pub fn close(&self, error: &StoreError) {
        self.shared.hub.close(error);
        self.refuse_writes(Some(error.clone()));
    }
}

impl Store for MemoryStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Written, StoreError>> {
        async move {
            let mut state = lock(&self.shared.state);
            let (written, event) = state.write(write)?;
            // Published under the state's lock, so that events keep the order of revisions.
            self.shared.hub.publish(&[event]);
            Ok(written)
        }
        .boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        async move { Ok(lock(&self.shared.state).current(key).cloned()) }.boxed()
    }

    fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<Page, StoreError>> {
        async move { lock(&self.shared.state).range(&query) }.boxed()
    }

    fn watch(&self, prefix: String, after: Revision) -> BoxFuture<'_, Result<EventStream, StoreError>> {
        async move {
            let state = lock(&self.shared.state);
            state.check_readable(after)?;
            stream(self.shared.clone(), prefix, after)
        }
        .boxed()
    }

    fn revision(&self) -> Revision {
        self.shared.hub.revision()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        async move { lock(&self.shared.state).compact(revision) }.boxed()
    }
}

impl Log for Shared {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn read_log(self: Arc<Self>, prefix: &str, after: Revision, upto: Revision) -> BoxFuture<'_, LogResult> {
        let state = lock(&self.state);
        let page = state.check_readable(after).map(|()| {
            let start = state.log.partition_point(|event| event.revision <= after);
            let end = state.log.partition_point(|event| event.revision <= upto);
            let read = state.log.range(start..end.min(start + LOG_EVENTS_MAX));
            let read_to =
                if end > start + LOG_EVENTS_MAX { state.log[start + LOG_EVENTS_MAX - 1].revision } else { upto };
            LogPage { events: read.filter(|event| event.key.starts_with(prefix)).cloned().collect(), read_to }
        });
        ready(page).boxed()
    }
}

impl State {
    fn write(&mut self, write: Write) -> Result<(Written, Event), StoreError> {
        if let Some(error) = &self.refusal {
            return Err(error.clone());
        }
        let previous = self.current(&write.key).cloned();
        let expected = match (write.expect, &previous) {
            (Expect::Absent, None) => write.value.is_some(),
            (Expect::Revision(revision), Some(record)) => record.revision == revision,
            _ => false,
        };
        if !expected {
            return Err(StoreError::Conflict { current: previous });
        }
        self.revision += 1;
        let revision = self.revision;
        let created = previous.as_ref().map_or(revision, |record| record.created);
        let record = write.value.clone().map(|value| Record { key: write.key.clone(), value, revision, created });
        self.keys.entry(write.key.clone()).or_default().push(Version { revision, record });
        let event = Event { key: write.key, revision, value: write.value, previous: previous.clone() };
        self.log.push_back(event.clone());
        Ok((Written { revision, previous }, event))
    }

    fn current(&self, key: &str) -> Option<&Record> {
        self.keys.get(key)?.last()?.record.as_ref()
    }

    fn range(&self, query: &RangeQuery) -> Result<Page, StoreError> {
        let revision = query.at.unwrap_or(self.revision);
        self.check_readable(revision)?;
        let start = range_start(query);
        let mut found = self
            .keys
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
            // A start behind the prefix ends the range at once, as it should.
            .take_while(|(key, _)| key.starts_with(query.prefix.as_str()))
            .filter_map(|(_, versions)| at_revision(versions, revision)?.record.as_ref());
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let records: Vec<Record> = found.by_ref().take(limit).cloned().collect();
        let remaining = found.count() as u64;
        Ok(Page { records, revision, more: remaining > 0, remaining: Some(remaining) })
    }

    fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if revision > self.revision {
            return Err(StoreError::Future { current: self.revision });
        }
        self.compacted = self.compacted.max(revision);
        let end = self.log.partition_point(|event| event.revision <= revision);
        for event in self.log.drain(..end) {
            let Some(versions) = self.keys.get_mut(&event.key) else { continue };
            let superseded = versions.partition_point(|version| version.revision <= revision).saturating_sub(1);
            versions.drain(..superseded);
            if versions.first().is_some_and(|oldest| oldest.record.is_none() && oldest.revision <= revision) {
                versions.remove(0);
            }
            if versions.is_empty() {
                self.keys.remove(&event.key);
            }
        }
        Ok(())
    }

    /// Whether the store as of `revision` can still be read.
    fn check_readable(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.compacted {
            Err(StoreError::Compacted { oldest: self.compacted })
        } else if revision > self.revision {
            Err(StoreError::Future { current: self.revision })
        } else {
            Ok(())
        }
    }
}

/// The newest version that is not newer than `revision`.
fn at_revision(versions: &[Version], revision: Revision) -> Option<&Version> {
    versions[..versions.partition_point(|version| version.revision <= revision)].last()
}
