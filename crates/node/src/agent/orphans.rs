//! Pods that were removed from the API while the agent was away: their containers are stopped, their files removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use runtime::{ContainerState, ContainerStatus, SandboxStatus};

use super::Agent;
use super::container::GRACE_ANNOTATION;
use crate::wanted::seconds;

/// Ends whatever belongs to no pod of `known`.
pub async fn end(agent: Arc<Agent>, known: BTreeSet<String>) {
    let runtime = &agent.options.runtime;
    let (sandboxes, containers) = loop {
        if let (Ok(sandboxes), Ok(containers)) = (runtime.list_pod_sandboxes().await, runtime.list_containers().await) {
            break (sandboxes, containers);
        }
        tokio::time::sleep(super::RUNTIME_WAIT).await;
    };
    // A runtime that answered late may already have pods that came after `known`.
    let has_worker = |uid: &str| crate::lock(&agent.workers).contains_key(uid);
    let strays = sandboxes.iter().filter(|s| !known.contains(&s.uid) && !has_worker(&s.uid));
    join_all(strays.map(|s| end_sandbox(&agent, s, &containers))).await;
    let Ok(entries) = std::fs::read_dir(agent.options.data_dir.join("pods")) else { return };
    for entry in entries.flatten() {
        let uid = entry.file_name().to_string_lossy().into_owned();
        if !known.contains(&uid) && !has_worker(&uid) {
            crate::volumes::in_time(&entry.path(), crate::volumes::remove_pod_dir).await;
        }
    }
}

async fn end_sandbox(agent: &Agent, sandbox: &SandboxStatus, containers: &[ContainerStatus]) {
    let runtime = &agent.options.runtime;
    let own = containers.iter().filter(|c| c.sandbox_id == sandbox.id && c.state == ContainerState::Running);
    let stops = own.map(|c| {
        let grace = c.annotations.get(GRACE_ANNOTATION).and_then(|g| g.parse().ok()).unwrap_or(30);
        runtime.stop_container(&c.id, seconds(grace))
    });
    join_all(stops).await;
    let ended = runtime.stop_pod_sandbox(&sandbox.id).await;
    if let Err(error) = ended.and(runtime.remove_pod_sandbox(&sandbox.id).await) {
        tracing::warn!(pod = sandbox.name, %error, "a pod that is gone from the API was not removed");
    }
    let logs = format!("{}_{}_{}", sandbox.namespace, sandbox.name, sandbox.uid);
    let _ = std::fs::remove_dir_all(agent.options.log_dir.join(logs));
}
