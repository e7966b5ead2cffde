//! The proxy.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::world::*;

fn bridge_filter(on: bool) -> bool {
    let path = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    std::fs::write(path, if on { "1" } else { "0" }).is_ok() || !on
}

async fn reach_services() {
    let world = World::new().await;
    let (a, b) = (world.pod("a", &[]).await, world.pod("b", &[]).await);
    let (from, to) = (a.address.to_string(), format!("{}:{PORT}", b.address));
    assert_eq!(fetch(&a.namespace, &to).expect("pod to pod"), ("b".into(), from.clone()));
    assert_eq!(fetch_here(&to).expect("node to pod").0, "b");
    world.sync(&[web()], &[slice_of("web", &[&b])]).await;
    assert_eq!(fetch(&a.namespace, "10.43.0.10:80").expect("pod to service"), ("b".into(), from));
    // A pod that reaches itself sees the node.
    assert_eq!(fetch(&b.namespace, "10.43.0.10:80").expect("pod to itself"), ("b".into(), "10.42.0.1".into()));
    assert_eq!(fetch_here("10.43.0.10:80").expect("node to service").0, "b");
    for address in ["127.0.0.1:30080", "10.42.0.1:30080"] {
        assert_eq!(fetch_here(address).expect(address), ("b".into(), "10.42.0.1".into()));
    }
    for pod in [&a, &b] {
        assert_eq!(fetch(&pod.namespace, "10.42.0.1:30080").expect("pod to node port").0, "b");
        assert_eq!(ask(&inside(&pod.namespace, || udp_to("10.43.0.10:80"))).expect("udp").0, "b");
    }
    assert_eq!(ask(&udp_to("127.0.0.1:30080")).expect("udp node port").0, "b");
    if let Some(text) = nft_list("skiff-services") {
        assert!(text.contains("10.43.0.10 . tcp . 80"), "{text}");
    }
    nft_list("skiff-pods");
}

#[test]
fn services_are_reached_without_bridge_netfilter() {
    in_private_network(|| async {
        bridge_filter(false);
        reach_services().await;
    });
}

#[test]
fn services_are_reached_with_bridge_netfilter() {
    in_private_network(|| async {
        if bridge_filter(true) {
            reach_services().await;
        } else {
            println!("this kernel has no br_netfilter");
        }
    });
}

#[test]
fn connections_spread_evenly() {
    in_private_network(|| async {
        let world = World::new().await;
        let pods = [world.pod("a", &[]).await, world.pod("b", &[]).await, world.pod("c", &[]).await];
        let list: Vec<&Pod> = pods.iter().collect();
        world.sync(&[web()], &[slice_of("web", &list)]).await;
        for address in ["10.43.0.10:80", "127.0.0.1:30080"] {
            let mut counts: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..300 {
                *counts.entry(fetch_here(address).expect("an answer").0).or_default() += 1;
            }
            // 100 expected each, standard deviation 8.
            assert!(counts.len() == 3 && counts.values().all(|count| (55..=145).contains(count)), "{counts:?}");
        }
        let sticky = json!({"clusterIP": "10.43.0.11", "ports": ports(), "sessionAffinity": "ClientIP"});
        world.sync(&[service("sticky", sticky)], &[slice_of("sticky", &list)]).await;
        let first = fetch_here("10.43.0.11:80").expect("an answer").0;
        for _ in 0..20 {
            assert_eq!(fetch_here("10.43.0.11:80").expect("an answer").0, first);
        }
    });
}

#[test]
fn services_without_endpoints_refuse_at_once() {
    in_private_network(|| async {
        let world = World::new().await;
        let pod = world.pod("a", &[]).await;
        world.sync(&[web()], &[]).await;
        for address in ["10.43.0.10:80", "10.43.0.10:81", "127.0.0.1:30080", "10.42.0.1:30080"] {
            assert_eq!(fetch_here(address).expect_err(address).kind(), ErrorKind::ConnectionRefused, "{address}");
        }
        for address in ["10.43.0.10:80", "10.43.0.10:81", "10.42.0.1:30080"] {
            let error = fetch(&pod.namespace, address).expect_err(address);
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address}");
        }
        assert!(ask(&inside(&pod.namespace, || udp_to("10.43.0.10:80"))).is_err());
        world.sync(&[web()], &[slice_of("web", &[&pod])]).await;
        assert_eq!(fetch_here("10.43.0.10:80").expect("an answer").0, "a");
    });
}

#[test]
fn udp_flows_leave_endpoints_that_go() {
    in_private_network(|| async {
        let world = World::new().await;
        let (a, b) = (world.pod("a", &[]).await, world.pod("b", &[]).await);
        world.sync(&[web()], &[slice_of("web", &[&a])]).await;
        let sockets =
            [udp_to("10.43.0.10:80"), udp_to("127.0.0.1:30080"), inside(&b.namespace, || udp_to("10.43.0.10:80"))];
        for socket in &sockets {
            assert_eq!(ask(socket).expect("an answer").0, "a");
        }
        let report = world.proxy.sync(&[web()], &[slice_of("web", &[&b])]).await.expect("rules");
        assert_eq!(report.flows_deleted, 3);
        for socket in &sockets {
            assert_eq!(ask(socket).expect("an answer").0, "b");
        }
    });
}

#[test]
fn traffic_from_outside_follows_its_policy() {
    in_private_network(|| async {
        let client = outside();
        let world = World::new().await;
        let pod = world.pod("a", &[]).await;
        assert_eq!(
            fetch(&pod.namespace, &format!("192.0.2.2:{PORT}")).expect("out"),
            ("outside".into(), "192.0.2.1".into())
        );
        let spec = |policy: &str| {
            json!({"clusterIP": "10.43.0.10", "ports": ports(), "type": "NodePort",
                "externalIPs": ["198.51.100.7"], "externalTrafficPolicy": policy})
        };
        let mine = [slice_of("web", &[&pod])];
        for (policy, seen) in [("Cluster", "10.42.0.1"), ("Local", "192.0.2.2")] {
            world.sync(&[service("web", spec(policy))], &mine).await;
            for address in ["192.0.2.1:30080", "198.51.100.7:80"] {
                assert_eq!(fetch(&client, address).expect(address), ("a".into(), seen.into()), "{policy} {address}");
            }
            assert_eq!(fetch_here("127.0.0.1:30080").expect("loopback").0, "a");
            assert_eq!(fetch(&pod.namespace, "198.51.100.7:80").expect("pod to external").0, "a");
        }
        // Through this node to a cluster address: the answer must come back through it.
        assert_eq!(fetch(&client, "10.43.0.10:80").expect("routed"), ("a".into(), "10.42.0.1".into()));
        let guarded = json!({"clusterIP": "10.43.0.10", "ports": ports(), "type": "LoadBalancer",
            "loadBalancerSourceRanges": ["203.0.113.0/24"]});
        let mut balancer = (*service("web", guarded)).clone();
        balancer.status = serde_json::from_value(json!({"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}]}})).ok();
        world.sync(&[Arc::new(balancer.clone())], &mine).await;
        let dropped = inside(&client, || {
            std::net::TcpStream::connect_timeout(
                &"198.51.100.9:80".parse().expect("an address"),
                std::time::Duration::from_millis(300),
            )
        });
        assert_eq!(dropped.expect_err("dropped").kind(), ErrorKind::TimedOut);
        if let Some(spec) = &mut balancer.spec {
            spec.load_balancer_source_ranges = Some(vec!["203.0.113.0/24".into(), "192.0.2.0/24".into()]);
        }
        world.sync(&[Arc::new(balancer)], &mine).await;
        assert_eq!(fetch(&client, "198.51.100.9:80").expect("allowed").0, "a");
    });
}

#[test]
fn no_connection_fails_while_endpoints_change() {
    in_private_network(|| async {
        let world = World::new().await;
        let pods = [world.pod("a", &[]).await, world.pod("b", &[]).await, world.pod("c", &[]).await];
        let [a, b, c] = [&pods[0], &pods[1], &pods[2]];
        world.sync(&[web()], &[slice_of("web", &[a])]).await;
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let client = world.pod("client", &[]).await;
        let sets: [&[&Pod]; 6] = [&[a, b, c], &[b], &[b, c], &[c, a], &[a], &[a, b]];
        let runtime = tokio::runtime::Handle::current();
        std::thread::scope(|scope| {
            let load = |from: Option<&'static str>| {
                let (stop, done, client) = (&stop, &done, &client);
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        let answer = match from {
                            Some(_) => inside(&client.namespace, || fetch_here("10.43.0.10:80")),
                            None => fetch_here("10.43.0.10:80").and_then(|_| fetch_here("127.0.0.1:30080")),
                        };
                        answer.expect("no connection fails");
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            };
            let workers = [scope.spawn(load(None)), scope.spawn(load(Some("pod")))];
            let change = scope.spawn(|| {
                for round in 0..300 {
                    let set = slice_of("web", sets[round % sets.len()]);
                    runtime.block_on(world.sync(&[web()], &[set]));
                    if round % 50 == 49 {
                        // The table made anew under load, as a restart of the proxy does it.
                        let again = network::Proxy::new(proxy_config()).expect("a proxy");
                        let set = slice_of("web", sets[round % sets.len()]);
                        runtime.block_on(again.sync(&[web()], &[set])).expect("rules");
                    }
                }
            });
            let changed = change.join();
            stop.store(true, Ordering::Relaxed);
            workers.into_iter().for_each(|worker| worker.join().expect("a worker without failures"));
            changed.expect("changes without failures");
        });
        println!("{} exchanges during 300 changes", done.load(Ordering::Relaxed));
        assert!(done.load(Ordering::Relaxed) > 100);
    });
}

fn proxy_config() -> network::ProxyConfig {
    let mut config = network::ProxyConfig::new("here");
    config.cluster_cidr = Some("10.42.0.0/16".parse().expect("a range"));
    config.service_cidr = Some("10.43.0.0/16".parse().expect("a range"));
    config
}

#[test]
fn a_thousand_services_load_and_one_changes() {
    in_private_network(|| async {
        let world = World::new().await;
        let pod = world.pod("a", &[]).await;
        let mut services = Vec::new();
        let mut slices = Vec::new();
        for i in 0..1000 {
            let name = format!("s{i}");
            let address = format!("10.43.{}.{}", 1 + i / 250, 1 + i % 250);
            services.push(service(&name, json!({"clusterIP": address, "ports": [{"name": "tcp", "port": 80}]})));
            let others = (2..=3).map(|j| format!("10.42.{j}.9"));
            slices.push(slice(&name, &std::iter::once(pod.address.to_string()).chain(others).collect::<Vec<_>>()));
        }
        let start = tokio::time::Instant::now();
        world.sync(&services, &slices).await;
        println!("1,000 services: {:?}", start.elapsed());
        slices[500] = slice("s500", &[pod.address.to_string()]);
        let start = tokio::time::Instant::now();
        let report = world.proxy.sync(&services, &slices).await.expect("rules");
        println!("one changed: {:?}, {report:?}", start.elapsed());
        assert_eq!((report.added, report.rebuilt), (1, false));
        assert_eq!(fetch_here("10.43.3.1:80").expect("an answer").0, "a");
        services.truncate(10);
        world.sync(&services, &slices).await;
        assert!(!world.proxy.repair(false).await.expect("a check"));
    });
}

#[test]
fn the_table_is_repaired_and_removed() {
    in_private_network(|| async {
        let world = World::new().await;
        let pod = world.pod("a", &[]).await;
        world.sync(&[web()], &[slice_of("web", &[&pod])]).await;
        let other = network::Proxy::new(proxy_config()).expect("a proxy");
        // A proxy that starts leaves the table of its earlier life alone until it knows better.
        assert_eq!(fetch_here("10.43.0.10:80").expect("an answer").0, "a");
        other.cleanup().await.expect("removed");
        other.cleanup().await.expect("removed again");
        assert!(fetch_here("10.43.0.10:80").is_err());
        assert!(world.proxy.repair(false).await.expect("repaired"));
        assert_eq!(fetch_here("10.43.0.10:80").expect("an answer").0, "a");
        // An incremental change on a table that is gone fails, and the next sync makes it anew.
        other.cleanup().await.expect("removed");
        let empty = slice("web", &[]);
        world.proxy.sync(&[web()], std::slice::from_ref(&empty)).await.expect_err("no table");
        assert!(world.proxy.sync(&[web()], &[empty]).await.expect("rules").rebuilt);
        assert_eq!(fetch_here("10.43.0.10:80").expect_err("refused").kind(), ErrorKind::ConnectionRefused);
    });
}
