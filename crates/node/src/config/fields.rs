//! Values of the downward API: fields of the pod and resources of its containers.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ResourceFieldSelector;

use crate::quantity;
use crate::wanted::Wanted;

/// What only the node knows about a pod.
#[derive(Debug, Clone, Default)]
pub struct NodeFacts {
    /// The node's address.
    pub host_ip: Option<IpAddr>,
    /// The pod's addresses.
    pub pod_ips: Vec<IpAddr>,
    /// What the node offers: milli-CPUs.
    pub allocatable_milli_cpu: i64,
    /// What the node offers: bytes of memory.
    pub allocatable_memory: i64,
    /// What the node offers: bytes of disk.
    pub allocatable_storage: i64,
}

/// The value of a field path (`metadata.labels['app']`, `status.podIP` …).
pub fn field(wanted: &Wanted, node: &NodeFacts, path: &str) -> Result<String, String> {
    let meta = &wanted.pod.metadata;
    if let Some((map, key)) = path.split_once("['").and_then(|(m, k)| Some((m, k.strip_suffix("']")?))) {
        let map = match map {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(format!("invalid fieldPath with subscript: {path}")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let join = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let host = node.host_ip.map(|ip| ip.to_string()).unwrap_or_default();
    let pod_ips = if wanted.host_network() { node.host_ip.iter().copied().collect() } else { node.pod_ips.clone() };
    Ok(match path {
        "metadata.name" => wanted.name().to_owned(),
        "metadata.namespace" => wanted.namespace().to_owned(),
        "metadata.uid" => wanted.uid().to_owned(),
        "metadata.labels" => map_text(meta.labels.as_ref()),
        "metadata.annotations" => map_text(meta.annotations.as_ref()),
        "spec.nodeName" => wanted.spec().node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => wanted.spec().service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => host,
        "status.podIP" => pod_ips.first().map(ToString::to_string).unwrap_or_default(),
        "status.podIPs" => join(&pod_ips),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    })
}

/// A map as the downward API writes it: `key="value"` lines, sorted.
fn map_text(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect::<Vec<_>>().join("\n")
}

/// The value of a container's resource. A limit that is not set is what the node offers.
pub fn resource(
    wanted: &Wanted,
    node: &NodeFacts,
    container: &str,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let name = selector.container_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(container);
    let member = wanted.member(name).ok_or_else(|| format!("container {name} not found"))?;
    let resources = member.spec.resources.as_ref();
    let (list, resource) = selector.resource.split_once('.').unwrap_or(("", ""));
    let map = match list {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let default = || match (list, resource) {
        ("limits", "cpu") => quantity::of_milli(node.allocatable_milli_cpu),
        ("limits", "memory") => quantity::of_value(node.allocatable_memory),
        ("limits", "ephemeral-storage") => quantity::of_value(node.allocatable_storage),
        _ => quantity::of_value(0),
    };
    let value = map.and_then(|m| m.get(resource)).cloned().unwrap_or_else(default);
    Ok(quantity::divided(&value, selector.divisor.as_ref(), resource == "cpu").to_string())
}
