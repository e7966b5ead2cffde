//! The pod network of one node: a bridge, and for each pod a veth pair, an address, host ports.
//!
//! A pod has its address as a /32 with a route to the bridge, so that even packets between pods of one node go through the
//! node's IP layer: a service's answer is translated back there, whether or not the kernel shows bridged packets to
//! netfilter (`bridge-nf-call-iptables`). With that setting on, translated packets may turn around inside the bridge, which
//! is why the ports are in hairpin mode.

mod addresses;
mod host;
mod state;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::error::{NetworkError, Result};
use crate::netlink::{Socket, conntrack, netns};
use crate::nft::{Batch, Start, TableIdentity, probe, table_identity};
use crate::port::Protocol;
use addresses::AddressPool;
use state::{Record, StateDirectory};

/// How the node's pod network looks.
#[derive(Debug, Clone)]
pub struct PodNetworkConfig {
    /// Name of the bridge, at most 15 bytes.
    pub bridge: String,
    /// The node's pod addresses. The bridge has the first.
    pub pod_cidr: Cidr,
    /// All pods' addresses: traffic within keeps its source.
    pub cluster_cidr: Cidr,
    /// The services' addresses: routed to the bridge, so that they work on a machine without a default route.
    pub service_cidr: Option<Cidr>,
    /// Where the addresses in use are kept.
    pub state_directory: PathBuf,
    /// Largest packet in bytes; `None` takes that of the default route's link, or 1500.
    pub mtu: Option<u32>,
    /// Name of the nftables table.
    pub table: String,
}

impl PodNetworkConfig {
    /// The usual names, for these ranges.
    pub fn new(pod_cidr: Cidr, cluster_cidr: Cidr, state_directory: impl Into<PathBuf>) -> Self {
        Self {
            bridge: "skiff0".to_owned(),
            pod_cidr,
            cluster_cidr,
            service_cidr: None,
            state_directory: state_directory.into(),
            mtu: None,
            table: "skiff-pods".to_owned(),
        }
    }
}

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port on the node.
    pub host_port: u16,
    /// The port in the pod.
    pub container_port: u16,
    /// The node's address; `None` is all of them.
    pub host_ip: Option<IpAddr>,
}

/// A pod to connect.
#[derive(Debug, Clone)]
pub struct PodAttachment<'a> {
    /// The sandbox.
    pub sandbox_id: &'a str,
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's name.
    pub name: &'a str,
    /// Path of its network namespace.
    pub netns: &'a Path,
    /// Its host ports.
    pub host_ports: &'a [HostPort],
}

/// The pod network. Cheap to clone; clones share their state.
#[derive(Debug, Clone)]
pub struct PodNetwork {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: PodNetworkConfig,
    gateway: IpAddr,
    mtu: u32,
    state: StateDirectory,
    changing: Mutex<Changing>,
}

#[derive(Debug)]
struct Changing {
    pool: AddressPool,
    records: BTreeMap<String, Record>,
    /// Sandboxes whose elements are in the table.
    installed: BTreeSet<String>,
    socket: Socket,
    table: Option<TableIdentity>,
}

impl PodNetwork {
    /// Makes or repairs the bridge, the routes and the table, and takes over the pods of an earlier life.
    pub async fn new(config: PodNetworkConfig) -> Result<Self> {
        let inner = blocking(move || Inner::start(config)).await?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Connects a pod and returns its addresses. Asking again for the same sandbox changes nothing.
    pub async fn setup(&self, pod: PodAttachment<'_>) -> Result<Vec<IpAddr>> {
        let record = Record {
            sandbox_id: pod.sandbox_id.to_owned(),
            namespace: pod.namespace.to_owned(),
            name: pod.name.to_owned(),
            link: host::link_name(pod.sandbox_id),
            addresses: Vec::new(),
            host_ports: pod.host_ports.to_vec(),
        };
        let (inner, netns) = (self.inner.clone(), pod.netns.to_owned());
        blocking(move || inner.setup(record, &netns)).await
    }

    /// Takes a pod's network down and frees its address. No error when there is none.
    pub async fn teardown(&self, sandbox_id: &str) -> Result<()> {
        let (inner, sandbox_id) = (self.inner.clone(), sandbox_id.to_owned());
        blocking(move || inner.teardown(&sandbox_id)).await
    }

    /// Takes down the network of every sandbox that is not among `known`, deletes links left over, and repairs bridge,
    /// routes and table. Returns the sandboxes taken down.
    pub async fn reconcile(&self, known: &[String]) -> Result<Vec<String>> {
        let (inner, known) = (self.inner.clone(), known.iter().cloned().collect());
        blocking(move || inner.reconcile(&known)).await
    }

    /// A pod's addresses; empty when the sandbox has none.
    pub fn addresses(&self, sandbox_id: &str) -> Vec<IpAddr> {
        self.inner.lock().records.get(sandbox_id).map(|record| record.addresses.clone()).unwrap_or_default()
    }

    /// The node's pod addresses.
    pub fn pod_cidr(&self) -> Cidr {
        self.inner.config.pod_cidr
    }

    /// The bridge's address: where pods reach the node.
    pub fn gateway(&self) -> IpAddr {
        self.inner.gateway
    }

    /// Largest packet, in bytes.
    pub fn mtu(&self) -> u32 {
        self.inner.mtu
    }

    /// Removes all of it: pods' links, bridge, table, state.
    pub async fn cleanup(&self) -> Result<()> {
        let inner = self.inner.clone();
        blocking(move || {
            inner.reconcile(&BTreeSet::new())?;
            let mut changing = inner.lock();
            let mut batch = Batch::new(&inner.config.table);
            batch.remove_table();
            batch.commit(&mut changing.socket)?;
            Socket::route()?.delete_link(&inner.config.bridge)?;
            inner.state.remove()
        })
        .await
    }
}

impl Inner {
    fn start(config: PodNetworkConfig) -> Result<Self> {
        let gateway = host::check(&config)?;
        let mut routes = Socket::route()?;
        let mtu = host::mtu(&mut routes, &config)?;
        host::ensure_bridge(&mut routes, &config, gateway, mtu)?;
        let state = StateDirectory::open(&config.state_directory)?;
        let records: BTreeMap<String, Record> =
            state.load()?.into_iter().map(|record| (record.sandbox_id.clone(), record)).collect();
        let used = records.values().flat_map(|record| record.addresses.clone());
        let pool = AddressPool::new(config.pod_cidr, gateway, used);
        let socket = Socket::netfilter()?;
        let changing = Changing { pool, records, installed: BTreeSet::new(), socket, table: None };
        let inner = Self { config, gateway, mtu, state, changing: Mutex::new(changing) };
        inner.rebuild_table(&mut inner.lock())?;
        Ok(inner)
    }

    fn lock(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setup(&self, wanted: Record, netns_path: &Path) -> Result<Vec<IpAddr>> {
        let record = self.remember(wanted)?;
        let namespace = netns::open(netns_path)?;
        host::connect(&record, &namespace, &self.config, self.gateway, self.mtu)?;
        self.install(&record)?;
        Ok(record.addresses)
    }

    /// Gives the sandbox its address and writes it down before anything is made, so that nothing made is ever forgotten.
    fn remember(&self, mut record: Record) -> Result<Record> {
        state::check_id(&record.sandbox_id)?;
        let mut changing = self.lock();
        if let Some(known) = changing.records.get(&record.sandbox_id) {
            return Ok(known.clone());
        }
        changing.check_host_ports(&record)?;
        let address = changing.pool.allocate().ok_or_else(|| NetworkError::AddressesExhausted {
            range: self.config.pod_cidr,
            used: changing.pool.used(),
        })?;
        record.addresses = vec![address];
        if let Err(error) = self.state.save(&record) {
            changing.pool.release(address);
            return Err(error);
        }
        changing.records.insert(record.sandbox_id.clone(), record.clone());
        Ok(record)
    }

    /// Puts a pod's elements into the table; makes the table anew if it is gone.
    fn install(&self, record: &Record) -> Result<()> {
        let mut changing = self.lock();
        if changing.installed.contains(&record.sandbox_id) {
            return Ok(());
        }
        let mut batch = Batch::new(&self.config.table);
        table::add_pod(&mut batch, record);
        match batch.commit(&mut changing.socket) {
            Ok(()) => {
                changing.installed.insert(record.sandbox_id.clone());
            }
            Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::EEXIST | Errno::EBUSY)) => {
                self.rebuild_table(&mut changing)?;
            }
            Err(error) => return Err(error),
        }
        drop(changing);
        forget_udp_flows(record);
        Ok(())
    }

    fn rebuild_table(&self, changing: &mut Changing) -> Result<()> {
        let batch = |start| {
            let mut batch = Batch::new(&self.config.table);
            table::write_base(&mut batch, start, &self.config);
            changing.records.values().for_each(|record| table::add_pod(&mut batch, record));
            batch
        };
        let (in_place, recreate) = (batch(Start::InPlace), batch(Start::Recreate));
        let made = in_place.commit(&mut changing.socket).or_else(|_| recreate.commit(&mut changing.socket));
        if let Err(error) = made {
            return Err(probe::explain(&mut changing.socket, error));
        }
        changing.installed = changing.records.keys().cloned().collect();
        changing.table = table_identity(&mut changing.socket, &self.config.table)?;
        Ok(())
    }

    fn teardown(&self, sandbox_id: &str) -> Result<()> {
        state::check_id(sandbox_id)?;
        let Some(record) = self.lock().records.get(sandbox_id).cloned() else { return Ok(()) };
        let mut changing = self.lock();
        if changing.installed.remove(sandbox_id) {
            let mut batch = Batch::new(&self.config.table);
            table::remove_pod(&mut batch, &record);
            if let Err(error) = batch.commit(&mut changing.socket) {
                // Someone else changed the table; without the record, a new one has no trace of the pod.
                tracing::debug!(%error, sandbox_id, "pod rules made anew");
                changing.records.remove(sandbox_id);
                let rebuilt = self.rebuild_table(&mut changing);
                changing.records.insert(sandbox_id.to_owned(), record.clone());
                rebuilt?;
                changing.installed.remove(sandbox_id);
            }
        }
        drop(changing);
        Socket::route()?.delete_link(&record.link)?;
        forget_udp_flows(&record);
        let mut changing = self.lock();
        self.state.delete(sandbox_id)?;
        changing.records.remove(sandbox_id);
        record.addresses.iter().for_each(|address| changing.pool.release(*address));
        Ok(())
    }

    fn reconcile(&self, known: &BTreeSet<String>) -> Result<Vec<String>> {
        let leaked: Vec<String> =
            self.lock().records.keys().filter(|sandbox| !known.contains(*sandbox)).cloned().collect();
        leaked.iter().try_for_each(|sandbox| self.teardown(sandbox))?;
        let mut routes = Socket::route()?;
        let bridge = host::ensure_bridge(&mut routes, &self.config, self.gateway, self.mtu)?;
        let used: BTreeSet<String> = self.lock().records.values().map(|record| record.link.clone()).collect();
        for link in routes.links()? {
            if link.master == Some(bridge) && host::is_pod_link(&link.name) && !used.contains(&link.name) {
                routes.delete_link(&link.name)?;
            }
        }
        let mut changing = self.lock();
        if table_identity(&mut changing.socket, &self.config.table)? != changing.table {
            self.rebuild_table(&mut changing)?;
        }
        Ok(leaked)
    }
}

impl Changing {
    fn check_host_ports(&self, record: &Record) -> Result<()> {
        for port in &record.host_ports {
            let taken = self.records.values().find(|other| {
                other
                    .host_ports
                    .iter()
                    .any(|p| (p.host_ip, p.protocol, p.host_port) == (port.host_ip, port.protocol, port.host_port))
            });
            if let Some(owner) = taken {
                return Err(NetworkError::HostPortTaken {
                    address: port.host_ip,
                    port: port.host_port,
                    protocol: port.protocol,
                    owner: format!("{}/{}", owner.namespace, owner.name),
                });
            }
        }
        Ok(())
    }
}

/// UDP flows to a host port would go on to the pod that had it before. Not worth a failure: they time out.
fn forget_udp_flows(record: &Record) {
    let ports: BTreeSet<u16> =
        record.host_ports.iter().filter(|p| p.protocol == Protocol::Udp).map(|p| p.host_port).collect();
    if ports.is_empty() {
        return;
    }
    let forget = || -> Result<()> {
        let mut socket = Socket::netfilter()?;
        let flows = conntrack::flows(&mut socket, Protocol::Udp.number())?;
        for flow in flows.iter().filter(|flow| ports.contains(&flow.destination.port())) {
            conntrack::delete(&mut socket, flow)?;
        }
        Ok(())
    };
    if let Err(error) = forget() {
        tracing::debug!(%error, "stale UDP flows stay until they time out");
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(NetworkError::Interrupted("a change of the pod network")))
}
