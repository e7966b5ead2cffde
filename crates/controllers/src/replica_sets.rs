//! A replica set has as many pods as it asks for.

use client::{Informer, labels};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::context::Informers;
use crate::replicas::Replicated;

impl Replicated for ReplicaSet {
    const CONTROLLER: &'static str = "replicaset-controller";
    const COMPONENT: &'static str = "replicaset-controller";

    fn informer(informers: &Informers) -> &Informer<Self> {
        &informers.replica_sets
    }

    fn replicas(&self) -> Option<i32> {
        self.spec.as_ref()?.replicas
    }

    fn selects(&self, pod: &ObjectMeta) -> bool {
        let selector = self.spec.as_ref().map(|s| &s.selector);
        selector.is_some_and(|s| !labels::is_empty(s) && labels::matches(s, pod.labels.as_ref()))
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn status(&self) -> Option<ReplicaSetStatus> {
        self.status.clone()
    }

    fn set_status(&mut self, status: ReplicaSetStatus) {
        self.status = Some(status);
    }
}
