//! NodeRestriction: a node writes only its own Node, its own Lease, and the pods bound to it.

use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Target;

use super::{Operation, Plugin, Review};

const MIRROR: &str = "kubernetes.io/config.mirror";
const LEASES: &str = "kube-node-lease";

pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn admit(&self, review: &mut Review<'_>) -> Result<(), ApiError> {
        let is_node = review.user.groups.iter().any(|g| g == "system:nodes");
        let Some(node) = review.user.name.strip_prefix("system:node:").filter(|_| is_node) else { return Ok(()) };
        match (review.kind.row.group.as_str(), review.kind.row.plural.as_str()) {
            ("", "nodes") => own_node(review, node),
            ("", "pods") => own_pod(review, node),
            ("coordination.k8s.io", "leases") => own_lease(review, node),
            ("", "serviceaccounts") => own_token(review, node),
            ("certificates.k8s.io", "podcertificaterequests") => own_certificate(review, node),
            _ => Ok(()),
        }
    }
}

fn own_node(review: &Review<'_>, node: &str) -> Result<(), ApiError> {
    let name = review.object_name();
    if name != node {
        return Err(review.forbidden(&format!("node {node:?} is not allowed to modify node {name:?}")));
    }
    if review.operation == Operation::Update
        && let Some(old) = review.old
        && review.target == Target::Object
        && review.object.at(&["spec", "taints"]) != old.at(&["spec", "taints"])
    {
        return Err(review.forbidden(&format!("node {node:?} is not allowed to modify taints")));
    }
    Ok(())
}

fn own_pod(review: &Review<'_>, node: &str) -> Result<(), ApiError> {
    let bound = |pod: &Value| pod.str_at(&["spec", "nodeName"]).unwrap_or_default().to_owned();
    match (review.operation, review.target) {
        (Operation::Create, Target::Object) if review.object.annotation(MIRROR).is_none() => Err(review
            .forbidden(&format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"))),
        (Operation::Create, Target::Object) if bound(review.object) != node => {
            Err(review.forbidden(&format!("node {node:?} can only create pods with spec.nodeName set to itself")))
        }
        (Operation::Update, Target::Object) => Err(review.forbidden(&format!(
            "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
        ))),
        (Operation::Update | Operation::Delete, _) if review.old.is_some_and(|old| bound(old) != node) => {
            let what = if review.operation == Operation::Delete { "delete pods" } else { "update pod status for pods" };
            Err(review.forbidden(&format!("node {node:?} can only {what} with spec.nodeName set to itself")))
        }
        _ => Ok(()),
    }
}

fn own_lease(review: &Review<'_>, node: &str) -> Result<(), ApiError> {
    if review.namespace != LEASES {
        return Err(review.forbidden(&format!("can only access leases in the {LEASES:?} system namespace")));
    }
    if review.object_name() != node {
        return Err(review.forbidden("can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

/// A node asks for certificates of pods that run on it, in the name of their service account (KEP-4317).
fn own_certificate(review: &Review<'_>, node: &str) -> Result<(), ApiError> {
    if review.operation != Operation::Create {
        return Ok(());
    }
    let asks = |name: &str| review.object.str_at(&["spec", name]).unwrap_or_default();
    if asks("nodeName") != node {
        return Err(review.forbidden(&format!(
            "PodCertificateRequest.Spec.NodeName={:?}, which is not the requesting node {node:?}",
            asks("nodeName")
        )));
    }
    let name = asks("podName");
    let pod = review.kinds.core("pods")?.find(review.namespace, name);
    let pod = pod.ok_or_else(|| {
        review.forbidden(&format!("node requested PodCertificateRequest for pod {name:?} that is not there"))
    })?;
    let has = |path: &[&str]| pod.tree().str_at(path).unwrap_or_default().to_owned();
    let held = [
        ("PodUID", has(&["metadata", "uid"]), asks("podUID")),
        ("NodeName", has(&["spec", "nodeName"]), asks("nodeName")),
        ("ServiceAccountName", has(&["spec", "serviceAccountName"]), asks("serviceAccountName")),
    ];
    if let Some((what, is, asked)) = held.iter().find(|(_, is, asked)| is != asked) {
        let text = format!("PodCertificateRequest.Spec.{what}={asked:?}, which is not the pod's own {is:?}");
        return Err(review.forbidden(&text));
    }
    if pod.tree().annotation(MIRROR).is_some() {
        return Err(review.forbidden("pod is a mirror pod: nodes do not ask for certificates of static pods"));
    }
    Ok(())
}

/// A node asks for tokens of pods that run on it; `token` checks the pod itself.
fn own_token(review: &Review<'_>, node: &str) -> Result<(), ApiError> {
    if review.target != Target::Subresource("token") {
        return Ok(());
    }
    let reference = review.object.at(&["spec", "boundObjectRef"]);
    let pod_name = reference.filter(|r| r.str_at(&["kind"]) == Some("Pod")).and_then(|r| r.str_at(&["name"]));
    let Some(pod_name) = pod_name else {
        return Err(review.forbidden("node requested token not bound to a pod"));
    };
    let pod = review.kinds.core("pods")?.find(review.namespace, pod_name);
    let pod = pod.ok_or_else(|| {
        review.forbidden(&format!("node requested token bound to a pod {pod_name:?} that is not there"))
    })?;
    if pod.tree().str_at(&["spec", "nodeName"]) != Some(node) {
        return Err(review.forbidden("node requested token bound to a pod scheduled on a different node"));
    }
    Ok(())
}
