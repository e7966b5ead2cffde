//! The pod network, plugged into the runtime: it comes up once the node knows its part of the pod addresses.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Api, Client, Informer, Shutdown, stopped};
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::Node;
use network::{Cidr, HostPort, PodAttachment, PodNetwork, PodNetworkConfig};
use runtime::{Runtime, RuntimeError, SandboxConfig};
use tokio::sync::{Notify, watch};

/// How long a pod's start waits for the network.
const SETUP_WAIT: Duration = Duration::from_secs(30);
const NOT_READY: &str = "the pod network is not ready: the node has no pod addresses";
/// How often leftovers are looked for, and how long a failed start of the network rests.
const RECONCILE_PERIOD: Duration = Duration::from_secs(60);
const RETRY_WAIT: Duration = Duration::from_secs(5);

/// What the runtime holds: the network, as soon as there is one.
pub struct Plug {
    network: watch::Sender<Option<PodNetwork>>,
    /// Sandboxes connected in this life. The runtime may not list them yet while they are being made.
    connected: Mutex<BTreeSet<String>>,
}

impl Plug {
    /// Nothing plugged in yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { network: watch::Sender::new(None), connected: Mutex::default() })
    }

    fn connected<T>(&self, act: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        act(&mut self.connected.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Removes the network with all that belongs to it.
    pub async fn tear_down(&self) -> anyhow::Result<()> {
        let network = self.network.borrow().clone();
        match network {
            Some(network) => Ok(network.cleanup().await?),
            None => Ok(()),
        }
    }

    /// Waits until there is a network.
    pub async fn ready(&self) -> PodNetwork {
        let mut current = self.network.subscribe();
        let known = current.wait_for(Option::is_some).await.expect("this value holds the sender");
        known.clone().expect("waited until it is there")
    }

    async fn network(&self) -> Result<PodNetwork, RuntimeError> {
        let mut current = self.network.subscribe();
        let known = tokio::time::timeout(SETUP_WAIT, current.wait_for(Option::is_some)).await;
        match known {
            Ok(Ok(network)) => Ok(network.clone().expect("waited until it is there")),
            _ => Err(failed(NOT_READY)),
        }
    }
}

fn failed(message: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(message.to_string())
}

impl runtime::PodNetwork for Plug {
    fn setup<'a>(
        &'a self,
        sandbox_id: &'a str,
        netns: &'a Path,
        config: &'a SandboxConfig,
    ) -> BoxFuture<'a, Result<Vec<IpAddr>, RuntimeError>> {
        Box::pin(async move {
            let network = self.network().await?;
            let host_ports = config.host_ports.iter().map(host_port).collect::<Result<Vec<_>, _>>()?;
            self.connected(|all| all.insert(sandbox_id.to_owned()));
            let (namespace, name) = (config.namespace.as_str(), config.name.as_str());
            let pod = PodAttachment { sandbox_id, namespace, name, netns, host_ports: &host_ports };
            network.setup(pod).await.map_err(failed)
        })
    }

    fn status(&self) -> Result<(), RuntimeError> {
        match &*self.network.borrow() {
            Some(_) => Ok(()),
            None => Err(failed(NOT_READY)),
        }
    }

    fn teardown<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<(), RuntimeError>> {
        Box::pin(async move {
            let network = self.network().await?;
            network.teardown(sandbox_id).await.map_err(failed)?;
            self.connected(|all| all.remove(sandbox_id));
            Ok(())
        })
    }
}

fn host_port(port: &runtime::PortMapping) -> Result<HostPort, RuntimeError> {
    Ok(HostPort {
        protocol: port.protocol.parse().map_err(|_| failed(format!("unknown protocol {}", port.protocol)))?,
        host_port: port.host_port,
        container_port: port.container_port,
        host_ip: port.host_ip,
    })
}

/// What the network is made of.
pub struct Ranges {
    /// Addresses of all pods.
    pub cluster: Cidr,
    /// Addresses of services.
    pub services: Cidr,
    /// Where addresses in use are kept.
    pub state: std::path::PathBuf,
}

/// Brings the network up and keeps it tidy until shutdown.
pub async fn run(
    plug: Arc<Plug>,
    runtime: Arc<dyn Runtime>,
    node: &str,
    client: Client,
    ranges: Ranges,
    stop: Shutdown,
) {
    tokio::select! {
        () = stopped(stop) => {}
        () = keep(&plug, &*runtime, node, client, ranges) => {}
    }
}

async fn keep(plug: &Plug, runtime: &dyn Runtime, node: &str, client: Client, ranges: Ranges) {
    let pod_cidr = pod_cidr(node, client).await;
    let network = loop {
        let mut config = PodNetworkConfig::new(pod_cidr, ranges.cluster, &ranges.state);
        config.service_cidr = Some(ranges.services);
        match PodNetwork::new(config).await {
            Ok(network) => break network,
            Err(error) => tracing::error!("the pod network does not start: {error}"),
        }
        tokio::time::sleep(RETRY_WAIT).await;
    };
    tracing::debug!(%pod_cidr, "the pod network is ready");
    plug.network.send_replace(Some(network.clone()));
    let mut tick = tokio::time::interval(RECONCILE_PERIOD);
    loop {
        tick.tick().await;
        let Ok(sandboxes) = runtime.list_pod_sandboxes().await else { continue };
        let mut known: Vec<String> = plug.connected(|all| all.iter().cloned().collect());
        known.extend(sandboxes.into_iter().map(|s| s.id));
        match network.reconcile(&known).await {
            Ok(gone) if !gone.is_empty() => tracing::info!("took down the network of {} lost pods", gone.len()),
            Ok(_) => {}
            Err(error) => tracing::warn!("the pod network could not be checked: {error}"),
        }
    }
}

/// Waits until the Node says which addresses its pods have.
async fn pod_cidr(node: &str, client: Client) -> Cidr {
    let own = client::Options { field_selector: format!("metadata.name={node}"), ..client::Options::default() };
    let nodes = Informer::<Node>::start(Api::all(&client), own);
    let changed = Arc::new(Notify::new());
    let notify = changed.clone();
    nodes.on_change(move |_| notify.notify_one());
    loop {
        let cidr = nodes.get("", node).and_then(|n| n.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok());
        match cidr {
            Some(cidr) => return cidr,
            None => changed.notified().await,
        }
    }
}
