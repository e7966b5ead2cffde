//! The parts that `skiff server` runs beside the API server.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use client::{Api, Informer, Options, Shutdown, stopped};
use futures_util::future::BoxFuture;
use network::{Proxy, ProxyConfig};
use runtime::{BuiltinOptions, BuiltinRuntime, CriOptions, CriRuntime, Runtime};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::identity::users;
use super::pod_network::{self, Ranges};
use super::{Server, cni, images};

/// One part of a server. It sees the others only through the API.
pub struct Component {
    /// Its name, as `--disable` knows it.
    pub name: &'static str,
    /// Whether it works for the node on this machine, and is of no use without it.
    pub needs_node: bool,
    /// Runs until shutdown; an error ends the server.
    pub run: fn(Arc<Server>, Shutdown) -> BoxFuture<'static, Result<()>>,
}

/// All of them.
pub const COMPONENTS: &[Component] = &[
    Component { name: "controllers", needs_node: false, run: |s, stop| Box::pin(controllers(s, stop)) },
    Component { name: "scheduler", needs_node: false, run: |s, stop| Box::pin(scheduler(s, stop)) },
    Component { name: "node", needs_node: true, run: |s, stop| Box::pin(node(s, stop)) },
    Component { name: "proxy", needs_node: true, run: |s, stop| Box::pin(proxy(s, stop)) },
];

async fn controllers(server: Arc<Server>, stop: Shutdown) -> Result<()> {
    let cidr = &server.options.cluster_cidr;
    let options = controllers::Options {
        root_ca: server.pki.server_ca().to_owned(),
        cluster_cidr: (cidr.network(), cidr.prefix()),
        node_cidr_prefix: server.options.node_cidr_mask_size,
        resources: controlled_resources(),
    };
    controllers::run(server.client(users::controllers()), options, stop).await;
    Ok(())
}

/// What the garbage collector and the namespace controller look after.
fn controlled_resources() -> Vec<Arc<controllers::ApiResource>> {
    let all = [resources::Verb::List, resources::Verb::Watch, resources::Verb::Delete];
    let rows =
        resources::table().into_iter().filter(|row| row.stored && all.iter().all(|verb| row.verbs.contains(verb)));
    // A resource that is served by two groups is looked after once.
    let mut seen = std::collections::BTreeSet::new();
    let once = rows.filter(|row| seen.insert(row.storage.clone()));
    let resource = |row: Arc<resources::Resource>| controllers::ApiResource {
        resource: machinery::GroupVersionResource::new(row.group.as_str(), row.version.as_str(), row.plural.as_str()),
        kind: row.kind.as_str().into(),
        namespaced: row.namespaced,
        delete_collection: row.verbs.contains(&resources::Verb::DeleteCollection),
    };
    once.map(|row| Arc::new(resource(row))).collect()
}

async fn scheduler(server: Arc<Server>, stop: Shutdown) -> Result<()> {
    scheduler::run(server.client(users::scheduler()), scheduler::Options::default(), stop).await;
    Ok(())
}

/// The runtime that was asked for. One behind a socket also needs to be told of the pod network.
async fn container_runtime(server: &Server) -> Result<(Arc<dyn Runtime>, Option<CriRuntime>)> {
    let options = &server.options;
    if let Some(socket) = options.container_runtime_endpoint.clone() {
        let cgroup_root = options.cgroup_root.clone();
        let runtime =
            CriRuntime::new(CriOptions { socket, cgroup_root }).context("the container runtime is of no use")?;
        return Ok((Arc::new(runtime.clone()), Some(runtime)));
    }
    let runtime = BuiltinRuntime::open(BuiltinOptions {
        data_dir: options.data_dir.join("runtime"),
        state_dir: options.state_dir.join("runtime"),
        shim_exe: std::env::current_exe().context("cannot find this program's own file")?,
        network: server.network.clone(),
        cgroup_root: options.cgroup_root.clone(),
    })
    .await
    .context("the container runtime does not start")?;
    Ok((Arc::new(runtime), None))
}

async fn node(server: Arc<Server>, stop: Shutdown) -> Result<()> {
    let (options, name) = (&server.options, &server.node_name);
    let plug = server.network.clone();
    let (runtime, cri) = container_runtime(&server).await?;
    let runtime = server.runtime.get_or_init(|| runtime).clone();
    let client = server.client(users::node(name));
    let client_ca = CertificateDer::pem_slice_iter(server.pki.client_ca().as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let agent = node::NodeOptions {
        node_name: name.clone(),
        data_dir: options.data_dir.join("node"),
        root_dir: options.root(),
        log_dir: options.logs(),
        client: client.clone(),
        runtime: runtime.clone(),
        tls: server.identities.node.clone(),
        client_ca,
        cluster_domain: options.cluster_domain.clone(),
        cluster_dns: options.cluster_dns.clone(),
        node_ip: IpAddr::V4(server.node_ip),
        listen: (IpAddr::from([0, 0, 0, 0]), options.kubelet_port).into(),
        pod_manifest_path: options.pod_manifest_path.clone(),
        labels: options.node_label.iter().cloned().collect(),
        eviction: options.eviction()?,
        shutdown: node::ShutdownOptions { periods: options.shutdown()?, ..node::ShutdownOptions::default() },
        limits: node::Limits {
            pods: i64::from(options.max_pods),
            pod_pids: options.pod_max_pids,
            reserved: options.kube_reserved.and(options.system_reserved),
            memory_qos: options.memory_throttling_factor,
        },
        policies: options.policies(),
        image_verification: options.image_verification()?,
    };
    let ranges = Ranges {
        cluster: options.cluster_cidr,
        services: options.service_cidr,
        state: options.data_dir.join("network"),
    };
    let network = pod_network::run(plug.clone(), runtime.clone(), name, client, ranges, stop.clone());
    let plugin = cni::serve(&options.state_dir, plug, cri, stop.clone());
    let images = images::serve(options.state_dir.clone(), runtime, stop.clone());
    let agent = async {
        let port = options.kubelet_port;
        node::run(agent, stop).await.with_context(|| format!("the node agent does not start (its port is {port})"))
    };
    tokio::try_join!(agent, images, plugin, async {
        network.await;
        Ok(())
    })?;
    Ok(())
}

async fn proxy(server: Arc<Server>, stop: Shutdown) -> Result<()> {
    let mut config = ProxyConfig::new(server.node_name.as_str());
    config.cluster_cidr = Some(server.options.cluster_cidr);
    config.service_cidr = Some(server.options.service_cidr);
    let proxy = match Proxy::new(config) {
        Ok(proxy) => proxy,
        Err(error) => bail!("the service proxy does not start: {error}"),
    };
    let client = server.client(users::proxy());
    let (services, slices) = (
        Informer::start(Api::all(&client), Options::default()),
        Informer::start(Api::all(&client), Options::default()),
    );
    let nodes = Informer::start(Api::all(&client), Options::default());
    tokio::select! {
        () = stopped(stop) => {}
        () = network::proxy::run(proxy, network::proxy::RunConfig::default(), services, slices, nodes) => {}
    }
    Ok(())
}
