//! What the pods that run here use: read once for each request, for all forms of answers.

use jiff::Timestamp;
use runtime::{ContainerState, InterfaceUsage, SandboxState, SandboxStatus, Usage};

use crate::agent::Agent;

/// One running container.
pub struct Container {
    /// Its name.
    pub name: String,
    /// The runtime's id.
    pub id: String,
    /// What its image is called.
    pub image: String,
    /// When its process began.
    pub started: Option<Timestamp>,
    /// What it uses.
    pub usage: Usage,
}

/// One pod with a sandbox.
pub struct Pod {
    /// Its sandbox.
    pub sandbox: SandboxStatus,
    /// What all of it uses.
    pub usage: Usage,
    /// Its network interfaces.
    pub network: Vec<InterfaceUsage>,
    /// Its running containers, by name.
    pub containers: Vec<Container>,
}

/// All pods, by UID. One that ends meanwhile is left out.
pub async fn pods(agent: &Agent) -> Vec<Pod> {
    let runtime = &agent.options.runtime;
    let mut pods = Vec::new();
    for sandbox in runtime.list_pod_sandboxes().await.unwrap_or_default() {
        if sandbox.state != SandboxState::Ready {
            continue;
        }
        let Ok(usage) = runtime.sandbox_usage(&sandbox.id).await else { continue };
        let network = runtime.network_usage(&sandbox.id).await.unwrap_or_default();
        pods.push(Pod { sandbox, usage, network, containers: Vec::new() });
    }
    for container in runtime.list_containers().await.unwrap_or_default() {
        let pod = pods.iter_mut().find(|pod| pod.sandbox.id == container.sandbox_id);
        let (Some(pod), ContainerState::Running) = (pod, container.state) else { continue };
        let Ok(usage) = runtime.container_usage(&container.id).await else { continue };
        let (name, id, image, started) =
            (container.name, container.id, container.image_reference, container.started_at);
        pod.containers.push(Container { name, id, image, started, usage });
    }
    pods.sort_by(|a, b| a.sandbox.uid.cmp(&b.sandbox.uid));
    pods.iter_mut().for_each(|pod| pod.containers.sort_by(|a, b| a.name.cmp(&b.name)));
    pods
}

/// CPU time that the machine spent working, in nanoseconds since its start.
pub fn machine_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal: all but idle and iowait; the kernel counts in hundredths here.
    let busy = ticks.iter().take(8).enumerate().filter(|(index, _)| !matches!(index, 3 | 4)).map(|(_, ticks)| ticks);
    busy.sum::<u64>() * 10_000_000
}

/// Memory of the machine in use, in bytes.
pub fn machine_memory() -> u64 {
    use crate::register::meminfo;
    meminfo("MemTotal").saturating_sub(meminfo("MemAvailable"))
}

/// When the machine started.
pub fn boot() -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    Timestamp::from_second(seconds).ok()
}
