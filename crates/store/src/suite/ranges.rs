//! Ranges: prefixes, pages, the past.

use super::{Arc, RangeQuery, Revision, Store, StoreError, Subject, keys, under};

pub(super) async fn all(open: &impl AsyncFn() -> Arc<dyn Store>) {
    a_prefix_is_a_prefix_of_bytes(Subject(open().await)).await;
    pages_share_one_revision(Subject(open().await)).await;
    a_page_knows_what_follows(Subject(open().await)).await;
    the_past_stays_readable(Subject(open().await)).await;
    an_empty_store_has_an_empty_range(Subject(open().await)).await;
}

async fn a_prefix_is_a_prefix_of_bytes(store: Subject) {
    let all = [
        "/a",
        "/a/",
        "/a/b",
        "/a/b/c",
        "/a/ä",
        "/a0",
        "/ab",
        "/b/",
        "a",
        "\u{7f}",
        "\u{d7ff}x",
        "\u{e000}",
        "\u{10ffff}z",
    ];
    for key in all.iter().rev() {
        store.create(key, key).await;
    }
    for prefix in
        ["", "/", "/a", "/a/", "/a/b", "/a/b/c", "/a/b/c/", "/ab", "/b", "/c", "\u{7f}", "\u{d7ff}", "\u{10ffff}"]
    {
        let mut expected: Vec<&str> = all.into_iter().filter(|key| key.starts_with(prefix)).collect();
        expected.sort_unstable();
        let page = store.range(under(prefix)).await;
        assert_eq!(keys(&page), expected, "under {prefix:?}");
        for record in &page.records {
            assert_eq!(record.value, record.key.as_bytes(), "each key has its own value");
        }
        for after in ["", "/a", "/a/", "/a/b", "/a/b!", "/a/c", "/b", "/zz", "\u{10ffff}\u{10ffff}"] {
            let expected: Vec<&str> = expected.iter().copied().filter(|key| *key > after).collect();
            let query = RangeQuery { after: Some(after.into()), ..under(prefix) };
            assert_eq!(keys(&store.range(query).await), expected, "under {prefix:?} after {after:?}");
        }
    }
}

async fn pages_share_one_revision(store: Subject) {
    let mut revisions: Vec<Revision> = Vec::new();
    for n in 0..10 {
        revisions.push(store.create(&format!("/p/{n}"), "old").await);
    }
    let first = store.range(RangeQuery { limit: 3, ..under("/p/") }).await;
    assert_eq!((keys(&first), first.more), (vec!["/p/0", "/p/1", "/p/2"], true));
    let at = first.revision;
    assert_eq!(at, store.0.revision());

    // Between the pages one is updated, one deleted, one deleted and made again, one new.
    store.update("/p/4", revisions[4], "new").await;
    store.delete("/p/5", revisions[5]).await;
    store.delete("/p/6", revisions[6]).await;
    store.create("/p/6", "new").await;
    store.create("/p/55", "new").await;

    let mut seen: Vec<String> = keys(&first).into_iter().map(Into::into).collect();
    let mut more = first.more;
    while more {
        let query = RangeQuery { limit: 3, after: seen.last().cloned(), at: Some(at), ..under("/p/") };
        let page = store.range(query).await;
        assert_eq!(page.revision, at, "every page is of the first one's revision");
        assert!(page.records.iter().all(|record| record.value == "old"), "nothing newer shows");
        seen.extend(keys(&page).into_iter().map(Into::into));
        more = page.more;
    }
    let expected: Vec<String> = (0..10).map(|n| format!("/p/{n}")).collect();
    assert_eq!(seen, expected);
    let now = store.range(under("/p/")).await;
    assert_eq!(keys(&now), ["/p/0", "/p/1", "/p/2", "/p/3", "/p/4", "/p/55", "/p/6", "/p/7", "/p/8", "/p/9"]);
}

async fn a_page_knows_what_follows(store: Subject) {
    for n in 0..5 {
        store.create(&format!("/n/{n}"), "").await;
    }
    store.create("/o", "").await;
    for (limit, after, count, more) in
        [(0, None, 5, false), (4, None, 4, true), (5, None, 5, false), (6, None, 5, false), (1, Some("/n/3"), 1, false)]
    {
        let page = store.range(RangeQuery { limit, after: after.map(Into::into), ..under("/n/") }).await;
        assert_eq!((page.records.len(), page.more), (count, more), "limit {limit} after {after:?}");
        if let Some(remaining) = page.remaining {
            assert_eq!(remaining, if more { 5 - count as u64 } else { 0 }, "limit {limit} after {after:?}");
        }
    }
}

async fn the_past_stays_readable(store: Subject) {
    let before = store.0.revision();
    let first = store.create("/k", "1").await;
    let second = store.update("/k", first, "2").await;
    let deleted = store.delete("/k", second).await;
    let again = store.create("/k", "3").await;
    let other = store.create("/other", "4").await;
    let cases = [
        (before, None),
        (first, Some("1")),
        (second, Some("2")),
        (deleted, None),
        (again, Some("3")),
        (other, Some("3")),
    ];
    for (at, value) in cases {
        let page = store.range(RangeQuery { at: Some(at), ..under("/k") }).await;
        let found = page.records.first().map(|record| record.value.clone());
        assert_eq!(found.as_deref(), value.map(str::as_bytes), "at {at}");
        let created = page.records.first().map(|record| record.created);
        let expected = value.map(|_| if at < again { first } else { again });
        assert_eq!((page.revision, created), (at, expected), "at {at}");
    }
    let future = store.0.range(RangeQuery { at: Some(other + 1), ..under("/k") }).await;
    assert_eq!(future.map(|page| page.revision), Err(StoreError::Future { current: other }));
}

async fn an_empty_store_has_an_empty_range(store: Subject) {
    let page = store.range(under("")).await;
    assert_eq!((page.records.len(), page.more, page.revision), (0, false, store.0.revision()));
}
