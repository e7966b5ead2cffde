//! What the endpoints of a service are: the part that Endpoints and EndpointSlices share.

use std::sync::Arc;

use client::{Change, ObjectKey, Queue};
use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::context::Context;
use crate::pods;

/// The label by which a slice names its service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label that says that the service has no cluster address.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";
/// When the pods or the service last changed in a way that these endpoints show (RFC 3339).
pub const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A port of a service as one pod serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    /// The service port's name; empty when it has none.
    pub name: String,
    /// The port in the pod.
    pub number: i32,
    /// `TCP` …
    pub protocol: String,
    /// Hint at what is spoken.
    pub app_protocol: Option<String>,
}

/// A pod behind a service.
pub struct Backend {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its address.
    pub address: String,
    /// The service's ports in it, in the service's order; those that the pod does not name are left out.
    pub ports: Vec<Port>,
}

impl Backend {
    /// The node that the pod runs on.
    pub fn node_name(&self) -> Option<String> {
        self.pod.spec.as_ref().and_then(|s| s.node_name.clone())
    }

    /// The name that the pod has under a headless service.
    pub fn hostname(&self, service: &str) -> Option<String> {
        let spec = self.pod.spec.as_ref()?;
        let own = spec.subdomain.as_deref() == Some(service);
        spec.hostname.clone().filter(|h| own && !h.is_empty())
    }

    /// Where the endpoint comes from.
    pub fn reference(&self) -> ObjectReference {
        let meta = &self.pod.metadata;
        ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        }
    }

    /// Whether it may get traffic as far as its Ready condition goes.
    pub fn is_ready(&self, service: &Service) -> bool {
        publishes_unready(service) || pods::is_ready(&self.pod)
    }

    /// Whether it is on its way out.
    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// Whether the service's endpoints are ready whatever the pods say.
pub fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

/// Whether the service has no cluster address on purpose.
pub fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

/// Whether endpoints are made for it: it has a selector and does not stand for a name elsewhere.
pub fn is_selecting(service: &Service) -> bool {
    let Some(spec) = &service.spec else { return false };
    spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|s| !s.is_empty())
}

/// The pods behind a service that have an address and have not ended. Those on their way out are among them.
pub fn backends(context: &Context, service: &Service) -> Vec<Backend> {
    let (Some(spec), namespace) = (&service.spec, service.metadata.namespace.as_deref().unwrap_or_default()) else {
        return Vec::new();
    };
    let selector = spec.selector.clone().unwrap_or_default();
    let all = context.informers.pods.list_in(namespace).into_iter();
    let selected = all.filter(|p| client::labels::contains_all(p.metadata.labels.as_ref(), &selector));
    let alive = selected.filter(|p| !pods::is_finished(p));
    let mut backends: Vec<Backend> = alive
        .filter_map(|pod| {
            let address = pod.status.as_ref()?.pod_ip.clone().filter(|ip| !ip.is_empty())?;
            let ports = spec.ports.iter().flatten().filter_map(|port| port_in(port, &pod)).collect();
            Some(Backend { pod, address, ports })
        })
        .collect();
    backends.sort_by(|a, b| a.pod.metadata.name.cmp(&b.pod.metadata.name));
    backends
}

fn port_in(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        Some(IntOrString::String(name)) => named_port(pod, name, &protocol)?,
        Some(IntOrString::Int(number)) if *number != 0 => *number,
        _ => port.port,
    };
    Some(Port {
        name: port.name.clone().unwrap_or_default(),
        number,
        protocol,
        app_protocol: port.app_protocol.clone(),
    })
}

/// A container's port by name. Sidecars count, other init containers do not.
fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let mut fitting = ports.filter(|p| p.name.as_deref() == Some(name));
    fitting.find(|p| p.protocol.as_deref().unwrap_or("TCP") == protocol).map(|p| p.container_port)
}

/// Puts a service into the queue whenever it, or a pod that it selects, changes.
pub fn follow(context: &Arc<Context>, queue: &Queue<ObjectKey>) {
    let changed = queue.clone();
    context.informers.services.on_change(move |change| changed.add(ObjectKey::of(change.object().as_ref())));
    let (changed, services) = (queue.clone(), context.clone());
    context.informers.pods.on_change(move |change| {
        let (old, new) = match change {
            Change::Applied { old, new } => (*old, Some(*new)),
            Change::Deleted(last) => (Some(*last), None),
        };
        if let (Some(old), Some(new)) = (old, new)
            && !matters(old, new)
        {
            return;
        }
        let namespace = change.object().metadata.namespace.clone().unwrap_or_default();
        for service in services.informers.services.list_in(&namespace) {
            let Some(selector) = service.spec.as_ref().and_then(|s| s.selector.as_ref()) else { continue };
            let selects = |pod: &Arc<Pod>| client::labels::contains_all(pod.metadata.labels.as_ref(), selector);
            if !selector.is_empty() && (old.is_some_and(selects) || new.is_some_and(selects)) {
                changed.add(ObjectKey::of(service.as_ref()));
            }
        }
    });
}

/// Whether a change of a pod can show in endpoints.
fn matters(old: &Pod, new: &Pod) -> bool {
    let seen = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        (
            pod.status.as_ref().and_then(|s| s.pod_ip.clone()),
            (pods::is_ready(pod), pods::is_finished(pod), pod.metadata.deletion_timestamp.is_some()),
            spec.and_then(|s| s.node_name.clone()),
            spec.and_then(|s| Some((s.hostname.clone()?, s.subdomain.clone()?))),
            pod.metadata.labels.clone(),
        )
    };
    seen(old) != seen(new)
}

/// The newest moment at which the service or one of its pods changed, for [`TRIGGER_TIME`].
pub fn trigger_time(service: &Service, backends: &[Backend]) -> Option<String> {
    let created = service.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let ready = backends
        .iter()
        .filter_map(|b| pods::condition(&b.pod, "Ready").and_then(|c| c.last_transition_time.as_ref()).map(|t| t.0));
    ready.chain(created).max().map(|t| t.to_string())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

    use super::*;

    #[test]
    fn target_ports_are_numbers_names_or_the_port_itself() {
        let named = ContainerPort { name: Some("web".into()), container_port: 8080, ..ContainerPort::default() };
        let container = Container { ports: Some(vec![named]), ..Container::default() };
        let pod = Pod { spec: Some(PodSpec { containers: vec![container], ..PodSpec::default() }), ..Pod::default() };
        let cases = [
            (Some(IntOrString::Int(90)), Some(90)),
            (Some(IntOrString::Int(0)), Some(80)),
            (None, Some(80)),
            (Some(IntOrString::String("web".into())), Some(8080)),
            (Some(IntOrString::String("other".into())), None),
        ];
        for (target_port, expected) in cases {
            let port = ServicePort { port: 80, target_port, ..ServicePort::default() };
            assert_eq!(port_in(&port, &pod).map(|p| p.number), expected, "{:?}", port.target_port);
        }
        let udp = ServicePort {
            protocol: Some("UDP".into()),
            target_port: Some(IntOrString::String("web".into())),
            ..ServicePort::default()
        };
        assert_eq!(port_in(&udp, &pod), None, "the name is of a TCP port");
    }
}
