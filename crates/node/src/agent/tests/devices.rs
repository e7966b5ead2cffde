//! Device plugins over real sockets: registration, allocation, health, restarts; and the pod-resources API.

use super::*;
use crate::managers::devices::fake::{FakePlugin, FakeRegistration, device};
use crate::managers::devices::proto::{ContainerAllocateResponse, DeviceSpec, Empty, Mount, PluginInfo};
use crate::managers::pod_resources::proto::{AllocatableResponse, GetRequest, GetResponse, ListResponse};

const NAME: &str = "example.com/device";

fn answer() -> ContainerAllocateResponse {
    ContainerAllocateResponse {
        envs: [("DEVICES".to_owned(), "ID".to_owned()), ("URL".to_owned(), "lost".to_owned())].into(),
        mounts: vec![Mount { container_path: "/lib/device".to_owned(), host_path: "/tmp".to_owned(), read_only: true }],
        devices: vec![DeviceSpec {
            container_path: "/dev/device".to_owned(),
            host_path: "/dev/null".to_owned(),
            permissions: "rw".to_owned(),
        }],
        annotations: [("example.com/used".to_owned(), "ID".to_owned())].into(),
        cdi_devices: Vec::new(),
    }
}

fn asking(count: u32) -> String {
    let amount = format!(r#"{{"{NAME}":"{count}"}}"#);
    ONE.replace(r#""image""#, &format!(r#""resources":{{"requests":{amount},"limits":{amount}}},"image""#))
}

impl World {
    fn plugins(&self) -> std::path::PathBuf {
        self.directory.path().join("kubelet/device-plugins")
    }

    fn plugin(&self, devices: &[(&str, bool)]) -> FakePlugin {
        FakePlugin::start(&self.plugins(), NAME, list(devices), answer()).unwrap()
    }

    /// Waits until the Node shows this capacity and allocatable amount.
    async fn until_amounts(&self, capacity: &str, allocatable: &str) {
        let shown = |field: &str| {
            let node = self.api.get("nodes", "", "node1")?;
            Some(node.str_at(&["status", field, NAME])?.to_owned())
        };
        let wait = async {
            while (shown("capacity").as_deref(), shown("allocatable").as_deref()) != (Some(capacity), Some(allocatable))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), wait).await;
        waited.unwrap_or_else(|_| panic!("{:?} {:?}", shown("capacity"), shown("allocatable")));
    }

    async fn until_socket(&self) {
        while !self.plugins().join("kubelet.sock").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn restart(&self) {
        self.stop.send_replace(true);
        tokio::time::sleep(Duration::from_millis(200)).await;
        std::fs::remove_file(self.plugins().join("kubelet.sock")).unwrap();
        self.stop.send_replace(false);
        self.start();
        self.until_socket().await;
    }
}

fn list(devices: &[(&str, bool)]) -> Vec<crate::managers::devices::proto::Device> {
    devices.iter().map(|(id, healthy)| device(id, *healthy, None)).collect()
}

fn health(status: &Value) -> Option<String> {
    let container = container(status);
    let one = container.get("allocatedResourcesStatus")?.as_array()?.first()?.clone();
    let device = one.get("resources")?.as_array()?.first()?.clone();
    Some(format!("{} {} {}", one.str_at(&["name"])?, device.str_at(&["resourceID"])?, device.str_at(&["health"])?))
}

#[tokio::test]
async fn plugins_register_and_pods_get_their_devices() {
    let world = World::new();
    world.until_socket().await;
    let plugin = world.plugin(&[("a", true), ("b", true), ("c", false)]);
    let refused = plugin.register_as("v1", NAME).await.unwrap_err();
    let text = r#"requested API version "v1" is not supported by kubelet. Supported version is ["v1beta1"]"#;
    assert_eq!(refused.message, text);
    let refused = plugin.register_as("v1beta1", "cpu").await.unwrap_err();
    assert_eq!(refused.message, r#"the ResourceName "cpu" is invalid"#);
    plugin.register().await.unwrap();
    world.until_amounts("3", "2").await;
    world.pod("p", &asking(1));
    world.until("p", |s| phase(s) == "Running").await;
    assert_eq!(plugin.calls(), ["GetPreferredAllocation a,b", "Allocate b", "PreStartContainer b"]);
    let config = world.runtime.state.lock().unwrap().configs[0].clone();
    assert_eq!(config.env[0], ("DEVICES".to_owned(), "b".to_owned()));
    assert!(config.env.iter().all(|(name, value)| name != "URL" || value == "http://127.0.0.1"), "{:?}", config.env);
    assert_eq!(
        (config.devices[0].container_path.as_str(), config.devices[0].permissions.as_str()),
        ("/dev/device", "rw")
    );
    assert!(config.mounts.iter().any(|m| m.container_path == "/lib/device" && m.read_only));
    assert_eq!(config.annotations["example.com/used"], "b");
    world.until("p", |s| health(s).as_deref() == Some("example.com/device b Healthy")).await;
    world.pod("greedy", &asking(2));
    world.until("greedy", |s| phase(s) == "Failed").await;
    let status = world.status("greedy");
    assert_eq!(status.str_at(&["reason"]), Some("UnexpectedAdmissionError"));
    let text = "Pod was rejected: Allocate failed due to requested number of devices unavailable for example.com/device. \
                Requested: 2, Available: 1, which is unexpected";
    assert_eq!(status.str_at(&["message"]), Some(text));
    plugin.set(list(&[("a", true), ("b", false)]));
    world.until_amounts("2", "1").await;
    world.until("p", |s| health(s).as_deref() == Some("example.com/device b Unhealthy")).await;
    drop(plugin);
    world.until_amounts("2", "0").await;
    world.pod("late", &asking(1));
    world.until("late", |s| phase(s) == "Failed").await;
    let text = world.status("late").str_at(&["message"]).unwrap().to_owned();
    assert!(
        text.contains("no healthy devices present; cannot allocate unhealthy devices example.com/device"),
        "{text}"
    );
}

#[tokio::test]
async fn devices_stay_with_their_pods_over_restarts() {
    let world = World::new();
    world.until_socket().await;
    let plugin = world.plugin(&[("a", true), ("b", true)]);
    plugin.register().await.unwrap();
    world.until_amounts("2", "2").await;
    world.pod("p", &asking(1));
    world.until("p", |s| phase(s) == "Running").await;
    world.restart().await;
    assert!(!world.plugins().join("example.com-device.sock").exists(), "plugins see that the node started anew");
    world.until_amounts("0", "0").await;
    world.until("p", |s| health(s).as_deref() == Some("example.com/device b Unknown")).await;
    assert_eq!(phase(&world.status("p")), "Running");
    let plugin = world.plugin(&[("a", true), ("b", true)]);
    plugin.register().await.unwrap();
    world.until_amounts("2", "2").await;
    world.pod("q", &asking(1));
    world.until("q", |s| phase(s) == "Running").await;
    assert_eq!(plugin.calls().last().map(String::as_str), Some("PreStartContainer a"));
    // A plugin that comes again takes the place of the one before.
    let again = world.plugin(&[("a", true), ("b", true), ("broken", true)]);
    again.register().await.unwrap();
    drop(plugin);
    world.until_amounts("3", "3").await;
    world.pod("r", &asking(1));
    world.until("r", |s| phase(s) == "Failed").await;
    let text = "Pod was rejected: Allocate failed due to rpc error: code = Unknown desc = the device is broken, which is \
                unexpected";
    assert_eq!(world.status("r").str_at(&["message"]), Some(text));
    let mut pod = world.api.get("pods", "n", "p").unwrap();
    pod.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
    pod.set_at(&["metadata", "deletionGracePeriodSeconds"], 1);
    world.api.put("pods", "n", "p", pod);
    while world.api.get("pods", "n", "p").is_some() || !world.directory.path().join("kubelet").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    again.set(list(&[("a", true), ("b", true)]));
    world.until_amounts("2", "2").await;
    world.pod("s", &asking(1));
    world.until("s", |s| phase(s) == "Running").await;
    assert!(again.calls().contains(&"Allocate b".to_owned()), "what p had is free again: {:?}", again.calls());
}

#[tokio::test]
async fn the_pod_resources_api_tells_who_has_what() {
    let world = World::new();
    world.until_socket().await;
    let plugin = FakePlugin::start(&world.plugins(), NAME, vec![device("a", true, Some(0))], answer()).unwrap();
    plugin.register().await.unwrap();
    world.until_amounts("1", "1").await;
    world.pod("p", &asking(1));
    world.until("p", |s| phase(s) == "Running").await;
    let channel = grpc::Channel::new(&world.directory.path().join("kubelet/pod-resources/kubelet.sock"));
    let all: ListResponse = channel.call("v1.PodResourcesLister/List", &Empty {}, None).await.unwrap();
    let wanted = GetRequest { pod_name: "p".to_owned(), pod_namespace: "n".to_owned() };
    let one: GetResponse = channel.call("v1.PodResourcesLister/Get", &wanted, None).await.unwrap();
    assert_eq!(all.pod_resources, one.pod_resources.into_iter().collect::<Vec<_>>());
    let devices = &all.pod_resources[0].containers[0].devices[0];
    assert_eq!((devices.resource_name.as_str(), devices.device_ids.as_slice()), (NAME, &["a".to_owned()][..]));
    assert_eq!(devices.topology.as_ref().unwrap().nodes[0].id, 0);
    let free: AllocatableResponse =
        channel.call("v1.PodResourcesLister/GetAllocatableResources", &Empty {}, None).await.unwrap();
    assert_eq!(free.devices[0].device_ids, ["a"]);
    let missing = GetRequest { pod_name: "x".to_owned(), ..wanted };
    let error = channel.call::<GetResponse>("v1.PodResourcesLister/Get", &missing, None).await.unwrap_err();
    assert_eq!(error.message, "pod x in namespace n not found");
}

#[tokio::test]
async fn plugins_are_found_by_their_sockets() {
    let world = World::new();
    world.until_socket().await;
    let registry = world.directory.path().join("kubelet/plugins_registry");
    let info = |kind: &str, name: &str, version: &str, endpoint: String| PluginInfo {
        r#type: kind.to_owned(),
        name: name.to_owned(),
        endpoint,
        supported_versions: vec![version.to_owned()],
    };
    let told = async |registration: &FakeRegistration| {
        let wait = async {
            loop {
                if let Some(status) = registration.told.lock().unwrap().first() {
                    return (status.plugin_registered, status.error.clone());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it is told")
    };
    let none = || "/none".to_owned();
    for (number, (info, text)) in [
        (
            info("CSIPlugin", "d.example.com", "1.0.0", none()),
            "no handler registered for plugin type: CSIPlugin at socket",
        ),
        (
            info("DevicePlugin", NAME, "v9", none()),
            "manager version, v1beta1, is not among plugin supported versions [v9]",
        ),
        (info("DevicePlugin", "cpu", "v1beta1", none()), r#"socket: the ResourceName "cpu" is invalid"#),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = FakeRegistration::start(&registry, &format!("{number}.sock"), info).unwrap();
        let (taken, why) = told(&refused).await;
        assert!(!taken && why.starts_with("RegisterPlugin error -- ") && why.contains(text), "{why}");
    }
    let plugin = world.plugin(&[("a", true), ("b", true)]);
    let endpoint = world.plugins().join("example.com-device.sock").display().to_string();
    let below = registry.join("deep");
    let info = info("DevicePlugin", NAME, "v1beta1", endpoint);
    let registration = FakeRegistration::start(&below, "reg.sock", info).unwrap();
    assert_eq!(told(&registration).await, (true, String::new()));
    world.until_amounts("2", "2").await;
    world.pod("p", &asking(1));
    world.until("p", |s| phase(s) == "Running").await;
    assert!(plugin.calls().iter().any(|call| call.starts_with("Allocate ")));
    // Its socket goes, and its devices with it.
    drop(registration);
    world.until_amounts("2", "0").await;
}
