//! How long a Pod takes from bytes to tree, to a typed value, and back. Run with `--release`.
#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::hint::black_box;
use std::time::Instant;

use k8s_openapi::api::core::v1::Pod;
use machinery::Value;
use machinery::json::{from_value, to_value};

const ROUNDS: u32 = 20_000;

fn main() {
    let pod = pod();
    let tree = Value::parse(&pod).expect("the sample is JSON");
    let typed: Pod = from_value(&tree).expect("the sample is a Pod");
    let ty = machinery::schema::lookup("io.k8s.api.core.v1.Pod").expect("Pods are built in");
    println!("{} bytes", pod.len());
    time("parse", || Value::parse(black_box(&pod)));
    time("encode", || black_box(&tree).to_bytes());
    time("clone", || black_box(&tree).clone());
    time("check", || machinery::schema::check(&mut black_box(&tree).clone(), ty));
    time("tree to typed", || from_value::<Pod>(black_box(&tree)));
    time("typed to tree", || to_value(black_box(&typed)));
    time("serde_json parse", || serde_json::from_slice::<serde_json::Value>(black_box(&pod)));
    time("serde_json typed", || serde_json::from_slice::<Pod>(black_box(&pod)));
    let started = Instant::now();
    println!("{} types", machinery::schema::types().len());
    println!("schema table again: {:?}", started.elapsed());
}

fn time<T>(what: &str, mut run: impl FnMut() -> T) {
    for _ in 0..ROUNDS / 10 {
        black_box(run());
    }
    let started = Instant::now();
    for _ in 0..ROUNDS {
        black_box(run());
    }
    println!("{what:18} {:6.2} µs", started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn pod() -> Vec<u8> {
    let container = |name: &str| {
        format!(
            r#"{{"name":"{name}","image":"registry.example.com/team/{name}:v1.2.3","imagePullPolicy":"IfNotPresent",
            "ports":[{{"containerPort":8080,"protocol":"TCP","name":"http"}}],"env":[{{"name":"A","value":"some value of A"}},
            {{"name":"B","valueFrom":{{"fieldRef":{{"apiVersion":"v1","fieldPath":"metadata.name"}}}}}}],
            "resources":{{"limits":{{"cpu":"500m","memory":"128Mi"}},"requests":{{"cpu":"100m","memory":"64Mi"}}}},
            "volumeMounts":[{{"name":"kube-api-access-x2x4z","mountPath":"/var/run/secrets/kubernetes.io/serviceaccount","readOnly":true}}],
            "livenessProbe":{{"httpGet":{{"path":"/healthz","port":8080,"scheme":"HTTP"}},"periodSeconds":10,"timeoutSeconds":1,
            "successThreshold":1,"failureThreshold":3}},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}}"#
        )
    };
    let status = |name: &str| {
        format!(
            r#"{{"name":"{name}","ready":true,"started":true,"restartCount":0,"image":"registry.example.com/team/{name}:v1.2.3",
            "imageID":"registry.example.com/team/{name}@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "containerID":"skiff://0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "state":{{"running":{{"startedAt":"2026-01-02T03:04:05Z"}}}},"lastState":{{}}}}"#
        )
    };
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"web-5d78c9869d-x2x4z","namespace":"default","generateName":"web-5d78c9869d-",
        "uid":"0f6e7a0e-5f0e-4b53-a5f1-1f0a3b1c2d3e","resourceVersion":"123456","creationTimestamp":"2026-01-02T03:04:05Z",
        "labels":{{"app":"web","pod-template-hash":"5d78c9869d"}},"ownerReferences":[{{"apiVersion":"apps/v1","kind":"ReplicaSet",
        "name":"web-5d78c9869d","uid":"1f6e7a0e-5f0e-4b53-a5f1-1f0a3b1c2d3e","controller":true,"blockOwnerDeletion":true}}]}},
        "spec":{{"containers":[{},{}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst",
        "serviceAccountName":"default","serviceAccount":"default","nodeName":"node-1","securityContext":{{}},"schedulerName":"default-scheduler",
        "tolerations":[{{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}}],
        "volumes":[{{"name":"kube-api-access-x2x4z","projected":{{"defaultMode":420,"sources":[{{"serviceAccountToken":{{"expirationSeconds":3607,
        "path":"token"}}}},{{"configMap":{{"name":"kube-root-ca.crt","items":[{{"key":"ca.crt","path":"ca.crt"}}]}}}}]}}}}],"priority":0}},
        "status":{{"phase":"Running","conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"2026-01-02T03:04:05Z"}}],
        "hostIP":"10.0.0.1","podIP":"10.42.0.7","podIPs":[{{"ip":"10.42.0.7"}}],"startTime":"2026-01-02T03:04:05Z",
        "containerStatuses":[{},{}],"qosClass":"Burstable"}}}}"#,
        container("web"),
        container("sidecar"),
        status("web"),
        status("sidecar")
    );
    Value::parse(text.as_bytes()).expect("the sample is JSON").to_bytes()
}
