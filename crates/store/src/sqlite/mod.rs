//! The embedded backend: SQLite with a write-ahead log, one writer thread that commits in groups, a few readers.
//!
//! An acknowledged write is synced to disk (`synchronous=FULL`); readers and watchers see a write only after that. The
//! writer, the checkpoint thread and the readers have a connection each. [`SqliteStore::close`] ends them; so does dropping.

mod checkpoint;
mod compaction;
mod error;
mod open;
mod queue;
mod read;
mod rows;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use futures_util::future::{BoxFuture, FutureExt};
use rusqlite::Connection;

use crate::watch::{Hub, Log, LogResult, WATCH_EVENTS_MAX, lock, stream};
use crate::{EventStream, Page, RangeQuery, Record, Revision, Store, StoreError, Write, Written};

/// Memory for the writer's page cache, in KiB.
const WRITER_CACHE_KIB: i32 = 8 << 10;

/// How to open a [`SqliteStore`].
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The directory that holds the database, its log and the lock; made when it is missing. Nothing else belongs there.
    pub directory: PathBuf,
    /// Events a watcher may leave unread in memory before it is served from the log.
    pub watch_events_max: usize,
}

impl SqliteOptions {
    /// The defaults, for a store in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), watch_events_max: WATCH_EVENTS_MAX }
    }
}

/// Opens the store in `directory`, or makes a new one.
///
/// # Errors
/// See [`SqliteStore::open`].
pub fn open(directory: &Path) -> Result<Arc<SqliteStore>, StoreError> {
    SqliteStore::open(&SqliteOptions::new(directory)).map(Arc::new)
}

/// A store in a directory.
pub struct SqliteStore {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

/// What the threads and the callers share.
struct Shared {
    queue: queue::Queue,
    hub: Hub,
    readers: Arc<read::Readers>,
    checkpoints: checkpoint::Checkpoints,
    compacted: AtomicU64,
}

struct Threads {
    writer: JoinHandle<()>,
    checkpointer: JoinHandle<()>,
    /// Closed, and so unlocked, after the threads have ended.
    lock: File,
}

impl SqliteStore {
    /// Opens the store, or makes a new one. Takes milliseconds, whatever the store holds.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another server has it open, or the directory cannot be written or was written by a
    /// newer version; [`StoreError::Damaged`] when the file is not (or no longer) a store; [`StoreError::NoSpace`].
    pub fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        let open::Opened { lock, database, mut connection, revision, compacted } = open::open(&options.directory)?;
        let shared = Arc::new(Shared {
            queue: queue::Queue::new(),
            hub: Hub::new(revision, options.watch_events_max),
            readers: Arc::new(read::Readers::new(database.clone())),
            checkpoints: checkpoint::Checkpoints::default(),
            compacted: AtomicU64::new(compacted),
        });
        let hooked = shared.clone();
        let hook = move |_: &mut rusqlite::hooks::Wal, pages: i32| {
            hooked.checkpoints.committed(pages.unsigned_abs());
            Ok(())
        };
        connection.wal_hook(Some(hook)).map_err(|error| error::store_error("open the database", &error))?;
        // Proves early, and not in a thread, that the tables are what they should be.
        writer::Writer::new(&shared, &connection)?;
        let checkpointing = open::connect_checkpointer(&database)?;
        let writer = spawn("store-writer", shared.clone(), move |shared| write_all(shared, connection))?;
        let checkpointer = spawn("store-checkpoint", shared.clone(), move |shared| {
            shared.checkpoints.run(&checkpointing);
        });
        let checkpointer = checkpointer.inspect_err(|error| shared.queue.close(error.clone()))?;
        Ok(Self { shared, threads: Mutex::new(Some(Threads { writer, checkpointer, lock })) })
    }

    /// Does the writes that wait, ends all watches and lets go of the directory. Blocks for milliseconds. What is asked of
    /// the store afterwards fails with [`StoreError::Unavailable`].
    pub fn close(&self) {
        let Some(Threads { writer, checkpointer, lock }) = lock(&self.threads).take() else { return };
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the store had panicked");
            }
        };
        // The writer's connection closes last, alone: it moves the log into the database, which two that close at once leave.
        self.shared.checkpoints.close();
        join(checkpointer);
        self.shared.readers.close();
        self.shared.queue.close(closed());
        join(writer);
        drop(lock);
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for SqliteStore {
    fn write(&self, write: Write) -> BoxFuture<'_, Result<Written, StoreError>> {
        self.shared.queue.write(write).boxed()
    }

    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        let key = key.to_owned();
        self.shared.readers.run(move |connection| read::get(connection, &key)).boxed()
    }

    fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<Page, StoreError>> {
        self.shared.readers.run(move |connection| read::range(connection, &query)).boxed()
    }

    fn watch(&self, prefix: String, after: Revision) -> BoxFuture<'_, Result<EventStream, StoreError>> {
        async move {
            let mut newest = self.revision();
            if after > newest {
                // A read may have seen a commit in the moment before it is published.
                newest = self.shared.readers.run(rows::newest).await?;
            }
            read::check_readable(after, self.shared.compacted.load(Ordering::Acquire), newest)?;
            stream(self.shared.clone(), prefix, after)
        }
        .boxed()
    }

    fn revision(&self) -> Revision {
        self.shared.hub.revision()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), StoreError>> {
        self.shared.queue.compact(revision).boxed()
    }
}

impl Log for Shared {
    fn hub(&self) -> &Hub {
        &self.hub
    }

    fn read_log(self: Arc<Self>, prefix: &str, after: Revision, upto: Revision) -> BoxFuture<'_, LogResult> {
        async move {
            let prefix = prefix.to_owned();
            self.readers.run(move |connection| read::log(connection, &prefix, after, upto)).await
        }
        .boxed()
    }
}

/// The body of the writer thread.
fn write_all(shared: &Shared, connection: Connection) {
    /// Whatever ends the thread, a panic too, nobody waits for it afterwards.
    struct CloseAtEnd<'a>(&'a Shared);
    impl Drop for CloseAtEnd<'_> {
        fn drop(&mut self) {
            self.0.queue.close(closed());
            self.0.hub.close(&closed());
        }
    }
    let _close = CloseAtEnd(shared);
    match writer::Writer::new(shared, &connection) {
        Ok(mut writer) => writer.run(),
        Err(error) => tracing::error!(%error, "the store cannot be written"),
    }
}

fn spawn(
    name: &str,
    shared: Arc<Shared>,
    body: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let thread = thread::Builder::new().name(name.into()).spawn(move || body(&shared));
    thread.map_err(|error| StoreError::Unavailable(format!("cannot start a thread: {error}")))
}

fn closed() -> StoreError {
    StoreError::Unavailable("it was closed".into())
}
