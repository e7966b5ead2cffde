//! Watch fan-out: how many events per second reach 100 and 1,000 watchers, how late, and what memory a watcher takes.

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
/// Watchers that share a connection.
const PER_CONNECTION: usize = 10;
/// Watchers, and events that each of them gets.
const SIZES: [(usize, usize); 2] = [(100, 20_000), (1_000, 4_000)];

pub async fn run() -> Result<()> {
    for (watchers, events) in SIZES {
        measure(watchers, events).await?;
    }
    Ok(())
}

async fn measure(watchers: usize, events: usize) -> Result<()> {
    let cluster = Cluster::start(&["--disable", "node,scheduler,controllers"])?;
    let api = cluster.connect().await?;
    let revision = api.read(CONFIG_MAPS).await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}");
    let (target, origin) = (cluster.target()?, Instant::now());
    let (bare, _) = cluster.memory()?;
    let (mut following, mut connection) = (JoinSet::new(), target.connect().await?);
    for number in 0..watchers {
        if number % PER_CONNECTION == 0 {
            connection = target.connect().await?;
        }
        let watching = connection.watch(&path).await?;
        following.spawn(async move {
            let (mut late, mut seen) = (Times::default(), 0);
            let followed = watching.follow(|event| {
                seen += 1;
                // Parsing all of it would measure the parser: the time of sending stands behind one word.
                if number == 0 {
                    late.add(origin.elapsed().saturating_sub(sent_at(event).context("no time")?));
                }
                Ok(seen == events)
            });
            followed.await.map(|()| late)
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (open, _) = cluster.memory()?;
    let begun = Instant::now();
    let posts = futures_util::stream::iter(0..events).map(|n| api.post(CONFIG_MAPS, object(n, origin)));
    posts.buffer_unordered(64).for_each(|_| std::future::ready(())).await;
    let mut late = Times::default();
    while let Some(times) = following.join_next().await {
        late.join(times??);
    }
    let rate = (events * watchers) as f64 / begun.elapsed().as_secs_f64();
    println!("{watchers} watchers  {rate:.0} events/s   from sending a write to its event: {}", late.tell());
    let (_, peak) = cluster.memory()?;
    println!(
        "    memory: {:.0} KiB per watcher, ten to a connection; at most {:.0} MiB while events came ({bare:.0} before)",
        (open - bare) * 1024.0 / watchers as f64,
        peak
    );
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
