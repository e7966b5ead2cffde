//! Compaction: first the mark, from which on older revisions are refused, then the rows, a few at a time between groups of
//! writes. Both survive a crash: a sweep goes on where the last one ended.

use rusqlite::{CachedStatement, Connection, params};
use std::sync::atomic::Ordering;

use super::Shared;
use super::error::store_error;
use super::queue::PendingCompaction;
use crate::{Revision, StoreError};

/// Rows of the log looked at in one transaction, so that writers wait for a millisecond or so.
const SWEEP_ROWS_MAX: u32 = 128;

const MARK: &str = "UPDATE meta SET value = ?1 WHERE name = 'compacted'";
const SWEPT: &str = "UPDATE meta SET value = ?1 WHERE name = 'swept'";
const ROWS: &str = "SELECT revision, previous, value IS NULL, key FROM log
    WHERE revision > ?1 AND revision <= ?2 ORDER BY revision LIMIT ?3";
const FORGET: &str = "DELETE FROM log WHERE revision = ?1";
const FORGET_KEY: &str = "DELETE FROM keys WHERE key = ?1 AND revision = ?2";

/// The state of compaction, owned by the writer thread.
pub(super) struct Compaction<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    statements: Statements<'a>,
    swept: Revision,
    waiting: Vec<PendingCompaction>,
    /// A sweep failed (a full disk, say); the next request tries again.
    paused: bool,
}

struct Statements<'a> {
    rows: CachedStatement<'a>,
    forget: CachedStatement<'a>,
    forget_key: CachedStatement<'a>,
}

impl<'a> Compaction<'a> {
    pub(super) fn new(shared: &'a Shared, connection: &'a Connection) -> Result<Self, StoreError> {
        let failed = |error| store_error("prepare compaction", &error);
        let swept = connection.query_row("SELECT value FROM meta WHERE name = 'swept'", [], |row| row.get(0));
        Ok(Self {
            shared,
            connection,
            statements: Statements {
                rows: connection.prepare_cached(ROWS).map_err(failed)?,
                forget: connection.prepare_cached(FORGET).map_err(failed)?,
                forget_key: connection.prepare_cached(FORGET_KEY).map_err(failed)?,
            },
            swept: swept.map_err(failed)?,
            waiting: Vec::new(),
            paused: false,
        })
    }

    /// Whether rows wait to be swept.
    pub(super) fn is_pending(&self) -> bool {
        !self.paused && self.swept < self.compacted()
    }

    /// Sets the mark; the answer follows when the rows are swept.
    pub(super) fn request(&mut self, pending: PendingCompaction, newest: Revision) {
        let marked = if pending.revision > newest {
            Err(StoreError::Future { current: newest })
        } else if pending.revision > self.compacted() {
            let marked =
                self.connection.prepare_cached(MARK).and_then(|mut mark| mark.execute(params![pending.revision]));
            marked.map(|_| ()).map_err(|error| store_error("mark a compaction", &error))
        } else {
            Ok(())
        };
        match marked {
            Ok(()) => {
                self.shared.compacted.fetch_max(pending.revision, Ordering::AcqRel);
                self.paused = false;
                self.waiting.push(pending);
            }
            Err(error) => {
                let _gone = pending.reply.send(Err(error));
            }
        }
    }

    /// Sweeps a few rows, and answers the requests that are done.
    pub(super) fn sweep(&mut self) {
        if self.is_pending() {
            match self.sweep_some() {
                Ok(swept) => self.swept = swept,
                Err(error) => {
                    tracing::warn!(%error, "compaction failed; the next one goes on");
                    self.paused = true;
                    for pending in self.waiting.drain(..) {
                        let _gone = pending.reply.send(Err(error.clone()));
                    }
                }
            }
        }
        let swept = self.swept;
        for done in self.waiting.extract_if(.., |pending| pending.revision <= swept) {
            let _gone = done.reply.send(Ok(()));
        }
    }

    fn sweep_some(&mut self) -> Result<Revision, StoreError> {
        let compacted = self.compacted();
        let transaction = self.connection.unchecked_transaction();
        let failed = |error| store_error("sweep compacted revisions", &error);
        let transaction = transaction.map_err(failed)?;
        let Statements { rows, forget, forget_key } = &mut self.statements;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
        // Read first: rows must not be deleted below a cursor that walks over them.
        let found = rows.query_map(params![self.swept, compacted, SWEEP_ROWS_MAX], read).map_err(failed)?;
        let found = found.collect::<Result<Vec<(Revision, Revision, bool, String)>, _>>().map_err(failed)?;
        let more = found.len() == SWEEP_ROWS_MAX as usize;
        let swept = found.last().filter(|_| more).map_or(compacted, |row| row.0);
        for (revision, previous, deleted, key) in found {
            if previous > 0 {
                forget.execute(params![previous]).map_err(failed)?;
            }
            if deleted {
                forget.execute(params![revision]).map_err(failed)?;
                forget_key.execute(params![key, revision]).map_err(failed)?;
            }
        }
        transaction.prepare_cached(SWEPT).and_then(|mut mark| mark.execute(params![swept])).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        Ok(swept)
    }

    fn compacted(&self) -> Revision {
        self.shared.compacted.load(Ordering::Acquire)
    }
}
