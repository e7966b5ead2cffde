//! A list of 10,000 pods: from the cache, and consistent.

use anyhow::Result;
use futures_util::StreamExt;
use serde_json::json;

use crate::cluster::{Cluster, cpu_seconds};
use crate::load::Request;

const PODS: &str = "/api/v1/namespaces/default/pods";
const COUNT: usize = 10_000;
const ROUNDS: usize = 50;

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&["--disable", "node,scheduler"])?;
    let api = cluster.connect().await?;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    cluster.until(&api, account, |_| true).await?;
    let posts = futures_util::stream::iter(0..COUNT).map(|n| {
        let api = api.clone();
        async move { api.post(PODS, pod(&format!("pod-{n}")).into()).await }
    });
    let made: Vec<_> = posts.buffer_unordered(64).collect().await;
    for answer in made {
        answer?;
    }
    let mut load = cluster.target()?.load().await?;
    for (name, query) in [("consistent", ""), ("cached", "?resourceVersion=0")] {
        let (before, mut left) = (load.total(), ROUNDS);
        let cpu = || (cpu_seconds(cluster.pid()), cpu_seconds(std::process::id()));
        let cpu_before = cpu();
        let answers = load.run(1, || {
            left = left.checked_sub(1)?;
            Some(Request { method: "GET", path: format!("{PODS}{query}"), content_type: "", body: Vec::new() })
        });
        let (times, _) = answers.await?;
        let size = (load.total() - before) as f64 / ROUNDS as f64;
        let (server, own) = (cpu().0 - cpu_before.0, cpu().1 - cpu_before.1);
        println!(
            "list of {COUNT} pods, {name:10} ({:.1} MB)  {}   CPU each: server {:.0} ms, load generator {:.0} ms",
            size / 1e6,
            times.tell(),
            server * 1000.0 / ROUNDS as f64,
            own * 1000.0 / ROUNDS as f64,
        );
    }
    Ok(())
}

/// A pod which the API server's defaults and managed fields make 2 KiB large, as those were of which the peers were asked.
pub fn pod(name: &str) -> Vec<u8> {
    let container = json!({
        "name": "main", "image": "registry.example/team/application:1.2.3",
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
    });
    let labels = json!({"app": "application"});
    json!({"metadata": {"name": name, "labels": labels}, "spec": {"containers": [container]}}).to_string().into_bytes()
}
