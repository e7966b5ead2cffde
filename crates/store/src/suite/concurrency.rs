//! Many callers at once.

use futures_util::future::join_all;

use super::{Arc, Expect, Revision, Store, StoreError, Subject, next_event};

const CALLERS: u64 = 16;
const ROUNDS: u64 = 25;

pub(super) async fn all(open: &impl AsyncFn() -> Arc<dyn Store>) {
    only_one_creates(Subject(open().await)).await;
    no_increment_is_lost(Subject(open().await)).await;
    a_write_is_seen_by_all_reads_after_it(Subject(open().await)).await;
}

async fn only_one_creates(store: Subject) {
    for round in 0..ROUNDS {
        let key = format!("/leader/{round}");
        let tries = (0..CALLERS).map(|caller| {
            let (store, key) = (&store, &key);
            async move { store.write(key, Expect::Absent, Some(&caller.to_le_bytes())).await.map(|_| caller) }
        });
        let results = join_all(tries).await;
        let winners: Vec<u64> = results.iter().filter_map(|result| result.as_ref().ok().copied()).collect();
        assert_eq!(winners.len(), 1, "one creates, the others conflict");
        let record = store.get(&key).await.expect("somebody made it");
        assert_eq!(record.value, winners[0].to_le_bytes().as_slice());
        for result in results.into_iter().filter(Result::is_err) {
            assert_eq!(result, Err(StoreError::Conflict { current: Some(record.clone()) }));
        }
    }
}

async fn no_increment_is_lost(store: Subject) {
    let start = store.0.revision();
    let first = store.create("/n", "0").await;
    let mut watch = store.watch("/n", start).await;
    let callers = (0..CALLERS).map(|_| async {
        let mut revisions: Vec<Revision> = Vec::new();
        for _ in 0..ROUNDS {
            revisions.push(increment(&store).await);
        }
        revisions
    });
    let mut revisions = join_all(callers).await.concat();
    revisions.push(first);
    revisions.sort_unstable();
    let expected: Vec<Revision> = (first..=first + CALLERS * ROUNDS).collect();
    assert_eq!(revisions, expected, "each write has a revision of its own, without gaps");
    assert_eq!(store.get("/n").await.expect("it is there").value, (CALLERS * ROUNDS).to_string());
    for (n, revision) in expected.into_iter().enumerate() {
        let event = next_event(&mut watch).await;
        assert_eq!((event.revision, event.value), (revision, Some(n.to_string().into())));
    }
}

/// Adds one to `/n`, trying again after each conflict with what the conflict said.
async fn increment(store: &Subject) -> Revision {
    let mut current = store.get("/n").await;
    loop {
        let record = current.expect("the counter exists");
        let count: u64 = std::str::from_utf8(&record.value).ok().and_then(|text| text.parse().ok()).expect("a number");
        let next = (count + 1).to_string();
        match store.write("/n", Expect::Revision(record.revision), Some(next.as_bytes())).await {
            Ok(written) => return written.revision,
            Err(StoreError::Conflict { current: newer }) => current = newer,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn a_write_is_seen_by_all_reads_after_it(store: Subject) {
    let callers = (0..CALLERS).map(|caller| {
        let store = &store;
        async move {
            let key = format!("/c/{caller}");
            let mut at = store.create(&key, "0").await;
            for n in 1..ROUNDS {
                at = store.update(&key, at, &n.to_string()).await;
                assert!(store.0.revision() >= at);
                let record = store.get(&key).await.expect("just written");
                assert_eq!((record.revision, record.value), (at, n.to_string().into()));
                let page = store.range(super::under(&key)).await;
                assert!(page.revision >= at && page.records.iter().any(|record| record.revision == at));
            }
        }
    });
    join_all(callers).await;
}
