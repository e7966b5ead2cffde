//! What goes on beside the pods' workers: plugins are served, and running containers keep to the CPUs that they may use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use runtime::{ContainerState, Resources};
use tokio::net::UnixListener;

use super::{devices, pod_resources};
use crate::agent::Agent;

/// How often everything is looked at anew (upstream's cpuManagerReconcilePeriod).
const PERIOD: Duration = Duration::from_secs(10);

/// The sockets of the node's services for plugins and those who watch them.
pub struct Sockets {
    /// Where plugins register.
    pub plugins: UnixListener,
    /// The pod-resources API.
    pub pod_resources: UnixListener,
}

/// Serves plugins, tells workers of changed devices and moves containers to other CPUs, for ever.
pub async fn keep(agent: Arc<Agent>, sockets: Sockets) {
    let devices = agent.managers.devices.clone();
    let registry = agent.options.root_dir.join("plugins_registry");
    tokio::join!(
        devices::registry::keep(devices.clone(), registry),
        devices.serve(sockets.plugins),
        pod_resources::serve(agent.clone(), sockets.pod_resources),
        tell(&agent),
        reconcile(&agent),
    );
}

/// Tells the workers whose pods' devices became better or worse.
async fn tell(agent: &Agent) {
    let mut changed = agent.managers.devices.changed.subscribe();
    while changed.changed().await.is_ok() {
        agent.look_again(&agent.managers.devices.affected());
    }
}

/// Takes back what ended pods had, and moves running containers to the CPUs that they may use now.
async fn reconcile(agent: &Agent) {
    let mut shared = agent.managers.shared.subscribe();
    let mut applied = HashMap::new();
    loop {
        if agent.knows_its_pods() {
            agent.managers.sweep(|uid| agent.has_worker(uid));
        }
        if agent.managers.cpus("", "").is_some() {
            move_containers(agent, &mut applied).await;
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = shared.changed() => {}
        }
    }
}

/// Those whose CPUs are not the ones that were `applied` last.
async fn move_containers(agent: &Agent, applied: &mut HashMap<String, String>) {
    let runtime = &agent.options.runtime;
    let Ok(mut containers) = runtime.list_containers().await else { return };
    containers.retain(|container| container.state == ContainerState::Running);
    applied.retain(|id, _| containers.iter().any(|container| container.id == *id));
    for container in containers {
        let Some(uid) = container.labels.get("io.kubernetes.pod.uid") else { continue };
        let Some(cpus) = agent.managers.cpus(uid, &container.name).filter(|cpus| !cpus.is_empty()) else { continue };
        if applied.get(&container.id) == Some(&cpus) {
            continue;
        }
        let resources = Resources { cpuset_cpus: Some(cpus.clone()), ..Resources::default() };
        match runtime.update_resources(&container.id, resources).await {
            Ok(()) => _ = applied.insert(container.id, cpus),
            Err(error) => tracing::warn!(container = container.id, %error, "its CPUs were not changed"),
        }
    }
}
