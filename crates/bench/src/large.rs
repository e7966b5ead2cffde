//! Lists of 150,000 objects of one KiB: how long they take, and what memory they take in the server.

use anyhow::Result;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use crate::cluster::Cluster;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const COUNT: usize = 150_000;
/// What is stored beside names and times, so that an object has a KiB.
const FILL_BYTES: usize = 768;
const ROUNDS: usize = 3;
/// Names of forms, parameters, and what the client accepts.
const FORMS: [(&str, &str, &str); 8] = [
    ("JSON", "", "application/json"),
    ("from the cache", "?resourceVersion=0", "application/json"),
    ("page of 500", "?limit=500", "application/json"),
    ("metadata", "", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
    ("table", "", "application/json;as=Table;g=meta.k8s.io;v=v1"),
    ("protobuf", "", "application/vnd.kubernetes.protobuf"),
    ("indented", "?pretty=true", "application/json"),
    ("YAML", "", "application/yaml"),
];

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&["--disable", "node,scheduler,controllers"])?;
    let api = cluster.connect().await?;
    let begun = Instant::now();
    let posts = futures_util::stream::iter(0..COUNT).map(|number| api.post(CONFIG_MAPS, object(number)));
    let mut posts = posts.buffer_unordered(64);
    while let Some(made) = posts.next().await {
        made?;
    }
    println!("{COUNT} objects made, {:.0}/s", COUNT as f64 / begun.elapsed().as_secs_f64());
    for (name, query, accept) in FORMS {
        let (before, _) = cluster.memory()?;
        for round in 1..=ROUNDS {
            let begun = Instant::now();
            let (first, size) = api.skim(&format!("{CONFIG_MAPS}{query}"), accept).await?;
            let (seconds, (now, peak)) = (begun.elapsed().as_secs_f64(), cluster.memory()?);
            println!(
                "{name:15} {round}  {:7.1} MB in {:6.0} ms, first byte {:5.1} ms   RSS {before:.0} MiB, peak {peak:.0}, after {now:.0}",
                size as f64 / 1e6,
                seconds * 1000.0,
                first.as_secs_f64() * 1000.0
            );
        }
    }
    Ok(())
}

fn object(number: usize) -> bytes::Bytes {
    let fill = format!("{number:08}").repeat(FILL_BYTES / 8);
    json!({"metadata": {"name": format!("object-{number:06}"), "labels": {"app": "large"}}, "data": {"fill": fill}})
        .to_string()
        .into()
}
