//! Requests per second over TLS and HTTP/2, durable writes included, the load generator on the same machine.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::{Cluster, cpu_seconds};
use crate::load::{Load, Request};
use crate::{figures::Times, list::pod};

/// How long each figure is measured.
const SPAN: Duration = Duration::from_secs(4);

/// What is asked for.
struct Kind {
    name: &'static str,
    path: &'static str,
    /// The object with this name.
    make: fn(&str) -> Vec<u8>,
}

const KINDS: [Kind; 2] = [
    Kind { name: "config maps", path: "/api/v1/namespaces/default/configmaps", make: config_map },
    Kind { name: "pods", path: "/api/v1/namespaces/default/pods", make: |name| pod(name) },
];

/// One of 1 KiB.
fn config_map(name: &str) -> Vec<u8> {
    json!({"metadata": {"name": name}, "data": {"value": "x".repeat(900)}}).to_string().into_bytes()
}

pub async fn run() -> Result<()> {
    for kind in KINDS {
        let cluster = Cluster::start(&["--disable", "node,scheduler,controllers"])?;
        let api = cluster.connect().await?;
        // Pods need it, and the controller that makes it is not there.
        api.post(
            "/api/v1/namespaces/default/serviceaccounts",
            json!({"metadata": {"name": "default"}}).to_string().into(),
        )
        .await?;
        let mut load = cluster.target()?.load().await?;
        println!("{}, one of {} bytes as stored", kind.name, size(&cluster, &kind).await?);
        for flight in [1, 16, 64] {
            let mut made = 0;
            for method in ["POST", "GET", "PATCH", "DELETE"] {
                let cpu = (cpu_seconds(cluster.pid()), cpu_seconds(std::process::id()));
                let (times, elapsed) = measure(&mut load, &kind, method, flight, &mut made).await?;
                let each = |pid, before| (cpu_seconds(pid) - before) * 1000.0 / times.len() as f64;
                let rate = times.len() as f64 / elapsed.as_secs_f64();
                println!(
                    "{method:6} {flight:3} in flight  {rate:8.0}/s   {}   CPU each: server {:.3} ms, load generator {:.3} ms",
                    times.tell(),
                    each(cluster.pid(), cpu.0),
                    each(std::process::id(), cpu.1),
                );
            }
            api.delete(kind.path, Bytes::from_static(b"{\"gracePeriodSeconds\":0}")).await?;
        }
    }
    Ok(())
}

/// What the server keeps of one.
async fn size(cluster: &Cluster, kind: &Kind) -> Result<usize> {
    let api = cluster.connect().await?;
    api.post(kind.path, (kind.make)("size").into()).await?;
    Ok(api.get(&format!("{}/size", kind.path)).await?.len())
}

/// Sends requests with `flight` in flight for a while. Objects have numbers; `made` of them are there.
async fn measure(
    load: &mut Load,
    kind: &Kind,
    method: &'static str,
    flight: usize,
    made: &mut usize,
) -> Result<(Times, Duration)> {
    let begun = Instant::now();
    let mut number = 0;
    let there = *made;
    let answer = load.run(flight, || {
        if begun.elapsed() >= SPAN || (method == "DELETE" && number == there) {
            return None;
        }
        let name = format!("c{flight}-{}", if method == "POST" { number } else { number % there.max(1) });
        number += 1;
        let (content_type, body) = match method {
            "POST" => ("application/json", (kind.make)(&name)),
            "PATCH" => (
                "application/merge-patch+json",
                json!({"metadata": {"labels": {"n": number.to_string()}}}).to_string().into(),
            ),
            // A pod that nobody runs is gone at once.
            "DELETE" => ("application/json", b"{\"gracePeriodSeconds\":0}".to_vec()),
            _ => ("", Vec::new()),
        };
        let path = if method == "POST" { kind.path.to_owned() } else { format!("{}/{name}", kind.path) };
        Some(Request { method, path, content_type, body })
    });
    let answer = answer.await?;
    if method == "POST" {
        *made = number;
    }
    Ok(answer)
}
