//! The pod network.

use std::fs;
use std::io::ErrorKind;

use network::{HostPort, NetworkError, PodAttachment, PodNetwork, Protocol};

use crate::world::*;

fn host_port(protocol: Protocol, port: u16, ip: Option<&str>) -> HostPort {
    let host_ip = ip.map(|ip| ip.parse().expect("an address"));
    HostPort { protocol, host_port: port, container_port: PORT, host_ip }
}

#[test]
fn host_ports_lead_to_their_pod() {
    in_private_network(|| async {
        let client = outside();
        let world = World::new().await;
        let ports = [
            host_port(Protocol::Tcp, 8081, None),
            host_port(Protocol::Udp, 8081, None),
            host_port(Protocol::Tcp, 8082, Some("192.0.2.1")),
        ];
        let pod = world.pod("a", &ports).await;
        let other = world.pod("b", &[]).await;
        for address in ["127.0.0.1:8081", "10.42.0.1:8081", "192.0.2.1:8081", "192.0.2.1:8082"] {
            assert_eq!(fetch_here(address).expect(address).0, "a");
        }
        assert_eq!(fetch_here("127.0.0.1:8082").expect_err("other address").kind(), ErrorKind::ConnectionRefused);
        assert_eq!(fetch(&client, "192.0.2.1:8081").expect("outside"), ("a".into(), "192.0.2.2".into()));
        assert_eq!(fetch(&other.namespace, "192.0.2.1:8081").expect("pod"), ("a".into(), other.address.to_string()));
        assert_eq!(fetch(&pod.namespace, "192.0.2.1:8081").expect("itself"), ("a".into(), "10.42.0.1".into()));
        assert_eq!(ask(&udp_to("127.0.0.1:8081")).expect("udp").0, "a");

        let namespace = new_namespace();
        let path = path_of(&namespace);
        let second = PodAttachment {
            sandbox_id: "c",
            namespace: "default",
            name: "c",
            netns: &path,
            host_ports: &[host_port(Protocol::Tcp, 8081, None)],
        };
        let error = world.network.setup(second.clone()).await.expect_err("taken");
        assert_eq!(error.to_string(), "host port 8081/TCP is taken by pod default/a");
        world.network.teardown("a").await.expect("torn down");
        world.network.teardown("a").await.expect("torn down again");
        assert_eq!(fetch_here("127.0.0.1:8081").expect_err("closed").kind(), ErrorKind::ConnectionRefused);
        world.network.setup(second).await.expect("free now");
    });
}

#[test]
fn a_new_life_knows_the_pods() {
    in_private_network(|| async {
        let world = World::new().await;
        let a = world.pod("a", &[host_port(Protocol::Tcp, 8081, None)]).await;
        let b = world.pod("b", &[]).await;
        let again = PodNetwork::new(config(&world.state)).await.expect("the same network");
        assert_eq!(again.addresses("a"), [a.address]);
        assert_eq!(fetch_here("127.0.0.1:8081").expect("still open").0, "a");
        assert_eq!(fetch(&a.namespace, &format!("{}:{PORT}", b.address)).expect("still connected").0, "b");
        let path = path_of(&a.namespace);
        let attachment =
            PodAttachment { sandbox_id: "a", namespace: "default", name: "a", netns: &path, host_ports: &[] };
        assert_eq!(again.setup(attachment).await.expect("known"), [a.address]);

        // Someone flushes the tables, and one sandbox is gone.
        world.proxy.sync(&[], &[]).await.expect("rules");
        std::process::Command::new("nft").args(["flush", "ruleset"]).status().ok();
        assert_eq!(again.reconcile(&["a".to_owned()]).await.expect("reconciled"), ["b"]);
        assert_eq!(fetch_here("127.0.0.1:8081").expect("repaired").0, "a");
        assert!(fs::read_dir(world.state.path().join("pods")).expect("lists").count() == 1);
        assert_eq!(
            inside(&b.namespace, || fs::read_to_string("/proc/thread-self/net/dev"))
                .expect("reads")
                .matches("eth0")
                .count(),
            0
        );

        again.cleanup().await.expect("cleaned up");
        let links = fs::read_to_string("/proc/thread-self/net/dev").expect("reads");
        assert!(!links.contains("skiff0") && !links.contains("veth"), "{links}");
        assert!(!world.state.path().join("pods").exists());
    });
}

#[test]
fn a_setup_that_was_cut_off_is_finished_or_reclaimed() {
    in_private_network(|| async {
        let world = World::new().await;
        let namespace = new_namespace();
        let path = path_of(&namespace);
        let attachment =
            PodAttachment { sandbox_id: "a", namespace: "default", name: "a", netns: &path, host_ports: &[] };
        let missing = std::path::Path::new("/nowhere/net");
        let error =
            world.network.setup(PodAttachment { netns: missing, ..attachment.clone() }).await.expect_err("no such");
        assert!(error.to_string().starts_with("open network namespace /nowhere/net: "), "{error}");
        // The address is written down: the same sandbox gets it, once it can be connected.
        let address = world.network.addresses("a")[0];
        let again = PodNetwork::new(config(&world.state)).await.expect("the same network");
        assert_eq!(again.setup(attachment.clone()).await.expect("connected"), [address]);
        // A link of no record is deleted.
        ip("link add veth0123456789a type veth peer name other");
        ip("link set veth0123456789a master skiff0");
        again.reconcile(&["a".to_owned()]).await.expect("reconciled");
        let links = fs::read_to_string("/proc/thread-self/net/dev").expect("reads");
        assert!(!links.contains("veth0123456789a"), "{links}");
        // The pod's end vanished with its namespace; the sandbox comes back with a new one.
        let fresh = new_namespace();
        let fresh_path = path_of(&fresh);
        let moved = PodAttachment { netns: &fresh_path, ..attachment };
        assert_eq!(again.setup(moved).await.expect("connected anew"), [address]);
        serve(&fresh, "fresh");
        assert_eq!(fetch_here(&format!("{address}:{PORT}")).expect("reachable").0, "fresh");
    });
}

#[test]
fn many_pods_at_once_have_addresses_of_their_own() {
    in_private_network(|| async {
        let world = World::new().await;
        let namespaces: Vec<_> = (0..50).map(|_| new_namespace()).collect();
        let start = tokio::time::Instant::now();
        let setups = namespaces.iter().enumerate().map(|(i, namespace)| {
            let (name, path, network) = (format!("p{i}"), path_of(namespace), world.network.clone());
            tokio::spawn(async move {
                let name = name.as_str();
                let pod = PodAttachment { sandbox_id: name, namespace: "default", name, netns: &path, host_ports: &[] };
                network.setup(pod).await.expect("a network")
            })
        });
        let setups: Vec<_> = setups.collect();
        let mut all = std::collections::BTreeSet::new();
        for setup in setups {
            all.extend(setup.await.expect("a task that ends well"));
        }
        println!("50 pods: {:?}", start.elapsed());
        assert_eq!(all.len(), 50);
        serve(&namespaces[49], "last");
        let last = world.network.addresses("p49")[0];
        assert_eq!(fetch(&namespaces[0], &format!("{last}:{PORT}")).expect("connected").0, "last");
        let start = tokio::time::Instant::now();
        world.network.reconcile(&[]).await.expect("reconciled");
        println!("50 pods gone: {:?}", start.elapsed());
    });
}

#[test]
fn what_cannot_work_says_so() {
    in_private_network(|| async {
        let state = tempfile::tempdir().expect("a directory");
        ip("link add skiff0 type veth peer name other");
        let error = PodNetwork::new(config(&state)).await.expect_err("no bridge");
        assert_eq!(error.to_string(), "link skiff0 is there already and is no bridge, but veth");
        ip("link del skiff0");
        let mut small = config(&state);
        small.pod_cidr = "10.42.0.0/29".parse().expect("a range");
        let network = PodNetwork::new(small).await.expect("a network");
        let namespaces: Vec<_> = (0..6).map(|_| new_namespace()).collect();
        for (i, namespace) in namespaces.iter().enumerate() {
            let (name, path) = (format!("p{i}"), path_of(namespace));
            let pod = PodAttachment { sandbox_id: &name, namespace: "d", name: &name, netns: &path, host_ports: &[] };
            match network.setup(pod).await {
                Ok(_) => assert!(i < 5),
                Err(NetworkError::AddressesExhausted { used, .. }) => assert_eq!((i, used), (5, 5)),
                Err(other) => panic!("{other}"),
            }
        }
    });
}
