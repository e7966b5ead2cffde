//! Watch fan-out: how many events per second reach 100 watchers, and how late.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::figures::Times;
use tokio::time::Instant;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WATCHERS: usize = 100;
/// Watchers that share a connection.
const PER_CONNECTION: usize = 10;
const EVENTS: usize = 20_000;

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&["--disable", "node,scheduler,controllers"])?;
    let api = cluster.connect().await?;
    let revision = api.read(CONFIG_MAPS).await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let path = Arc::new(format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}"));
    let (target, opened) = (cluster.target()?, Arc::new(AtomicUsize::new(0)));
    let origin = Instant::now();
    let mut watchers = JoinSet::new();
    let mut connection = target.connect().await?;
    for number in 0..WATCHERS {
        if number % PER_CONNECTION == 0 {
            connection = target.connect().await?;
        }
        let (api, path, opened) = (connection.clone(), path.clone(), opened.clone());
        watchers.spawn(async move {
            opened.fetch_add(1, Ordering::Relaxed);
            let (mut late, mut seen) = (Times::default(), 0);
            let watched = api.watch(&path, |event| {
                seen += 1;
                // Parsing all of it would measure the parser: the time of sending stands behind one word.
                if number == 0 {
                    late.add(origin.elapsed().saturating_sub(sent_at(event).context("no time")?));
                }
                Ok(seen == EVENTS)
            });
            watched.await.map(|()| late)
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    let posts = futures_util::stream::iter(0..EVENTS).map(|n| api.post(CONFIG_MAPS, object(n, origin)));
    posts.buffer_unordered(64).for_each(|_| std::future::ready(())).await;
    let mut late = Times::default();
    while let Some(times) = watchers.join_next().await {
        late.join(times??);
    }
    let rate = (EVENTS * WATCHERS) as f64 / begun.elapsed().as_secs_f64();
    println!("{WATCHERS} watchers  {rate:.0} events/s   from sending a write to its event: {}", late.tell());
    Ok(())
}

fn object(number: usize, origin: Instant) -> Bytes {
    let sent = format!("sent-{}.", origin.elapsed().as_micros());
    json!({"metadata": {"name": format!("w-{number}")}, "data": {"at": sent}}).to_string().into()
}

fn sent_at(event: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(event).ok()?;
    let micros = text.split_once("sent-")?.1.split_once('.')?.0.parse().ok()?;
    Some(Duration::from_micros(micros))
}
