//! Where streaming requests go.

use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use resources::Subresource;

use crate::request::ConnectTarget;
use crate::verbs::Call;

/// Port of node agents that say none.
const NODE_PORT_DEFAULT: u16 = 10_250;
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Where a request goes.
pub(crate) async fn target(call: &Call<'_>) -> Result<ConnectTarget, ApiError> {
    call.pipeline.feed.current().await?;
    let subresource = super::find(call)?;
    // `proxy` takes `https:name:port`.
    let (scheme, name, port) = match subresource {
        Subresource::Proxy => split_name(call.name())?,
        _ => ("http", call.name(), ""),
    };
    let found = call.kind.find(call.namespace(), name);
    let object = found.ok_or_else(|| ApiError::not_found(&call.kind.resource, name))?;
    let object: &Value = object.tree();
    match (subresource, call.kind.row.plural.as_str()) {
        (Subresource::Proxy, "pods") => pod_address(object, scheme, port),
        (Subresource::Proxy, "services") => service_address(call, object, scheme, port),
        (_, "nodes") => node(call, name),
        (_, "pods") => pod_node(call, object),
        _ => Err(super::not_allowed()),
    }
}

fn split_name(text: &str) -> Result<(&str, &str, &str), ApiError> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [name] => Ok(("http", name, "")),
        [name, port] => Ok(("http", name, port)),
        [scheme @ ("" | "http" | "https"), name, port] => {
            Ok((if scheme.is_empty() { "http" } else { scheme }, name, port))
        }
        _ => Err(ApiError::BadRequest(format!("invalid service request {text:?}"))),
    }
}

fn pod_node(call: &Call<'_>, pod: &Value) -> Result<ConnectTarget, ApiError> {
    let node_name = pod.str_at(&["spec", "nodeName"]).unwrap_or_default();
    if node_name.is_empty() {
        return Err(ApiError::BadRequest(format!("pod {} does not have a host assigned", pod.name())));
    }
    let mut containers: Vec<String> = Vec::new();
    let mut first = "";
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        let items = pod.at(&["spec", list]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let names = items.iter().filter_map(|c| c.str_at(&["name"]));
        if list == "containers" {
            first = items.first().and_then(|c| c.str_at(&["name"])).unwrap_or_default();
        }
        containers.extend(names.map(str::to_owned));
    }
    let annotated = pod.annotation(DEFAULT_CONTAINER).filter(|name| containers.iter().any(|c| c == name));
    Ok(ConnectTarget {
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
        container: annotated.unwrap_or(first).to_owned(),
        containers,
        ..node(call, node_name)?
    })
}

/// A node's agent: its internal address first, then others, then its name.
fn node(call: &Call<'_>, name: &str) -> Result<ConnectTarget, ApiError> {
    let nodes = call.pipeline.kinds.core("nodes")?;
    let entry = nodes.find("", name).ok_or_else(|| ApiError::not_found(&nodes.resource, name))?;
    let node: &Value = entry.tree();
    let addresses = node.at(&["status", "addresses"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let of =
        |kind: &str| addresses.iter().find(|a| a.str_at(&["type"]) == Some(kind)).and_then(|a| a.str_at(&["address"]));
    let address =
        ["InternalIP", "Hostname", "InternalDNS", "ExternalIP"].iter().find_map(|kind| of(kind)).unwrap_or(name);
    let port = node.i64_at(&["status", "daemonEndpoints", "kubeletEndpoint", "Port"]);
    Ok(ConnectTarget {
        node_name: name.to_owned(),
        address: address.to_owned(),
        port: port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0).unwrap_or(NODE_PORT_DEFAULT),
        scheme: "https".to_owned(),
        ..ConnectTarget::default()
    })
}

fn target_of(object: &Value, scheme: &str, address: &str, port: u16) -> ConnectTarget {
    ConnectTarget {
        address: address.to_owned(),
        port,
        scheme: scheme.to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        uid: object.uid().to_owned(),
        ..ConnectTarget::default()
    }
}

fn pod_address(pod: &Value, scheme: &str, port: &str) -> Result<ConnectTarget, ApiError> {
    let address = pod.str_at(&["status", "podIP"]).filter(|ip| !ip.is_empty());
    let address = address.ok_or_else(|| ApiError::BadRequest("address not allowed".to_owned()))?;
    let first = || {
        let containers = pod.at(&["spec", "containers"])?.as_array()?;
        containers.iter().find_map(|c| c.at(&["ports"])?.as_array()?.first()?.i64_at(&["containerPort"]))
    };
    let number = if port.is_empty() { first().and_then(|p| u16::try_from(p).ok()) } else { port.parse().ok() };
    Ok(target_of(pod, scheme, address, number.unwrap_or(if scheme == "https" { 443 } else { 80 })))
}

/// One of the service's ready endpoints, at random.
fn service_address(call: &Call<'_>, service: &Value, scheme: &str, port: &str) -> Result<ConnectTarget, ApiError> {
    let missing = || ApiError::ServiceUnavailable(format!("no endpoints available for service {:?}", call.name()));
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let wanted = ports.iter().find(|p| {
        let named = p.str_at(&["name"]) == Some(port) && !port.is_empty();
        let numbered = p.i64_at(&["port"]).map(|n| n.to_string()).as_deref() == Some(port);
        named || numbered || (port.is_empty() && ports.len() == 1)
    });
    let wanted = wanted.ok_or_else(|| {
        ApiError::ServiceUnavailable(format!("no service port {port:?} found for service {:?}", service.name()))
    })?;
    let name = wanted.str_at(&["name"]).unwrap_or_default();
    let endpoints =
        call.pipeline.kinds.core("endpoints")?.find(service.namespace(), service.name()).ok_or_else(missing)?;
    let subsets = endpoints.tree().at(&["subsets"]).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut choices: Vec<(String, u16)> = Vec::new();
    for subset in subsets {
        let items = |key: &str| subset.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let number = items("ports").iter().find(|p| p.str_at(&["name"]).unwrap_or_default() == name);
        let Some(number) = number.and_then(|p| u16::try_from(p.i64_at(&["port"])?).ok()) else { continue };
        choices.extend(items("addresses").iter().filter_map(|a| Some((a.str_at(&["ip"])?.to_owned(), number))));
    }
    let bound = choices.len() as u64;
    if bound == 0 {
        return Err(missing());
    }
    let (address, number) = &choices[usize::try_from(seams::random::below(bound)).unwrap_or(0)];
    Ok(target_of(service, scheme, address, *number))
}
