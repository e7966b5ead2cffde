//! From the POST of a pod to Running and Ready, alone and with others; the image is present.

use std::collections::HashMap;

use anyhow::{Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::cluster::{Cluster, WAIT_MAX, condition};
use crate::connection::Connection;
use crate::figures::Times;
use tokio::time::Instant;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A pod of the hello image.
pub fn pod(name: &str) -> Bytes {
    let container = json!({"name": "hello", "image": "localhost/skiff/hello:v1"});
    let spec = json!({"containers": [container], "terminationGracePeriodSeconds": 0});
    json!({"metadata": {"name": name, "labels": {"app": "bench"}}, "spec": spec}).to_string().into()
}

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&[])?;
    let api = cluster.connect().await?;
    cluster.node(&api).await?;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    cluster.until(&api, account, |_| true).await?;
    batch(&cluster, &api, "warm-up", 1).await?;
    let mut alone = Times::default();
    for round in 0..30 {
        alone.join(batch(&cluster, &api, &format!("one-{round}"), 1).await?);
    }
    println!("POST to Ready, 1 pod       {}", alone.tell());
    for count in [35, 50, 110] {
        let mut crowd = Times::default();
        let mut whole = Times::default();
        for round in 0..3 {
            let times = batch(&cluster, &api, &format!("many-{count}-{round}"), count).await?;
            whole.add(std::time::Duration::from_secs_f64(times.percentile(100) / 1000.0));
            crowd.join(times);
        }
        println!("POST to Ready, {count:3} at once {}", crowd.tell());
        println!("all {count:3} Ready after         {}", whole.tell());
    }
    Ok(())
}

/// Creates pods at once; the time of each until it is ready, and removes them.
async fn batch(cluster: &Cluster, api: &Connection, prefix: &str, count: usize) -> Result<Times> {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    let revision = api.read(PODS).await?["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let begun = Instant::now();
    let posts = names.iter().map(|name| api.post(PODS, pod(name)));
    let mut ready: HashMap<String, std::time::Duration> = HashMap::new();
    let path = format!("{PODS}?watch=1&resourceVersion={revision}");
    let watching = api.watch(&path).await?.follow(|event| {
        let event: Value = serde_json::from_slice(event)?;
        if condition(&event["object"], "Ready") {
            let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            ready.entry(name).or_insert_with(|| begun.elapsed());
        }
        Ok(ready.len() == count)
    });
    let both = async { tokio::join!(futures_util::future::try_join_all(posts), watching) };
    let Ok((posted, watched)) = tokio::time::timeout(WAIT_MAX, both).await else {
        bail!("not all of the {count} pods became ready")
    };
    posted?;
    watched?;
    api.delete(PODS, Bytes::new()).await?;
    cluster.until(api, PODS, |list| list["items"].as_array().is_some_and(Vec::is_empty)).await?;
    let mut times = Times::default();
    ready.into_values().for_each(|time| times.add(time));
    Ok(times)
}
