//! Reads: a few connections, used on blocking threads.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Rows, ToSql, Transaction, params};
use tokio::sync::Semaphore;

use super::error::store_error;
use super::{open, rows};
use crate::keys::{prefix_end, range_start};
use crate::watch::{LogPage, LogResult, lock};
use crate::{Event, Page, RangeQuery, Record, Revision, StoreError};

/// Reads at the same time.
const READERS_MAX: usize = 4;

/// Records behind a page that are counted; when there are more, their number is not cheap to know.
const COUNTED_MAX: u64 = 10_000;

/// Events, and rows looked at for them, that a watcher takes from the log at once.
const LOG_ROWS_MAX: u64 = 512;

const GET: &str = "SELECT k.revision, l.previous, l.created, l.checksum, l.value
    FROM keys k LEFT JOIN log l ON l.revision = k.revision WHERE k.key = ?1 AND k.created > 0";

/// Also deleted keys: at an older revision they may have had a value.
const RANGE: &str = "SELECT k.key, k.revision, k.created, l.previous, l.created, l.checksum, l.value
    FROM keys k LEFT JOIN log l ON l.revision = k.revision WHERE k.key >= ?1 AND k.key < ?2 ORDER BY k.key";

const COUNT: &str = "SELECT count(*) FROM
    (SELECT 1 FROM keys WHERE key >= ?1 AND key < ?2 AND created > 0 LIMIT ?3)";

const PREVIOUS: &str = "SELECT previous FROM log WHERE revision = ?1";

const LOG: &str = "SELECT l.revision, l.key, l.previous, l.created, l.checksum, l.value FROM log l
    WHERE l.revision > ?1 AND l.revision <= ?2 ORDER BY l.revision LIMIT ?3";

/// The reading connections.
pub(super) struct Readers {
    database: PathBuf,
    /// Connections not in use; `None` once the store is closed.
    idle: Mutex<Option<Vec<Connection>>>,
    room: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(database: PathBuf) -> Self {
        Self { database, idle: Mutex::new(Some(Vec::new())), room: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Runs `read` on a blocking thread.
    pub(super) async fn run<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = self.room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let readers = self.clone();
        let blocking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = readers.take()?;
            let answer = read(&connection);
            readers.put_back(connection);
            answer
        });
        blocking.await.unwrap_or_else(|error| Err(StoreError::Unavailable(format!("a read ended early: {error}"))))
    }

    /// Closes the connections; those in use close when their read ends.
    pub(super) fn close(&self) {
        lock(&self.idle).take();
    }

    fn take(&self) -> Result<Connection, StoreError> {
        match lock(&self.idle).as_mut() {
            Some(idle) => idle.pop().map_or_else(|| open::connect_reader(&self.database), Ok),
            None => Err(super::closed()),
        }
    }

    fn put_back(&self, connection: Connection) {
        if let Some(idle) = lock(&self.idle).as_mut() {
            idle.push(connection);
        }
    }
}

/// One view of the data for several statements; it ends when it is dropped.
fn snapshot(connection: &Connection) -> Result<Transaction<'_>, StoreError> {
    connection.unchecked_transaction().map_err(|error| store_error("begin a read", &error))
}

/// The current record of `key`.
pub(super) fn get(connection: &Connection, key: &str) -> Result<Option<Record>, StoreError> {
    let failed = |error| store_error("read a key", &error);
    let mut statement = connection.prepare_cached(GET).map_err(failed)?;
    let mut found = statement.query(params![key]).map_err(failed)?;
    let Some(row) = found.next().map_err(failed)? else { return Ok(None) };
    let revision = row.get(0).map_err(failed)?;
    record(rows::stored(row, 1, key, revision)?, key.into(), revision).map(Some)
}

/// A page of records.
pub(super) fn range(connection: &Connection, query: &RangeQuery) -> Result<Page, StoreError> {
    let connection = &*snapshot(connection)?;
    let newest = rows::newest(connection)?;
    let revision = query.at.unwrap_or(newest);
    let compacted = rows::compacted(connection)?;
    check_readable(revision, compacted, newest)?;
    let start = range_start(query);
    let end = RangeEnd(prefix_end(&query.prefix));
    let failed = |error| store_error("read a range", &error);
    let mut statement = connection.prepare_cached(RANGE).map_err(failed)?;
    let mut cursor = Cursor {
        found: statement.query(params![start, end]).map_err(failed)?,
        past: Past { connection, revision, compacted, statements: None },
    };
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    let mut page = Page { revision, ..Page::default() };
    while page.records.len() < limit {
        match cursor.next()? {
            Some(record) => page.records.push(record),
            None => break,
        }
    }
    page.more = page.records.len() == limit && cursor.next()?.is_some();
    page.remaining = match (page.more, page.records.last()) {
        (true, Some(last)) if revision == newest => count_after(connection, &last.key, &end)?,
        (true, _) => None,
        (false, _) => Some(0),
    };
    Ok(page)
}

/// The events under `prefix` from `after` on, up to `upto`; see [`crate::watch::Log`].
pub(super) fn log(connection: &Connection, prefix: &str, after: Revision, upto: Revision) -> LogResult {
    let connection = &*snapshot(connection)?;
    let compacted = rows::compacted(connection)?;
    check_readable(after, compacted, upto)?;
    let failed = |error| store_error("read the log", &error);
    let mut statement = connection.prepare_cached(LOG).map_err(failed)?;
    let mut previous = connection.prepare_cached(rows::STORED_BY_REVISION).map_err(failed)?;
    let mut found = statement.query(params![after, upto, LOG_ROWS_MAX]).map_err(failed)?;
    let mut page = LogPage { events: Default::default(), read_to: upto };
    let mut looked_at = 0;
    while let Some(row) = found.next().map_err(failed)? {
        looked_at += 1;
        let revision: Revision = row.get(0).map_err(failed)?;
        if looked_at == LOG_ROWS_MAX {
            page.read_to = revision;
        }
        let key = text(row, 1)?;
        if key.starts_with(prefix) {
            page.events.push_back(event(row, &mut previous, key.into(), revision)?);
        }
    }
    Ok(page)
}

/// Whether the store as of `revision` can be read.
pub(super) fn check_readable(revision: Revision, compacted: Revision, newest: Revision) -> Result<(), StoreError> {
    if revision < compacted {
        Err(StoreError::Compacted { oldest: compacted })
    } else if revision > newest {
        Err(StoreError::Future { current: newest })
    } else {
        Ok(())
    }
}

fn event(
    row: &rusqlite::Row<'_>,
    previous: &mut CachedStatement<'_>,
    key: Arc<str>,
    revision: Revision,
) -> Result<Event, StoreError> {
    let stored = rows::stored(row, 2, &key, revision)?;
    let previous = match stored.previous {
        0 => None,
        before => rows::stored_at(previous, &key, before)?.and_then(|stored| stored.into_record(key.clone(), before)),
    };
    Ok(Event { key, revision, value: stored.value, previous })
}

/// Walks over keys and answers their records as of a revision.
struct Cursor<'c> {
    found: Rows<'c>,
    past: Past<'c>,
}

impl Cursor<'_> {
    fn next(&mut self) -> Result<Option<Record>, StoreError> {
        let failed = |error| store_error("read a range", &error);
        while let Some(row) = self.found.next().map_err(failed)? {
            let revision: Revision = row.get(1).map_err(failed)?;
            if revision > self.past.revision {
                if let Some(record) = self.past.find(text(row, 0)?, revision)? {
                    return Ok(Some(record));
                }
            } else if row.get::<_, Revision>(2).map_err(failed)? > 0 {
                let key = text(row, 0)?;
                return record(rows::stored(row, 3, key, revision)?, key.into(), revision).map(Some);
            }
        }
        Ok(None)
    }
}

/// Looks for records as of an older revision.
struct Past<'c> {
    connection: &'c Connection,
    revision: Revision,
    compacted: Revision,
    /// "Which row came before?" and "what does a row hold?", once they are needed.
    statements: Option<(CachedStatement<'c>, CachedStatement<'c>)>,
}

impl Past<'_> {
    /// The record of `key`, whose newest row is `newest`, as of our revision.
    fn find(&mut self, key: &str, newest: Revision) -> Result<Option<Record>, StoreError> {
        let failed = |error| store_error("read the past of a key", &error);
        let (previous, stored) = match &mut self.statements {
            Some(statements) => statements,
            none => none.insert((
                self.connection.prepare_cached(PREVIOUS).map_err(failed)?,
                self.connection.prepare_cached(rows::STORED_BY_REVISION).map_err(failed)?,
            )),
        };
        let mut revision = newest;
        while revision > self.revision {
            let before = previous.query_row(params![revision], |row| row.get(0)).optional().map_err(failed)?;
            revision = before.ok_or_else(|| missing(key, revision))?;
        }
        match rows::stored_at(stored, key, revision)? {
            Some(found) => Ok(found.into_record(key.into(), revision)),
            // The key was created after our revision, or had been deleted long before.
            None if revision <= self.compacted => Ok(None),
            None => Err(missing(key, revision)),
        }
    }
}

fn count_after(connection: &Connection, last: &str, end: &RangeEnd) -> Result<Option<u64>, StoreError> {
    let start = format!("{last}\0");
    let count = connection.prepare_cached(COUNT).and_then(|mut statement| {
        statement.query_row(params![start, end, COUNTED_MAX + 1], |row| row.get::<_, u64>(0))
    });
    let count = count.map_err(|error| store_error("count a range", &error))?;
    Ok((count <= COUNTED_MAX).then_some(count))
}

/// The key's newest row as a record; `keys` has said that it is there and no delete.
fn record(stored: rows::Stored, key: Arc<str>, revision: Revision) -> Result<Record, StoreError> {
    stored.into_record(key.clone(), revision).ok_or_else(|| missing(&key, revision))
}

fn missing(key: &str, revision: Revision) -> StoreError {
    StoreError::Damaged(format!("{key} at revision {revision} is missing"))
}

fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<&'r str, StoreError> {
    let value = row.get_ref(column).map_err(|error| store_error("read a key", &error))?;
    value.as_str().map_err(|error| StoreError::Damaged(format!("a key is no text: {error}")))
}

/// Where a range ends, itself not included. Without an end it is a blob: SQLite sorts those behind all texts.
struct RangeEnd(Option<String>);

impl ToSql for RangeEnd {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match &self.0 {
            Some(end) => ToSqlOutput::Borrowed(ValueRef::Text(end.as_bytes())),
            None => ToSqlOutput::Owned(Value::Blob(Vec::new())),
        })
    }
}
