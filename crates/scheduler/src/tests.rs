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
            "0/1 nodes are available: persistentvolumeclaim \"c\" not found.",
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

fn object<K: client::Resource>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn claim(name: &str, class: &str, more: &Value) -> Value {
    let mut claim = json!({"metadata": {"name": name, "namespace": "default", "uid": name}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "resources": {"requests": {"storage": "1Gi"}}}});
    merge(&mut claim, more);
    claim
}

fn volume(name: &str, class: &str, node: &str, more: &Value) -> Value {
    let term = json!({"matchExpressions": [{"key": "host", "operator": "In", "values": [node]}]});
    let mut volume = json!({"metadata": {"name": name}, "status": {"phase": "Available"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": class, "capacity": {"storage": "1Gi"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}});
    merge(&mut volume, more);
    volume
}

fn with_claim(name: &str) -> Value {
    json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]})
}

/// Two nodes with a local volume each, and classes of all sorts.
fn storage() -> Cluster {
    let mut cluster = cluster(&[json!({}), json!({"metadata": {"labels": {"topology.kubernetes.io/zone": "z"}}})]);
    for (name, provisioner, mode, zone) in [
        ("local", "kubernetes.io/no-provisioner", "WaitForFirstConsumer", None),
        ("made", "example.com/maker", "WaitForFirstConsumer", Some("z0")),
        ("soon", "example.com/maker", "Immediate", None),
    ] {
        let terms = zone.map(|z| json!([{"matchLabelExpressions": [{"key": "zone", "values": [z]}]}]));
        cluster.volumes.set_class(object(json!({"metadata": {"name": name}, "provisioner": provisioner,
            "volumeBindingMode": mode, "allowedTopologies": terms})));
    }
    for node in ["n0", "n1"] {
        cluster.volumes.set_volume(object(volume(&format!("on-{node}"), "local", node, &json!({}))));
    }
    cluster
}

#[test]
fn claims_without_volumes_say_what_they_wait_for() {
    let mut cluster = storage();
    let bound =
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "x"}});
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let large = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    for claim in [
        claim("soon", "soon", &json!({})),
        claim("lost", "", &json!({"status": {"phase": "Lost"}, "spec": {"volumeName": "x"}})),
        claim("leaving", "", &leaving),
        claim("nowhere", "local", &bound),
        claim("large", "local", &large),
        claim("p-v", "local", &json!({})),
    ] {
        cluster.volumes.set_claim(object(claim));
    }
    let none = "didn't find available persistent volumes to bind";
    let cases = [
        ("soon", "pod has unbound immediate PersistentVolumeClaims".to_owned()),
        ("lost", "persistentvolumeclaim \"lost\" bound to non-existent persistentvolume \"x\"".to_owned()),
        ("leaving", "persistentvolumeclaim \"leaving\" is being deleted".to_owned()),
        ("nowhere", "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".to_owned()),
        ("large", format!("2 node(s) {none}")),
    ];
    for (name, why) in cases {
        let failure = choose(&pod("p", &with_claim(name)), &cluster, &mut 0).unwrap_err();
        assert_eq!(failure.message, format!("0/2 nodes are available: {why}."));
    }
    let ephemeral =
        |volume: &str| json!({"volumes": [{"name": volume, "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]});
    for (volume, why) in [
        ("w", "waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-w\""),
        ("v", "PVC default/p-v was not created for pod default/p (pod is not owner)"),
    ] {
        let failure = choose(&pod("p", &ephemeral(volume)), &cluster, &mut 0).unwrap_err();
        assert_eq!(failure.message, format!("0/2 nodes are available: {why}."));
    }
}

#[test]
fn claims_that_wait_get_volumes_on_the_pods_node() {
    let mut cluster = storage();
    for name in ["a", "b", "c"] {
        cluster.volumes.set_claim(object(claim(name, "local", &json!({}))));
    }
    let mut given = Vec::new();
    for name in ["a", "b"] {
        let pod = pod(name, &with_claim(name));
        let node = choose(&pod, &cluster, &mut 0).unwrap();
        let assignment = crate::cycle::volumes(&pod, &cluster, &node);
        assert_eq!(assignment.bindings[0].0.metadata.name, Some(format!("on-{node}")));
        cluster.volumes.assume(&assignment, &node);
        given.push((node, assignment));
    }
    assert_ne!(given[0].0, given[1].0);
    let failure = choose(&pod("c", &with_claim("c")), &cluster, &mut 0).unwrap_err();
    assert!(failure.message.contains("2 node(s) didn't find available persistent volumes to bind"), "{failure:?}");
    // A second pod with the first one's claim goes where its volume is.
    assert_eq!(choose(&pod("a2", &with_claim("a")), &cluster, &mut 0).unwrap(), given[0].0);
    cluster.volumes.settle(&given[1].1);
    assert_eq!(choose(&pod("c", &with_claim("c")), &cluster, &mut 0).unwrap(), given[1].0);
    // What is to be made is made where the class allows it, and only there from then on.
    cluster.volumes.set_claim(object(claim("m", "made", &json!({}))));
    cluster.set_node(object(json!({"metadata": {"name": "n9", "labels": {"zone": "z9"}},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}}})));
    let maker = pod("m", &with_claim("m"));
    let node = choose(&maker, &cluster, &mut 0).unwrap();
    let assignment = crate::cycle::volumes(&maker, &cluster, &node);
    assert!(node != "n9" && assignment.provisions.len() == 1, "{node}");
    cluster.volumes.assume(&assignment, &node);
    for _ in 0..8 {
        assert_eq!(choose(&pod("m2", &with_claim("m")), &cluster, &mut 0).unwrap(), node);
    }
}

#[test]
fn bound_claims_go_where_their_volumes_are() {
    let mut cluster = storage();
    let bound = |volume: &str| {
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": volume}})
    };
    cluster.volumes.set_claim(object(claim("one", "local", &bound("on-n1"))));
    assert_eq!(choose(&pod("p", &with_claim("one")), &cluster, &mut 0).unwrap(), "n1");
    let mut here = with_claim("one");
    merge(&mut here, &json!({"nodeSelector": {"host": "n0"}}));
    let failure = choose(&pod("p", &here), &cluster, &mut 0).unwrap_err();
    let reasons = "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) had volume node affinity conflict";
    assert_eq!(failure.message, format!("0/2 nodes are available: {reasons}."));
    // Zones.
    let zoned = json!({"metadata": {"labels": {"failure-domain.beta.kubernetes.io/zone": "a__b"}},
        "spec": {"nodeAffinity": null}});
    cluster.volumes.set_volume(object(volume("zoned", "local", "n0", &zoned)));
    cluster.volumes.set_claim(object(claim("zoned", "local", &bound("zoned"))));
    assert_eq!(choose(&pod("p", &with_claim("zoned")), &cluster, &mut 0).unwrap(), "n0", "n1 is in another zone");
    // One pod only.
    let mut only = bound("on-n0");
    merge(&mut only, &json!({"spec": {"accessModes": ["ReadWriteOncePod"]}}));
    cluster.volumes.set_claim(object(claim("only", "local", &only)));
    let first = Arc::new(pod("first", &with_claim("only")));
    assert_eq!(choose(&first, &cluster, &mut 0).unwrap(), "n0");
    cluster.assume(first, "n0");
    let failure = choose(&pod("second", &with_claim("only")), &cluster, &mut 0).unwrap_err();
    let why = "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    assert_eq!(failure.message, format!("0/2 nodes are available: {why}."));
}
