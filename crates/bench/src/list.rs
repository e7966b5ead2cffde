//! A list of 10,000 pods: from the cache, and consistent.

use anyhow::Result;
use futures_util::StreamExt;
use serde_json::json;

use crate::cluster::Cluster;
use crate::figures::Times;
use tokio::time::Instant;

const PODS: &str = "/api/v1/namespaces/default/pods";
const COUNT: usize = 10_000;
const ROUNDS: usize = 20;

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&["--disable", "node,scheduler"])?;
    let api = cluster.connect().await?;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    cluster.until(&api, account, |_| true).await?;
    let posts = futures_util::stream::iter(0..COUNT).map(|n| {
        let api = api.clone();
        async move { api.post(PODS, pod(n)).await }
    });
    let made: Vec<_> = posts.buffer_unordered(64).collect().await;
    for answer in made {
        answer?;
    }
    for (name, query) in [("consistent", ""), ("cached", "?resourceVersion=0")] {
        let (mut times, mut size) = (Times::default(), 0);
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            size = api.get(&format!("{PODS}{query}")).await?.len();
            times.add(begun.elapsed());
        }
        println!("list of {COUNT} pods, {name:10} ({:.1} MB)  {}", size as f64 / 1e6, times.tell());
    }
    Ok(())
}

fn pod(number: usize) -> bytes::Bytes {
    let environment: Vec<_> =
        (0..10).map(|n| json!({"name": format!("VARIABLE_{n}"), "value": "some value"})).collect();
    let container = json!({
        "name": "main", "image": "registry.example/team/application:1.2.3", "env": environment,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "ports": [{"containerPort": 8080, "name": "http"}],
    });
    let labels = json!({"app": "application", "tier": "backend", "number": number.to_string()});
    json!({"metadata": {"name": format!("pod-{number}"), "labels": labels}, "spec": {"containers": [container]}})
        .to_string()
        .into()
}
