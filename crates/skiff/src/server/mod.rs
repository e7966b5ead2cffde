//! `skiff server`: all parts of a cluster in one process.

mod address;
pub mod cni;
mod components;
pub mod config;
mod identity;
pub mod images;
mod kubeconfig;
mod local;
mod pod_network;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use apiserver::authentication::tokens::Issuer;
use apiserver::authorization::RoleTable;
use apiserver::http::{Limits, ServeOptions};
use apiserver::pipeline::{Pipeline, PipelineConfig, ServiceCidr};
use client::{Backend, Client, Shutdown, User};
use runtime::Runtime;
use store::sqlite::SqliteStore;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::pki::{Pki, ServingNames};
pub use components::COMPONENTS;
use config::ServerOptions;
use identity::{Identities, Names};
use pod_network::Plug;

/// How long the parts have to end after the signal to stop.
const STOP_WAIT: Duration = Duration::from_millis(850);

/// Runs a server until SIGTERM or SIGINT. Containers go on running.
pub fn main(options: &ServerOptions) -> Result<()> {
    prepare(options)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async { run(options, |_| told_to_stop()).await.map(drop) });
    // A blocking call that hangs (a dead disk) must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_millis(50));
    result
}

/// Checks the options, and sets up what belongs to the process as a whole.
pub fn prepare(options: &ServerOptions) -> Result<()> {
    options.check()?;
    if options.runs("node") && !nix::unistd::geteuid().is_root() {
        bail!("running containers needs root (--disable node starts a control plane without them)");
    }
    log_to_stderr(&options.log_level);
    raise_file_limit();
    Ok(())
}

fn log_to_stderr(level: &str) {
    use std::io::IsTerminal;

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let level: tracing::Level = level.parse().unwrap_or(tracing::Level::INFO);
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal()).finish();
    // Frames and handshakes of libraries are for those who look for the finest.
    let libraries = tracing_subscriber::filter::filter_fn(move |about| {
        level == tracing::Level::TRACE
            || *about.level() <= tracing::Level::WARN
            || !["h2", "hyper", "rustls", "tungstenite", "tokio_tungstenite"]
                .iter()
                .any(|l| about.target().starts_with(l))
    });
    // Only the first call of a process counts.
    let _ = log.with(libraries).try_init();
}

/// Thousands of watches and connections need more than the usual 1,024 files.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// What the parts of a server share.
pub struct Server {
    /// What the server was told.
    pub options: ServerOptions,
    /// The Node of this machine.
    pub node_name: String,
    /// Its address.
    pub node_ip: Ipv4Addr,
    /// Authorities and keys.
    pub pki: Arc<Pki>,
    /// Certificates in use.
    pub identities: Arc<Identities>,
    issuer: Arc<Issuer>,
    store: Arc<SqliteStore>,
    pipeline: Arc<Pipeline>,
    /// The container runtime, once the node runs.
    runtime: OnceLock<Arc<dyn Runtime>>,
    /// The pod network, as soon as there is one.
    network: Arc<Plug>,
}

impl Server {
    /// The API as a user inside the process.
    pub fn client(&self, user: User) -> Client {
        Client::new(self.pipeline.clone() as Arc<dyn Backend>, user)
    }

    /// Opens what stands in the data directory, or makes it.
    async fn open(options: &ServerOptions) -> Result<Self> {
        let directory = &options.data_dir;
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make the data directory {}", directory.display()))?;
        let store = store::sqlite::open(&directory.join("server/db"))?;
        let pki = Arc::new(Pki::open(directory)?);
        let node_name = match &options.node_name {
            Some(name) => name.clone(),
            None => nix::unistd::gethostname()?.to_string_lossy().to_lowercase(),
        };
        let node_ip = options.node_ip.unwrap_or_else(|| address::find(&options.cluster_cidr));
        let advertise_address = options.advertise_address.unwrap_or(node_ip);
        let issuer = Arc::new(Issuer::new(&pki.service_account_key)?);
        let (IpAddr::V4(network), prefix_length) = (options.service_cidr.network(), options.service_cidr.prefix())
        else {
            bail!("--service-cidr must be IPv4")
        };
        let pipeline = Pipeline::new(PipelineConfig {
            store: store.clone(),
            rows: resources::table(),
            authorizer: Arc::new(RoleTable),
            token_issuer: Some(issuer.clone()),
            audit: None,
            encryption_key: Some(pki.encryption_key),
            service_cidr: ServiceCidr { network, prefix_length },
            node_port_range: options.service_node_port_range.clone(),
            advertise_address,
            advertise_port: options.https_listen_port,
        })
        .await?;
        let apiserver = serving_names(options, &node_name, &[node_ip.into(), advertise_address.into()]);
        let names = Names { apiserver, node: node_name.clone(), node_ip: node_ip.into() };
        let identities = Identities::open(pki.clone(), names, options)?;
        Ok(Self {
            options: options.clone(),
            node_name,
            node_ip,
            pki,
            identities,
            issuer,
            store,
            pipeline,
            runtime: OnceLock::new(),
            network: Plug::new(),
        })
    }

    /// Stops and removes all containers and the pod network, after the server has stopped.
    pub async fn tear_down(&self) -> Result<()> {
        if let Some(runtime) = self.runtime.get() {
            for sandbox in runtime.list_pod_sandboxes().await? {
                runtime.stop_pod_sandbox(&sandbox.id).await?;
                runtime.remove_pod_sandbox(&sandbox.id).await?;
            }
        }
        self.network.tear_down().await
    }

    fn serve_options(&self) -> Result<ServeOptions> {
        let advertise = self.options.advertise_address.unwrap_or(self.node_ip);
        Ok(ServeOptions {
            certificate: self.identities.apiserver.clone(),
            client_authorities: apiserver::http::authorities(self.pki.client_ca())?,
            issuer: Some(self.issuer.clone()),
            static_tokens: Vec::new(),
            node_client: Some(apiserver::http::node_client(
                self.pki.server_ca(),
                self.identities.kubelet_client.clone(),
            )?),
            advertise: format!("{advertise}:{}", self.options.https_listen_port),
            checks: Vec::new(),
            limits: Limits::default(),
        })
    }
}

/// All names by which the API server is reached.
fn serving_names(options: &ServerOptions, node: &str, addresses: &[IpAddr]) -> ServingNames {
    let mut names = ServingNames::default();
    for name in ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", node] {
        names.dns.push(name.to_owned());
    }
    names.dns.push(format!("kubernetes.default.svc.{}", options.cluster_domain));
    names.ips.push(IpAddr::from([127, 0, 0, 1]));
    names.ips.extend(options.service_cidr.at(1));
    names.ips.extend(addresses.iter().copied());
    names.ips.extend(Some(options.bind_address).filter(|a| !a.is_unspecified()));
    for name in &options.tls_san {
        match name.parse() {
            Ok(address) => names.ips.push(address),
            Err(_) => names.dns.push(name.clone()),
        }
    }
    names.ips.sort();
    names.ips.dedup();
    names
}

fn listen(options: &ServerOptions) -> Result<TcpListener> {
    let address = options.listen();
    TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            anyhow::anyhow!("another program listens on {address} (--https-listen-port chooses another port)")
        }
        _ => anyhow::anyhow!("cannot listen on {address}: {error}"),
    })
}

/// Resolves at SIGTERM or SIGINT.
pub async fn told_to_stop() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Runs a server until what `until` makes of it has ended (or a part fails), and returns it stopped.
pub async fn run<F>(options: &ServerOptions, until: impl FnOnce(Arc<Server>) -> F) -> Result<Arc<Server>>
where
    F: Future<Output = Result<()>>,
{
    let started = Instant::now();
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let server = Arc::new(Server::open(options).await?);
    let listener = listen(options)?;
    server.identities.write_kubeconfig()?;
    let mut parts = start(&server, listener, &stopping)?;
    tracing::info!(
        "the API server is ready at https://{} after {} ms; kubeconfig: {}",
        options.listen(),
        started.elapsed().as_millis(),
        options.kubeconfig().display()
    );
    let ended = tokio::select! {
        ended = until(server.clone()) => ended,
        Some(ended) = parts.join_next() => match ended {
            Ok(Ok(())) => Err(anyhow::anyhow!("a component ended")),
            Ok(Err(error)) => Err(error),
            Err(panic) => Err(panic.into()),
        },
    };
    tracing::info!("stopping; containers go on running");
    stop.send_replace(true);
    let all = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_WAIT, all).await.is_err() {
        tracing::warn!("{} components did not end in time", parts.len());
    }
    server.store.close();
    ended.map(|()| server)
}

/// Starts the API server and every component that is not disabled.
fn start(server: &Arc<Server>, listener: TcpListener, stop: &Shutdown) -> Result<JoinSet<Result<()>>> {
    let mut parts = JoinSet::new();
    let serving = apiserver::http::serve(listener, server.pipeline.clone(), server.serve_options()?, stop.clone());
    parts.spawn(async move { Ok(serving.await?) });
    let renewal = server.identities.clone().keep(stop.clone());
    parts.spawn(async move {
        renewal.await;
        Ok(())
    });
    let has_node = server.options.runs("node");
    for component in COMPONENTS.iter().filter(|c| server.options.runs(c.name) && (has_node || !c.needs_node)) {
        parts.spawn((component.run)(server.clone(), stop.clone()));
    }
    Ok(parts)
}
