//! Opening a data directory: lock, checks, schema. Nothing here grows with the data.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::store_error;
use super::rows;
use crate::{Revision, StoreError};

/// How long to wait for a foreign process (a backup with the sqlite3 tool, say) that holds the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the lock file starts with once the database exists: from then on an empty or missing database is damage.
const INITIALISED: &str = "skiff store\n";

/// What opening found.
pub(super) struct Opened {
    /// Locked for as long as it is open.
    pub(super) lock: File,
    pub(super) database: PathBuf,
    /// The connection of the writer.
    pub(super) connection: Connection,
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

/// Opens or creates the store in `directory` and locks it.
pub(super) fn open(directory: &Path) -> Result<Opened, StoreError> {
    DirBuilder::new()
        .recursive(true)
        // Secrets lie in here.
        .mode(0o700)
        .create(directory)
        .map_err(|error| unavailable("create the data directory", directory, &error))?;
    let (mut lock, initialised) = take_lock(directory)?;
    let database = directory.join("store.db");
    let empty = check_file(&database, initialised)?;
    let in_file = |error: StoreError| name_file(error, &database);
    let connection = connect_writer(&database).map_err(in_file)?;
    if empty {
        create_schema(&connection).map_err(in_file)?;
        sync_directories(directory).map_err(|error| unavailable("sync", directory, &error))?;
    } else {
        check_format(&connection).map_err(in_file)?;
    }
    let compacted = rows::compacted(&connection).map_err(in_file)?;
    let revision = rows::newest(&connection).map_err(in_file)?;
    sign_lock(&mut lock, !initialised).map_err(|error| unavailable("write the lock file in", directory, &error))?;
    Ok(Opened { lock, database, connection, revision, compacted })
}

/// A connection for reading.
pub(super) fn connect_reader(database: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(database, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        Ok(connection)
    };
    connect().map_err(|error| store_error("open the database for reading", &error))
}

/// A connection that only checkpoints.
pub(super) fn connect_checkpointer(database: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(database, flags)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        Ok(connection)
    };
    connect().map_err(|error| store_error("open the database for checkpoints", &error))
}

/// Locks the directory against a second server; the kernel lets go when the process ends. Says whether the store was
/// initialised before.
fn take_lock(directory: &Path) -> Result<(File, bool), StoreError> {
    let path = directory.join("lock");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| unavailable("write to", directory, &error))?;
    let mut text = String::new();
    let locked = lock.try_lock();
    lock.read_to_string(&mut text).map_err(|error| unavailable("read", &path, &error))?;
    match locked {
        Ok(()) => Ok((lock, text.starts_with(INITIALISED))),
        Err(TryLockError::WouldBlock) => {
            let holder = text.strip_prefix(INITIALISED).unwrap_or(&text).trim();
            let holder = if holder.is_empty() { String::new() } else { format!(" ({holder})") };
            Err(StoreError::Unavailable(format!("another server{holder} uses {}", directory.display())))
        }
        Err(TryLockError::Error(error)) => Err(unavailable("lock", &path, &error)),
    }
}

/// Names our process in the lock file, for the message that a second server prints.
fn sign_lock(lock: &mut File, first: bool) -> io::Result<()> {
    let signed = lock.rewind().and_then(|()| writeln!(lock, "{INITIALISED}process {:<10}", std::process::id()));
    match first {
        true => signed.and_then(|()| lock.sync_all()),
        // Only a courtesy from the second time on, not worth failing on a full disk.
        false => Ok(()),
    }
}

/// Whether the database has yet to be made. One that was there before and is gone or empty now must not pass for new.
fn check_file(database: &Path, initialised: bool) -> Result<bool, StoreError> {
    let length = match database.metadata() {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(unavailable("read", database, &error)),
    };
    match (length, initialised) {
        (0, true) => Err(StoreError::Damaged(format!(
            "{} is missing or empty; restore it, or remove its directory to start anew",
            database.display()
        ))),
        (0, false) => {
            let created = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(database);
            created.map(|_| true).map_err(|error| unavailable("create", database, &error))
        }
        // A first start that died halfway may have left the schema out.
        (_, false) => Ok(!has_schema(database)?),
        (_, true) => Ok(false),
    }
}

fn has_schema(database: &Path) -> Result<bool, StoreError> {
    let connection = connect_writer(database).map_err(|error| name_file(error, database))?;
    let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, u32>(0));
    Ok(tables.map_err(|error| name_file(store_error("read the schema", &error), database))? > 0)
}

fn connect_writer(database: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connect = || {
        let connection = Connection::open_with_flags(database, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -super::WRITER_CACHE_KIB)?;
        connection.pragma_update(None, "journal_size_limit", super::checkpoint::WAL_KEPT_BYTES_MAX)?;
        Ok((connection, mode))
    };
    let (connection, mode) = connect().map_err(|error| store_error("open the database", &error))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!("the filesystem allows no write-ahead log (journal mode {mode})")));
    }
    Ok(connection)
}

fn create_schema(connection: &Connection) -> Result<(), StoreError> {
    let script = format!(
        "BEGIN IMMEDIATE; PRAGMA application_id = {}; PRAGMA user_version = {}; {} COMMIT;",
        rows::APPLICATION_ID,
        rows::FORMAT,
        rows::SCHEMA
    );
    connection.execute_batch(&script).map_err(|error| store_error("create the tables", &error))
}

fn check_format(connection: &Connection) -> Result<(), StoreError> {
    let read = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i32>(0));
    let found = read("PRAGMA application_id").and_then(|id| Ok((id, read("PRAGMA user_version")?)));
    match found.map_err(|error| store_error("read the header", &error))? {
        (rows::APPLICATION_ID, rows::FORMAT) => Ok(()),
        (rows::APPLICATION_ID, format) => Err(StoreError::Unavailable(format!(
            "the data has format {format}, this version reads format {}",
            rows::FORMAT
        ))),
        (id, _) => Err(StoreError::Damaged(format!("this is not a store (application id {id:#x})"))),
    }
}

/// Makes the new files' names durable.
fn sync_directories(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()?;
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

fn unavailable(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace,
        _ => StoreError::Unavailable(format!("cannot {verb} {}: {error}", path.display())),
    }
}

/// Puts the file's name before an error's text.
fn name_file(error: StoreError, database: &Path) -> StoreError {
    match error {
        StoreError::Damaged(text) => StoreError::Damaged(format!("{}: {text}", database.display())),
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("{}: {text}", database.display())),
        other => other,
    }
}
