//! Moving committed pages from the write-ahead log into the database, beside the writer instead of in its way.
//!
//! The log starts over only when every page of it was moved. Under steady load a checkpoint beside the writer never gets
//! that far: past a limit it repeats until little is left, and the writer itself moves the rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use rusqlite::Connection;
use rusqlite::wal::CheckpointMode;

use super::error::store_error;
use crate::StoreError;
use crate::watch::lock;

/// Pages (4 KiB) in the log from which on a checkpoint starts, and after which the next one does.
const PAGES_BETWEEN: u32 = 2048;

/// Pages in the log from which on the writer completes the checkpoint. They are read again when a killed store opens.
const PAGES_MAX: u32 = 8192;

/// Pages that are few enough for the writer to move: some milliseconds.
const REST_PAGES_MAX: u32 = 256;

/// Bytes of the log file that are kept for reuse once it starts over.
pub(super) const WAL_KEPT_BYTES_MAX: u32 = 64 << 20;

/// The signals between the writer and the checkpoint thread.
#[derive(Default)]
pub(super) struct Checkpoints {
    state: Mutex<State>,
    wanted: Condvar,
    /// The log is long and almost moved: the writer should do the rest.
    complete: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Pages in the log now.
    pages: u32,
    /// Pages in the log when a checkpoint was last asked for.
    requested_at: u32,
    requested: bool,
    closed: bool,
}

impl Checkpoints {
    /// Called after each commit with the number of pages in the log.
    pub(super) fn committed(&self, pages: u32) {
        let mut state = lock(&self.state);
        state.pages = pages;
        if pages < state.requested_at {
            state.requested_at = 0;
        }
        if pages >= state.requested_at + PAGES_BETWEEN {
            state.requested_at = pages;
            state.requested = true;
            self.wanted.notify_one();
        }
    }

    /// Does the writer's part, when there is one.
    pub(super) fn complete(&self, connection: &Connection) -> Result<(), StoreError> {
        if self.complete.swap(false, Ordering::Relaxed) {
            checkpoint(connection)?;
        }
        Ok(())
    }

    /// The checkpoint thread; it ends after [`Self::close`].
    pub(super) fn run(&self, connection: &Connection) {
        while self.wait() {
            if let Err(error) = self.move_most(connection) {
                // The log stays as it is: nothing is lost, and the next request tries again.
                tracing::warn!(%error, "checkpoint failed");
            }
        }
    }

    /// Moves what there is; when the log is long, again and again, as long as less is left each time.
    fn move_most(&self, connection: &Connection) -> Result<(), StoreError> {
        let mut left_before = u32::MAX;
        loop {
            let (pages, moved) = checkpoint(connection)?;
            let left = lock(&self.state).pages.saturating_sub(moved);
            if pages < PAGES_MAX {
                return Ok(());
            }
            if left <= REST_PAGES_MAX || left >= left_before {
                self.complete.store(true, Ordering::Relaxed);
                return Ok(());
            }
            left_before = left;
        }
    }

    /// Ends the checkpoint thread.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.wanted.notify_one();
    }

    fn wait(&self) -> bool {
        let mut state = lock(&self.state);
        while !state.requested && !state.closed {
            state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.requested = false;
        !state.closed
    }
}

/// Moves what can be moved without waiting for anybody; the answer is the number of pages in the log, and of those moved.
fn checkpoint(connection: &Connection) -> Result<(u32, u32), StoreError> {
    match connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE) {
        Ok((pages, moved)) => Ok((u32::try_from(pages).unwrap_or(0), u32::try_from(moved).unwrap_or(0))),
        // The other side is at it.
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => Ok((0, 0)),
        Err(error) => Err(store_error("move the log into the database", &error)),
    }
}
