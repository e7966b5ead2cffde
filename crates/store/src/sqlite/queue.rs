//! What waits for the writer thread.

use std::sync::{Condvar, Mutex, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::watch::lock;
use crate::{Revision, StoreError, Write, Written};

/// Writes that may wait for the writer; further callers wait for room.
pub(super) const WRITES_WAITING_MAX: usize = 4096;

/// A write and who waits for its result.
pub(super) struct PendingWrite {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Result<Written, StoreError>>,
}

/// A compaction and who waits for it.
pub(super) struct PendingCompaction {
    pub(super) revision: Revision,
    pub(super) reply: oneshot::Sender<Result<(), StoreError>>,
}

/// All work taken at once.
#[derive(Default)]
pub(super) struct Work {
    pub(super) writes: Vec<PendingWrite>,
    pub(super) compactions: Vec<PendingCompaction>,
}

/// The queue between the callers and the writer thread.
pub(super) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    room: Semaphore,
}

#[derive(Default)]
struct State {
    work: Work,
    sleeping: bool,
    closed: Option<StoreError>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), arrived: Condvar::new(), room: Semaphore::new(WRITES_WAITING_MAX) }
    }

    /// Hands over a write and waits for its result.
    pub(super) async fn write(&self, write: Write) -> Result<Written, StoreError> {
        self.room.acquire().await.expect("the semaphore is never closed").forget();
        let (reply, result) = oneshot::channel();
        let pushed = self.push(|work| work.writes.push(PendingWrite { write, reply }));
        if pushed.is_err() {
            self.room.add_permits(1);
        }
        pushed?;
        result.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    /// Hands over a compaction and waits until it is done.
    pub(super) async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let (reply, result) = oneshot::channel();
        self.push(|work| work.compactions.push(PendingCompaction { revision, reply }))?;
        result.await.unwrap_or_else(|_| Err(writer_gone()))
    }

    /// Takes all that waits into `work`, which is empty. With `wait` it sleeps until there is something. `false` when the
    /// queue is closed and nothing is left.
    pub(super) fn take(&self, work: &mut Work, wait: bool) -> bool {
        let mut state = lock(&self.state);
        while wait && state.work.is_empty() && state.closed.is_none() {
            state.sleeping = true;
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.sleeping = false;
        std::mem::swap(work, &mut state.work);
        self.room.add_permits(work.writes.len());
        !work.is_empty() || state.closed.is_none()
    }

    /// Lets nothing more in: later callers get `error`. What waits already is still done.
    pub(super) fn close(&self, error: StoreError) {
        let mut state = lock(&self.state);
        state.closed.get_or_insert(error);
        self.arrived.notify_one();
    }

    fn push(&self, add: impl FnOnce(&mut Work)) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        add(&mut state.work);
        let wake = std::mem::take(&mut state.sleeping);
        drop(state);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.compactions.is_empty()
    }
}

fn writer_gone() -> StoreError {
    StoreError::Unavailable("the writer thread has ended".into())
}
