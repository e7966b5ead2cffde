//! The writer thread: takes all writes that wait, makes one transaction of them, and answers all after one sync.
//!
//! There is no timer: while a group is being synced the next one gathers by itself, so one caller alone pays one sync and
//! many callers share it.

use rusqlite::{CachedStatement, Connection, OptionalExtension, params};

use super::compaction::Compaction;
use super::error::{is_failed_sync, store_error};
use super::queue::{PendingWrite, Work};
use super::{Shared, rows};
use crate::{Event, Expect, Record, Revision, StoreError, Write, Written};

/// Writes in one transaction.
const GROUP_WRITES_MAX: usize = 512;

/// Bytes of values in one transaction (one larger value still gets its own).
const GROUP_BYTES_MAX: usize = 8 << 20;

const FIND: &str = "SELECT revision, created FROM keys WHERE key = ?1";
const APPEND: &str =
    "INSERT INTO log (revision, previous, created, checksum, key, value) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const ADD_KEY: &str = "INSERT INTO keys (key, revision, created) VALUES (?1, ?2, ?3)";
const MOVE_KEY: &str = "UPDATE keys SET revision = ?2, created = ?3 WHERE key = ?1";

/// The writer's state.
pub(super) struct Writer<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    statements: Statements<'a>,
    compaction: Compaction<'a>,
    /// The newest committed revision.
    revision: Revision,
    /// Set once a sync has failed: what the disk holds is unknown from then on, so no write is accepted any more.
    broken: Option<StoreError>,
    events: Vec<Event>,
    results: Vec<Result<Written, StoreError>>,
}

struct Statements<'a> {
    begin: CachedStatement<'a>,
    commit: CachedStatement<'a>,
    find: CachedStatement<'a>,
    stored: CachedStatement<'a>,
    append: CachedStatement<'a>,
    add_key: CachedStatement<'a>,
    move_key: CachedStatement<'a>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(shared: &'a Shared, connection: &'a Connection) -> Result<Self, StoreError> {
        let failed = |error| store_error("prepare the writer", &error);
        let prepare = |sql| connection.prepare_cached(sql).map_err(failed);
        Ok(Self {
            shared,
            connection,
            statements: Statements {
                begin: prepare("BEGIN IMMEDIATE")?,
                commit: prepare("COMMIT")?,
                find: prepare(FIND)?,
                stored: prepare(rows::STORED_BY_REVISION)?,
                append: prepare(APPEND)?,
                add_key: prepare(ADD_KEY)?,
                move_key: prepare(MOVE_KEY)?,
            },
            compaction: Compaction::new(shared, connection)?,
            revision: shared.hub.revision(),
            broken: None,
            events: Vec::new(),
            results: Vec::new(),
        })
    }

    /// Serves the queue until it is closed and empty.
    pub(super) fn run(&mut self) {
        let mut work = Work::default();
        while self.shared.queue.take(&mut work, !self.compaction.is_pending()) {
            while !work.writes.is_empty() {
                let group = group_length(&work.writes);
                self.serve_group(&mut work.writes, group);
            }
            for pending in work.compactions.drain(..) {
                self.compaction.request(pending, self.revision);
            }
            self.compaction.sweep();
            if let Err(error) = self.shared.checkpoints.complete(self.connection) {
                tracing::warn!(%error, "checkpoint failed");
            }
        }
    }

    /// Writes the first `group` of `pending` and answers them.
    fn serve_group(&mut self, pending: &mut Vec<PendingWrite>, group: usize) {
        let outcome = match &self.broken {
            Some(error) => Err(error.clone()),
            None => self.commit(&pending[..group]),
        };
        match outcome {
            Ok(()) => {
                self.revision = self.events.last().map_or(self.revision, |event| event.revision);
                self.shared.hub.publish(&self.events);
                for (pending, result) in pending.drain(..group).zip(self.results.drain(..)) {
                    // A caller that is gone needs no answer.
                    let _gone = pending.reply.send(result);
                }
            }
            Err(error) => {
                self.results.clear();
                for pending in pending.drain(..group) {
                    let _gone = pending.reply.send(Err(error.clone()));
                }
            }
        }
        self.events.clear();
    }

    /// Makes one transaction of `group`. Each write has a result afterwards, each successful one an event.
    fn commit(&mut self, group: &[PendingWrite]) -> Result<(), StoreError> {
        self.statements.begin.execute([]).map_err(|error| store_error("begin to write", &error))?;
        let mut applied = Ok(());
        for pending in group {
            match self.apply(&pending.write) {
                Ok(result) => self.results.push(result),
                Err(error) => {
                    applied = Err(error);
                    break;
                }
            }
        }
        if applied.is_ok() && !self.events.is_empty() {
            applied = self.statements.commit.execute([]).map(|_| ()).map_err(|error| {
                if is_failed_sync(&error) {
                    tracing::error!(%error, "the disk did not take a write; no more writes until the next start");
                    self.broken = Some(StoreError::Unavailable(format!("an earlier sync to disk failed: {error}")));
                }
                store_error("commit", &error)
            });
        }
        if !self.connection.is_autocommit() {
            // Only conflicts, or a failure: nothing of it may stay. SQLite may have rolled back by itself.
            let _rolled_back = self.connection.execute_batch("ROLLBACK");
        }
        applied
    }

    /// Writes into the open transaction. The inner error is this write's alone, the outer one the whole group's.
    fn apply(&mut self, write: &Write) -> Result<Result<Written, StoreError>, StoreError> {
        let (newest, previous) = match self.find(write) {
            Ok(found) => found,
            // Nothing of this write stands in the transaction yet, so the rest of the group can go on.
            Err(error) => return Ok(Err(error)),
        };
        let revision = self.events.last().map_or(self.revision, |event| event.revision) + 1;
        let created = match (&write.value, &previous) {
            (None, _) => 0,
            (Some(_), None) => revision,
            (Some(_), Some(previous)) => previous.created,
        };
        let failed = |error| store_error("write", &error);
        let (key, value) = (&*write.key, write.value.as_deref());
        let checksum = rows::checksum(key, value.unwrap_or_default());
        let statements = &mut self.statements;
        statements.append.execute(params![revision, newest, created, checksum, key, value]).map_err(failed)?;
        let point = if newest == 0 { &mut statements.add_key } else { &mut statements.move_key };
        point.execute(params![key, revision, created]).map_err(failed)?;
        let event = Event { key: write.key.clone(), revision, value: write.value.clone(), previous: previous.clone() };
        self.events.push(event);
        Ok(Ok(Written { revision, previous }))
    }

    /// The newest row of the key (0 when it has none) and what stands there, when that is what the write expects.
    fn find(&mut self, write: &Write) -> Result<(Revision, Option<Record>), StoreError> {
        let found = self.statements.find.query_row(params![&*write.key], |row| Ok((row.get(0)?, row.get(1)?)));
        let found = found.optional().map_err(|error| store_error("find a key", &error))?;
        let (newest, created): (Revision, Revision) = found.unwrap_or_default();
        let expected = match write.expect {
            Expect::Absent => created == 0 && write.value.is_some(),
            Expect::Revision(revision) => created > 0 && newest == revision,
        };
        let current = if created > 0 { Some(self.read(write, newest)?) } else { None };
        if expected { Ok((newest, current)) } else { Err(StoreError::Conflict { current }) }
    }

    fn read(&mut self, write: &Write, revision: Revision) -> Result<Record, StoreError> {
        rows::stored_at(&mut self.statements.stored, &write.key, revision)?
            .and_then(|stored| stored.into_record(write.key.clone(), revision))
            .ok_or_else(|| StoreError::Damaged(format!("{} at revision {revision} is missing", write.key)))
    }
}

/// How many of the first writes go into one transaction; at least one.
fn group_length(writes: &[PendingWrite]) -> usize {
    let mut bytes = 0;
    let fits = writes.iter().take(GROUP_WRITES_MAX).take_while(|pending| {
        bytes += pending.write.value.as_ref().map_or(0, bytes::Bytes::len);
        bytes <= GROUP_BYTES_MAX
    });
    fits.count().max(1)
}
