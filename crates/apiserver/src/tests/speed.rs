//! How long the pipeline takes: `cargo nextest run -p apiserver --release --run-ignored only speed --no-capture`.

use super::{Ask, cluster, config_map, pod};

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
    println!("create {creates:?}, pod {pods:?}, get {gets:?}, list of {} {:?}", list.items.len(), start.elapsed());
}
