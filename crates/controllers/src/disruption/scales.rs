//! How many pods there should be: the sum of the scales of all that control a budget's pods.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Action, Options, Reply, Request};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use machinery::{ApiError, Value};

use super::Disruption;
use crate::owners;

/// The scales of what controls some pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scales {
    by_controller: HashMap<String, i32>,
    /// Whether nobody controls some of the pods.
    pub has_unmanaged: bool,
}

impl Scales {
    pub(super) fn total(&self) -> i32 {
        self.by_controller.values().fold(0, |sum, scale| sum.saturating_add(*scale))
    }
}

/// A controller's UID and how many pods it should have.
type Scale = (String, i32);

impl Disruption {
    /// Fails when the scale of a controller cannot be known.
    pub(super) async fn scales(&self, pods: &[Arc<Pod>]) -> Result<Scales, String> {
        let mut scales = Scales::default();
        let mut asked: Vec<&str> = Vec::new();
        for pod in pods {
            let Some(reference) = owners::controller_of(&pod.metadata) else {
                scales.has_unmanaged = true;
                continue;
            };
            if asked.contains(&reference.uid.as_str()) {
                continue;
            }
            asked.push(&reference.uid);
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let found = match self.known_scale(namespace, reference) {
                Some(scale) => Some(scale),
                None => self.asked_scale(namespace, reference).await?,
            };
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let (controller, scale) = found.ok_or_else(|| format!("found no controllers for pod {name:?}"))?;
            scales.by_controller.insert(controller, scale);
        }
        Ok(scales)
    }

    /// The scale of a kind of which there are copies. Pods of a deployment's replica set are the deployment's.
    fn known_scale(&self, namespace: &str, reference: &OwnerReference) -> Option<Scale> {
        let informers = &self.context.informers;
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let (uid, name) = (&reference.uid, &reference.name);
        let is_it = |meta: &ObjectMeta| meta.uid.as_ref() == Some(uid);
        let scale = |replicas: Option<i32>| Some((uid.clone(), replicas.unwrap_or(1)));
        match (group, reference.kind.as_str()) {
            ("", "ReplicationController") => {
                let found = informers.replication_controllers.get(namespace, name).filter(|o| is_it(&o.metadata))?;
                scale(found.spec.as_ref().and_then(|s| s.replicas))
            }
            ("apps", "StatefulSet") => {
                let found = informers.stateful_sets.get(namespace, name).filter(|o| is_it(&o.metadata))?;
                scale(found.spec.as_ref().and_then(|s| s.replicas))
            }
            ("apps" | "extensions", "ReplicaSet") => {
                let found = informers.replica_sets.get(namespace, name).filter(|o| is_it(&o.metadata))?;
                let Some(above) = owners::controller_of(&found.metadata).filter(|o| o.kind == "Deployment") else {
                    return scale(found.spec.as_ref().and_then(|s| s.replicas));
                };
                let deployment = informers.deployments.get(namespace, &above.name)?;
                let is_above = deployment.metadata.uid.as_ref() == Some(&above.uid);
                let replicas = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
                is_above.then(|| (above.uid.clone(), replicas))
            }
            _ => None,
        }
    }

    /// The scale of anything else that has one.
    async fn asked_scale(&self, namespace: &str, reference: &OwnerReference) -> Result<Option<Scale>, String> {
        let (group, version) = reference.api_version.split_once('/').unwrap_or(("", &reference.api_version));
        let resources = self.context.resources();
        let served = resources.iter().find(|r| &*r.resource.group == group && *r.kind == *reference.kind);
        let Some(served) = served else {
            let (kind, group) = (&reference.kind, if group.is_empty() { "" } else { group });
            return Err(format!("no matches for kind {kind:?} in version \"{group}/{version}\""));
        };
        let request = Request {
            action: Action::Get,
            resource: served.resource.clone(),
            namespace: Some(namespace.to_owned()),
            name: Some(reference.name.clone()),
            subresource: Some("scale".to_owned()),
            options: Options::default(),
        };
        let scale = match self.client.call(request).await {
            Ok(Reply::Object(entry)) => Value::clone(entry.tree()),
            Ok(Reply::Value(tree)) => tree,
            Ok(Reply::List(_)) => return Ok(None),
            Err(ApiError::NotFound { .. }) => return Ok(None),
            Err(ApiError::UnknownPath) => {
                let resource = &served.resource;
                let name = if group.is_empty() { "" } else { "." };
                let name = format!("{}{name}{group}", resource.resource);
                return Err(format!("{name} does not implement the scale subresource"));
            }
            Err(error) => return Err(error.to_string()),
        };
        let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or(0);
        let is_it = scale.str_at(&["metadata", "uid"]) == Some(&reference.uid);
        Ok(is_it.then(|| (reference.uid.clone(), i32::try_from(replicas).unwrap_or(i32::MAX))))
    }
}
