//! From starting the program to a ready API, node and default service account, and how large the program is.

use anyhow::Result;

use crate::cluster::Cluster;
use crate::figures::Times;

const ROUNDS: usize = 20;

pub async fn run() -> Result<()> {
    let (mut ready, mut account, mut node) = (Times::default(), Times::default(), Times::default());
    for _ in 0..ROUNDS {
        let cluster = Cluster::start(&[])?;
        let api = cluster.connect().await?;
        ready.add(cluster.started.elapsed());
        cluster.until(&api, "/api/v1/namespaces/default/serviceaccounts/default", |_| true).await?;
        account.add(cluster.started.elapsed());
        cluster.node(&api).await?;
        node.add(cluster.started.elapsed());
    }
    println!("exec to /readyz            {}", ready.tell());
    println!("exec to service account    {}", account.tell());
    println!("exec to node Ready         {}", node.tell());
    Ok(())
}
