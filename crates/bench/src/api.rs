//! Requests per second over TLS and HTTP/2, durable writes included, the load generator on the same machine.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::figures::Times;
use tokio::time::Instant;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(4);

/// A kind of request; the number tells objects apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Create,
    Get,
    Patch,
    Delete,
}

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&["--disable", "node,scheduler,controllers"])?;
    let api = cluster.connect().await?;
    for flight in [1, 16, 64] {
        let mut made = 0;
        for (name, operation) in [
            ("create", Operation::Create),
            ("get", Operation::Get),
            ("patch", Operation::Patch),
            ("delete", Operation::Delete),
        ] {
            let cpu = cpu_seconds(cluster.pid());
            let (times, elapsed) = load(&api, operation, flight, made).await?;
            let cpu = (cpu_seconds(cluster.pid()) - cpu) * 1000.0 / times.len() as f64;
            if operation == Operation::Create {
                made = times.len();
            }
            let rate = times.len() as f64 / elapsed.as_secs_f64();
            println!("{name:8} {flight:3} in flight  {rate:8.0}/s   {}   server CPU {cpu:.3} ms each", times.tell());
        }
        api.delete(CONFIG_MAPS, Bytes::new()).await?;
    }
    Ok(())
}

/// Sends requests with `flight` in flight for a while. Workers take numbers of their own: worker, worker + flight, …
async fn load(api: &Connection, operation: Operation, flight: usize, made: usize) -> Result<(Times, Duration)> {
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..flight {
        let api = api.clone();
        workers.spawn(async move {
            let mut times = Times::default();
            let mut number = worker;
            while begun.elapsed() < SPAN {
                let object = match operation {
                    Operation::Create => number,
                    Operation::Delete if number >= made => break,
                    _ => number % made.max(1),
                };
                let sent = Instant::now();
                send(&api, operation, flight, object).await?;
                times.add(sent.elapsed());
                number += flight;
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Times::default();
    while let Some(times) = workers.join_next().await {
        all.join(times??);
    }
    Ok((all, begun.elapsed()))
}

async fn send(api: &Connection, operation: Operation, flight: usize, number: usize) -> Result<()> {
    // The numbers of a worker have gaps where another was faster; what was not made is not asked for.
    let path = format!("{CONFIG_MAPS}/c{flight}-{number}");
    let answer = match operation {
        Operation::Create => {
            let data = json!({"value": "x".repeat(900)});
            let object = json!({"metadata": {"name": format!("c{flight}-{number}")}, "data": data});
            api.post(CONFIG_MAPS, object.to_string().into()).await
        }
        Operation::Get => api.get(&path).await,
        Operation::Patch => api.merge(&path, json!({"data": {"patched": "yes"}}).to_string().into()).await,
        Operation::Delete => api.delete(&path, Bytes::new()).await,
    };
    match answer {
        Err(error) if !error.to_string().contains("404") => Err(error),
        _ => Ok(()),
    }
}

fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
