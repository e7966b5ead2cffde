//! The suite that every backend must pass. A backend's test calls [`run`] with a function that opens an empty store; give the
//! store a small watch backlog, so that slow watchers are tried too.
//!
//! It runs on the calling thread alone (the store may have threads of its own), with the seeds of [`model`] fixed.

mod compaction;
mod concurrency;
mod model;
mod ranges;
mod watches;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::{Event, EventStream, Expect, Page, RangeQuery, Record, Revision, Store, StoreError, Write, Written};

/// How long an event may take to arrive.
const EVENT_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs all cases, each on a store of its own.
///
/// # Panics
/// When the backend breaks the contract of [`Store`].
pub async fn run(open: impl AsyncFn() -> Arc<dyn Store>) {
    writes::all(&open).await;
    ranges::all(&open).await;
    watches::all(&open).await;
    compaction::all(&open).await;
    concurrency::all(&open).await;
    model::all(&open).await;
}

/// A store with the words that the cases are written in.
struct Subject(Arc<dyn Store>);

impl Subject {
    async fn write(&self, key: &str, expect: Expect, value: Option<&[u8]>) -> Result<Written, StoreError> {
        self.0.write(Write { key: key.into(), expect, value: value.map(Bytes::copy_from_slice) }).await
    }

    async fn create(&self, key: &str, value: &str) -> Revision {
        let written = self.write(key, Expect::Absent, Some(value.as_bytes())).await;
        let written = written.unwrap_or_else(|error| panic!("create {key}: {error}"));
        assert_eq!(written.previous, None, "nothing stood at {key}");
        written.revision
    }

    async fn update(&self, key: &str, at: Revision, value: &str) -> Revision {
        let written = self.write(key, Expect::Revision(at), Some(value.as_bytes())).await;
        let written = written.unwrap_or_else(|error| panic!("update {key} at {at}: {error}"));
        assert_eq!(written.previous.map(|previous| previous.revision), Some(at), "what stood at {key}");
        written.revision
    }

    async fn delete(&self, key: &str, at: Revision) -> Revision {
        let written = self.write(key, Expect::Revision(at), None).await;
        let written = written.unwrap_or_else(|error| panic!("delete {key} at {at}: {error}"));
        assert_eq!(written.previous.map(|previous| previous.revision), Some(at), "what stood at {key}");
        written.revision
    }

    async fn get(&self, key: &str) -> Option<Record> {
        self.0.get(key).await.unwrap_or_else(|error| panic!("get {key}: {error}"))
    }

    async fn range(&self, query: RangeQuery) -> Page {
        let words = format!("{query:?}");
        self.0.range(query).await.unwrap_or_else(|error| panic!("{words}: {error}"))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> EventStream {
        let stream = self.0.watch(prefix.into(), after).await;
        stream.unwrap_or_else(|error| panic!("watch {prefix} after {after}: {error}"))
    }

    async fn compact(&self, revision: Revision) {
        self.0.compact(revision).await.unwrap_or_else(|error| panic!("compact {revision}: {error}"));
    }
}

/// A query for all keys under `prefix`.
fn under(prefix: &str) -> RangeQuery {
    RangeQuery { prefix: prefix.into(), ..RangeQuery::default() }
}

/// The next item of a stream, which must come.
async fn next(stream: &mut EventStream) -> Result<Event, StoreError> {
    let item = tokio::time::timeout(EVENT_TIMEOUT, stream.next()).await;
    item.expect("an event arrives in time").expect("the stream goes on")
}

async fn next_event(stream: &mut EventStream) -> Event {
    next(stream).await.expect("the watch goes on")
}

/// Nothing waits in the stream. All writes before this one call were acknowledged, so their events would be there.
fn assert_quiet(stream: &mut EventStream) {
    use futures_util::FutureExt;
    if let Some(item) = stream.next().now_or_never() {
        panic!("nothing should come, but {item:?} did");
    }
}

fn keys(page: &Page) -> Vec<&str> {
    page.records.iter().map(|record| &*record.key).collect()
}
