//! Tests of the pure rules and their differences.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::proxy::chain::LOCAL_SLOTS_START;
use crate::proxy::diff::{Diff, diff};

pub fn node() -> NodeFacts {
    NodeFacts { name: "here".to_owned(), zone: Some("a".to_owned()) }
}

pub fn service(name: &str, address: &str, ports: Json) -> Arc<Service> {
    service_with(name, json!({"clusterIP": address, "clusterIPs": [address], "ports": ports}))
}

fn service_with(name: &str, spec: Json) -> Arc<Service> {
    let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.9"}, {"ip": "198.51.100.10", "ipMode": "Proxy"}]}}});
    Arc::new(serde_json::from_value(object).expect("a Service"))
}

/// A slice with these endpoints: an address, then flags: `-` not ready, `t` terminating, `s` serving, `h` on this node.
pub fn endpoints(service: &str, name: &str, protocol: &str, port: u16, list: &[&str]) -> Arc<EndpointSlice> {
    let endpoints: Vec<Json> = list
        .iter()
        .map(|text| {
            let (address, flags) = text.split_once(' ').unwrap_or((text, ""));
            json!({"addresses": [address], "nodeName": if flags.contains('h') { "here" } else { "there" },
                "conditions": {"ready": !flags.contains('-'), "serving": flags.contains('s') || !flags.contains('-'),
                    "terminating": flags.contains('t')}})
        })
        .collect();
    slice(service, json!([{"name": name, "protocol": protocol, "port": port}]), json!(endpoints))
}

fn slice(service: &str, ports: Json, endpoints: Json) -> Arc<EndpointSlice> {
    Arc::new(
        serde_json::from_value(json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints,
            "metadata": {"name": "s", "namespace": "default", "labels": {"kubernetes.io/service-name": service}}}))
        .expect("an EndpointSlice"),
    )
}

/// The elements as short text, in order.
fn text(rules: &RuleSet) -> Vec<String> {
    let frontend = |f: &Frontend| format!("{}:{}/{}", f.address, f.port, f.protocol);
    let key = |key: &Key| match key {
        Key::Service(f) => frontend(f),
        Key::NodePort(f) => format!("port {}/{}", f.port, f.protocol),
        Key::Endpoint(f, slot) => format!("{} #{slot}", frontend(f)),
        Key::Refused(f) => format!("refused {}", frontend(f)),
        Key::RefusedNodePort(f) => format!("refused port {}", f.port),
        Key::ClusterAddress(address) => format!("address {address}"),
    };
    let value = |value: &Value| match value {
        Value::Goto(chain) => chain.name(),
        Value::To(target) => format!("{}:{}", target.address, target.port),
        other => format!("{other:?}").to_lowercase(),
    };
    rules.elements().map(|(k, v)| format!("{} = {}", key(k), value(v))).collect()
}

fn made(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    text(&rules(None, services, slices, &node()))
}

const WEB: &str = "10.43.0.10";

fn web_with(extra: Json) -> Arc<Service> {
    let mut spec = json!({"clusterIP": WEB, "ports": [{"port": 80}]});
    let Json::Object(fields) = extra else { panic!("an object") };
    spec.as_object_mut().expect("an object").extend(fields);
    service_with("web", spec)
}

#[test]
fn a_cluster_address_leads_to_ready_endpoints() {
    let slices = [endpoints("web", "", "TCP", 8080, &["10.42.0.3", "10.42.0.2", "10.42.0.9 -"])];
    assert_eq!(
        made(&[web_with(json!({}))], &slices),
        [
            "10.43.0.10:80/TCP = pick-2",
            "10.43.0.10:80/TCP #0 = 10.42.0.2:8080",
            "10.43.0.10:80/TCP #1 = 10.42.0.3:8080",
            "address 10.43.0.10 = present",
        ]
    );
}

#[test]
fn readiness_follows_kep_1669() {
    let cases: [(&[&str], &[&str]); 5] = [
        (&["10.42.0.2 -ts", "10.42.0.3"], &["10.42.0.3:8080"]),
        (&["10.42.0.2 -ts", "10.42.0.3 -"], &["10.42.0.2:8080"]),
        (&["10.42.0.2 -t"], &[]),
        (&["10.42.0.2 -s"], &[]),
        (&["10.42.0.2 t"], &["10.42.0.2:8080"]),
    ];
    for (list, expected) in cases {
        let all = made(&[web_with(json!({}))], &[endpoints("web", "", "TCP", 8080, list)]);
        let targets: Vec<&str> =
            all.iter().filter(|line| line.contains('#')).filter_map(|l| Some(l.split_once(" = ")?.1)).collect();
        assert_eq!(targets, expected, "{list:?}");
        assert_eq!(all.contains(&"refused 10.43.0.10:80/TCP = reject".to_owned()), expected.is_empty());
    }
}

#[test]
fn what_needs_no_proxy_is_ignored() {
    let mut other = (*web_with(json!({}))).clone();
    other.metadata.labels = Some(BTreeMap::from([(OTHER_PROXY_LABEL.to_owned(), "x".to_owned())]));
    let services = [
        service_with("headless", json!({"clusterIP": "None", "ports": [{"port": 80}]})),
        service_with("alias", json!({"type": "ExternalName", "externalName": "example.com"})),
        service_with("new", json!({"ports": [{"port": 80}]})),
        service_with("six", json!({"clusterIP": "fd00::1", "ports": [{"port": 80}]})),
        Arc::new(other),
    ];
    assert_eq!(made(&services, &[]), Vec::<String>::new());
}

#[test]
fn outside_traffic_by_policy() {
    let list = [endpoints("web", "", "TCP", 8080, &["10.42.0.2 h", "10.42.1.2"])];
    let ports = json!([{"port": 80, "nodePort": 30080}]);
    let cluster = made(&[web_with(json!({"ports": ports, "externalIPs": ["192.0.2.7"]}))], &list);
    for line in ["port 30080/TCP = external-pick-2-port", "192.0.2.7:80/TCP = external-pick-2"] {
        assert!(cluster.contains(&line.to_owned()), "{line} in {cluster:#?}");
    }
    let local = made(&[web_with(json!({"ports": ports, "externalTrafficPolicy": "Local"}))], &list);
    let slot = format!("0.0.0.0:30080/TCP #{LOCAL_SLOTS_START} = 10.42.0.2:8080");
    for line in ["port 30080/TCP = edge-pick-2-port-pick-1-local-port", &slot] {
        assert!(local.contains(&line.to_owned()), "{line} in {local:#?}");
    }
    let away = [endpoints("web", "", "TCP", 8080, &["10.42.1.2"])];
    let none = made(&[web_with(json!({"ports": ports, "externalTrafficPolicy": "Local"}))], &away);
    assert!(none.contains(&"port 30080/TCP = edge-pick-1-port-none".to_owned()));
    let refused = made(&[web_with(json!({"ports": ports}))], &[]);
    assert!(refused.contains(&"refused port 30080 = reject".to_owned()));
}

#[test]
fn inside_traffic_by_policy() {
    let local = json!({"internalTrafficPolicy": "Local"});
    let both = [endpoints("web", "", "TCP", 8080, &["10.42.0.2 h", "10.42.1.2"])];
    assert!(made(&[web_with(local.clone())], &both).contains(&"10.43.0.10:80/TCP = pick-1".to_owned()));
    let away = [endpoints("web", "", "TCP", 8080, &["10.42.1.2"])];
    let dropped = made(&[web_with(local.clone())], &away);
    assert!(dropped.contains(&"refused 10.43.0.10:80/TCP = drop".to_owned()));
    assert!(made(&[web_with(local)], &[]).contains(&"refused 10.43.0.10:80/TCP = reject".to_owned()));
}

#[test]
fn load_balancers_have_addresses_and_source_ranges() {
    let list = [endpoints("web", "", "TCP", 8080, &["10.42.0.2"])];
    let open = made(&[web_with(json!({"type": "LoadBalancer"}))], &list);
    assert!(open.contains(&"198.51.100.9:80/TCP = external-pick-1".to_owned()));
    assert!(!open.iter().any(|line| line.contains("198.51.100.10")));
    let guarded = made(&[web_with(json!({"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.0/8"]}))], &list);
    let line = guarded.iter().find(|line| line.starts_with("198.51.100.9:80/TCP =")).expect("an address");
    assert!(line.contains("= firewall-") && line.ends_with("-external-pick-1"), "{line}");
}

#[test]
fn hints_narrow_to_the_node_then_the_zone() {
    let hinted = |hints: [Json; 3]| {
        let endpoints: Vec<Json> = hints
            .into_iter()
            .enumerate()
            .map(|(i, hint)| json!({"addresses": [format!("10.42.0.{i}")], "hints": hint, "conditions": {}}))
            .collect();
        made(&[web_with(json!({}))], &[slice("web", json!([{"port": 8080}]), json!(endpoints))])
            .iter()
            .filter(|line| line.contains('#'))
            .count()
    };
    let zone = |zone: &str| json!({"forZones": [{"name": zone}]});
    let place = |zone: &str, node: &str| json!({"forZones": [{"name": zone}], "forNodes": [{"name": node}]});
    assert_eq!(hinted([zone("a"), zone("b"), zone("a")]), 2);
    assert_eq!(hinted([zone("b"), zone("b"), zone("c")]), 3);
    assert_eq!(hinted([zone("a"), zone("b"), json!(null)]), 3);
    assert_eq!(hinted([place("a", "here"), place("a", "x"), place("b", "y")]), 1);
    assert_eq!(hinted([place("a", "z"), place("a", "x"), place("b", "y")]), 2);
}

#[test]
fn affinity_spreads_evenly_and_moves_few_clients() {
    let targets: Vec<Target> = (1..=5u8).map(|i| Target { address: [10, 42, 0, i].into(), port: 80 }).collect();
    let all = sticky_slots(&targets);
    for target in &targets {
        let count = all.iter().filter(|slot| *slot == target).count();
        assert!((10..=15).contains(&count), "{count} of 61");
    }
    let fewer = sticky_slots(&targets[..4]);
    let moved = all.iter().zip(&fewer).filter(|(a, b)| a != b && **a != targets[4]).count();
    assert!(moved <= 12, "{moved} of 61 moved without need");
    assert_eq!(sticky_slots(&targets[..1]), &targets[..1]);
}

#[test]
fn the_first_of_two_services_has_a_shared_address() {
    let shared = |name: &str, address: &str| {
        service_with(name, json!({"clusterIP": address, "externalIPs": ["192.0.2.7"], "ports": [{"port": 80}]}))
    };
    let (a, b) = (shared("a", "10.43.0.1"), shared("b", "10.43.0.2"));
    let slices = [endpoints("a", "", "TCP", 1, &["10.42.0.1"]), endpoints("b", "", "TCP", 2, &["10.42.0.2"])];
    let both = rules(None, &[b.clone(), a.clone()], &slices, &node());
    assert!(text(&both).contains(&"192.0.2.7:80/TCP #0 = 10.42.0.1:1".to_owned()));
    let only_b = rules(Some(&both), &[b], &slices, &node());
    assert!(text(&only_b).contains(&"192.0.2.7:80/TCP #0 = 10.42.0.2:2".to_owned()));
    applies(&both, &only_b);
}

/// Applies the difference to the old elements and chains as the kernel would, and demands the new ones.
fn applies(old: &RuleSet, new: &RuleSet) -> Diff {
    let change = diff(old, new);
    let mut elements: BTreeMap<Key, Value> = old.elements().map(|(k, v)| (*k, v.clone())).collect();
    let mut chains: BTreeSet<Chain> = old.chains().clone();
    for key in &change.removed {
        assert!(elements.remove(key).is_some(), "{key:?} was not there");
    }
    for chain in &change.chains_added {
        assert!(chain.next().iter().all(|next| chains.contains(next)), "{chain:?} comes before what it leads to");
        assert!(chains.insert(chain.clone()));
    }
    for (key, value) in &change.added {
        assert!(elements.insert(*key, value.clone()).is_none(), "{key:?} twice");
        if let Value::Goto(chain) = value {
            assert!(chains.contains(chain));
        }
    }
    for chain in &change.chains_removed {
        assert!(!elements.values().any(|v| *v == Value::Goto(chain.clone())), "{chain:?} is in use");
        chains.remove(chain);
        assert!(!chains.iter().any(|other| other.next().contains(chain)), "{chain:?} is led to");
    }
    assert_eq!(elements, new.elements().map(|(k, v)| (*k, v.clone())).collect());
    assert_eq!(chains, *new.chains());
    change
}

fn any_cluster() -> impl Strategy<Value = (Vec<Arc<Service>>, Vec<Arc<EndpointSlice>>)> {
    let one = (0..4u8, 0..5usize, 0..3usize, any::<[bool; 6]>());
    proptest::collection::vec(one, 0..5).prop_map(|all| {
        let mut services = Vec::new();
        let mut slices = Vec::new();
        let mut seen = BTreeSet::new();
        for (id, count, local, flags) in all.into_iter().filter(|(id, ..)| seen.insert(*id)) {
            let pick = |on: bool, yes: &str, no: &str| if on { yes.to_owned() } else { no.to_owned() };
            let name = format!("s{id}");
            let mut port = json!({"port": 80 + u16::from(flags[0])});
            if flags[1] {
                port["nodePort"] = json!(30000 + u16::from(id / 2));
            }
            services.push(service_with(
                &name,
                json!({
                    "clusterIP": format!("10.43.0.{id}"), "ports": [port],
                    "externalIPs": if flags[2] { json!(["192.0.2.7"]) } else { json!([]) },
                    "externalTrafficPolicy": pick(flags[3], "Local", "Cluster"),
                    "sessionAffinity": pick(flags[4], "ClientIP", "None"),
                    "type": pick(flags[5], "LoadBalancer", "ClusterIP"),
                    "loadBalancerSourceRanges": if flags[0] { json!(["10.0.0.0/8"]) } else { json!([]) },
                }),
            ));
            let list: Vec<String> =
                (0..count).map(|i| format!("10.42.{id}.{i}{}", if i < local { " h" } else { "" })).collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            slices.push(endpoints(&name, "", "TCP", 8080, &list));
        }
        (services, slices)
    })
}

proptest! {
    #[test]
    fn a_difference_leads_from_any_state_to_any_other(before in any_cluster(), after in any_cluster()) {
        let old = rules(None, &before.0, &before.1, &node());
        let new = rules(Some(&old), &after.0, &after.1, &node());
        applies(&RuleSet::default(), &old);
        applies(&old, &new);
        let again = rules(Some(&new), &after.0, &after.1, &node());
        prop_assert!(diff(&new, &again).is_empty());
        prop_assert_eq!(text(&new), text(&rules(None, &after.0, &after.1, &node())));
    }
}

#[test]
fn unchanged_services_are_not_planned_again() {
    let services: Vec<_> =
        (0..50).map(|i| service(&format!("s{i}"), &format!("10.43.0.{i}"), json!([{"port": 80}]))).collect();
    let mut slices: Vec<_> = (0..50).map(|i| endpoints(&format!("s{i}"), "", "TCP", 80, &["10.42.0.2"])).collect();
    let old = rules(None, &services, &slices, &node());
    slices[7] = endpoints("s7", "", "TCP", 80, &["10.42.0.2", "10.42.0.3"]);
    let new = rules(Some(&old), &services, &slices, &node());
    let reused = old.services().zip(new.services()).filter(|((_, a), (_, b))| Arc::ptr_eq(a, b)).count();
    assert_eq!(reused, 49);
    let change = applies(&old, &new);
    assert_eq!((change.removed.len(), change.added.len()), (1, 2));
}
