//! `skiff demo`: a cluster that shows itself at work and goes away on Ctrl-C.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::{Args, Parser};
use client::{Api, Client, Resource, User};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Service};
use tokio::time::{Instant, sleep};

use crate::command::{Cli, Command};
use crate::say;
use crate::server::config::ServerOptions;
use crate::server::{self, Server, told_to_stop};

/// How long each step may take before the demo gives up.
const STEP_WAIT: Duration = Duration::from_secs(60);
/// How often it looks whether a step is done.
const POLL: Duration = Duration::from_millis(2);

/// The cgroup that the demo's pods are below.
const CGROUP: &str = "skiff-demo";

/// Options of `skiff demo`.
#[derive(Args)]
pub struct DemoOptions {
    /// Where the cluster keeps its state while it runs
    #[arg(short, long, value_name = "DIR", default_value = ".skiff")]
    data_dir: PathBuf,
    /// Port of the API server
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    https_listen_port: u16,
    /// Port of the node's HTTPS API
    #[arg(long, value_name = "PORT", default_value_t = 10250)]
    kubelet_port: u16,
    /// Stop as soon as the page was fetched
    #[arg(long)]
    once: bool,
}

/// Runs the demo.
pub fn main(options: &DemoOptions) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("running containers needs root: try again with sudo");
    }
    std::fs::create_dir_all(&options.data_dir)
        .with_context(|| format!("cannot make {}", options.data_dir.display()))?;
    let data_dir = options.data_dir.canonicalize()?;
    let server = server_options(options, &data_dir)?;
    server::prepare(&server)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let started = Instant::now();
        let stopped = server::run(&server, |running| show(running, started, options.once)).await?;
        stopped.tear_down().await?;
        unmount_below(&data_dir)?;
        remove_cgroups();
        for kept in ["server", "runtime", "node", "kubelet", "network", "run", "log", "kubeconfig"] {
            remove(&data_dir.join(kept))?;
        }
        // What else is in there is somebody else's.
        let _ = std::fs::remove_dir(&data_dir);
        say!("Stopped. Nothing is left of the cluster.");
        Ok(())
    });
    runtime.shutdown_timeout(Duration::from_millis(50));
    result
}

fn server_options(options: &DemoOptions, data_dir: &Path) -> Result<ServerOptions> {
    let arguments = [
        "skiff".to_owned(),
        "server".to_owned(),
        format!("--data-dir={}", data_dir.display()),
        format!("--state-dir={}", data_dir.join("run").display()),
        format!("--https-listen-port={}", options.https_listen_port),
        format!("--kubelet-port={}", options.kubelet_port),
        format!("--cgroup-root=/{CGROUP}"),
        // Whoever looks at a demo may have a full disk.
        "--eviction-hard=memory.available<100Mi".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    match Cli::try_parse_from(arguments)?.command {
        Command::Server(server) => Ok(*server),
        _ => bail!("the demo's command is a server's"),
    }
}

/// Volumes in memory are mounts; what is mounted last goes first.
fn unmount_below(directory: &Path) -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|place| place.replace("\\040", " "));
    let below: Vec<String> = places.filter(|place| Path::new(place).starts_with(directory)).collect();
    for place in below.iter().rev() {
        nix::mount::umount2(place.as_str(), nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {place}"))?;
    }
    Ok(())
}

/// The pods' cgroups, in the one hierarchy of version 2 or in each of version 1. The kernel keeps what is in use.
fn remove_cgroups() {
    fn remove_tree(group: &Path) {
        let children = std::fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
        children.filter(|child| child.is_dir()).for_each(|child| remove_tree(&child));
        let _ = std::fs::remove_dir(group);
    }
    let root = Path::new("/sys/fs/cgroup");
    remove_tree(&root.join(CGROUP));
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten();
    hierarchies.for_each(|hierarchy| remove_tree(&hierarchy.path().join(CGROUP)));
}

fn remove(path: &std::path::Path) -> Result<()> {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Shows the cluster at work, then waits for Ctrl-C.
async fn show(server: Arc<Server>, started: Instant, once: bool) -> Result<()> {
    let shown = async {
        work(&server, started).await?;
        if once { Ok(()) } else { std::future::pending().await }
    };
    tokio::select! {
        shown = shown => shown,
        told = told_to_stop() => told,
    }
}

async fn work(server: &Server, started: Instant) -> Result<()> {
    let client = server.client(User::component("system:admin", &["system:masters"]));
    let mut steps = Steps { started, last: Instant::now() };
    say!(
        "{:>9}  API server ready at https://127.0.0.1:{}",
        millis(started.elapsed()),
        server.options.https_listen_port
    );
    let nodes = Api::<Node>::all(&client);
    let node =
        wait("the node to be ready", async || Ok(nodes.get_opt(&server.node_name).await?.filter(|n| is_ready(n))))
            .await?;
    steps.done(&format!("Node {} ready ({})", server.node_name, address_of(&node)));

    make::<Deployment>(&client, &deployment()).await?;
    let service = make::<Service>(&client, &service()).await?;
    steps.done("Deployment hello (2 pods of localhost/skiff/hello:v1) and Service hello created");
    let deployments = Api::<Deployment>::namespaced(&client, "default");
    let available = async || {
        let status = deployments.get_opt("hello").await?.and_then(|d| d.status.clone());
        Ok(status.filter(|s| s.available_replicas == Some(2)))
    };
    wait("the pods to be ready", available).await?;
    steps.done("Both pods are ready");

    let spec = service.spec.clone().unwrap_or_default();
    let address: Ipv4Addr = spec.cluster_ip.unwrap_or_default().parse().context("the Service has no address")?;
    let page = wait("the page", async || Ok(fetch(address, 80).await.ok())).await?;
    steps.done(&format!("GET http://{address} through the Service: {}", page.trim()));
    say!("");
    say!("Use it:   export KUBECONFIG={}", server.options.kubeconfig().display());
    say!("          kubectl get pods -o wide");
    say!("          kubectl set image deployment/hello hello=localhost/skiff/hello:v2");
    say!("          curl http://{address}");
    let node_port = spec.ports.iter().flatten().find_map(|p| p.node_port);
    if let Some(port) = node_port {
        say!("          curl http://{}:{port}", server.node_ip);
    }
    say!("Stop it:  Ctrl-C");
    Ok(())
}

/// Prints each step with the time that it took.
struct Steps {
    started: Instant,
    last: Instant,
}

impl Steps {
    fn done(&mut self, what: &str) {
        let now = Instant::now();
        say!("{:>9}  {what} (+{})", millis(now - self.started), millis(now - self.last));
        self.last = now;
    }
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

async fn wait<T>(what: &str, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + STEP_WAIT;
    while Instant::now() < deadline {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        sleep(POLL).await;
    }
    bail!("waited {} s for {what}; look into it with kubectl, or run with a fresh data directory", STEP_WAIT.as_secs())
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn address_of(node: &Node) -> String {
    let addresses = node.status.as_ref().and_then(|s| s.addresses.as_ref());
    addresses.into_iter().flatten().find(|a| a.type_ == "InternalIP").map(|a| a.address.clone()).unwrap_or_default()
}

/// Makes an object, or takes the one that an earlier demo left.
async fn make<K: Resource>(client: &Client, object: &serde_json::Value) -> Result<Arc<K>> {
    let api = Api::<K>::namespaced(client, "default");
    let object: K = serde_json::from_value(object.clone())?;
    match api.create(&object).await {
        Err(error) if error.is_already_exists() => Ok(api.get("hello").await?),
        made => Ok(made?),
    }
}

fn deployment() -> serde_json::Value {
    let field =
        |name: &str, path: &str| serde_json::json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    serde_json::json!({
        "metadata": {"name": "hello", "labels": {"app": "hello"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "hello"}},
            "template": {
                "metadata": {"labels": {"app": "hello"}},
                "spec": {"containers": [{
                    "name": "hello",
                    "image": "localhost/skiff/hello:v1",
                    "ports": [{"containerPort": 8080}],
                    "env": [field("POD_NAME", "metadata.name"), field("NODE_NAME", "spec.nodeName")],
                }]},
            },
        },
    })
}

fn service() -> serde_json::Value {
    serde_json::json!({
        "metadata": {"name": "hello", "labels": {"app": "hello"}},
        "spec": {"type": "NodePort", "selector": {"app": "hello"}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

/// The page at an address, over plain HTTP.
async fn fetch(address: Ipv4Addr, port: u16) -> Result<String> {
    let connected = tokio::time::timeout(Duration::from_secs(1), tokio::net::TcpStream::connect((address, port)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connected.await??)).await?;
    let request = http::Request::get("/").header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let talk = async {
        let answer = sender.send_request(request).await?;
        let body = answer.into_body().collect().await?.to_bytes();
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&body).into_owned())
    };
    tokio::pin!(connection);
    tokio::pin!(talk);
    tokio::select! {
        page = &mut talk => page,
        ended = &mut connection => { ended?; talk.await }
    }
}
