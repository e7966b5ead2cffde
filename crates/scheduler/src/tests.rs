//! Pods and clusters in, nodes or reasons out.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Cluster, PodInfo};
use crate::cycle::choose;

fn cluster(nodes: &[Value]) -> Cluster {
    let mut cluster = Cluster::default();
    cluster.set_namespace("default".into(), [("team".to_owned(), "a".to_owned())].into());
    for (number, more) in nodes.iter().enumerate() {
        let mut node = json!({
            "metadata": {"name": format!("n{number}"), "labels": {"host": format!("n{number}"), "zone": format!("z{}", number / 2)}},
            "spec": {},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10", "example.com/gpu": "1"}},
        });
        merge(&mut node, more);
        cluster.set_node(Arc::new(serde_json::from_value(node).unwrap()));
    }
    cluster
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            from.iter().for_each(|(k, v)| merge(into.entry(k.clone()).or_insert(Value::Null), v));
        }
        (into, from) => *into = from.clone(),
    }
}

fn pod(name: &str, spec: &Value) -> PodInfo {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    merge(&mut pod, &json!({"spec": spec}));
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

fn asks(cpu: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]})
}

#[test]
fn reasons_are_told_in_upstreams_words() {
    let taint = json!({"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}});
    let cases = [
        (vec![], json!({}), "no nodes available to schedule pods"),
        (vec![json!({})], asks("3"), "0/1 nodes are available: 1 Insufficient cpu."),
        (
            vec![json!({}), json!({})],
            json!({"nodeSelector": {"disk": "ssd"}}),
            "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.",
        ),
        (
            vec![json!({"spec": {"unschedulable": true}}), taint.clone()],
            json!({}),
            "0/2 nodes are available: 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable.",
        ),
        (
            vec![json!({"status": {"allocatable": {"pods": "0"}}})],
            asks("1"),
            "0/1 nodes are available: 1 Too many pods.",
        ),
        (
            vec![json!({})],
            json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
        ),
        (
            vec![json!({})],
            json!({"containers": [{"name": "c", "resources": {"requests": {"example.com/gpu": "2"}}}]}),
            "0/1 nodes are available: 1 Insufficient example.com/gpu.",
        ),
    ];
    for (nodes, spec, expected) in cases {
        let failure = choose(&pod("p", &spec), &cluster(&nodes), &mut 0).unwrap_err();
        assert_eq!(failure.message, expected);
    }
}

#[test]
fn pods_go_where_they_may_and_should() {
    let two = [json!({}), json!({"metadata": {"labels": {"disk": "ssd"}}})];
    let tainted = [json!({"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}), json!({})];
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution":
        [{"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}}]}}});
    let cases =
        [(&two, json!({"nodeSelector": {"disk": "ssd"}}), "n1"), (&two, preferred, "n1"), (&tainted, json!({}), "n1")];
    for (nodes, spec, expected) in cases {
        assert_eq!(choose(&pod("p", &spec), &cluster(nodes), &mut 0).unwrap(), expected, "{spec}");
    }
}

#[test]
fn what_is_taken_counts_and_what_leaves_makes_room() {
    let mut cluster = cluster(&[json!({}), json!({})]);
    for name in ["a", "b"] {
        let big = Arc::new(pod(name, &asks("1500m")));
        let node = choose(&big, &cluster, &mut 0).unwrap();
        cluster.assume(big, &node);
    }
    assert!(cluster.nodes().all(|n| n.pods.len() == 1), "the second goes where more is left");
    let third = pod("c", &asks("1"));
    assert!(choose(&third, &cluster, &mut 0).is_err());
    assert!(cluster.remove_pod("a"));
    assert!(choose(&third, &cluster, &mut 0).is_ok());
}

#[test]
fn host_ports_are_had_once() {
    let port = |ip: &str| json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80, "hostIP": ip}]}]});
    let mut cluster = cluster(&[json!({})]);
    cluster.assume(Arc::new(pod("a", &port("10.0.0.1"))), "n0");
    assert!(choose(&pod("b", &port("10.0.0.2")), &cluster, &mut 0).is_ok());
    let failure = choose(&pod("b", &port("")), &cluster, &mut 0).unwrap_err();
    assert!(failure.message.contains("didn't have free ports"), "{}", failure.message);
}

#[test]
fn pods_keep_together_and_apart() {
    let term = json!({"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"});
    let near = json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let far = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}});
    let mut four = cluster(&[json!({}), json!({}), json!({}), json!({})]);
    assert!(choose(&pod("first", &near), &four, &mut 0).is_ok(), "the first of a group goes anywhere");
    four.assume(Arc::new(pod("a", &json!({}))), "n3");
    for _ in 0..8 {
        assert!(["n2", "n3"].contains(&choose(&pod("b", &near), &four, &mut 0).unwrap().as_str()));
        assert!(["n0", "n1"].contains(&choose(&pod("b", &far), &four, &mut 0).unwrap().as_str()));
    }
    four.assume(Arc::new(pod("c", &far)), "n0");
    let failure = choose(&pod("d", &json!({"nodeSelector": {"host": "n1"}})), &four, &mut 0).unwrap_err();
    assert!(failure.message.contains("1 node(s) didn't satisfy existing pods anti-affinity rules"), "{failure:?}");
    let failure = choose(&pod("d", &far), &four, &mut 0).unwrap_err();
    assert!(failure.message.contains("4 node(s) didn't match pod anti-affinity rules"), "{failure:?}");
}

#[test]
fn pods_spread_over_domains() {
    let spread = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "host", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]});
    let mut three = cluster(&[json!({}), json!({}), json!({})]);
    for name in ["a", "b", "c"] {
        let pod = Arc::new(pod(name, &spread));
        let node = choose(&pod, &three, &mut 0).unwrap();
        three.assume(pod, &node);
    }
    assert!(three.nodes().all(|n| n.pods.len() == 1));
    three.remove_pod("a");
    let empty = three.nodes().find(|n| n.pods.is_empty()).unwrap().name().to_owned();
    assert_eq!(choose(&pod("d", &spread), &three, &mut 0).unwrap(), empty);
}
