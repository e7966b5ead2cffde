//! What SQLite's errors mean to a store.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::StoreError;

/// Translates an error of SQLite that happened in `operation` (words for a person: "read a key").
pub(super) fn store_error(operation: &str, error: &rusqlite::Error) -> StoreError {
    let text = || format!("cannot {operation}: {error}");
    match (error.sqlite_error_code(), error.sqlite_error().map(|error| error.extended_code)) {
        // A full disk can also show when the shared memory file beside the log has to grow.
        (Some(ErrorCode::DiskFull), _) | (_, Some(ffi::SQLITE_IOERR_SHMSIZE)) => StoreError::NoSpace,
        (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _) => StoreError::Damaged(text()),
        // A column of the wrong type, or text that is not UTF-8: not written by us.
        (None, _) if is_decoding(error) => StoreError::Damaged(text()),
        _ => StoreError::Unavailable(text()),
    }
}

/// Whether `error` says that a sync to disk failed: what was written since the last good one may be lost, and a further
/// sync may succeed without having written it.
pub(super) fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

fn is_decoding(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}
