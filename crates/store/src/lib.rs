//! Revisioned keys: the store trait and its backends.
//!
//! A store is a log of revisions over string keys. It does not know what an object is. Every write that succeeds gets the
//! next revision, one revision a write, and is durable when its future resolves. One suite ([`suite`]) proves all backends.

pub mod memory;
pub mod sqlite;
pub mod suite;

mod keys;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A position in the log. The first write has revision 1; an empty store is at revision 0… backends may start higher.
pub type Revision = u64;

/// One key's value at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The key, for example `/registry/pods/default/web-1`.
    pub key: Arc<str>,
    /// The value as it was written.
    pub value: Bytes,
    /// The revision of the write that made this value.
    pub revision: Revision,
    /// The revision of the write that created the key (it survives updates, not deletes).
    pub created: Revision,
}

/// What a write expects to find; anything else is [`StoreError::Conflict`] and nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key's value has exactly this revision.
    Revision(Revision),
}

/// One compare-and-swap. Deleting needs [`Expect::Revision`]: a delete that expects the key to be absent always conflicts.
#[derive(Debug, Clone)]
pub struct Write {
    /// The key to write.
    pub key: Arc<str>,
    /// What must stand there.
    pub expect: Expect,
    /// The new value; `None` deletes.
    pub value: Option<Bytes>,
}

/// What a successful write made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The revision of this write.
    pub revision: Revision,
    /// What stood there before.
    pub previous: Option<Record>,
}

/// A page of a range read.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Records in key order.
    pub records: Vec<Record>,
    /// The revision at which the page was read (all pages of one listing share it).
    pub revision: Revision,
    /// Whether keys follow after the last one of this page.
    pub more: bool,
    /// How many records the range holds beyond this page, when that is cheap to know; 0 without `more`.
    pub remaining: Option<u64>,
}

/// What to read in a range.
#[derive(Debug, Clone, Default)]
pub struct RangeQuery {
    /// Keys that start with this.
    pub prefix: String,
    /// Only keys greater than this one.
    pub after: Option<String>,
    /// At most this many; 0 means all.
    pub limit: usize,
    /// As of this revision ([`StoreError::Compacted`] when it is gone); `None` is now.
    pub at: Option<Revision>,
}

/// One change, in the order of revisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The key that changed.
    pub key: Arc<str>,
    /// The revision of the change.
    pub revision: Revision,
    /// The new value; `None` when the key was deleted.
    pub value: Option<Bytes>,
    /// The record before the change. A create has none; an update or a delete always has one, because compaction only
    /// forgets values that no event still to be had refers to.
    pub previous: Option<Record>,
}

/// Changes as they are committed: each once, in the order of revisions, none left out.
///
/// A backend keeps a bounded backlog for each reader. One that falls behind it is served from the log, at its own pace, and
/// the stream ends with [`StoreError::Compacted`] only once compaction has overtaken it. When the store closes it ends with
/// [`StoreError::Unavailable`].
pub type EventStream = futures_util::stream::BoxStream<'static, Result<Event, StoreError>>;

/// What can go wrong. Nothing was written unless the variant says otherwise.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The expectation of a write did not hold; `current` is what stands there.
    #[error("the key was changed by another writer")]
    Conflict {
        /// What stands there now; `None` when the key does not exist.
        current: Option<Record>,
    },
    /// The revision asked for is older than what the store keeps.
    #[error("required revision has been compacted (oldest kept: {oldest})")]
    Compacted {
        /// The oldest revision still readable.
        oldest: Revision,
    },
    /// The revision asked for was not written yet.
    #[error("required revision is a future revision (current: {current})")]
    Future {
        /// The newest revision.
        current: Revision,
    },
    /// The disk is full; reads still work.
    #[error("the data disk is full")]
    NoSpace,
    /// The data is damaged. The text says what and where.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store was closed, or could not be opened. The text says why.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

/// A revisioned key-value store.
pub trait Store: Send + Sync + 'static {
    /// Writes if the expectation holds. The result is durable when it arrives, and its event is then on its way to all
    /// watchers. Dropping the future does not take back a write that was already queued.
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Written, StoreError>>;

    /// Reads one key as of now (all acknowledged writes are seen).
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>>;

    /// Reads a range in key order.
    fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<Page, StoreError>>;

    /// All changes to keys under `prefix` with a revision greater than `after`, then those to come. `after` may not lie
    /// below the compacted revision ([`StoreError::Compacted`]) nor above the newest one ([`StoreError::Future`]).
    fn watch(&self, prefix: String, after: Revision) -> BoxFuture<'_, Result<EventStream, StoreError>>;

    /// The newest committed revision.
    fn revision(&self) -> Revision;

    /// Forgets values superseded at or before `revision`, and deletes at or before it. Current values always stay. Older
    /// revisions can no longer be read or watched as soon as this is called; it resolves when their space is free again.
    /// A revision that is compacted already is no error, one that is not written yet is [`StoreError::Future`].
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>>;
}
