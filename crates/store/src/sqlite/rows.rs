//! The tables, and how a record is read from a row.
//!
//! `log` holds every write under its revision and is only appended to; `keys` says for each key which row of the log is the
//! newest. Deletes stand in both (no value, created 0) until they are compacted. `log.previous` is the row which a write
//! superseded, 0 for none; reads of the past follow it, so no index over old versions has to be kept up to date.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::error::store_error;
use crate::{Record, Revision, StoreError};

/// Marks the file as ours in SQLite's header: "skif".
pub(super) const APPLICATION_ID: i32 = 0x736b_6966;

/// The version of this schema.
pub(super) const FORMAT: i32 = 1;

pub(super) const SCHEMA: &str = "
    CREATE TABLE log (
        revision INTEGER PRIMARY KEY,
        previous INTEGER NOT NULL,
        created INTEGER NOT NULL,
        checksum INTEGER NOT NULL,
        key TEXT NOT NULL,
        value BLOB
    ) STRICT;
    CREATE TABLE keys (
        key TEXT PRIMARY KEY,
        revision INTEGER NOT NULL,
        created INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO meta VALUES ('compacted', 0), ('swept', 0);
";

/// The columns from which [`stored`] reads, in this order. `log` is `l`.
pub(super) const STORED_BY_REVISION: &str =
    "SELECT l.previous, l.created, l.checksum, l.value FROM log l WHERE l.revision = ?1";

const NEWEST: &str = "SELECT max(ifnull((SELECT max(revision) FROM log), 0),
    (SELECT value FROM meta WHERE name = 'compacted'))";

const COMPACTED: &str = "SELECT value FROM meta WHERE name = 'compacted'";

/// One row of the log.
pub(super) struct Stored {
    pub(super) previous: Revision,
    pub(super) created: Revision,
    /// `None` for a delete.
    pub(super) value: Option<Bytes>,
}

impl Stored {
    /// The record that this row makes of `key`; `None` for a delete.
    pub(super) fn into_record(self, key: Arc<str>, revision: Revision) -> Option<Record> {
        Some(Record { key, value: self.value?, revision, created: self.created })
    }
}

/// Reads the four columns of [`STORED_BY_REVISION`] that start at `first`, and proves the checksum.
pub(super) fn stored(row: &Row<'_>, first: usize, key: &str, revision: Revision) -> Result<Stored, StoreError> {
    let error = |error| store_error("read a value", &error);
    let expected = row.get::<_, i32>(first + 2).map_err(error)?;
    let bytes = row.get_ref(first + 3).map_err(error)?.as_blob_or_null();
    let bytes = bytes.map_err(|wrong| StoreError::Damaged(format!("the value of {key} is no blob: {wrong}")))?;
    if checksum(key, bytes.unwrap_or_default()) != expected {
        return Err(StoreError::Damaged(format!("{key} at revision {revision} does not match its checksum")));
    }
    Ok(Stored {
        previous: row.get(first).map_err(error)?,
        created: row.get(first + 1).map_err(error)?,
        value: bytes.map(Bytes::copy_from_slice),
    })
}

/// The row of `key` at `revision`; `None` when there is none (any more).
pub(super) fn stored_at(
    statement: &mut rusqlite::Statement<'_>,
    key: &str,
    revision: Revision,
) -> Result<Option<Stored>, StoreError> {
    let mut rows = statement.query(params![revision]).map_err(|error| store_error("read a value", &error))?;
    match rows.next().map_err(|error| store_error("read a value", &error))? {
        Some(row) => stored(row, 0, key, revision).map(Some),
        None => Ok(None),
    }
}

/// The newest revision. Compaction may drop the newest rows (deletes), but never lowers this.
pub(super) fn newest(connection: &Connection) -> Result<Revision, StoreError> {
    let newest = connection.prepare_cached(NEWEST).and_then(|mut statement| statement.query_row([], |row| row.get(0)));
    newest.map_err(|error| store_error("read the newest revision", &error))
}

/// The oldest revision that can still be read.
pub(super) fn compacted(connection: &Connection) -> Result<Revision, StoreError> {
    let read = |mut statement: rusqlite::CachedStatement<'_>| statement.query_row([], |row| row.get(0)).optional();
    match connection.prepare_cached(COMPACTED).and_then(read) {
        Ok(Some(compacted)) => Ok(compacted),
        Ok(None) => Err(StoreError::Damaged("the compacted revision is missing".into())),
        Err(error) => Err(store_error("read the compacted revision", &error)),
    }
}

/// The checksum that a row of the log carries (SQLite itself would not notice a flipped bit in a value).
pub(super) fn checksum(key: &str, value: &[u8]) -> i32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key.as_bytes());
    hasher.update(value);
    hasher.finalize().cast_signed()
}
