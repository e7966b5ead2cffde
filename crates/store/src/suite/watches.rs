//! Watches: every event once, in order, from any revision that is kept.

use futures_util::StreamExt;
use futures_util::future::join;

use super::{
    Arc, Event, EventStream, Expect, Record, Revision, Store, StoreError, Subject, assert_quiet, next, next_event,
    under,
};

/// Enough writes to run over any small backlog and over one read of the log.
const MANY: u64 = 1500;

pub(super) async fn all(open: &impl AsyncFn() -> Arc<dyn Store>) {
    an_event_says_what_changed(Subject(open().await)).await;
    only_keys_under_the_prefix_are_seen(Subject(open().await)).await;
    a_watch_starts_at_any_revision(Subject(open().await)).await;
    catching_up_and_going_live_loses_and_doubles_nothing(Subject(open().await)).await;
    a_slow_reader_misses_nothing_until_compaction(Subject(open().await)).await;
    a_future_revision_is_refused(Subject(open().await)).await;
    a_watch_from_a_listing_joins_on(Subject(open().await)).await;
}

async fn an_event_says_what_changed(store: Subject) {
    let start = store.0.revision();
    let mut live = store.watch("/", start).await;
    let created = store.create("/a", "1").await;
    let updated = store.update("/a", created, "2").await;
    let deleted = store.delete("/a", updated).await;
    let again = store.create("/a", "3").await;

    let record =
        |value: &'static str, revision| Some(Record { key: "/a".into(), value: value.into(), revision, created });
    let event = |revision, value: Option<&'static str>, previous| Event {
        key: "/a".into(),
        revision,
        value: value.map(Into::into),
        previous,
    };
    let expected = [
        event(created, Some("1"), None),
        event(updated, Some("2"), record("1", created)),
        event(deleted, None, record("2", updated)),
        event(again, Some("3"), None),
    ];
    let mut late = store.watch("/", start).await;
    for expected in expected {
        assert_eq!(next_event(&mut live).await, expected, "live");
        assert_eq!(next_event(&mut late).await, expected, "from the log");
    }
    assert_quiet(&mut live);
}

async fn only_keys_under_the_prefix_are_seen(store: Subject) {
    let mut pods = store.watch("/pods/", store.0.revision()).await;
    let mut nothing = store.watch("/nothing", store.0.revision()).await;
    store.create("/pods", "").await;
    store.create("/podsx/a", "").await;
    let seen = store.create("/pods/a", "").await;
    store.create("/nodes/a", "").await;
    assert_eq!(next_event(&mut pods).await.revision, seen);
    assert_quiet(&mut pods);
    assert_quiet(&mut nothing);
}

async fn a_watch_starts_at_any_revision(store: Subject) {
    let start = store.0.revision();
    for n in 0..20 {
        store.create(&format!("/{}/{n}", n % 2), "").await;
    }
    for after in start..=start + 20 {
        let mut watch = store.watch("/1/", after).await;
        let last = store.create(&format!("/1/last-{after}"), "").await;
        let mut seen = Vec::new();
        while seen.last() != Some(&last) {
            seen.push(next_event(&mut watch).await.revision);
        }
        let log = store.range(under("/1/")).await;
        let mut expected: Vec<Revision> = log.records.iter().map(|record| record.revision).collect();
        expected.retain(|revision| *revision > after);
        expected.sort_unstable();
        assert_eq!(seen, expected, "after {after}");
    }
}

async fn catching_up_and_going_live_loses_and_doubles_nothing(store: Subject) {
    let start = store.0.revision();
    write_many(&store, "/w/before-", MANY).await;
    let watching = async {
        let mut watch = store.watch("/w/", start).await;
        let mut revisions = Vec::new();
        while revisions.len() < 3 * MANY as usize {
            revisions.push(next_event(&mut watch).await.revision);
        }
        revisions
    };
    let writing = async {
        write_many(&store, "/w/during-", MANY).await;
        write_many(&store, "/x/aside-", MANY).await;
        write_many(&store, "/w/after-", MANY).await;
    };
    let (revisions, ()) = join(watching, writing).await;
    assert!(revisions.is_sorted_by(|one, next| one < next), "in order, none twice");
    let written = store.range(under("/w/")).await.records.len();
    assert_eq!(revisions.len(), written, "none left out");
}

async fn a_slow_reader_misses_nothing_until_compaction(store: Subject) {
    let start = store.0.revision();
    let mut slow = store.watch("/s/", start).await;
    let mut slower = store.watch("/s/", start).await;
    write_many(&store, "/s/", MANY).await;
    for n in 1..=MANY {
        assert_eq!(next_event(&mut slow).await.revision, start + n);
    }
    store.compact(store.0.revision()).await;
    expect_some_then_compacted(&mut slower, start).await;

    // Whoever has read all is not touched by compaction.
    let next = store.create("/s/next", "").await;
    assert_eq!(next_event(&mut slow).await.revision, next);
}

/// What still was in the backlog comes, in order; then, unless that was all, the end.
async fn expect_some_then_compacted(stream: &mut EventStream, start: Revision) {
    for n in 1..=MANY {
        match next(stream).await {
            Ok(event) => assert_eq!(event.revision, start + n),
            Err(StoreError::Compacted { .. }) => {
                assert!(stream.next().await.is_none(), "the stream ends with the error");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn a_future_revision_is_refused(store: Subject) {
    let current = store.create("/a", "").await;
    let future = store.0.watch("/".into(), current + 1).await.map(|_| ());
    assert_eq!(future, Err(StoreError::Future { current }));
    assert_quiet(&mut store.watch("/", current).await);
}

/// The way of every informer: list, then watch from the list's revision.
async fn a_watch_from_a_listing_joins_on(store: Subject) {
    let writing = write_many(&store, "/l/", 200);
    let reading = async {
        loop {
            let page = store.range(under("/l/")).await;
            let mut watch = store.watch("/l/", page.revision).await;
            if page.records.len() == 200 {
                return;
            }
            let event = next_event(&mut watch).await;
            assert_eq!(event.revision, page.revision + 1, "the first event follows the listing");
            assert_eq!(event.previous, None);
        }
    };
    join(writing, reading).await;
}

/// Creates `count` keys, some at the same time.
async fn write_many(store: &Subject, prefix: &str, count: u64) {
    let writes = futures_util::stream::iter(0..count).map(|n| async move {
        let key = format!("{prefix}{n}");
        store.write(&key, Expect::Absent, Some(key.as_bytes())).await.expect("the key is new");
    });
    writes.buffer_unordered(64).collect::<()>().await;
}
