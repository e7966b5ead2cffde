//! What lies below objects: names, kinds and verbs of subresources, as discovery and OpenAPI tell them.

use machinery::GroupVersionKind;
use resources::{Resource, Subresource};

/// A subresource as clients see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// `scale`
    pub name: &'static str,
    /// The kind of its bodies.
    pub kind: GroupVersionKind,
    /// What can be done with it.
    pub verbs: &'static [&'static str],
    /// Whether it is a connection (`exec`, `proxy` …) or a stream of bytes and no object.
    pub is_stream: bool,
}

const MODIFY: &[&str] = &["get", "patch", "update"];
const CREATE: &[&str] = &["create"];
const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// The subresources of a row, sorted by name.
pub fn of(row: &Resource) -> Vec<Described> {
    let mut all: Vec<Described> = row.subresources.iter().map(|s| describe(row, s)).collect();
    all.sort_by_key(|d| d.name);
    all
}

fn describe(row: &Resource, subresource: &Subresource) -> Described {
    let own = || row.gvk();
    let core = |kind: &str| GroupVersionKind::new("", "v1", kind);
    let (name, kind, verbs) = match subresource {
        Subresource::Status => ("status", own(), MODIFY),
        Subresource::Scale => ("scale", GroupVersionKind::new("autoscaling", "v1", "Scale"), MODIFY),
        Subresource::Binding => ("binding", core("Binding"), CREATE),
        Subresource::Eviction => ("eviction", GroupVersionKind::new("policy", "v1", "Eviction"), CREATE),
        Subresource::EphemeralContainers => ("ephemeralcontainers", own(), MODIFY),
        Subresource::Resize => ("resize", own(), MODIFY),
        Subresource::Log => ("log", own(), &["get"] as &[_]),
        Subresource::Exec => ("exec", core("PodExecOptions"), CONNECT),
        Subresource::Attach => ("attach", core("PodAttachOptions"), CONNECT),
        Subresource::PortForward => ("portforward", core("PodPortForwardOptions"), CONNECT),
        Subresource::Proxy => ("proxy", core(&format!("{}ProxyOptions", row.kind)), PROXY),
        Subresource::Finalize => ("finalize", own(), &["update"] as &[_]),
        Subresource::Token => ("token", GroupVersionKind::new("authentication.k8s.io", "v1", "TokenRequest"), CREATE),
        Subresource::Approval => ("approval", own(), MODIFY),
    };
    let is_stream = matches!(name, "log" | "exec" | "attach" | "portforward" | "proxy");
    Described { name, kind, verbs, is_stream }
}
