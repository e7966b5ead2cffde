//! Pods from files of a directory (`--pod-manifest-path`): they run without the API knowing of them, and show there as
//! mirror pods, which follow the files and not the other way round.

mod file;
mod mirror;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use client::{Api, DeleteOptions, Informer};
use k8s_openapi::api::core::v1::{Node, Pod};

use crate::agent::Agent;
use mirror::Action;

/// Where a pod comes from.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// The UID of the static pod that a mirror shows.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// How often the directory is read.
const READ_PERIOD: Duration = Duration::from_secs(2);
/// How long what failed rests.
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// Whether a pod of the API only shows a static one.
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Static pods by UID.
type Pods = BTreeMap<String, Arc<Pod>>;

/// What the files say, told to the pods' workers.
#[derive(Default)]
pub(crate) struct Static {
    wanted: Pods,
    /// Those that were told to a worker. What is no longer wanted stays here until its worker is gone.
    running: Pods,
}

impl Static {
    /// Reads the directory and tells the workers. Asking again changes only what the files changed.
    pub(crate) fn read(&mut self, agent: &Arc<Agent>) {
        let Some(path) = &agent.options.pod_manifest_path else { return };
        self.wanted = file::read(path, &agent.options.node_name);
        for (uid, pod) in self.running.iter().filter(|(uid, _)| !self.wanted.contains_key(*uid)) {
            if agent.has_worker(uid) {
                agent.desire(pod, true);
            }
        }
        self.running.retain(|uid, _| self.wanted.contains_key(uid) || agent.has_worker(uid));
        for (uid, pod) in &self.wanted {
            // A pod that changed waits until the one of the same name has ended.
            let taken = self.running.iter().any(|(other, p)| other != uid && full_name(p) == full_name(pod));
            if !taken && !agent.has_worker(uid) {
                self.running.insert(uid.clone(), pod.clone());
                agent.desire(pod, false);
            }
        }
    }
}

fn full_name(pod: &Pod) -> (&str, &str) {
    let meta = &pod.metadata;
    (meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

/// Follows the directory and keeps the mirrors in step, for ever.
pub(crate) async fn keep(agent: Arc<Agent>, mut own: Static, pods: Informer<Pod>) {
    let has_directory = agent.options.pod_manifest_path.is_some();
    loop {
        own.read(&agent);
        let done = if pods.is_synced() { mirrors(&agent, &own, &pods).await } else { false };
        let wait = match (done, has_directory) {
            (_, true) => READ_PERIOD,
            (false, false) => RETRY_WAIT,
            (true, false) => Duration::MAX,
        };
        tokio::select! {
            () = tokio::time::sleep(wait.min(Duration::from_secs(86_400))) => {}
            () = agent.mirrors_changed.notified() => {}
        }
    }
}

/// Makes and removes mirrors. Whether all went well.
async fn mirrors(agent: &Agent, own: &Static, pods: &Informer<Pod>) -> bool {
    let shown: Vec<Arc<Pod>> = pods.list().into_iter().filter(|p| is_mirror(p)).collect();
    let living: BTreeSet<&str> = own.running.keys().map(String::as_str).collect();
    let mut done = true;
    for action in mirror::plan(&own.wanted, &living, &shown) {
        if let Err(error) = carry_out(agent, &action).await {
            tracing::debug!(%error, ?action, "a mirror pod is not in step yet");
            done = false;
        }
    }
    done
}

async fn carry_out(agent: &Agent, action: &Action) -> Result<(), machinery::ApiError> {
    match action {
        Action::Create(pod) => {
            let node = Api::<Node>::all(&agent.options.client).get(&agent.options.node_name).await?;
            let mirror = mirror::of(pod, &node);
            let api = Api::<Pod>::namespaced(&agent.options.client, full_name(pod).0);
            api.create(&mirror).await?;
            agent.mirrored(pod.metadata.uid.as_deref().unwrap_or_default());
            Ok(())
        }
        Action::Delete { namespace, name, uid } => {
            let api = Api::<Pod>::namespaced(&agent.options.client, namespace);
            let options = DeleteOptions { grace_period_seconds: Some(0), uid: uid.clone(), ..DeleteOptions::default() };
            match api.delete(name, options).await {
                Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
                _ => Ok(()),
            }
        }
    }
}
