//! Every backend passes the suite, and the embedded one survives what disks and operators do to it.

#[path = "store/durability.rs"]
mod durability;
#[path = "store/faults.rs"]
mod faults;

use std::sync::Arc;

use store::memory::MemoryStore;
use store::sqlite::{SqliteOptions, SqliteStore};
use store::{Store, suite};

/// Small, so that the suite's slow watchers run over it.
const WATCH_EVENTS_MAX: usize = 16;

#[tokio::test]
async fn memory_passes_the_suite() {
    suite::run(async || Arc::new(MemoryStore::new(WATCH_EVENTS_MAX)) as Arc<dyn Store>).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_passes_the_suite() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let opened = std::cell::Cell::new(0);
    let open = async || {
        opened.set(opened.get() + 1);
        let directory = directory.path().join(opened.get().to_string());
        let options = SqliteOptions { watch_events_max: WATCH_EVENTS_MAX, ..SqliteOptions::new(directory) };
        Arc::new(SqliteStore::open(&options).expect("a new store opens")) as Arc<dyn Store>
    };
    suite::run(open).await;
}
