//! A full disk, a damaged file, a second server, a directory that cannot be written: one clear answer each.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use store::{Expect, RangeQuery, Store, StoreError, Write, sqlite};

fn create(key: &str, value: impl Into<Bytes>) -> Write {
    Write { key: key.into(), expect: Expect::Absent, value: Some(value.into()) }
}

/// What opening the store answers.
fn open_error(directory: &Path) -> StoreError {
    sqlite::open(directory).map(|_| ()).expect_err("it must not open")
}

/// Runs `test` with a runtime on a thread that has its own mounts, and a tmpfs of that size on `directory`.
fn with_small_disk(directory: &Path, size: &str, test: impl AsyncFnOnce() + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: mounting a small disk needs root");
        return;
    }
    std::thread::scope(|scope| {
        let body = || {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).expect("a private mount namespace");
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
                .expect("private");
            let options = format!("size={size}");
            mount(Some("tmpfs"), directory, Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).expect("a tmpfs");
            // The runtime's threads and the store's are started from here, so they see the mount.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime starts").block_on(test());
        };
        scope.spawn(body).join().expect("the test passes");
    });
}

#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    with_small_disk(path, "6m", async || {
        let store = sqlite::open(&path.join("store")).expect("a new store opens");
        let first = store.write(create("/first", "x")).await.expect("there is room").revision;
        let ballast = path.join("ballast");
        fs::write(&ballast, vec![0; 3 << 20]).expect("there is room");
        let mut written = 1;
        let error = loop {
            match store.write(create(&format!("/n/{written}"), vec![b'x'; 16 << 10])).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 1000, "the disk fills up");
        };
        assert_eq!(error, StoreError::NoSpace);
        assert_eq!(store.write(create("/more", vec![0; 16 << 10])).await, Err(StoreError::NoSpace), "and stays full");
        assert_eq!(store.get("/first").await.expect("reads go on").map(|record| record.revision), Some(first));
        let page = store.range(RangeQuery::default()).await.expect("reads go on");
        assert_eq!((page.records.len(), store.revision()), (written, written as u64), "no more, no less");

        fs::remove_file(&ballast).expect("room again");
        let written = store.write(create("/more", vec![0; 16 << 10])).await.expect("writes go on");
        assert_eq!(written.revision, page.revision + 1, "refused writes took no revision");
        store.close();
        let again = sqlite::open(&path.join("store")).expect("it opens again");
        assert_eq!(again.revision(), written.revision);
    });
}

#[test]
fn a_disk_full_from_the_start_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    with_small_disk(path, "32k", async || {
        fs::write(path.join("ballast"), vec![0; 32 << 10]).expect("exactly full");
        assert_eq!(open_error(&path.join("store")), StoreError::NoSpace);
        fs::remove_file(path.join("ballast")).expect("room again");
    });
}

#[test]
fn a_read_only_directory_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path();
    with_small_disk(path, "4m", async || {
        drop(sqlite::open(&path.join("store")).expect("a new store opens"));
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, path, None::<&str>, read_only, None::<&str>).expect("read-only");
        for (name, words) in [("store", "cannot write to"), ("new", "cannot create the data directory")] {
            let StoreError::Unavailable(text) = open_error(&path.join(name)) else { panic!("another error") };
            assert!(text.contains(words) && text.contains("Read-only file system"), "{text}");
            assert!(text.contains(&path.join(name).display().to_string()) && !text.contains('\n'), "{text}");
        }
    });
}

#[test]
fn a_second_server_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = sqlite::open(directory.path()).expect("a new store opens");
    let expected = format!("another server (process {}) uses {}", std::process::id(), directory.path().display());
    assert_eq!(open_error(directory.path()), StoreError::Unavailable(expected));
    store.close();
    drop(sqlite::open(directory.path()).expect("the first one has let go"));
}

/// A store with a few hundred records, closed, so that all of it is in the one file.
async fn filled(directory: &Path) {
    let store = sqlite::open(directory).expect("a new store opens");
    for n in 0..300 {
        store.write(create(&format!("/n/{n:03}"), format!("value-{n:03}-").repeat(100))).await.expect("it is written");
    }
}

#[tokio::test]
async fn a_damaged_file_is_named() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 4] = [
        ("not a database", |file| fs::write(file, b"garbage ".repeat(2000)).expect("it is written")),
        ("malformed", |file| {
            let half = file.metadata().expect("it is there").len() / 2;
            OpenOptions::new().write(true).open(file).and_then(|file| file.set_len(half)).expect("it is cut");
        }),
        ("is missing or empty", |file| fs::write(file, b"").expect("it is emptied")),
        ("is missing or empty", |file| fs::remove_file(file).expect("it is removed")),
    ];
    for (words, damage) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        filled(directory.path()).await;
        let file = directory.path().join("store.db");
        damage(&file);
        let StoreError::Damaged(text) = open_error(directory.path()) else { panic!("another error than {words}") };
        assert!(text.contains(words), "{text}");
        assert!(text.contains(&file.display().to_string()) && !text.contains('\n'), "{text}");
    }
}

#[tokio::test]
async fn a_foreign_database_is_not_touched() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("store.db");
    let other = rusqlite::Connection::open(&file).expect("a new database");
    other.execute_batch("CREATE TABLE other (x); PRAGMA user_version = 1").expect("a table");
    drop(other);
    assert!(matches!(open_error(directory.path()), StoreError::Damaged(text) if text.contains("not a store")));

    let other = rusqlite::Connection::open(&file).expect("the database");
    other.execute_batch("PRAGMA application_id = 1936419174; PRAGMA user_version = 99").expect("a newer format");
    drop(other);
    assert!(matches!(open_error(directory.path()), StoreError::Unavailable(text) if text.contains("format 99")));
}

#[tokio::test]
async fn a_flipped_byte_in_a_value_is_noticed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    filled(directory.path()).await;
    flip(&directory.path().join("store.db"), b"value-150-value-150-");
    let store = sqlite::open(directory.path()).expect("the rest is whole");
    let damaged =
        |error| matches!(error, StoreError::Damaged(text) if text.contains("/n/150") && text.contains("checksum"));
    assert!(store.get("/n/149").await.is_ok());
    assert!(damaged(store.get("/n/150").await.expect_err("it is damaged")));
    assert!(damaged(store.range(RangeQuery::default()).await.expect_err("it is damaged")));
    let write = Write { key: "/n/150".into(), expect: Expect::Revision(151), value: None };
    let (refused, accepted) = tokio::join!(store.write(write), store.write(create("/new", "x")));
    assert!(damaged(refused.expect_err("what stood there cannot be told")));
    assert!(accepted.is_ok(), "the writes beside it go on");
}

/// Changes one byte in the middle of the first place where `pattern` stands in the file.
fn flip(path: &Path, pattern: &[u8]) {
    let bytes = fs::read(path).expect("the file is read");
    let at = bytes.windows(pattern.len()).position(|window| window == pattern).expect("the pattern is there");
    let file = OpenOptions::new().write(true).open(path).expect("the file opens");
    file.write_at(&[bytes[at + 7] ^ 1], (at + 7) as u64).expect("one byte is written");
}
