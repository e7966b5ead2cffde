//! What runs here and what it uses.

use std::fmt::Write;

use machinery::Value;
use machinery::json::to_value;
use runtime::{ContainerState, SandboxState, Usage};

use crate::agent::Agent;

/// `/pods`: a PodList.
pub fn pods(agent: &Agent) -> Value {
    let items: Vec<Value> = agent.pods().iter().filter_map(|w| to_value(w.pod.as_ref()).ok()).collect();
    let mut list = Value::object();
    list.set_at(&["kind"], "PodList");
    list.set_at(&["apiVersion"], "v1");
    list.set_at(&["metadata"], Value::object());
    list.set_at(&["items"], items);
    list
}

/// `/configz`
pub fn configz(agent: &Agent) -> Value {
    let mut tree = Value::object();
    let config = ["kubeletconfig"];
    tree.set_at(&[config[0], "clusterDomain"], agent.options.cluster_domain.clone());
    tree.set_at(
        &[config[0], "clusterDNS"],
        agent.options.cluster_dns.iter().map(ToString::to_string).collect::<Vec<_>>(),
    );
    tree.set_at(&[config[0], "port"], i64::from(agent.options.listen.port()));
    tree.set_at(&[config[0], "maxPods"], 110);
    tree.set_at(&[config[0], "containerLogMaxSize"], "10Mi");
    tree.set_at(&[config[0], "containerLogMaxFiles"], 5);
    tree
}

/// One running container's use.
struct Used {
    namespace: String,
    pod: String,
    uid: String,
    container: String,
    usage: Usage,
}

async fn used(agent: &Agent) -> Vec<Used> {
    let runtime = &agent.options.runtime;
    let sandboxes = runtime.list_pod_sandboxes().await.unwrap_or_default();
    let mut list = Vec::new();
    for container in runtime.list_containers().await.unwrap_or_default() {
        let sandbox = sandboxes.iter().find(|s| s.id == container.sandbox_id && s.state == SandboxState::Ready);
        let (Some(sandbox), ContainerState::Running) = (sandbox, container.state) else { continue };
        let Ok(usage) = runtime.container_usage(&container.id).await else { continue };
        list.push(Used {
            namespace: sandbox.namespace.clone(),
            pod: sandbox.name.clone(),
            uid: sandbox.uid.clone(),
            container: container.name,
            usage,
        });
    }
    list
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `/stats/summary` (stats.v1alpha1).
pub async fn summary(agent: &Agent) -> Value {
    let now = seams::clock::now_seconds().to_string();
    let mut pods: Vec<Value> = Vec::new();
    let mut list = used(agent).await;
    list.sort_by(|a, b| a.uid.cmp(&b.uid));
    for group in list.chunk_by(|a, b| a.uid == b.uid) {
        let mut pod = Value::object();
        pod.set_at(&["podRef", "name"], group[0].pod.clone());
        pod.set_at(&["podRef", "namespace"], group[0].namespace.clone());
        pod.set_at(&["podRef", "uid"], group[0].uid.clone());
        let containers = group.iter().map(|used| {
            let mut one = Value::object();
            one.set_at(&["name"], used.container.clone());
            one.set_at(&["cpu", "time"], now.clone());
            one.set_at(&["cpu", "usageCoreNanoSeconds"], number(used.usage.cpu_nanoseconds));
            one.set_at(&["memory", "time"], now.clone());
            one.set_at(&["memory", "workingSetBytes"], number(used.usage.memory_working_set));
            one.set_at(&["memory", "usageBytes"], number(used.usage.memory_usage));
            one.set_at(&["memory", "rssBytes"], number(used.usage.memory_rss));
            one
        });
        pod.set_at(&["containers"], containers.collect::<Vec<_>>());
        pods.push(pod);
    }
    let mut tree = Value::object();
    tree.set_at(&["node", "nodeName"], agent.options.node_name.clone());
    tree.set_at(&["pods"], pods);
    tree
}

/// `/metrics/resource`, in the text form of Prometheus.
pub async fn metrics(agent: &Agent) -> String {
    let mut out = String::from("# TYPE container_cpu_usage_seconds_total counter\n");
    let list = used(agent).await;
    let labels = |u: &Used| format!("container={:?},namespace={:?},pod={:?}", u.container, u.namespace, u.pod);
    for used in &list {
        let seconds = used.usage.cpu_nanoseconds as f64 / 1e9;
        let _ = writeln!(out, "container_cpu_usage_seconds_total{{{}}} {seconds}", labels(used));
    }
    out.push_str("# TYPE container_memory_working_set_bytes gauge\n");
    for used in &list {
        let bytes = used.usage.memory_working_set;
        let _ = writeln!(out, "container_memory_working_set_bytes{{{}}} {bytes}", labels(used));
    }
    out
}
