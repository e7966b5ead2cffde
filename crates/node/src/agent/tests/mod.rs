//! The whole agent against a fake API and a fake runtime.

mod claims;
mod devices;
mod fake_api;
mod https;
mod images;
mod resize;

use std::sync::Arc;
use std::time::Duration;

use client::{Client, User};
use fake_api::FakeApi;
use machinery::Value;
use runtime::FakeRuntime;
use runtime::{ContainerState, ContainerStatus};
use tokio::sync::watch;

use super::*;
use crate::eviction::Eviction;

#[derive(Debug)]
struct NoCertificate;

impl rustls::server::ResolvesServerCert for NoCertificate {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }
}

pub struct World {
    pub api: Arc<FakeApi>,
    pub runtime: Arc<FakeRuntime>,
    directory: tempfile::TempDir,
    stop: watch::Sender<bool>,
}

impl World {
    fn new() -> Self {
        seams::clock::simulate("2026-01-01T00:00:00Z".parse().unwrap());
        Self::with(|_| {})
    }

    /// An agent with other options.
    pub fn with(change: impl FnOnce(&mut NodeOptions)) -> Self {
        let directory = tempfile::Builder::new().prefix("skiff-node-").tempdir().unwrap();
        let world = Self { api: Arc::default(), runtime: Arc::default(), directory, stop: watch::Sender::new(false) };
        let mut options = world.options();
        change(&mut options);
        tokio::spawn(run(options, world.stop.subscribe()));
        world
    }

    fn start(&self) {
        tokio::spawn(run(self.options(), self.stop.subscribe()));
    }

    fn options(&self) -> NodeOptions {
        let authority = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap();
        NodeOptions {
            node_name: "node1".to_owned(),
            data_dir: self.directory.path().to_owned(),
            root_dir: self.directory.path().join("kubelet"),
            log_dir: self.directory.path().join("logs"),
            client: Client::new(self.api.clone(), User::component("system:node:node1", &["system:nodes"])),
            runtime: self.runtime.clone(),
            tls: Arc::new(NoCertificate),
            client_ca: vec![authority.cert.der().clone()],
            cluster_domain: "cluster.local".to_owned(),
            cluster_dns: Vec::new(),
            node_ip: "127.0.0.1".parse().unwrap(),
            listen: "127.0.0.1:0".parse().unwrap(),
            pod_manifest_path: Some(self.directory.path().join("manifests")),
            labels: Default::default(),
            eviction: Eviction::none(),
            shutdown: Default::default(),
            limits: Default::default(),
            policies: Default::default(),
            image_verification: Default::default(),
        }
    }

    pub fn pod(&self, name: &str, spec: &str) {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"n","uid":"uid-{name}"}},"spec":{spec}}}"#
        );
        self.api.put("pods", "n", name, Value::parse(text.as_bytes()).unwrap());
    }

    pub fn status(&self, name: &str) -> Value {
        self.api.get("pods", "n", name).and_then(|p| p.get("status").cloned()).unwrap_or_default()
    }

    /// Waits until the pod's status satisfies `holds`.
    pub async fn until(&self, name: &str, holds: impl Fn(&Value) -> bool) {
        let wait = async {
            while !holds(&self.status(name)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            panic!("{:?}\n{:?}", self.status(name), self.api.events());
        }
    }
}

fn phase(status: &Value) -> &str {
    status.str_at(&["phase"]).unwrap_or_default()
}

fn container(status: &Value) -> Value {
    let list = status.get("containerStatuses").and_then(Value::as_array);
    list.and_then(|l| l.first()).cloned().unwrap_or_default()
}

fn condition(status: &Value, kind: &str) -> bool {
    let list = status.get("conditions").and_then(Value::as_array);
    list.into_iter().flatten().any(|c| c.str_at(&["type"]) == Some(kind) && c.str_at(&["status"]) == Some("True"))
}

const ONE: &str = r#"{"nodeName":"node1","containers":[{"name":"a","image":"app","env":[
    {"name":"IP","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}},{"name":"URL","value":"http://$(IP)"}]}]}"#;

#[tokio::test(start_paused = true)]
async fn a_pod_runs_and_is_reported() {
    let world = World::new();
    world.pod("p", ONE);
    world.until("p", |s| phase(s) == "Running" && condition(s, "Ready")).await;
    let status = world.status("p");
    assert_eq!(status.str_at(&["podIP"]), Some("127.0.0.1"));
    assert_eq!(status.str_at(&["qosClass"]), Some("BestEffort"));
    let id = container(&status).str_at(&["containerID"]).unwrap().to_owned();
    assert!(id.starts_with("fake://"), "{id}");
    let told = container(&status);
    assert_eq!((told.str_at(&["name"]), told.str_at(&["image"])), (Some("a"), Some("app")));
    assert!(told.str_at(&["imageID"]).is_some_and(|image| !image.is_empty()), "{told:?}");
    assert_eq!(told.get("started").and_then(Value::as_bool), Some(true));
    let env = world.runtime.state.lock().unwrap().configs[0].env.clone();
    assert!(env.contains(&("URL".to_owned(), "http://127.0.0.1".to_owned())), "{env:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events = world.api.events().join("\n");
    for wanted in [
        r#"Pulled: Container image "app" already present on machine and can be accessed by the pod"#,
        "Created: ",
        "Started: ",
    ] {
        assert!(events.contains(wanted), "{events}");
    }
    let node = world.api.get("nodes", "", "node1").unwrap();
    let declared = node.at(&["status", "declaredFeatures"]).and_then(Value::as_array).cloned().unwrap_or_default();
    assert!(declared.iter().any(|name| name.as_str() == Some("RestartAllContainersOnContainerExits")), "{declared:?}");
    assert!(world.api.get("leases", "kube-node-lease", "node1").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_crashing_container_backs_off() {
    let world = World::new();
    world.pod("p", ONE);
    world.until("p", |s| phase(s) == "Running").await;
    world.runtime.finish("a", 1);
    world.until("p", |s| container(s).i64_at(&["restartCount"]) == Some(1)).await;
    world.runtime.finish("a", 1);
    let reason = |s: &Value| container(s).str_at(&["state", "waiting", "reason"]).map(str::to_owned);
    world.until("p", |s| reason(s).as_deref() == Some("CrashLoopBackOff")).await;
    let status = container(&world.status("p"));
    assert_eq!(status.i64_at(&["lastState", "terminated", "exitCode"]), Some(1));
    let message = status.str_at(&["state", "waiting", "message"]).unwrap();
    assert_eq!(message, "back-off 10s restarting failed container=a pod=p_n(uid-p)");
    let before = tokio::time::Instant::now();
    world.until("p", |s| container(s).i64_at(&["restartCount"]) == Some(2)).await;
    assert!(before.elapsed() > Duration::from_secs(8), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_stopped_and_removed() {
    let world = World::new();
    world.pod("p", ONE);
    world.until("p", |s| phase(s) == "Running").await;
    let mut pod = world.api.get("pods", "n", "p").unwrap();
    pod.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
    pod.set_at(&["metadata", "deletionGracePeriodSeconds"], 7);
    world.api.put("pods", "n", "p", pod);
    let gone = async {
        while world.api.get("pods", "n", "p").is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    let state = world.runtime.state.lock().unwrap();
    assert!(state.containers.is_empty() && state.sandboxes.is_empty());
    assert!(state.stops[0].1 <= Duration::from_secs(7), "{:?}", state.stops);
    assert!(!world.directory.path().join("pods/uid-p").exists());
}

#[tokio::test(start_paused = true)]
async fn a_restarted_agent_finds_its_containers() {
    let world = World::new();
    world.pod("p", ONE);
    world.until("p", |s| phase(s) == "Running" && condition(s, "Ready")).await;
    let before = container(&world.status("p"));
    world.stop.send_replace(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.stop.send_replace(false);
    world.start();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = world.runtime.state.lock().unwrap();
    assert_eq!(state.containers.len(), 1);
    assert_eq!(state.containers[0].state, ContainerState::Running);
    assert_eq!(container(&world.status("p")), before);
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_agent_had_asked_for_is_waited_for() {
    // It is given up by the runtime after a while, or it comes to a good end, or it hangs for ever.
    for (held, comes_up, wait, attempt) in [(3, false, 3, 0), (u32::MAX, true, 3, 0), (u32::MAX, false, 13, 1)] {
        let world = World::new();
        world.pod("p", ONE);
        world.until("p", |s| phase(s) == "Running" && condition(s, "Ready")).await;
        world.stop.send_replace(true);
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.stop.send_replace(false);
        let before = {
            let mut state = world.runtime.state.lock().unwrap();
            state.containers[0].state = ContainerState::Created;
            state.held = held;
            state.containers[0].id.clone()
        };
        // Nor was it told of.
        world.pod("p", ONE);
        world.start();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if comes_up {
            world.runtime.state.lock().unwrap().containers[0].state = ContainerState::Running;
        }
        tokio::time::sleep(Duration::from_secs(wait)).await;
        let state = world.runtime.state.lock().unwrap();
        let running = |c: &&ContainerStatus| c.state == ContainerState::Running;
        let running: Vec<_> = state.containers.iter().filter(running).map(|c| (c.id == before, c.attempt)).collect();
        assert_eq!(running, [(comes_up, attempt)]);
        let told = container(&world.status("p"));
        assert_eq!(told.i64_at(&["restartCount"]), Some(i64::from(attempt)));
        assert!(told.at(&["state", "running"]).is_some(), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_succeed_and_refused_pods_fail() {
    let world = World::new();
    world.pod("job", &ONE.replace(r#""containers""#, r#""restartPolicy":"Never","containers""#));
    world.until("job", |s| phase(s) == "Running").await;
    world.runtime.finish("a", 0);
    world.until("job", |s| phase(s) == "Succeeded").await;
    assert_eq!(container(&world.status("job")).str_at(&["state", "terminated", "reason"]), Some("Completed"));
    world.pod("odd", &ONE.replace(r#""containers""#, r#""resourceClaims":[{"name":"c"}],"containers""#));
    let told = async {
        let text = "FailedCreatePodSandBox: Failed to create pod sandbox: this node does not support dynamic resource";
        while !world.api.events().iter().any(|e| e.starts_with(text)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    assert_eq!(phase(&world.status("odd")), "Pending");
    world.pod("late", &ONE.replace(r#""containers""#, r#""os":{"name":"windows"},"containers""#));
    world.until("late", |s| phase(s) == "Failed").await;
    assert_eq!(world.status("late").str_at(&["reason"]), Some("PodOSNotSupported"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_missing_shows_in_the_status() {
    let world = World::new();
    world.pod("p", r#"{"nodeName":"node1","containers":[{"name":"a","image":"missing"}]}"#);
    let reason = |s: &Value| container(s).str_at(&["state", "waiting", "reason"]).map(str::to_owned);
    world.until("p", |s| reason(s).as_deref() == Some("ErrImagePull")).await;
    world.until("p", |s| reason(s).as_deref() == Some("ImagePullBackOff")).await;
    assert_eq!(phase(&world.status("p")), "Pending");
}

#[tokio::test(start_paused = true)]
async fn signals_are_told_and_hooks_by_tcp_fail() {
    let world = World::new();
    let hook = r#""lifecycle":{"stopSignal":"SIGUSR1","postStart":{"tcpSocket":{"port":80}}}"#;
    let spec =
        format!(r#"{{"nodeName":"node1","os":{{"name":"linux"}},"containers":[{{"name":"a","image":"app",{hook}}}]}}"#);
    world.pod("p", &spec);
    world.until("p", |s| container(s).str_at(&["stopSignal"]) == Some("SIGUSR1")).await;
    // As upstream has it: the field is there, and the hook fails when its time comes.
    world.until("p", |s| container(s).i64_at(&["restartCount"]).is_some_and(|count| count > 0)).await;
    assert!(world.api.events().iter().any(|e| e == "FailedPostStartHook: PostStartHook failed"));
    let config = world.runtime.state.lock().unwrap().configs[0].clone();
    assert_eq!(config.stop_signal.as_deref(), Some("SIGUSR1"));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_cannot_be_mounted_is_named() {
    let world = World::new();
    world.pod(
        "p",
        r#"{"nodeName":"node1","volumes":[{"name":"v","configMap":{"name":"missing"}}],
            "containers":[{"name":"a","image":"app"}]}"#,
    );
    let told = async {
        while !world.api.events().iter().any(|e| e.starts_with("FailedMount") && e.contains("missing")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    let reason = container(&world.status("p")).str_at(&["state", "waiting", "reason"]).map(str::to_owned);
    assert_eq!(reason.as_deref(), Some("ContainerCreating"));
}

#[tokio::test(start_paused = true)]
async fn probes_decide_on_readiness_and_restarts() {
    let world = World::new();
    world.runtime.state.lock().unwrap().exec_code = 1;
    world.pod(
        "p",
        r#"{"nodeName":"node1","containers":[{"name":"a","image":"app",
            "readinessProbe":{"exec":{"command":["x"]}},
            "livenessProbe":{"exec":{"command":["x"]},"periodSeconds":5,"failureThreshold":2}}]}"#,
    );
    world.until("p", |s| phase(s) == "Running").await;
    assert!(!condition(&world.status("p"), "Ready"));
    world.until("p", |s| container(s).i64_at(&["restartCount"]) == Some(1)).await;
    world.runtime.state.lock().unwrap().exec_code = 0;
    world.until("p", |s| condition(s, "Ready")).await;
}

/// A service that leads to the port, and a pod behind it.
fn serve(world: &World, port: u16) {
    let service = format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"web","namespace":"n"}},
            "spec":{{"selector":{{"app":"web"}},"ports":[{{"port":80,"targetPort":{port}}}]}}}}"#
    );
    world.api.put("services", "n", "web", Value::parse(service.as_bytes()).unwrap());
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"uid-p",
        "labels":{"app":"web"}},"spec":{"nodeName":"node1","containers":[{"name":"a","image":"app"}]}}"#;
    world.api.put("pods", "n", "p", Value::parse(pod.as_bytes()).unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_pod_behind_a_service_is_ready_when_it_listens() {
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    serve(&world, port);
    world.until("p", |s| phase(s) == "Running").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!condition(&world.status("p"), "Ready"));
    let _listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let before = tokio::time::Instant::now();
    world.until("p", |s| condition(s, "Ready")).await;
    assert!(before.elapsed() < Duration::from_millis(300), "{:?}", before.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_never_listens_is_ready_all_the_same() {
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    serve(&world, port);
    world.until("p", |s| phase(s) == "Running").await;
    world.until("p", |s| condition(s, "Ready")).await;
}

#[tokio::test(start_paused = true)]
async fn a_pod_stays_ready_while_a_container_gets_another_image() {
    let world = World::new();
    world.pod("p", ONE);
    world.until("p", |s| condition(s, "Ready")).await;
    let before = world.api.statuses("p").len();
    let mut pod = world.api.get("pods", "n", "p").unwrap();
    let text = pod.get("spec").unwrap().to_string().replace(r#""image":"app""#, r#""image":"other""#);
    pod.set_at(&["spec"], Value::parse(text.as_bytes()).unwrap());
    world.api.put("pods", "n", "p", pod);
    world.until("p", |s| container(s).get("restartCount").and_then(Value::as_i64) == Some(1)).await;
    let since = world.api.statuses("p").split_off(before);
    assert!(since.iter().all(|s| condition(s, "Ready")), "{since:?}");
}

#[tokio::test(start_paused = true)]
async fn changed_contents_reach_the_volume_at_once() {
    let world = World::new();
    let map = |text: &str| {
        let text = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"m","namespace":"n"}},"data":{{"k":"{text}"}}}}"#
        );
        world.api.put("configmaps", "n", "m", Value::parse(text.as_bytes()).unwrap());
    };
    world.pod(
        "p",
        r#"{"nodeName":"node1","volumes":[{"name":"v","configMap":{"name":"m"}}],
            "containers":[{"name":"a","image":"app"}]}"#,
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(phase(&world.status("p")), "Pending");
    // What was missing is mounted as soon as it is there, whatever back-off the failures led to.
    map("one");
    world.until("p", |s| phase(s) == "Running").await;
    let file = world.directory.path().join("pods/uid-p/volumes/kubernetes.io~configmap/v/k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "one");
    map("two");
    let seen = async {
        while std::fs::read_to_string(&file).unwrap() != "two" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(2), seen).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pod_over_its_disk_limit_is_evicted() {
    let world = World::new();
    world.pod(
        "p",
        r#"{"nodeName":"node1","containers":[{"name":"a","image":"app",
            "resources":{"limits":{"ephemeral-storage":"1Mi"}}}]}"#,
    );
    world.until("p", |s| phase(s) == "Running").await;
    {
        let mut state = world.runtime.state.lock().unwrap();
        let id = state.containers[0].id.clone();
        state.disk_use.insert(id, 2 << 20);
    }
    world.until("p", |s| phase(s) == "Failed" && condition(s, "DisruptionTarget")).await;
    let status = world.status("p");
    assert_eq!(status.str_at(&["reason"]), Some("Evicted"));
    let message = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
    assert_eq!(status.str_at(&["message"]), Some(message));
    assert!(world.api.events().contains(&format!("Evicted: {message}")));
}

/// What is reserved is no pod's: who takes most of the rest goes before it is used up, however much memory the machine has.
#[tokio::test(start_paused = true)]
async fn pods_together_keep_off_what_is_reserved() {
    let mi = 1 << 20;
    let all = i64::try_from(crate::register::meminfo("MemTotal")).unwrap();
    let world = World::with(|options| {
        options.limits.reserved.memory = all - (64 << 20);
        let (hard, none) = ("memory.available<4Mi".parse().unwrap(), "".parse().unwrap());
        let (graces, reclaims) = ("".parse().unwrap(), "".parse().unwrap());
        options.eviction = Eviction::new(&hard, &none, &graces, &reclaims).unwrap();
    });
    world.pod("p", ONE);
    world.until("p", |s| phase(s) == "Running").await;
    let pods = |world: &World| {
        let state = world.runtime.state.lock().unwrap();
        state.updates.iter().find(|(name, _)| name == "/kubepods").map(|(_, given)| given.memory_limit)
    };
    assert_eq!(pods(&world), Some(Some(64 << 20)));
    world.runtime.state.lock().unwrap().memory_use.insert("/kubepods".to_owned(), 60 * mi);
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(phase(&world.status("p")), "Running");
    {
        let mut state = world.runtime.state.lock().unwrap();
        state.memory_use.insert("/kubepods".to_owned(), 61 * mi);
        state.memory_use.insert("a".to_owned(), 50 * mi);
    }
    world.until("p", |s| phase(s) == "Failed" && s.str_at(&["reason"]) == Some("Evicted")).await;
    let message = "The node was low on resource: memory. Threshold quantity: 4Mi, available: 3Mi. \
        Container a was using 50Mi, request is 0, has larger consumption of memory. ";
    assert_eq!(world.status("p").str_at(&["message"]), Some(message));
}

#[tokio::test(start_paused = true)]
async fn classes_weigh_what_their_pods_ask_for() {
    let world = World::new();
    let spec = |cpu: &str| {
        format!(
            r#"{{"nodeName":"node1","containers":[{{"name":"a","image":"app","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}"#
        )
    };
    world.pod("idle", ONE);
    world.pod("half", &spec("500m"));
    world.pod("one", &spec("1"));
    for name in ["idle", "half", "one"] {
        world.until(name, |s| phase(s) == "Running").await;
    }
    let groups = world.runtime.state.lock().unwrap().groups.clone();
    assert_eq!(groups["/kubepods/besteffort"], 2);
    assert_eq!(groups["/kubepods/burstable"], 1536);
}

#[tokio::test(start_paused = true)]
async fn a_static_pod_runs_and_is_mirrored() {
    let world = World::new();
    let manifests = world.directory.path().join("manifests");
    std::fs::create_dir(&manifests).unwrap();
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: 'n'}\nspec: {containers: [{name: a, image: app}]}\n";
    std::fs::write(manifests.join("web.yaml"), text).unwrap();
    world.until("web-node1", |s| phase(s) == "Running" && condition(s, "Ready")).await;
    let mirror = world.api.get("pods", "n", "web-node1").unwrap();
    let annotation = |name: &str| mirror.at(&["metadata", "annotations"]).and_then(|a| a.str_at(&[name]));
    assert_eq!(annotation("kubernetes.io/config.source"), Some("file"));
    assert_eq!(annotation("kubernetes.io/config.mirror"), annotation("kubernetes.io/config.hash"));
    assert_eq!(world.runtime.state.lock().unwrap().configs.len(), 1, "the mirror itself is not run");
    std::fs::remove_file(manifests.join("web.yaml")).unwrap();
    let gone = async {
        while world.api.get("pods", "n", "web-node1").is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("the mirror goes with its file");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_asked_for_and_renewed() {
    let world = World::new();
    let put = |resource: &str, namespace: &str, name: &str, text: &str| {
        world.api.put(resource, namespace, name, Value::parse(text.as_bytes()).unwrap());
    };
    put(
        "serviceaccounts",
        "n",
        "default",
        r#"{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"default","namespace":"n","uid":"sa"}}"#,
    );
    world.pod(
        "p",
        r#"{"nodeName":"node1","volumes":[{"name":"v","projected":{"sources":[{"podCertificate":{
            "signerName":"example.com/s","keyType":"ED25519","credentialBundlePath":"bundle.pem",
            "keyPath":"key.pem","userAnnotations":{"example.com/a":"b"}}}]}}],
            "containers":[{"name":"a","image":"app"}]}"#,
    );
    let file = world.directory.path().join("pods/uid-p/volumes/kubernetes.io~projected/v/bundle.pem");
    let mut last = String::new();
    for (chain, refresh_at) in [("first\n", "2026-01-01T00:10:00Z"), ("second\n", "2026-01-02T00:00:00Z")] {
        let signed = async {
            loop {
                let waiting = |object: &Value| object.get("status").is_none();
                if let Some(mut object) = world.api.list("podcertificaterequests").into_iter().find(waiting) {
                    assert_eq!(object.str_at(&["spec", "podUID"]), Some("uid-p"));
                    assert_eq!(object.str_at(&["spec", "serviceAccountUID"]), Some("sa"));
                    let name = object.str_at(&["metadata", "name"]).unwrap().to_owned();
                    let status = format!(
                        r#"{{"certificateChain":"{}","beginRefreshAt":"{refresh_at}","notAfter":"2026-01-03T00:00:00Z",
                            "conditions":[{{"type":"Issued","status":"True","reason":"r","message":"m",
                            "lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}"#,
                        chain.replace('\n', "\\n")
                    );
                    object.set_at(&["status"], Value::parse(status.as_bytes()).unwrap());
                    world.api.put("podcertificaterequests", "n", &name, object);
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3600), signed).await.expect("the node asks");
        let written = async {
            while !std::fs::read_to_string(&file).is_ok_and(|text| text.ends_with(chain)) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(300), written).await.expect("the bundle is written");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("-----BEGIN PRIVATE KEY-----") && text != last, "{text}");
        let key = std::fs::read_to_string(file.with_file_name("key.pem")).unwrap();
        assert_eq!(text, format!("{key}{chain}"));
        last = text;
    }
    world.until("p", |s| phase(s) == "Running").await;
    // Such volumes are mounts, which go with their pod.
    let mut pod = world.api.get("pods", "n", "p").unwrap();
    pod.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
    world.api.put("pods", "n", "p", pod);
    let gone = async {
        while world.api.get("pods", "n", "p").is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the pod goes");
}
