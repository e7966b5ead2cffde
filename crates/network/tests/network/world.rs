//! A node made of network namespaces: pods with small servers, and a host outside.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use network::netlink::netns;
use network::{HostPort, PodAttachment, PodNetwork, PodNetworkConfig, Proxy, ProxyConfig};
use nix::sched::{CloneFlags, unshare};
use serde_json::json;

pub const PORT: u16 = 8080;
const WAIT: Duration = Duration::from_secs(5);

/// Runs a test on a thread in a new network namespace with nothing but loopback.
pub fn in_private_network<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    std::thread::scope(|scope| {
        let body = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            ip("link set lo up");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(test());
        });
        if let Err(panic) = body.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Runs Debian's `ip` in this thread's namespace.
pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// What `nft list` prints, where there is an `nft`.
pub fn nft_list(table: &str) -> Option<String> {
    let output = Command::new("nft").args(["list", "table", "ip", table]).output().ok()?;
    assert!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub struct Pod {
    pub name: String,
    pub address: IpAddr,
    pub namespace: File,
}

pub struct World {
    pub network: PodNetwork,
    pub proxy: Proxy,
    pub state: tempfile::TempDir,
}

impl World {
    pub async fn new() -> Self {
        let state = tempfile::Builder::new().prefix("skiff-network-").tempdir().expect("a directory");
        let network = PodNetwork::new(config(&state)).await.expect("a pod network");
        let mut config = ProxyConfig::new("here");
        config.cluster_cidr = Some("10.42.0.0/16".parse().expect("a range"));
        config.service_cidr = Some("10.43.0.0/16".parse().expect("a range"));
        Self { network, proxy: Proxy::new(config).expect("a proxy"), state }
    }

    pub async fn pod(&self, name: &str, host_ports: &[HostPort]) -> Pod {
        let namespace = new_namespace();
        let path = path_of(&namespace);
        let attachment = PodAttachment { sandbox_id: name, namespace: "default", name, netns: &path, host_ports };
        let first = self.network.setup(attachment.clone()).await.expect("a network");
        let again = self.network.setup(attachment).await.expect("the same network");
        assert_eq!(first, again);
        let pod = Pod { name: name.to_owned(), address: first[0], namespace };
        pod.serve();
        pod
    }

    pub async fn sync(&self, services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) {
        self.proxy.sync(services, slices).await.expect("rules");
    }
}

pub fn config(state: &tempfile::TempDir) -> PodNetworkConfig {
    let range = |text: &str| text.parse().expect("a range");
    PodNetworkConfig {
        service_cidr: Some(range("10.43.0.0/16")),
        ..PodNetworkConfig::new(range("10.42.0.0/24"), range("10.42.0.0/16"), state.path().join("pods"))
    }
}

pub fn new_namespace() -> File {
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
        File::open("/proc/thread-self/ns/net").expect("its file")
    })
    .join()
    .expect("the thread ends well")
}

pub fn path_of(namespace: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", namespace.as_raw_fd()))
}

/// Runs `work` inside a namespace.
pub fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    netns::run_inside(namespace, || Ok(work())).expect("work in a namespace")
}

impl Pod {
    /// Answers on TCP and UDP with the pod's name and the client's address.
    pub fn serve(&self) {
        serve(&self.namespace, &self.name);
    }
}

pub fn serve(namespace: &File, name: &str) {
    let (tcp, udp) = inside(namespace, || {
        let any = ("0.0.0.0", PORT);
        (TcpListener::bind(any).expect("a listener"), UdpSocket::bind(any).expect("a socket"))
    });
    let answer = move |name: &str, peer: SocketAddr| format!("{name} {}", peer.ip());
    let tcp_name = name.to_owned();
    std::thread::spawn(move || {
        while let Ok((mut stream, peer)) = tcp.accept() {
            let _ = stream.write_all(answer(&tcp_name, peer).as_bytes());
        }
    });
    let udp_name = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, peer)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(answer(&udp_name, peer).as_bytes(), peer);
        }
    });
}

/// (who answered, whom it saw).
pub type Answer = (String, String);

fn split(text: &str) -> Answer {
    let (name, peer) = text.split_once(' ').unwrap_or_default();
    (name.to_owned(), peer.to_owned())
}

/// One TCP exchange from this thread's namespace.
pub fn fetch_here(address: &str) -> io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address.parse().expect("an address"), WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    if text.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(split(&text)) }
}

/// One TCP exchange, from a namespace.
pub fn fetch(from: &File, address: &str) -> io::Result<Answer> {
    inside(from, || fetch_here(address))
}

/// One UDP exchange over a connected socket.
pub fn ask(socket: &UdpSocket) -> io::Result<Answer> {
    socket.send(b"?")?;
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer)?;
    Ok(split(&String::from_utf8_lossy(&buffer[..length])))
}

pub fn udp_to(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(2))).expect("a timeout");
    socket.connect(address).expect("a route");
    socket
}

pub fn service(name: &str, spec: serde_json::Value) -> Arc<Service> {
    let object = json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec});
    Arc::new(serde_json::from_value(object).expect("a Service"))
}

/// A slice with both protocols; these pods are on this node.
pub fn slice(service: &str, addresses: &[String]) -> Arc<EndpointSlice> {
    let endpoints: Vec<_> = addresses
        .iter()
        .map(|a| json!({"addresses": [a], "nodeName": "here", "conditions": {"ready": true}}))
        .collect();
    let ports = json!([{"name": "tcp", "port": PORT}, {"name": "udp", "protocol": "UDP", "port": PORT}]);
    let object = json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        "metadata": {"name": service, "namespace": "default", "labels": {"kubernetes.io/service-name": service}}});
    Arc::new(serde_json::from_value(object).expect("an EndpointSlice"))
}

pub fn slice_of(service: &str, pods: &[&Pod]) -> Arc<EndpointSlice> {
    slice(service, &pods.iter().map(|pod| pod.address.to_string()).collect::<Vec<_>>())
}

pub fn ports() -> serde_json::Value {
    json!([{"name": "tcp", "port": 80, "nodePort": 30080},
        {"name": "udp", "protocol": "UDP", "port": 80, "nodePort": 30080}])
}

pub fn web() -> Arc<Service> {
    service("web", json!({"clusterIP": "10.43.0.10", "ports": ports(), "type": "NodePort"}))
}

/// Connects this namespace to one outside: 192.0.2.1 here, 192.0.2.2 there, whose default route leads here.
pub fn outside() -> File {
    let namespace = new_namespace();
    let path = path_of(&namespace);
    let there = std::fs::canonicalize(&path).map_or(path.clone(), |_| path);
    // `ip` runs in another process: it needs the descriptor under this process's number.
    let there = there.display().to_string().replace("/proc/self", &format!("/proc/{}", std::process::id()));
    ip(&format!("link add uplink type veth peer name uplink netns {there}"));
    ip("addr add 192.0.2.1/24 dev uplink");
    ip("link set uplink up");
    inside(&namespace, || {
        ip("link set lo up");
        ip("addr add 192.0.2.2/24 dev uplink");
        ip("link set uplink up");
        ip("route add default via 192.0.2.1");
    });
    serve(&namespace, "outside");
    namespace
}
