//! What the agent is told when it starts.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use client::Client;
use runtime::Runtime;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;

use crate::capacity::Limits;
use crate::eviction::Eviction;
use crate::images::Verification;
use crate::managers::Policies;
use crate::shutdown::ShutdownOptions;

/// Options of one node agent.
#[derive(Clone)]
pub struct NodeOptions {
    /// `metadata.name` of the Node.
    pub node_name: String,
    /// Where pods' volumes and files are kept.
    pub data_dir: PathBuf,
    /// Where programs of the node meet the agent (upstream: /var/lib/kubelet): sockets of device plugins and of the pod-resources
    /// API, and the state files of the policies.
    pub root_dir: PathBuf,
    /// Where containers' logs go, a directory per pod (upstream: /var/log/pods).
    pub log_dir: PathBuf,
    /// The API, as `system:node:NAME`.
    pub client: Client,
    /// The container runtime.
    pub runtime: Arc<dyn Runtime>,
    /// The certificate of the node's HTTPS API; asked for each connection, so it can be renewed.
    pub tls: Arc<dyn ResolvesServerCert>,
    /// Who signs the API server's client certificate.
    pub client_ca: Vec<CertificateDer<'static>>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// Addresses of the cluster's DNS; empty when there is none.
    pub cluster_dns: Vec<IpAddr>,
    /// The node's address.
    pub node_ip: IpAddr,
    /// Where the HTTPS API listens.
    pub listen: SocketAddr,
    /// A directory (or file) with manifests of pods that run here whatever the API says.
    pub pod_manifest_path: Option<PathBuf>,
    /// Further labels of the Node.
    pub labels: BTreeMap<String, String>,
    /// Below what the node is short of memory, disk or processes, and evicts pods.
    pub eviction: Eviction,
    /// How pods end when the machine does.
    pub shutdown: ShutdownOptions,
    /// How much the node takes.
    pub limits: Limits,
    /// How CPUs, memory and devices are given to containers for themselves.
    pub policies: Policies,
    /// Which images that are there pods may use without a look at their credentials.
    pub image_verification: Verification,
}
