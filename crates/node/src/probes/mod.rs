//! Probes: how one attempt is made. When attempts are made is decided beside the workers.

mod counts;
pub mod grpc;
pub mod http;
mod tls;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use runtime::{Runtime, SandboxStatus};

pub use counts::{Counts, Key};

use crate::agent::Agent;
use crate::wanted::{Member, Wanted};

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Holds the others back until it passes once.
    Startup,
    /// Decides on traffic.
    Readiness,
    /// Decides on restarts.
    Liveness,
}

impl Kind {
    /// As events name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }
}

/// Where probes and hooks of one container go.
#[derive(Clone)]
pub struct Target {
    /// The runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The container.
    pub container_id: String,
    /// Its spec, for named ports.
    pub spec: Container,
    /// The pod's address.
    pub ip: Option<IpAddr>,
}

impl Target {
    /// The target of one container.
    pub(crate) fn new(
        agent: &Agent,
        wanted: &Wanted,
        member: &Member,
        container_id: &str,
        sandbox: Option<&SandboxStatus>,
    ) -> Self {
        let pod_ip = sandbox.and_then(|s| s.ips.first().copied());
        let ip = if wanted.host_network() { Some(agent.options.node_ip) } else { pod_ip };
        let runtime = agent.options.runtime.clone();
        Self { runtime, container_id: container_id.to_owned(), spec: member.spec.clone(), ip }
    }

    /// The host of an action: its own, or the pod's address.
    pub fn host(&self, own: Option<&str>) -> Result<String, String> {
        match own.filter(|h| !h.is_empty()) {
            Some(host) => Ok(host.to_owned()),
            None => self.ip.map(|ip| ip.to_string()).ok_or_else(|| "the pod has no address".to_owned()),
        }
    }

    /// The number of a port that is given by number or by name.
    pub fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                let named = self.spec.ports.iter().flatten().find(|p| p.name.as_ref() == Some(name));
                named.map(|p| p.container_port).or_else(|| name.parse().ok())
            }
        };
        let number = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0);
        number.ok_or_else(|| format!("invalid port number: {port:?}"))
    }
}

/// Makes one attempt; a text with success is a warning. The error is what the Unhealthy event shows.
pub async fn attempt(target: &Target, probe: &Probe) -> Result<Option<String>, String> {
    let timeout = Duration::from_secs(u64::try_from(probe.timeout_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        let joined = command.join(" ");
        return match target.runtime.exec_sync(&target.container_id, command, Some(timeout)).await {
            Ok(output) if output.exit_code == 0 => Ok(None),
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                Err(String::from_utf8_lossy(&text[..text.len().min(10 * 1024)]).into_owned())
            }
            Err(runtime::RuntimeError::Timeout(_)) => {
                Err(format!("command timed out: {joined:?} timed out after {}s", timeout.as_secs()))
            }
            Err(error) => Err(error.to_string()),
        };
    }
    if let Some(action) = &probe.http_get {
        return http::get(target, action, timeout).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let address = (target.host(action.host.as_deref())?, target.port(&action.port)?);
        return connect(&address.0, address.1, timeout).await.map(|_| None);
    }
    if let Some(action) = &probe.grpc {
        return grpc::check(target, action, timeout).await.map(|()| None);
    }
    Err("this kind of probe is not supported".to_owned())
}

/// A TCP connection within `timeout`, with Go's wording of failures.
pub async fn connect(host: &str, port: u16, timeout: Duration) -> Result<tokio::net::TcpStream, String> {
    let place = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    match tokio::time::timeout(timeout, tokio::net::TcpStream::connect((host, port))).await {
        Err(_) => Err(format!("dial tcp {place}: i/o timeout")),
        Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            Err(format!("dial tcp {place}: connect: connection refused"))
        }
        Ok(Err(e)) => Err(format!("dial tcp {place}: {e}")),
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
    }
}
