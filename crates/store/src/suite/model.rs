//! Random histories, compared with a model that keeps everything and looks through all of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use seams::random::{below, simulate};

use super::{
    Arc, Event, EventStream, Expect, Page, RangeQuery, Record, Revision, Store, StoreError, Subject, assert_quiet, next,
};

/// Histories, each from its own seed.
const SEEDS: u64 = 24;

/// Steps of one history.
const STEPS: u64 = 250;

const KEYS: &[&str] = &["/a", "/a/", "/a/1", "/a/2", "/a/3", "/a0", "/b/1", "/b/2", "/ä", ""];
const PREFIXES: &[&str] = &["", "/", "/a", "/a/", "/b/", "/c", "/ä"];

pub(super) async fn all(open: &impl AsyncFn() -> Arc<dyn Store>) {
    for seed in 0..SEEDS {
        let store = Subject(open().await);
        simulate(seed);
        let mut history = History { seed, start: store.0.revision(), ..History::default() };
        history.compacted = history.start;
        for _ in 0..STEPS {
            history.step(&store).await;
        }
        history.drain_watches().await;
    }
}

/// The model: all events there ever were.
#[derive(Default)]
struct History {
    seed: u64,
    start: Revision,
    compacted: Revision,
    events: Vec<Event>,
    watches: Vec<Watch>,
}

/// A watch that is opened now and read later.
struct Watch {
    stream: EventStream,
    prefix: &'static str,
    after: Revision,
}

impl History {
    async fn step(&mut self, store: &Subject) {
        match below(20) {
            0..10 => self.write(store).await,
            10..12 => {
                let key = pick(KEYS);
                assert_eq!(store.get(key).await, self.record(key, self.newest()), "seed {}: get {key}", self.seed);
            }
            12..17 => self.range(store).await,
            17..19 => self.watch(store).await,
            _ => self.compact(store).await,
        }
    }

    async fn write(&mut self, store: &Subject) {
        let key = pick(KEYS);
        let current = self.record(key, self.newest());
        let expect = match (below(6), &current) {
            (0, _) => Expect::Absent,
            (1, _) => Expect::Revision(below(self.newest() + 2)),
            (_, Some(record)) => Expect::Revision(record.revision),
            (_, None) => Expect::Absent,
        };
        let value = (below(3) > 0).then(|| Bytes::from(vec![b'x'; below(40) as usize]));
        let right = match (expect, &current) {
            (Expect::Absent, None) => value.is_some(),
            (Expect::Revision(revision), Some(record)) => revision == record.revision,
            _ => false,
        };
        let result = store.write(key, expect, value.as_deref()).await;
        if right {
            let written = result.unwrap_or_else(|error| panic!("seed {}: write {key}: {error}", self.seed));
            assert_eq!(written.revision, self.newest() + 1, "seed {}: write {key}", self.seed);
            assert_eq!(written.previous, current, "seed {}: write {key}", self.seed);
            self.events.push(Event { key: key.into(), revision: written.revision, value, previous: current });
        } else {
            assert_eq!(result, Err(StoreError::Conflict { current }), "seed {}: write {key}", self.seed);
        }
        assert_eq!(store.0.revision(), self.newest());
    }

    async fn range(&self, store: &Subject) {
        let query = RangeQuery {
            prefix: pick(PREFIXES).into(),
            after: (below(3) == 0).then(|| pick(KEYS).into()),
            limit: below(6) as usize,
            at: (below(2) == 0).then(|| self.some_revision()),
        };
        let words = format!("seed {}: {query:?}", self.seed);
        let expected = self.expected_range(&query);
        match (store.0.range(query).await, expected) {
            (Ok(page), Ok(expected)) => {
                assert_eq!(page.records, expected.records, "{words}");
                assert_eq!((page.revision, page.more), (expected.revision, expected.more), "{words}");
                assert!(
                    page.remaining.is_none() || page.remaining == expected.remaining,
                    "{words}: {:?}",
                    page.remaining
                );
            }
            (page, expected) => assert_eq!(page.err(), expected.err(), "{words}"),
        }
    }

    async fn watch(&mut self, store: &Subject) {
        let (prefix, after) = (pick(PREFIXES), self.some_revision());
        match (store.0.watch(prefix.into(), after).await, self.check(after)) {
            (Ok(stream), Ok(())) => self.watches.push(Watch { stream, prefix, after }),
            (stream, expected) => assert_eq!(stream.err(), expected.err(), "seed {}: watch after {after}", self.seed),
        }
    }

    async fn compact(&mut self, store: &Subject) {
        let revision = self.some_revision();
        let result = store.0.compact(revision).await;
        if revision > self.newest() {
            assert_eq!(result, Err(StoreError::Future { current: self.newest() }), "seed {}", self.seed);
        } else {
            assert_eq!(result, Ok(()), "seed {}: compact {revision}", self.seed);
            self.compacted = self.compacted.max(revision);
        }
    }

    /// Every watch has had exactly the events of the model, unless compaction overtook it.
    async fn drain_watches(&mut self) {
        for mut watch in std::mem::take(&mut self.watches) {
            let words = format!("seed {}: watch {:?} after {}", self.seed, watch.prefix, watch.after);
            let seen = |event: &&Event| event.revision > watch.after && event.key.starts_with(watch.prefix);
            let mut overtaken = false;
            for expected in self.events.iter().filter(seen) {
                match next(&mut watch.stream).await {
                    Ok(event) => assert_eq!(&event, expected, "{words}"),
                    Err(error) => {
                        assert_eq!(error, StoreError::Compacted { oldest: self.compacted }, "{words}");
                        overtaken = true;
                        break;
                    }
                }
            }
            if !overtaken && watch.after >= self.compacted {
                assert_quiet(&mut watch.stream);
            }
        }
    }

    fn expected_range(&self, query: &RangeQuery) -> Result<Page, StoreError> {
        let revision = query.at.unwrap_or(self.newest());
        self.check(revision)?;
        let keys: BTreeSet<&str> = KEYS.iter().copied().collect();
        let wanted = keys.into_iter().filter(|key| {
            key.starts_with(&query.prefix) && query.after.as_ref().is_none_or(|after| *key > after.as_str())
        });
        let mut records: Vec<Record> = wanted.filter_map(|key| self.record(key, revision)).collect();
        let found = records.len();
        if query.limit > 0 {
            records.truncate(query.limit);
        }
        let remaining = found - records.len();
        Ok(Page { records, revision, more: remaining > 0, remaining: Some(remaining as u64) })
    }

    fn record(&self, key: &str, at: Revision) -> Option<Record> {
        let mut record: Option<Record> = None;
        for event in self.events.iter().filter(|event| &*event.key == key && event.revision <= at) {
            let created = record.as_ref().map_or(event.revision, |record| record.created);
            let value = event.value.clone();
            record = value.map(|value| Record { key: key.into(), value, revision: event.revision, created });
        }
        record
    }

    fn check(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.compacted {
            Err(StoreError::Compacted { oldest: self.compacted })
        } else if revision > self.newest() {
            Err(StoreError::Future { current: self.newest() })
        } else {
            Ok(())
        }
    }

    /// Mostly a revision that was written; sometimes one too many.
    fn some_revision(&self) -> Revision {
        self.start + below(self.newest() - self.start + 2)
    }

    fn newest(&self) -> Revision {
        self.events.last().map_or(self.start, |event| event.revision)
    }
}

fn pick(choices: &[&'static str]) -> &'static str {
    choices[below(choices.len() as u64) as usize]
}
