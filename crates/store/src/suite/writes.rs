//! Compare-and-swap, revisions, deletes.

use super::{Arc, Expect, Record, Store, StoreError, Subject, under};

pub(super) async fn all(open: &impl AsyncFn() -> Arc<dyn Store>) {
    a_value_is_created_updated_and_deleted(Subject(open().await)).await;
    what_is_not_expected_conflicts_and_writes_nothing(Subject(open().await)).await;
    a_key_that_comes_again_is_new(Subject(open().await)).await;
    keys_and_values_are_any_bytes(Subject(open().await)).await;
}

async fn a_value_is_created_updated_and_deleted(store: Subject) {
    let start = store.0.revision();
    let created = store.create("/a", "one").await;
    assert!(created > start, "a write gets a new revision");
    assert_eq!(store.0.revision(), created);
    let record = Record { key: "/a".into(), value: "one".into(), revision: created, created };
    assert_eq!(store.get("/a").await, Some(record));

    let updated = store.update("/a", created, "two").await;
    assert_eq!(updated, created + 1, "one revision a write");
    let record = Record { key: "/a".into(), value: "two".into(), revision: updated, created };
    assert_eq!(store.get("/a").await, Some(record), "the creation survives the update");

    let deleted = store.delete("/a", updated).await;
    assert_eq!((deleted, store.0.revision()), (updated + 1, deleted));
    assert_eq!(store.get("/a").await, None);
    assert!(store.range(under("")).await.records.is_empty());
}

async fn what_is_not_expected_conflicts_and_writes_nothing(store: Subject) {
    let first = store.create("/a", "one").await;
    let second = store.update("/a", first, "two").await;
    let gone = store.create("/gone", "x").await;
    let deleted = store.delete("/gone", gone).await;
    let value = Some(b"new".as_slice());
    let cases = [
        ("/a", Expect::Absent, value),
        ("/a", Expect::Absent, None),
        ("/a", Expect::Revision(first), value),
        ("/a", Expect::Revision(first), None),
        ("/a", Expect::Revision(second + 1), value),
        ("/a", Expect::Revision(0), value),
        ("/gone", Expect::Revision(gone), value),
        ("/gone", Expect::Revision(deleted), value),
        ("/gone", Expect::Revision(deleted), None),
        ("/gone", Expect::Revision(0), value),
        ("/never", Expect::Revision(0), value),
        ("/never", Expect::Revision(first), None),
        ("/never", Expect::Absent, None),
    ];
    for (key, expect, value) in cases {
        let current = store.get(key).await;
        let result = store.write(key, expect, value).await;
        assert_eq!(result, Err(StoreError::Conflict { current }), "{key} {expect:?}");
    }
    assert_eq!(store.0.revision(), deleted, "a conflict takes no revision");
    assert_eq!(store.get("/a").await.expect("still there").value, "two");
}

async fn a_key_that_comes_again_is_new(store: Subject) {
    let first = store.create("/a", "one").await;
    let deleted = store.delete("/a", first).await;
    let again = store.create("/a", "two").await;
    assert_eq!(again, deleted + 1);
    let record = store.get("/a").await.expect("it is there again");
    assert_eq!((record.revision, record.created), (again, again));
    let stale = store.write("/a", Expect::Revision(first), None).await;
    assert_eq!(stale, Err(StoreError::Conflict { current: Some(record) }));
}

async fn keys_and_values_are_any_bytes(store: Subject) {
    let large = vec![7; 3 << 20];
    let values: [&[u8]; 4] = [b"", b"\0", &[0xff, 0xfe, 0x00, 0x80], &large];
    for key in ["", " ", "\0", "/a\0b", "/ä/\u{10ffff}", "/%_'\""] {
        for value in values {
            let written = store.write(key, Expect::Absent, Some(value)).await;
            let revision = written.expect("any key, any value").revision;
            assert_eq!(store.get(key).await.expect("it was written").value, value, "at {key:?}");
            assert_eq!(super::keys(&store.range(under(key)).await).first(), Some(&key), "the first under itself");
            store.delete(key, revision).await;
        }
    }
}
