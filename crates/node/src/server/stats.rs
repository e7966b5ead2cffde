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
    /// Since 1970.
    started_seconds: f64,
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
            started_seconds: container.started_at.map_or(0.0, |at| at.as_millisecond() as f64 / 1e3),
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
    let space = crate::disk::Space::of(&agent.options.data_dir);
    tree.set_at(&["node", "nodeName"], agent.options.node_name.clone());
    tree.set_at(&["node", "cpu", "time"], now.clone());
    tree.set_at(&["node", "cpu", "usageCoreNanoSeconds"], number((machine_cpu_seconds() * 1e9) as u64));
    tree.set_at(&["node", "memory", "time"], now.clone());
    tree.set_at(&["node", "memory", "availableBytes"], number(crate::register::meminfo("MemAvailable")));
    tree.set_at(&["node", "memory", "workingSetBytes"], number(machine_memory()));
    tree.set_at(&["node", "fs", "time"], now);
    tree.set_at(&["node", "fs", "capacityBytes"], number(space.bytes));
    tree.set_at(&["node", "fs", "availableBytes"], number(space.bytes_free));
    tree.set_at(&["node", "fs", "usedBytes"], number(space.bytes.saturating_sub(space.bytes_free)));
    tree.set_at(&["pods"], pods);
    tree
}

/// CPU time that the machine spent working, in seconds since its start.
fn machine_cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<f64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait; the kernel counts in hundredths here.
    let busy = ticks.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks);
    busy.sum::<f64>() / 100.0
}

/// Memory of the machine in use, in bytes.
fn machine_memory() -> u64 {
    use crate::register::meminfo;
    meminfo("MemTotal").saturating_sub(meminfo("MemAvailable"))
}

/// `/metrics/resource`, in the text form of Prometheus, with the names that metrics-server reads.
pub async fn metrics(agent: &Agent) -> String {
    let mut list = used(agent).await;
    list.sort_by(|a, b| (&a.uid, &a.container).cmp(&(&b.uid, &b.container)));
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, values: Vec<(String, f64)>| {
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (labels, value) in values {
            let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let of_container = |u: &Used| format!("container={:?},namespace={:?},pod={:?}", u.container, u.namespace, u.pod);
    let of_pod = |u: &Used| format!("namespace={:?},pod={:?}", u.namespace, u.pod);
    let cpu = |u: &Used| u.usage.cpu_nanoseconds as f64 / 1e9;
    let memory = |u: &Used| u.usage.memory_working_set as f64;
    let containers = |read: &dyn Fn(&Used) -> f64| list.iter().map(|u| (of_container(u), read(u))).collect();
    let pods = |read: &dyn Fn(&Used) -> f64| {
        let groups = list.chunk_by(|a, b| a.uid == b.uid);
        groups.map(|group| (of_pod(&group[0]), group.iter().map(read).sum())).collect()
    };
    let started = |u: &Used| u.started_seconds;
    family("container_cpu_usage_seconds_total", "counter", containers(&cpu));
    family("container_memory_working_set_bytes", "gauge", containers(&memory));
    family("container_start_time_seconds", "gauge", containers(&started));
    family("node_cpu_usage_seconds_total", "counter", vec![(String::new(), machine_cpu_seconds())]);
    family("node_memory_working_set_bytes", "gauge", vec![(String::new(), machine_memory() as f64)]);
    family("pod_cpu_usage_seconds_total", "counter", pods(&cpu));
    family("pod_memory_working_set_bytes", "gauge", pods(&memory));
    family("resource_scrape_error", "gauge", vec![(String::new(), 0.0)]);
    out
}
