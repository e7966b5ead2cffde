//! How long the pipeline takes: `cargo nextest run -p apiserver --release --run-ignored only speed --no-capture`.

use super::{Ask, cluster, config_map, pod};
use crate::flow;

fn large_pod(name: &str) -> Ask {
    let env: Vec<String> = (0..10).map(|i| format!(r#"{{"name":"VARIABLE_{i}","value":"value {i} of it"}}"#)).collect();
    let probe = r#"{"httpGet":{"path":"/healthz","port":8080},"periodSeconds":5}"#;
    let container = format!(
        r#"{{"name":"web","image":"registry.example.com/team/web:1.2.3","env":[{}],"ports":[{{"containerPort":8080,
        "name":"http"}}],"resources":{{"limits":{{"cpu":"500m","memory":"128Mi"}},"requests":{{"cpu":"100m","memory":"64Mi"}}}},
        "livenessProbe":{probe},"readinessProbe":{probe},"volumeMounts":[{{"name":"data","mountPath":"/data"}}]}}"#,
        env.join(",")
    );
    let body = format!(
        r#"{{"metadata":{{"name":"{name}","labels":{{"app":"web","tier":"front"}},"annotations":{{"a":"{}"}}}},
        "spec":{{"containers":[{container}],"volumes":[{{"name":"data","emptyDir":{{}}}}]}}}}"#,
        "x".repeat(500)
    );
    Ask::new("create", "v1", "pods").body(&body)
}

fn status(name: &str, phase: &str) -> Ask {
    let condition = |kind: &str| format!(r#"{{"type":"{kind}","status":"True","reason":"{phase}"}}"#);
    let conditions: Vec<String> = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition).into();
    let body = format!(
        r#"{{"status":{{"phase":"{phase}","conditions":[{}],"hostIP":"10.0.0.1","podIP":"10.42.0.7","podIPs":[{{"ip":"10.42.0.7"}}],
        "startTime":"2026-01-01T00:00:00Z"}}}}"#,
        conditions.join(",")
    );
    let ask = Ask::new("patch", "v1", "pods").name(name).sub("status");
    ask.patch(client::PatchKind::StrategicMerge, &body)
}

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
    for i in 0..COUNT {
        cluster.ask(&large_pod(&format!("l{i}"))).await.unwrap();
    }
    let large = start.elapsed() / COUNT;
    let mut patches = Vec::new();
    for phase in ["Pending", "Running"] {
        let start = tokio::time::Instant::now();
        for i in 0..COUNT {
            cluster.ask(&status(&format!("l{i}"), phase)).await.unwrap();
        }
        patches.push(start.elapsed() / COUNT);
    }
    println!("pod of 2 KiB {large:?}, its status patched first and again {patches:?}");
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
            version: "v1",
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
