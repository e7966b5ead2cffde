//! How long the pipeline takes: `cargo nextest run -p apiserver --release --run-ignored only speed --no-capture`.

use super::{Ask, cluster, config_map, pod};
use crate::flow;

#[tokio::test]
#[ignore = "measures, and proves nothing"]
async fn speed() {
    const COUNT: u32 = 5000;
    let cluster = cluster().await;
    let start = tokio::time::Instant::now();
    for i in 0..COUNT {
        cluster.ask(&config_map(&format!("c{i}"))).await.unwrap();
    }
    let creates = start.elapsed() / COUNT;
    let start = tokio::time::Instant::now();
    for i in 0..COUNT {
        cluster.ask(&pod(&format!("p{i}"))).await.unwrap();
    }
    let pods = start.elapsed() / COUNT;
    let start = tokio::time::Instant::now();
    for i in 0..COUNT {
        cluster.ask(&Ask::new("get", "v1", "pods").name(&format!("p{i}"))).await.unwrap();
    }
    let gets = start.elapsed() / COUNT;
    let start = tokio::time::Instant::now();
    let list = cluster.list(Ask::new("list", "v1", "pods")).await.unwrap();
    let lists = start.elapsed();
    let places = [("admin", "system:masters"), ("system:serviceaccount:kube-system:x", "system:serviceaccounts")];
    for (name, group) in places {
        let user = client::User::component(name, &[group]);
        let digest = flow::Digest {
            user: &user,
            verb: "get",
            group: "",
            resource: "pods",
            subresource: "",
            namespace: "default",
            name: "p1",
            path: "",
            list: flow::ListWork::default(),
        };
        let start = tokio::time::Instant::now();
        for _ in 0..100_000 {
            drop(cluster.pipeline.enter(&digest, flow::WAIT_MAX).await.unwrap());
        }
        println!("a place in flow control for {name}: {:?}", start.elapsed() / 100_000);
    }
    println!("create {creates:?}, pod {pods:?}, get {gets:?}, list of {} {lists:?}", list.items.len());
}
