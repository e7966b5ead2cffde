//! `binding` of pods.

use machinery::object::ObjectExt;
use machinery::{ApiError, Value, time};
use resources::Target;

use super::success;
use crate::request::{Attributes, Body, Served, decode};
use crate::verbs::Call;
use crate::verbs::update::{self, Source};

/// `bindings`: the pod is named by the body.
pub(super) async fn bind_named(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (binding, warnings) = decode::object(call.kind, body, call.validation)?;
    let given = binding.namespace();
    if !given.is_empty() && given != call.namespace() {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::BadRequest(message.to_owned()));
    }
    let pods = call.pipeline.kinds.core("pods")?;
    let attributes = Attributes {
        resource: "pods".to_owned(),
        subresource: "binding".to_owned(),
        name: binding.name().to_owned(),
        ..call.attributes.clone()
    };
    let mut on_pod = Call { kind: pods, attributes: &attributes, warnings: Vec::new(), ..*call };
    let served = bind(&mut on_pod, Body::Tree(binding)).await?;
    Ok(Served { warnings, ..served })
}

/// `binding` of a pod: puts it on a node. What the body names, if anything, is the pod of the path.
pub(super) async fn bind(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (binding, warnings) = decode::other(body, "v1", "Binding", "io.k8s.api.core.v1.Binding", call.validation)?;
    call.requested(&binding);
    if !binding.name().is_empty() && binding.name() != call.name() {
        let (given, wanted) = (binding.name(), call.name());
        let message = format!("the name of the object ({given}) does not match the name on the URL ({wanted})");
        return Err(ApiError::BadRequest(message));
    }
    let kind = binding.str_at(&["target", "kind"]).unwrap_or_default();
    let node = binding.str_at(&["target", "name"]).unwrap_or_default().to_owned();
    if !matches!(kind, "" | "Node") {
        let path = machinery::field::Path::new("target").child("kind");
        let error = machinery::field::FieldError::not_supported(&path, kind, &["Node", "<empty>"]);
        return Err(ApiError::invalid("", "Binding", binding.name(), vec![error]));
    }
    if node.is_empty() {
        let error = machinery::field::FieldError::required(&machinery::field::Path::new("target").child("name"), "");
        return Err(ApiError::invalid("", "Binding", binding.name(), vec![error]));
    }
    let name = call.name().to_owned();
    let resource = call.kind.resource.clone();
    let conflict = move |detail: String| ApiError::conflict(&pods_binding(&resource), &name, detail);
    let wanted_uid = binding.uid().to_owned();
    let annotations = binding.at(&["metadata", "annotations"]).cloned();
    let pod_name = call.name().to_owned();
    let edit = move |pod: &Value| {
        if !wanted_uid.is_empty() && wanted_uid != pod.uid() {
            let detail =
                format!("Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: {}", pod.uid());
            return Err(conflict(detail));
        }
        if pod.is_deleting() {
            return Err(conflict(format!("pod {pod_name} is being deleted, cannot be assigned to a host")));
        }
        if let Some(host) = pod.str_at(&["spec", "nodeName"]).filter(|host| !host.is_empty()) {
            return Err(conflict(format!("pod {pod_name} is already assigned to node {host:?}")));
        }
        if pod.at(&["spec", "schedulingGates"]).and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(format!("pod {pod_name} has non-empty .spec.schedulingGates")));
        }
        Ok(bound(pod, &node, annotations.as_ref()))
    };
    update::run(call, Target::Subresource("binding"), Source::Edit(&edit)).await?;
    Ok(Served { warnings, ..success(201) })
}

fn pods_binding(resource: &machinery::GroupResource) -> machinery::GroupResource {
    machinery::GroupResource {
        group: resource.group.clone(),
        resource: format!("{}/binding", resource.resource).into(),
    }
}

fn bound(pod: &Value, node: &str, annotations: Option<&Value>) -> Value {
    let mut pod = pod.clone();
    pod.set_at(&["spec", "nodeName"], node);
    for (key, value) in annotations.and_then(Value::as_object).into_iter().flat_map(|a| a.iter()) {
        pod.set_at(&["metadata", "annotations", key], value.clone());
    }
    set_condition(&mut pod, "PodScheduled");
    pod
}

/// Sets a condition to true; its time changes only when it was not.
fn set_condition(pod: &mut Value, kind: &str) {
    let list = pod.ensure_at(&["status", "conditions"]);
    if list.as_array().is_none() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else { return };
    let known = list.iter().position(|c| c.str_at(&["type"]) == Some(kind));
    if known.is_some_and(|i| list[i].str_at(&["status"]) == Some("True")) {
        return;
    }
    let mut condition = Value::object();
    condition.set_at(&["type"], kind);
    condition.set_at(&["status"], "True");
    condition.set_at(&["lastProbeTime"], Value::Null);
    condition.set_at(&["lastTransitionTime"], time::format(seams::clock::now()));
    match known {
        Some(i) => list[i] = condition,
        None => list.push(condition),
    }
}
