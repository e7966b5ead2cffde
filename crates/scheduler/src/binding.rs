//! The loop: takes pods from the queue, gives each a node, and tells the API in the background.

use std::sync::Arc;

use client::events::EventType;
use client::{Api, PatchKind};
use k8s_openapi::api::core::v1::Pod;
use machinery::ApiError;
use machinery::json::Value;
use tokio::sync::Semaphore;

use crate::cluster::PodInfo;
use crate::cycle::{self, Failure};
use crate::{Scheduler, State};

/// Bindings and status updates under way at a time.
const WRITES_MAX: usize = 64;

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
            let this = self.clone();
            tokio::spawn(async move {
                match decision {
                    Ok(node) => this.bind(pod, &node).await,
                    Err(failure) => this.say_unschedulable(&pod, &failure).await,
                }
                drop(place);
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
    fn decide(&self, start: &mut usize) -> Option<(Arc<PodInfo>, Result<String, Failure>)> {
        let mut state = self.state();
        let State { cluster, queue } = &mut *state;
        let pod = queue.pop()?;
        let decision = cycle::choose(&pod, cluster, start);
        match &decision {
            Ok(node) => cluster.assume(pod.clone(), node),
            Err(failure) => queue.unschedulable(&pod.uid, failure.rejected_by.clone()),
        }
        Some((pod, decision))
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
            Err(error) => self.binding_failed(pod, &error).await,
        }
    }

    async fn binding_failed(&self, pod: Arc<PodInfo>, error: &ApiError) {
        let gone = error.is_not_found();
        {
            let mut state = self.state();
            state.cluster.remove_pod(&pod.uid);
            if gone {
                state.queue.remove(&pod.uid);
            } else {
                state.queue.failed(pod.clone());
            }
        }
        self.wake.notify_one();
        if !gone && !error.is_conflict() {
            tracing::warn!(pod = ?pod.pod.metadata.name, %error, "a pod could not be bound");
            let message = format!("binding rejected: {error}");
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
