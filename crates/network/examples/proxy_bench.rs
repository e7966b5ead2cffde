//! How long the proxy takes to load services and to add one. Run as root: it works in a network namespace of its own.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::{Proxy, ProxyConfig};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use tokio::time::Instant;

fn objects(index: usize) -> (Arc<Service>, Arc<EndpointSlice>) {
    let name = format!("s{index}");
    let address = format!("10.{}.{}.{}", 64 + index / 62_500, index / 250 % 250, 1 + index % 250);
    let service = json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    let endpoints: Vec<_> = (1..=3).map(|i| json!({"addresses": [format!("10.42.{i}.{}", 1 + index % 250)]})).collect();
    let slice = json!({"metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"port": 8080}], "endpoints": endpoints});
    let service = serde_json::from_value(service).expect("a Service");
    (Arc::new(service), Arc::new(serde_json::from_value(slice).expect("an EndpointSlice")))
}

#[allow(clippy::print_stdout, reason = "a benchmark prints")]
fn main() {
    unshare(CloneFlags::CLONE_NEWNET).expect("run this as root");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        println!("{:>9} {:>10} {:>12} {:>14} {:>10}", "services", "load, ms", "add one, ms", "nothing, ms", "anew, ms");
        for count in [1_000, 10_000, 30_000] {
            let proxy = Proxy::new(ProxyConfig::new("here")).expect("a proxy");
            let (mut services, mut slices): (Vec<_>, Vec<_>) = (0..count).map(objects).unzip();
            let mut times = Vec::new();
            for step in 0..4 {
                if step == 1 {
                    let (service, slice) = objects(count);
                    services.push(service);
                    slices.push(slice);
                }
                let start = Instant::now();
                if step == 3 {
                    Proxy::new(ProxyConfig::new("here"))
                        .expect("a proxy")
                        .sync(&services, &slices)
                        .await
                        .expect("rules");
                } else {
                    proxy.sync(&services, &slices).await.expect("rules");
                }
                times.push(start.elapsed().as_secs_f64() * 1000.0);
            }
            println!("{count:>9} {:>10.1} {:>12.2} {:>14.2} {:>10.1}", times[0], times[1], times[2], times[3]);
            proxy.cleanup().await.expect("removed");
        }
    });
}
