//! Compaction: the past goes, the present stays.

use futures_util::StreamExt;
use futures_util::future::join;

use super::{Arc, Expect, RangeQuery, Revision, Store, StoreError, Subject, keys, next_event, under};

pub(super) async fn all(open: &impl AsyncFn() -> Arc<dyn Store>) {
    older_revisions_are_refused_and_the_rest_stays(Subject(open().await)).await;
    a_key_made_again_across_a_compaction(Subject(open().await)).await;
    compacting_again_or_too_far(Subject(open().await)).await;
    writers_and_readers_go_on_meanwhile(Subject(open().await)).await;
}

async fn older_revisions_are_refused_and_the_rest_stays(store: Subject) {
    let first = store.create("/a", "1").await;
    let stays = store.create("/stays", "x").await;
    let gone = store.create("/gone", "x").await;
    let second = store.update("/a", first, "2").await;
    let deleted = store.delete("/gone", gone).await;
    let third = store.update("/a", second, "3").await;
    let last = store.create("/last", "x").await;
    store.compact(deleted).await;

    for at in [first, stays, gone, second] {
        let expected = StoreError::Compacted { oldest: deleted };
        let page = store.0.range(RangeQuery { at: Some(at), ..under("/") }).await;
        assert_eq!(page.map(|page| page.revision), Err(expected.clone()), "a read at {at}");
        assert_eq!(store.0.watch("/".into(), at).await.map(|_| ()), Err(expected), "a watch after {at}");
    }
    for (at, value, expected) in [
        (deleted, "2", &["/a", "/stays"][..]),
        (third, "3", &["/a", "/stays"]),
        (last, "3", &["/a", "/last", "/stays"]),
    ] {
        let page = store.range(RangeQuery { at: Some(at), ..under("/") }).await;
        assert_eq!((keys(&page).as_slice(), &*page.records[0].value), (expected, value.as_bytes()), "at {at}");
    }
    let record = store.get("/stays").await.expect("a current value always stays");
    assert_eq!((record.revision, record.created), (stays, stays));

    let mut watch = store.watch("/", deleted).await;
    let event = next_event(&mut watch).await;
    assert_eq!(event.revision, third);
    assert_eq!(event.previous.expect("kept for this event").value, "2");
    assert_eq!(next_event(&mut watch).await.revision, last);
}

async fn a_key_made_again_across_a_compaction(store: Subject) {
    let first = store.create("/a", "1").await;
    let deleted = store.delete("/a", first).await;
    let again = store.create("/a", "2").await;
    store.compact(deleted).await;
    let page = store.range(RangeQuery { at: Some(deleted), ..under("/") }).await;
    assert!(page.records.is_empty(), "it did not exist then");
    let deleted = store.delete("/a", again).await;
    store.compact(deleted).await;
    assert_eq!(store.0.revision(), deleted, "compacting the newest write away does not set the revision back");
    assert_eq!(store.range(under("")).await.revision, deleted);
    let third = store.create("/a", "3").await;
    assert_eq!(third, deleted + 1);
    let record = store.get("/a").await.expect("it is there");
    assert_eq!((record.revision, record.created), (third, third));
    let mut watch = store.watch("/", deleted).await;
    assert_eq!(next_event(&mut watch).await.previous, None);
}

async fn compacting_again_or_too_far(store: Subject) {
    let first = store.create("/a", "1").await;
    let second = store.update("/a", first, "2").await;
    assert_eq!(store.0.compact(second + 1).await, Err(StoreError::Future { current: second }));
    let page = store.range(RangeQuery { at: Some(first), ..under("/") }).await;
    assert_eq!(page.records[0].value, "1", "the refused compaction did nothing");
    store.compact(second).await;
    store.compact(second).await;
    store.compact(first).await;
    let refused = store.0.range(RangeQuery { at: Some(first), ..under("/") }).await.map(|page| page.revision);
    assert_eq!(refused, Err(StoreError::Compacted { oldest: second }), "it never goes back");
}

async fn writers_and_readers_go_on_meanwhile(store: Subject) {
    let mut revision = store.create("/hot", "0").await;
    for n in 1..600 {
        revision = store.update("/hot", revision, &n.to_string()).await;
    }
    let target = revision;
    let writing = async {
        let mut at: Revision = revision;
        for n in 600..700 {
            at = store.update("/hot", at, &n.to_string()).await;
            let read = store.range(RangeQuery { at: Some(target), ..under("/hot") }).await;
            assert_eq!(read.records[0].value, "599", "the compacted revision itself stays readable");
        }
    };
    join(store.compact(target), writing).await;
    let page = store.range(RangeQuery { at: Some(target), ..under("/hot") }).await;
    assert_eq!(page.records[0].value, "599");
    let creates = futures_util::stream::iter(0..100).map(|n| {
        let store = &store;
        async move { store.write(&format!("/n/{n}"), Expect::Absent, Some(b"x")).await.map(|_| ()) }
    });
    let (results, ()) = join(creates.buffer_unordered(16).collect::<Vec<_>>(), store.compact(store.0.revision())).await;
    assert!(results.into_iter().all(|result| result.is_ok()), "all writes went through");
    assert_eq!(store.range(under("/n/")).await.records.len(), 100);
}
