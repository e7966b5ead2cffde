//! The loop: takes pods from the queue, gives each a node, and tells the API in the background.

mod volumes;

use std::sync::Arc;

use client::events::EventType;
use client::{Api, PatchKind};
use k8s_openapi::api::core::v1::Pod;
use machinery::ApiError;
use machinery::json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::cluster::PodInfo;
use crate::cycle::{self, Failure};
use crate::volumes::Assignment;
use crate::{Scheduler, State};

/// Bindings and status updates under way at a time.
const WRITES_MAX: usize = 64;

/// A pod's node and what its claims get there, or why there is none.
type Decision = Result<(String, Assignment), Failure>;

impl Scheduler {
    /// Schedules until it is dropped.
    pub(crate) async fn work(self: Arc<Self>) {
        let writes = Arc::new(Semaphore::new(WRITES_MAX));
        let mut start = 0;
        loop {
            // A place to write first: what is decided must not wait for long before the API knows.
            let Ok(place) = writes.clone().acquire_owned().await else { return };
            let decided = self.decide(&mut start);
            let Some((pod, decision)) = decided else {
                drop(place);
                self.rest().await;
                continue;
            };
            let (this, writes) = (self.clone(), writes.clone());
            tokio::spawn(async move {
                match decision {
                    Ok((node, assignment)) if assignment.is_empty() => this.bind(pod, &node).await,
                    Ok((node, assignment)) => this.bind_with_volumes(pod, &node, &assignment, place, &writes).await,
                    Err(failure) => this.say_unschedulable(&pod, &failure).await,
                }
            });
        }
    }

    /// Waits until something changes or a pod's rest is over.
    async fn rest(&self) {
        let moment = self.state().queue.next_moment();
        let rested = async {
            match moment {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.wake.notified() => {}
            () = rested => {}
        }
    }

    /// Takes the next pod and gives it a node, for which it counts from now on.
    fn decide(&self, start: &mut usize) -> Option<(Arc<PodInfo>, Decision)> {
        let mut state = self.state();
        let State { cluster, queue } = &mut *state;
        let pod = queue.pop()?;
        let decision = cycle::choose(&pod, cluster, start);
        let decision = decision.map(|node| {
            let assignment = cycle::volumes(&pod, cluster, &node);
            cluster.volumes.assume(&assignment, &node);
            cluster.assume(pod.clone(), &node);
            (node, assignment)
        });
        if let Err(failure) = &decision {
            queue.unschedulable(&pod.uid, failure.rejected_by.clone());
        }
        Some((pod, decision))
    }

    /// Has the pod's claims bound before it is bound itself. Others may write while this waits for it.
    async fn bind_with_volumes(
        &self,
        pod: Arc<PodInfo>,
        node: &str,
        assignment: &Assignment,
        place: OwnedSemaphorePermit,
        writes: &Arc<Semaphore>,
    ) {
        drop(place);
        let bound = self.bind_volumes(&pod, node, assignment).await;
        self.state().cluster.volumes.settle(assignment);
        match bound {
            Ok(()) => {
                let _place = writes.clone().acquire_owned().await;
                self.bind(pod, node).await;
            }
            Err(why) => self.give_back(&pod, &format!("running PreBind plugin \"VolumeBinding\": {why}")),
        }
    }

    async fn bind(&self, pod: Arc<PodInfo>, node: &str) {
        let meta = &pod.pod.metadata;
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let mut binding = Value::object();
        binding.set_at(&["apiVersion"], "v1");
        binding.set_at(&["kind"], "Binding");
        binding.set_at(&["metadata", "name"], name.as_str());
        binding.set_at(&["metadata", "namespace"], namespace.as_str());
        binding.set_at(&["metadata", "uid"], pod.uid.as_str());
        binding.set_at(&["target", "apiVersion"], "v1");
        binding.set_at(&["target", "kind"], "Node");
        binding.set_at(&["target", "name"], node);
        let bound =
            Api::<Pod>::namespaced(&self.client, &namespace).create_subresource(&name, "binding", binding).await;
        match bound {
            Ok(_) => {
                let message = format!("Successfully assigned {namespace}/{name} to {node}");
                self.recorder.event_on(pod.pod.as_ref(), EventType::Normal, "Scheduled", message);
            }
            Err(error) => self.binding_failed(&pod, &error),
        }
    }

    fn binding_failed(&self, pod: &Arc<PodInfo>, error: &ApiError) {
        if error.is_not_found() {
            let mut state = self.state();
            state.cluster.remove_pod(&pod.uid);
            state.queue.remove(&pod.uid);
            drop(state);
            return self.wake.notify_one();
        }
        let message = if error.is_conflict() { String::new() } else { format!("binding rejected: {error}") };
        self.give_back(pod, &message);
    }

    /// Takes the node from a pod that could not be bound there. It is tried again, unless it is gone meanwhile.
    fn give_back(&self, pod: &Arc<PodInfo>, message: &str) {
        let mut state = self.state();
        let known = state.cluster.remove_pod(&pod.uid);
        if known {
            state.queue.failed(pod.clone());
        }
        drop(state);
        self.wake.notify_one();
        if known && !message.is_empty() {
            tracing::warn!(pod = ?pod.pod.metadata.name, message, "a pod could not be bound");
            self.recorder.event_on(pod.pod.as_ref(), EventType::Warning, "FailedScheduling", message);
        }
    }

    /// Writes into the pod's condition and an event why there is no node for it.
    async fn say_unschedulable(&self, pod: &PodInfo, failure: &Failure) {
        self.recorder.event_on(pod.pod.as_ref(), EventType::Warning, "FailedScheduling", failure.message.as_str());
        let known = pod.pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let said = known.filter(|c| c.type_ == "PodScheduled").any(|c| {
            c.status == "False"
                && c.reason.as_deref() == Some("Unschedulable")
                && c.message.as_ref() == Some(&failure.message)
        });
        if said {
            return;
        }
        let meta = &pod.pod.metadata;
        let mut condition = Value::object();
        condition.set_at(&["type"], "PodScheduled");
        condition.set_at(&["status"], "False");
        condition.set_at(&["reason"], "Unschedulable");
        condition.set_at(&["message"], failure.message.as_str());
        condition.set_at(&["lastTransitionTime"], seams::clock::now_seconds().to_string());
        let mut patch = Value::object();
        patch.set_at(&["metadata", "uid"], pod.uid.as_str());
        patch.set_at(&["status", "conditions"], vec![condition]);
        let api = Api::<Pod>::namespaced(&self.client, meta.namespace.as_deref().unwrap_or_default());
        let name = meta.name.as_deref().unwrap_or_default();
        if let Err(error) = api.patch_status(name, PatchKind::StrategicMerge, patch).await
            && !error.is_not_found()
            && !error.is_conflict()
        {
            tracing::warn!(pod = name, %error, "a pod's condition could not be written");
        }
    }
}
