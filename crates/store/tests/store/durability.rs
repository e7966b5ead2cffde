//! kill -9 at any moment loses no acknowledged write.
//!
//! The killed process is this test's own binary, started again for the one test [`child`].

use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::StreamExt;
use store::{Expect, RangeQuery, Revision, Store, StoreError, Write, sqlite};

/// Tells the child where its store is.
const DIRECTORY: &str = "STORE_TEST_DIRECTORY";

/// How often the store is killed, opened and checked.
const KILLS: usize = 6;

/// Acknowledged writes after which the child is killed; not always the same, so that it is hit in other moments.
const ACKNOWLEDGED: [usize; KILLS] = [1, 700, 37, 2100, 350, 1300];

#[tokio::test]
async fn a_killed_store_holds_every_acknowledged_write() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut acknowledged: Vec<(String, Revision)> = Vec::new();
    for count in ACKNOWLEDGED {
        acknowledged.extend(write_until_killed(directory.path(), count));
        let store = sqlite::open(directory.path()).expect("the store opens after a kill");
        let page = store.range(RangeQuery::default()).await.expect("all can be read");
        let newest = acknowledged.iter().map(|(_, revision)| *revision).max().expect("something was acknowledged");
        assert!(page.revision >= newest, "the newest acknowledged revision is there");
        for (key, revision) in &acknowledged {
            let record = store.get(key).await.expect("a read succeeds").unwrap_or_else(|| panic!("{key} is lost"));
            assert_eq!((record.revision, record.created), (*revision, *revision), "{key}");
            assert_eq!(record.value, key.as_bytes().repeat(64), "{key}");
        }
        let written = store.write(Write {
            key: format!("/check/{count}").into(),
            expect: Expect::Absent,
            value: Some("".into()),
        });
        assert_eq!(written.await.expect("it can be written again").revision, page.revision + 1);
        store.close();
    }
}

#[tokio::test]
async fn a_closed_store_refuses_and_opens_again() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |key: &str| Write { key: key.into(), expect: Expect::Absent, value: Some("x".into()) };
    let store = sqlite::open(directory.path()).expect("a new store opens");
    let mut watch = store.watch(String::new(), 0).await.expect("a watch starts");
    store.write(write("/a")).await.expect("a write succeeds");
    store.close();
    store.close();
    let closed = StoreError::Unavailable("it was closed".into());
    assert_eq!(store.write(write("/b")).await, Err(closed.clone()));
    assert_eq!(store.get("/a").await, Err(closed.clone()));
    assert_eq!(store.compact(1).await, Err(closed.clone()));
    assert_eq!(watch.next().await.expect("the event before the end").expect("it was queued").revision, 1);
    assert_eq!(watch.next().await, Some(Err(closed)));
    assert!(watch.next().await.is_none());

    let again = sqlite::open(directory.path()).expect("it opens again");
    assert_eq!(again.revision(), 1);
    assert!(again.get("/a").await.expect("a read succeeds").is_some());
}

#[tokio::test]
async fn a_compaction_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = sqlite::open(directory.path()).expect("a new store opens");
    let mut revision = 0;
    for n in 0..2000 {
        let expect = if n == 0 { Expect::Absent } else { Expect::Revision(revision) };
        let written = store.write(Write { key: "/hot".into(), expect, value: Some("x".into()) }).await;
        revision = written.expect("a write succeeds").revision;
    }
    let compacting = store.clone();
    let compaction = tokio::spawn(async move { compacting.compact(revision).await });
    tokio::task::yield_now().await;
    store.close();
    // Done, or cut short; either way the next start ends it.
    let _either = compaction.await.expect("no panic");
    drop(store);
    let store = sqlite::open(directory.path()).expect("it opens again");
    store.compact(revision).await.expect("the sweep ends");
    store.close();
    let file = rusqlite::Connection::open(directory.path().join("store.db")).expect("the file opens");
    let rows: u64 = file.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).expect("rows are counted");
    assert_eq!(rows, 1, "only the current value is left");
}

/// Not a test by itself: the process that [`a_killed_store_holds_every_acknowledged_write`] kills.
#[test]
fn child() {
    let Ok(directory) = std::env::var(DIRECTORY) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime starts").block_on(write_and_acknowledge(Path::new(&directory)));
}

/// Writes for ever, 32 at a time, and prints each key and revision once its write is acknowledged.
async fn write_and_acknowledge(directory: &Path) {
    let store = sqlite::open(directory).expect("the store opens");
    let start = store.revision();
    let mut writes = futures_util::stream::iter(0..)
        .map(|n: u64| {
            let store = Arc::clone(&store);
            async move {
                let key = format!("/from-{start}/{n}");
                let value = Some(key.as_bytes().repeat(64).into());
                let written = store.write(Write { key: key.as_str().into(), expect: Expect::Absent, value }).await;
                (key, written.expect("a write succeeds").revision)
            }
        })
        .buffer_unordered(32);
    while let Some((key, revision)) = writes.next().await {
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {key} {revision}").and_then(|()| out.flush()).expect("the parent reads");
    }
}

/// Starts a writing process, kills it after `count` acknowledged writes, and answers all that it acknowledged.
fn write_until_killed(directory: &Path, count: usize) -> Vec<(String, Revision)> {
    let mut child = Command::new(std::env::current_exe().expect("this binary has a path"))
        .args(["--exact", "durability::child", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
    let mut acknowledged = Vec::new();
    let parse = |line: String| {
        let (key, revision) = line.split_once("acknowledged ")?.1.split_once(' ')?;
        Some((key.to_owned(), revision.parse().ok()?))
    };
    while acknowledged.len() < count {
        let line = lines.next().expect("the child goes on writing").expect("its output is text");
        acknowledged.extend(parse(line));
    }
    child.kill().expect("the child can be killed");
    // What it still printed before the kill counts too; a line cut in half does not.
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let whole = rest.len().saturating_sub(1);
    acknowledged.extend(rest.into_iter().take(whole).filter_map(parse));
    child.wait().expect("the child ends");
    acknowledged
}

/// Writes without a pause, so that the log never has a quiet moment to start over by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_under_steady_load() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = sqlite::open(directory.path()).expect("a new store opens");
    let value = bytes::Bytes::from(vec![b'x'; 64 << 10]);
    let writes = futures_util::stream::iter(0..2500).map(|n| {
        let write = Write { key: format!("/{n}").into(), expect: Expect::Absent, value: Some(value.clone()) };
        let store = &store;
        async move { store.write(write).await.map(|_| ()) }
    });
    let results: Vec<_> = writes.buffer_unordered(16).collect().await;
    assert!(results.into_iter().all(|result| result.is_ok()));
    let log = directory.path().join("store.db-wal").metadata().expect("the log is there").len();
    assert!(log < 96 << 20, "160 MiB were written, the log has {} MiB", log >> 20);
}
