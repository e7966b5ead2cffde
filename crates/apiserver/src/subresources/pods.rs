//! `binding` of pods.

use machinery::object::ObjectExt;
use machinery::{ApiError, Value, time};
use resources::Target;

use super::{Meant, success};
use crate::request::{Attributes, Body, Served, decode};
use crate::verbs::update::{self, Source};
use crate::verbs::{Call, create};

/// `bindings`: the pod is named by the body.
pub(super) async fn bind_named(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (mut binding, warnings) = decode::object(call.kind, body, call.validation)?;
    create::fit_to_url(call, &mut binding)?;
    let pods = call.pipeline.kinds.core("pods")?;
    let attributes = Attributes {
        resource: "pods".to_owned(),
        subresource: "binding".to_owned(),
        name: binding.name().to_owned(),
        ..call.attributes.clone()
    };
    let mut on_pod = Call { kind: pods, attributes: &attributes, warnings: Vec::new(), ..*call };
    on_pod.warnings.extend(warnings);
    bind(&mut on_pod, Body::Tree(binding)).await
}

/// `binding` of a pod: puts it on a node. Labels and annotations of the binding become the pod's.
pub(super) async fn bind(call: &mut Call<'_>, body: Body) -> Result<Served, ApiError> {
    let (mut binding, warnings) = decode::other(body, "v1", "Binding", "io.k8s.api.core.v1.Binding", call.validation)?;
    call.requested(&binding);
    create::fit_to_url(call, &mut binding)?;
    if binding.name() != call.name() {
        return Err(ApiError::BadRequest("name in URL does not match name in Binding object".to_owned()));
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
    super::admit(call, "binding", &mut binding).await?;
    let name = call.name().to_owned();
    let resource = call.kind.resource.clone();
    let conflict = move |detail: String| ApiError::conflict(&pods_binding(&resource), &name, detail);
    let meant = Meant::new(call, &binding);
    let pod_name = call.name().to_owned();
    let edit = move |pod: &Value| {
        meant.check(pod)?;
        if pod.is_deleting() {
            return Err(conflict(format!("pod {pod_name} is being deleted, cannot be assigned to a host")));
        }
        if let Some(host) = pod.str_at(&["spec", "nodeName"]).filter(|host| !host.is_empty()) {
            return Err(conflict(format!("pod {pod_name} is already assigned to node {host:?}")));
        }
        if pod.at(&["spec", "schedulingGates"]).and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
            return Err(conflict(format!("pod {pod_name} has non-empty .spec.schedulingGates")));
        }
        Ok(bound(pod, &node, &binding))
    };
    call.warnings.extend(warnings);
    let served = update::run(call, Target::Subresource("binding"), Source::Edit(&edit)).await?;
    Ok(Served { warnings: served.warnings, ..success(201) })
}

fn pods_binding(resource: &machinery::GroupResource) -> machinery::GroupResource {
    machinery::GroupResource {
        group: resource.group.clone(),
        resource: format!("{}/binding", resource.resource).into(),
    }
}

fn bound(pod: &Value, node: &str, binding: &Value) -> Value {
    let mut pod = pod.clone();
    pod.set_at(&["spec", "nodeName"], node);
    for field in ["annotations", "labels"] {
        let given = binding.at(&["metadata", field]).and_then(Value::as_object);
        for (key, value) in given.into_iter().flat_map(|given| given.iter()) {
            pod.set_at(&["metadata", field, key], value.clone());
        }
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
