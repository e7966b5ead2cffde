//! How fast the embedded store is: durable writes per second and their latency, by writes in flight. Prints a table.
//!
//! `cargo run --release -p store --example store_bench -- [DIRECTORY [SECONDS]]`; the directory decides which disk is
//! measured (default: the current one), the seconds how long each row runs (default: 3).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use store::sqlite::{SqliteOptions, SqliteStore};
use store::{Expect, RangeQuery, Store, Write};
use tokio::time::Instant;

/// The size of each value, about that of a small pod.
const VALUE_BYTES: usize = 2048;

const IN_FLIGHT: [usize; 4] = [1, 16, 64, 256];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let seconds = arguments.next().map_or(3.0, |text| text.parse().expect("the seconds are a number"));
    let directory = parent.join(format!("store-bench-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime starts").block_on(bench(&directory, Duration::from_secs_f64(seconds)));
    std::fs::remove_dir_all(&directory).expect("the directory can be removed");
}

#[allow(clippy::print_stdout, reason = "the table is what this is for")]
async fn bench(directory: &std::path::Path, time: Duration) {
    let store = Arc::new(open(directory));
    println!("| what | in flight | per second | p50 | p99 | max |\n|---|---|---|---|---|---|");
    for in_flight in IN_FLIGHT {
        row("create 2 KiB", in_flight, measure(&store, in_flight, time, Kind::Create).await);
    }
    for in_flight in IN_FLIGHT {
        row("update 2 KiB", in_flight, measure(&store, in_flight, time, Kind::Update).await);
    }
    for in_flight in [1, 16] {
        row("get", in_flight, measure(&store, in_flight, time.min(Duration::from_secs(1)), Kind::Get).await);
    }
    let start = Instant::now();
    let page = store.range(RangeQuery::default()).await.expect("all can be listed");
    println!("\nlist of all {} records: {:.1?}", page.records.len(), start.elapsed());
    let start = Instant::now();
    let revision = store.revision();
    store.compact(revision).await.expect("all can be compacted");
    println!("compaction of {revision} revisions: {:.1?}", start.elapsed());
    let start = Instant::now();
    store.close();
    println!("close: {:.1?}", start.elapsed());
    let start = Instant::now();
    let store = open(directory);
    println!("open: {:.1?}", start.elapsed());
    drop(store);
}

fn open(directory: &std::path::Path) -> SqliteStore {
    SqliteStore::open(&SqliteOptions::new(directory)).expect("the store opens")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Update,
    Get,
}

/// What a run measured: calls per second, and the latency of each, sorted.
struct Measured {
    per_second: f64,
    latencies: Vec<Duration>,
}

async fn measure(store: &Arc<SqliteStore>, in_flight: usize, time: Duration, kind: Kind) -> Measured {
    let start = Instant::now();
    let tasks = (0..in_flight).map(|task| tokio::spawn(caller(store.clone(), task, in_flight, time, kind)));
    let mut latencies = Vec::new();
    let mut results = tasks.collect::<futures_util::stream::FuturesUnordered<_>>();
    while let Some(result) = results.next().await {
        latencies.extend(result.expect("no caller fails"));
    }
    let per_second = latencies.len() as f64 / start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    Measured { per_second, latencies }
}

async fn caller(store: Arc<SqliteStore>, task: usize, in_flight: usize, time: Duration, kind: Kind) -> Vec<Duration> {
    let value = Bytes::from(vec![b'v'; VALUE_BYTES]);
    let start = Instant::now();
    let mut latencies = Vec::new();
    let mut expect = Expect::Absent;
    while start.elapsed() < time {
        let n = latencies.len();
        // Spread over the key space, as names of objects are.
        let key = match kind {
            Kind::Create => format!("/registry/pods/ns-{}/web-{in_flight}-{task}-{n}", (n * 7919 + task) % 500),
            Kind::Update => format!("/registry/leases/nodes/node-{in_flight}-{task}"),
            Kind::Get => format!("/registry/leases/nodes/node-16-{}", n % 16),
        };
        let began = Instant::now();
        if kind == Kind::Get {
            store.get(&key).await.expect("a read succeeds").expect("the key is there");
        } else {
            let written = store.write(Write { key: key.into(), expect, value: Some(value.clone()) }).await;
            let revision = written.expect("a write succeeds").revision;
            if kind == Kind::Update {
                expect = Expect::Revision(revision);
            }
        }
        latencies.push(began.elapsed());
    }
    latencies
}

#[allow(clippy::print_stdout, reason = "the table is what this is for")]
fn row(what: &str, in_flight: usize, measured: Measured) {
    let Measured { per_second, latencies } = measured;
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!("| {what} | {in_flight} | {per_second:.0} | {:.2?} | {:.2?} | {:.2?} |", at(0.5), at(0.99), at(1.0));
}
