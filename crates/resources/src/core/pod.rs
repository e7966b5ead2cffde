//! Pods.

use machinery::field::FieldError;
use machinery::json::Value;

use super::{pod_cells, pod_status};
use crate::place::{Place, Report};
use crate::pod_spec::{defaults, match_labels, qos, resize, spec, update, warnings};
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
    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        &["deletionTimestamp", "ownerReferences"]
    }

    fn default(&self, object: &mut Value) {
        if let Some(spec) = present_mut(object, "spec") {
            defaults::pod_spec(spec);
            defaults::pod_only(spec);
        }
        if let Some(status) = present_mut(object, "status") {
            pod_status::mirror_ips(status);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        let mut status = Value::object();
        status.set_at(&["phase"], "Pending");
        status.set_at(&["qosClass"], qos::class(object));
        object.set_at(&["status"], status);
        match_labels::apply(object);
        let gated = object.get("spec").is_some_and(|spec| !spec.items("schedulingGates").is_empty());
        if gated {
            object.set_at(&["status", "conditions"], vec![gated_condition()]);
        }
    }

    fn prepare_for_update(&self, object: &mut Value, old: &Value, target: Target) {
        match target {
            Target::Subresource("status") => keep_qos_class(object, old),
            Target::Subresource("ephemeralcontainers") => {
                let containers = object.at(&["spec", "ephemeralContainers"]).cloned();
                keep_all_but_metadata(object, old);
                if let Some(containers) = containers {
                    object.set_at(&["spec", "ephemeralContainers"], containers);
                }
            }
            Target::Subresource("resize") => {
                if let Some(status) = old.get("status") {
                    object.set_at(&["status"], status.clone());
                }
            }
            _ => {}
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = validate_whole(object);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let at = Place::root("spec");
        if !spec.items("ephemeralContainers").is_empty() {
            errors.forbidden(&at.field("ephemeralContainers"), "cannot be set on create");
        }
        if !spec.text("nodeName").is_empty() && !spec.items("schedulingGates").is_empty() {
            errors.forbidden(&at.field("nodeName"), "cannot be set until all schedulingGates have been cleared");
        }
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        match target {
            Target::Object => {
                let mut errors = validate_whole(object);
                update::validate(object, old, &mut errors);
                errors
            }
            Target::Subresource("status") => pod_status::validate(object, old),
            Target::Subresource("ephemeralcontainers") => {
                let mut errors = validate_whole(object);
                update::validate_ephemeral(object, old, &mut errors);
                errors
            }
            Target::Subresource("resize") => {
                let mut errors = validate_whole(object);
                resize::validate(object, old, &mut errors);
                errors
            }
            Target::Subresource(_) => Vec::new(),
        }
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        object.get("spec").map(|spec| warnings::of(spec, "spec")).unwrap_or_default()
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

/// What holds for new and changed pods alike.
fn validate_whole(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = Place::root("spec");
    let empty = Value::object();
    let spec = object.get("spec").unwrap_or(&empty);
    validate_annotations(object, spec, &mut errors);
    spec::validate(spec, Some(object.str_at(&["metadata", "name"]).unwrap_or_default()), &at, &mut errors);
    if spec.text("serviceAccountName").is_empty() {
        forbid_tokens(spec, &at.field("volumes"), &mut errors);
    }
    errors
}

fn validate_annotations(object: &Value, spec: &Value, errors: &mut Vec<FieldError>) {
    const MIRROR: &str = "kubernetes.io/config.mirror";
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let annotations = metadata.entries("annotations");
    let text = |key: &str| annotations.get(key).and_then(Value::as_str);
    let (root, list) = (Place::root("metadata"), "annotations");
    let at = root.field(list);
    if let Some(value) = text(MIRROR).filter(|_| spec.text("nodeName").is_empty()) {
        errors.invalid(&at.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(cost) =
        text(COST).filter(|cost| cost.starts_with(['+', '0']) && *cost != "0" || cost.parse::<i32>().is_err())
    {
        errors.invalid(&at.key(COST), cost, "must be a 32bit integer");
    }
}

/// Tokens are of an account: the admission step sets one on real pods.
fn forbid_tokens(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (v, volume) in spec.items("volumes").iter().enumerate() {
        let Some(projected) = volume.present("projected") else { continue };
        for (s, source) in projected.items("sources").iter().enumerate() {
            if source.has("serviceAccountToken") {
                let detail = "must not be specified when serviceAccountName is not set";
                let volume = list.index(v);
                let sources = volume.field("projected.sources");
                errors.forbidden(&sources.index(s).field("serviceAccountToken"), detail);
            }
        }
    }
}

fn keep_all_but_metadata(object: &mut Value, old: &Value) {
    for part in ["spec", "status"] {
        if let Some(value) = old.get(part) {
            object.set_at(&[part], value.clone());
        }
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
