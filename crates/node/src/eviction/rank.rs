//! Which pod goes first, and what it is told.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::{Shortage, whole};
use crate::agent::Agent;
use crate::config::resources::pod_request;
use crate::quantity;
use crate::wanted::Wanted;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Working sets.
    Memory,
    /// Writable layers, logs and volumes on the node's disk.
    Disk,
    /// Processes and threads.
    Pids,
}

impl Measure {
    fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Pids => "pids",
        }
    }
}

/// What a pod uses.
pub struct Using {
    /// The pod.
    pub wanted: Arc<Wanted>,
    measure: Measure,
    /// Bytes, or processes, by container name.
    containers: Vec<(String, u64)>,
    /// Bytes of its volumes.
    volumes: u64,
}

impl Using {
    /// Measures a pod.
    pub async fn of(agent: &Agent, wanted: Arc<Wanted>, measure: Measure) -> Self {
        let runtime = &agent.options.runtime;
        let sandboxes = runtime.list_pod_sandboxes().await.unwrap_or_default();
        let own = |id: &str| sandboxes.iter().any(|s| s.id == id && s.uid == wanted.uid());
        let mut containers: Vec<(String, u64)> = Vec::new();
        for container in runtime.list_containers().await.unwrap_or_default() {
            if !own(&container.sandbox_id) {
                continue;
            }
            let bytes = match measure {
                Measure::Memory => runtime.container_usage(&container.id).await.map_or(0, |u| u.memory_working_set),
                Measure::Pids => runtime.container_usage(&container.id).await.map_or(0, |u| u.pids),
                Measure::Disk => runtime.container_disk_usage(&container.id).await.unwrap_or(0),
            };
            match containers.iter_mut().find(|(name, _)| *name == container.name) {
                Some(known) => known.1 += bytes,
                None => containers.push((container.name, bytes)),
            }
        }
        let mut volumes = 0;
        if measure == Measure::Disk {
            let (logs, empty) = (agent.pod_log_dir(&wanted), super::limits::empty_dirs(agent, &wanted));
            let names: Vec<String> = containers.iter().map(|(name, _)| name.clone()).collect();
            let walk = move || {
                let logs = names.iter().map(|name| crate::disk::used_by(&logs.join(name))).collect::<Vec<_>>();
                (logs, crate::disk::used_by(&empty))
            };
            let (logs, empty) = tokio::task::spawn_blocking(walk).await.unwrap_or_default();
            containers.iter_mut().zip(logs).for_each(|(container, bytes)| container.1 += bytes);
            volumes = empty;
        }
        Self { wanted, measure, containers, volumes }
    }

    /// All that it uses.
    pub fn total(&self) -> u64 {
        self.containers.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.volumes
    }

    /// What one container uses.
    pub fn container(&self, name: &str) -> u64 {
        self.containers.iter().find(|(known, _)| known == name).map_or(0, |(_, bytes)| *bytes)
    }

    fn request(&self) -> u64 {
        u64::try_from(pod_request(&self.wanted, self.measure.resource(), quantity::value)).unwrap_or(0)
    }
}

/// The pod that goes first: who uses more than it asked for, then the least important, then the largest excess. Of processes
/// nobody asks for any, so there only importance and number count.
pub fn first(all: &[Using]) -> Option<&Using> {
    all.iter().min_by_key(|using| {
        let (total, request) = (using.total(), using.request());
        let exceeds = using.measure != Measure::Pids && total > request;
        let priority = using.wanted.spec().priority.unwrap_or(0);
        (Reverse(exceeds), priority, Reverse(whole(total) - whole(request)))
    })
}

/// Why it goes, in upstream's words.
pub fn message(using: &Using, shortage: &Shortage) -> String {
    let mut text = format!(
        "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
        shortage.signal, shortage.threshold, shortage.available
    );
    let compared = shortage.signal.is_bytes();
    for member in &using.wanted.members {
        let requests = member.spec.resources.as_ref().and_then(|r| r.requests.as_ref());
        let request = requests.and_then(|r| r.get(using.measure.resource())).cloned();
        let request = request.unwrap_or_else(|| Quantity("0".to_owned()));
        let used = whole(using.container(member.name()));
        if compared && used > quantity::value(&request) {
            let (name, used) = (member.name(), quantity::of_bytes(used).0);
            text += &format!(
                "Container {name} was using {used}, request is {}, has larger consumption of {}. ",
                request.0, shortage.signal
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::decide::tests::memory;
    use super::*;
    use crate::admission::tests::pod;

    fn using(uid: &str, priority: i32, request: &str, bytes: u64) -> Using {
        let spec = format!(
            r#"{{"priority":{priority},"containers":[{{"name":"a","resources":{{"requests":{{"memory":"{request}"}}}}}}]}}"#
        );
        let containers = vec![("a".to_owned(), bytes)];
        Using { wanted: pod(uid, &spec), measure: Measure::Memory, containers, volumes: 0 }
    }

    #[test]
    fn who_takes_more_than_it_asked_for_goes_first() {
        let mi = 1 << 20;
        let all = [
            using("modest", 0, "100Mi", 50 * mi),
            using("important", 10, "1Mi", 500 * mi),
            using("greedy", 0, "10Mi", 60 * mi),
            using("greedier", 0, "10Mi", 90 * mi),
        ];
        let short = &memory("memory.available<100Mi", 94_300 << 10);
        let chosen = first(&all).unwrap();
        assert_eq!(chosen.wanted.uid(), "greedier");
        let text = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 94300Ki. \
            Container a was using 90Mi, request is 10Mi, has larger consumption of memory. ";
        assert_eq!(message(chosen, short), text);
        assert_eq!(first(&all[..2]).unwrap().wanted.uid(), "important");
        assert!(first(&[]).is_none());
    }
}
