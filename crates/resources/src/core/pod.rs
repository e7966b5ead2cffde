//! Pods.

use machinery::field::FieldError;
use machinery::json::Value;

use super::pod_cells;
use crate::pod_spec::{defaults, qos};
use crate::read::{Read, present_mut, selectable};
use crate::row::{Column, Resource, SelectableField, Strategy, Subresource, Target};

/// The row.
pub fn row() -> Resource {
    Resource::new("v1", "Pod", "pods")
        .short_names(&["po"])
        .categories(&["all"])
        .subresources(&[
            Subresource::Attach,
            Subresource::Binding,
            Subresource::EphemeralContainers,
            Subresource::Eviction,
            Subresource::Exec,
            Subresource::Log,
            Subresource::PortForward,
            Subresource::Proxy,
            Subresource::Resize,
            Subresource::Status,
        ])
        .columns(columns())
        .selectable(selectable_fields())
        .generation()
        .graceful_deletion()
        .strategy(Pod)
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("Ready", "Containers that are ready, of all.", |object, now| {
            pod_cells::read(object, now).ready.into()
        }),
        Column::text("Status", "What the pod as a whole does.", |object, now| {
            pod_cells::read(object, now).status.into()
        }),
        Column::text("Restarts", "Restarts of its containers, and when the last one was.", |object, now| {
            pod_cells::read(object, now).restarts.into()
        }),
        Column::age(),
        Column::text("IP", "The pod's address.", |object, _| pod_cells::ip(object)).wide(),
        Column::text("Node", "The node that it runs on.", |object, _| pod_cells::node(object)).wide(),
        Column::text("Nominated Node", "The node that preemption frees for it.", |object, _| {
            pod_cells::nominated(object)
        })
        .wide(),
        Column::text("Readiness Gates", "Readiness gates that are true, of all.", |object, _| pod_cells::gates(object))
            .wide(),
    ]
}

fn selectable_fields() -> Vec<SelectableField> {
    vec![
        SelectableField::new("spec.nodeName", |pod| selectable(pod, &["spec", "nodeName"])),
        SelectableField::new("spec.restartPolicy", |pod| selectable(pod, &["spec", "restartPolicy"])),
        SelectableField::new("spec.schedulerName", |pod| selectable(pod, &["spec", "schedulerName"])),
        SelectableField::new("spec.serviceAccountName", |pod| selectable(pod, &["spec", "serviceAccountName"])),
        SelectableField::new("spec.hostNetwork", |pod| {
            pod.at(&["spec", "hostNetwork"]).and_then(Value::as_bool).unwrap_or(false).to_string()
        }),
        SelectableField::new("status.phase", |pod| selectable(pod, &["status", "phase"])),
        SelectableField::new("status.podIP", |pod| selectable(pod, &["status", "podIP"])),
        SelectableField::new("status.podIPs", |pod| selectable(pod, &["status", "podIP"])),
        SelectableField::new("status.nominatedNodeName", |pod| selectable(pod, &["status", "nominatedNodeName"])),
    ]
}

struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = present_mut(object, "spec") {
            defaults::pod_spec(spec);
            defaults::pod_only(spec);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let mut status = Value::object();
        status.set_at(&["phase"], "Pending");
        status.set_at(&["qosClass"], qos::class(object));
        object.set_at(&["status"], status);
        let gated = object.get("spec").is_some_and(|spec| !spec.items("schedulingGates").is_empty());
        if gated {
            object.set_at(&["status", "conditions"], vec![gated_condition()]);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        if target == Target::Subresource("status") {
            // What the scheduler and users own of the spec stays as it is stored; so does what the API server alone sets.
            keep_qos_class(object, old);
            if old.str_at(&["spec", "nodeName"]).is_some_and(|n| !n.is_empty()) {
                object.remove_at(&["status", "nominatedNodeName"]);
            }
        }
    }

    fn validate(&self, _object: &Value) -> Vec<FieldError> {
        Vec::new()
    }

    /// 30 s by default; a pod that no node has, or that is done, goes at once.
    fn grace_period_seconds(&self, object: &Value, asked: Option<i64>) -> i64 {
        let wanted = asked.or_else(|| object.i64_at(&["spec", "terminationGracePeriodSeconds"])).unwrap_or(30);
        let phase = object.str_at(&["status", "phase"]).unwrap_or_default();
        let bound = object.str_at(&["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
        if !bound || matches!(phase, "Succeeded" | "Failed") {
            return 0;
        }
        // Negative periods are treated as one second (`pkg/registry/core/pod/strategy.go`).
        if wanted < 0 { 1 } else { wanted }
    }
}

fn keep_qos_class(object: &mut Value, old: &Value) {
    if let Some(class) = old.at(&["status", "qosClass"]).filter(|_| object.has("status")) {
        object.default_at(&["status", "qosClass"], class.clone());
    }
}

fn gated_condition() -> Value {
    let fields = [
        ("type", "PodScheduled"),
        ("status", "False"),
        ("reason", "SchedulingGated"),
        ("message", "Scheduling is blocked due to non-empty scheduling gates"),
    ];
    Value::Object(fields.into_iter().collect())
}
