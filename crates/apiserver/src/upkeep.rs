//! What the API server does on its own: keeps the cluster's own objects right, forgets old events and old history.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use machinery::{Entry, Value, time};

use crate::cache::feed::WriteError;
use crate::pipeline::Pipeline;

/// How long events are kept (upstream's `--event-ttl`).
const EVENT_TTL: Duration = Duration::from_secs(3600);
/// Time between looks at the events.
const SWEEP_PERIOD: Duration = Duration::from_secs(60);
/// Events deleted in one look, so that a flood does not hold up the store.
const SWEPT_EVENTS_MAX: usize = 5000;
/// Events kept at most; the oldest go first.
const KEPT_EVENTS_MAX: usize = 50_000;
/// Time between compactions (upstream's `--etcd-compaction-interval`): history of at least one period stays.
const COMPACTION_PERIOD: Duration = Duration::from_secs(300);

/// Time between looks at what every cluster has (upstream looks every ten seconds).
const BOOTSTRAP_PERIOD: Duration = Duration::from_secs(10);

/// Starts all; they end with the pipeline.
pub(crate) fn start(pipeline: &Arc<Pipeline>) {
    tokio::spawn(keep_right(Arc::downgrade(pipeline)));
    tokio::spawn(crate::allocators::repair::keep(Arc::downgrade(pipeline)));
    tokio::spawn(sweep(Arc::downgrade(pipeline)));
    tokio::spawn(compact(Arc::downgrade(pipeline)));
}

async fn keep_right(pipeline: Weak<Pipeline>) {
    loop {
        tokio::time::sleep(BOOTSTRAP_PERIOD).await;
        let Some(pipeline) = pipeline.upgrade() else { return };
        if let Err(error) = crate::bootstrap::run(&pipeline).await {
            tracing::debug!(%error, "the kubernetes service or a system namespace could not be put right");
        }
    }
}

async fn sweep(pipeline: Weak<Pipeline>) {
    loop {
        tokio::time::sleep(SWEEP_PERIOD).await;
        let Some(pipeline) = pipeline.upgrade() else { return };
        sweep_events(&pipeline).await;
    }
}

async fn sweep_events(pipeline: &Pipeline) {
    let Ok(events) = pipeline.kinds.core("events") else { return };
    let mut items = events.cache.stretch(&events.cache.prefix, None, 0).items;
    items.sort_by_key(|(_, entry)| entry.revision);
    let surplus = items.len().saturating_sub(KEPT_EVENTS_MAX);
    let old = items.iter().enumerate().filter(|(i, (_, entry))| *i < surplus || is_old(entry));
    for (_, (key, entry)) in old.take(SWEPT_EVENTS_MAX) {
        match pipeline.feed.remove(key.clone(), entry.revision).await {
            // An event that just happened again has a new life.
            Ok(_) | Err(WriteError::Raced) => {}
            Err(WriteError::Api(error)) => {
                tracing::warn!(%error, "an old event could not be deleted");
                return;
            }
        }
    }
}

/// Events live an hour from their last change.
fn is_old(entry: &Entry) -> bool {
    let tree: &Value = entry.tree();
    let times =
        [&["lastTimestamp"][..], &["series", "lastObservedTime"], &["eventTime"], &["metadata", "creationTimestamp"]];
    let seen = times
        .iter()
        .filter_map(|path| tree.str_at(path))
        .filter_map(|text| text.parse().ok().or_else(|| time::parse(text).ok()));
    seen.max().is_none_or(|last: jiff::Timestamp| seams::clock::since(last) > EVENT_TTL)
}

async fn compact(pipeline: Weak<Pipeline>) {
    /// The revisions at the ends of the last two periods.
    const PERIODS: usize = 2;
    let mut marks: VecDeque<u64> = VecDeque::new();
    loop {
        tokio::time::sleep(COMPACTION_PERIOD).await;
        let Some(pipeline) = pipeline.upgrade() else { return };
        marks.push_back(pipeline.config.store.revision());
        if marks.len() < PERIODS {
            continue;
        }
        let Some(revision) = marks.pop_front() else { continue };
        if let Err(error) = pipeline.config.store.compact(revision).await {
            tracing::warn!(%error, "the store could not be compacted");
        }
    }
}
