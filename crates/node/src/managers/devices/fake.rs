//! A device plugin for tests: it offers devices that it is told of, and remembers what it was asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::ready;
use futures_util::stream;
use grpc::{Channel, Code, Replies, Status};
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::watch;

use super::proto::*;
use crate::lock;

/// The plugin. Its task ends with it.
pub struct FakePlugin {
    directory: PathBuf,
    resource: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    devices: watch::Sender<Vec<Device>>,
    options: DevicePluginOptions,
    /// What a container gets with a device; `ID` stands for the device.
    answer: ContainerAllocateResponse,
    calls: Mutex<Vec<String>>,
}

impl Drop for FakePlugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A plugin's way to the node by its directory for sockets: it says who it is, and remembers what it was told.
pub struct FakeRegistration {
    /// What it was told.
    pub told: Arc<Mutex<Vec<RegistrationStatus>>>,
    /// Its socket.
    pub path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for FakeRegistration {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

impl FakeRegistration {
    /// A socket below `registry` for a plugin.
    pub fn start(registry: &Path, name: &str, info: PluginInfo) -> io::Result<Self> {
        std::fs::create_dir_all(registry)?;
        let (path, told) = (registry.join(name), Arc::new(Mutex::new(Vec::new())));
        let listener = UnixListener::bind(&path)?;
        let heard = told.clone();
        let answer =
            move |method: &str, request: Bytes| match method.strip_prefix("pluginregistration.Registration/")? {
                "GetInfo" => Some(grpc::reply(ready(Ok(info.clone())))),
                "NotifyRegistrationStatus" => {
                    let status = grpc::decode::<RegistrationStatus>(request);
                    Some(grpc::reply(ready(status.map(|status| {
                        lock(&heard).push(status);
                        Empty {}
                    }))))
                }
                _ => None,
            };
        let task = tokio::spawn(grpc::serve(listener, answer));
        Ok(Self { told, path, task })
    }
}

/// A device, healthy or not, on a NUMA node or none.
pub fn device(id: &str, healthy: bool, node: Option<i64>) -> Device {
    let health = if healthy { "Healthy" } else { "Unhealthy" };
    Device { id: id.to_owned(), health: health.to_owned(), topology: TopologyInfo::of(node) }
}

impl FakePlugin {
    /// A plugin for a resource, with its socket in the directory for plugins. It must still register.
    pub fn start(
        directory: &Path,
        resource: &str,
        devices: Vec<Device>,
        answer: ContainerAllocateResponse,
    ) -> io::Result<Self> {
        let path = directory.join(Self::socket(resource));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path)?;
        let options = DevicePluginOptions { pre_start_required: true, get_preferred_allocation_available: true };
        let devices = watch::Sender::new(devices);
        let shared = Arc::new(Shared { devices, options, answer, calls: Mutex::default() });
        let own = shared.clone();
        let task = tokio::spawn(grpc::serve(listener, move |method, request| own.call(method, request)));
        Ok(Self { directory: directory.to_owned(), resource: resource.to_owned(), shared, task })
    }

    fn socket(resource: &str) -> String {
        format!("{}.sock", resource.replace('/', "-"))
    }

    /// Tells the node of itself.
    pub async fn register(&self) -> Result<(), Status> {
        self.register_as("v1beta1", &self.resource).await
    }

    /// The same, with another version or name.
    pub async fn register_as(&self, version: &str, resource: &str) -> Result<(), Status> {
        let request = RegisterRequest {
            version: version.to_owned(),
            endpoint: Self::socket(&self.resource),
            resource_name: resource.to_owned(),
            options: Some(self.shared.options),
        };
        let node = Channel::new(&self.directory.join("kubelet.sock"));
        node.call::<Empty>("v1beta1.Registration/Register", &request, None).await.map(drop)
    }

    /// Has other devices from now on.
    pub fn set(&self, devices: Vec<Device>) {
        self.shared.devices.send_replace(devices);
    }

    /// What it was asked for: the method and the devices.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.shared.calls).clone()
    }
}

impl Shared {
    fn note(&self, what: &str, devices: &[String]) {
        let mut devices = devices.to_vec();
        devices.sort();
        lock(&self.calls).push(format!("{what} {}", devices.join(",")));
    }

    fn call(&self, method: &str, request: Bytes) -> Option<Replies> {
        let name = method.strip_prefix("v1beta1.DevicePlugin/")?;
        Some(match name {
            "GetDevicePluginOptions" => grpc::reply(ready(Ok(self.options))),
            "ListAndWatch" => {
                let list = |devices: Vec<Device>| Ok(Bytes::from(ListAndWatchResponse { devices }.encode_to_vec()));
                let seen = (self.devices.subscribe(), true);
                stream::unfold(seen, move |(mut devices, first)| async move {
                    if !first && devices.changed().await.is_err() {
                        return None;
                    }
                    let now = devices.borrow_and_update().clone();
                    Some((list(now), (devices, false)))
                })
                .boxed()
            }
            "GetPreferredAllocation" => grpc::reply(ready(grpc::decode(request).map(|asked| self.prefer(asked)))),
            "Allocate" => grpc::reply(ready(grpc::decode(request).and_then(|asked| self.allocate(asked)))),
            "PreStartContainer" => grpc::reply(ready(grpc::decode(request).map(|asked: PreStartContainerRequest| {
                self.note(name, &asked.devices_ids);
                Empty {}
            }))),
            _ => return None,
        })
    }

    /// It prefers the last ones.
    fn prefer(&self, asked: PreferredAllocationRequest) -> PreferredAllocationResponse {
        let one = |asked: ContainerPreferredAllocationRequest| {
            self.note("GetPreferredAllocation", &asked.available_device_ids);
            let mut device_ids = asked.available_device_ids;
            device_ids.sort();
            device_ids.reverse();
            device_ids.truncate(usize::try_from(asked.allocation_size).unwrap_or(0));
            ContainerPreferredAllocationResponse { device_ids }
        };
        PreferredAllocationResponse { container_responses: asked.container_requests.into_iter().map(one).collect() }
    }

    /// It refuses a device named `broken`.
    fn allocate(&self, asked: AllocateRequest) -> Result<AllocateResponse, Status> {
        let mut container_responses = Vec::new();
        for request in asked.container_requests {
            self.note("Allocate", &request.devices_ids);
            if request.devices_ids.iter().any(|id| id == "broken") {
                return Err(Status::new(Code::Unknown, "the device is broken"));
            }
            let mut answer = self.answer.clone();
            let ids = request.devices_ids.join(",");
            answer.envs.values_mut().chain(answer.annotations.values_mut()).for_each(|v| *v = v.replace("ID", &ids));
            container_responses.push(answer);
        }
        Ok(AllocateResponse { container_responses })
    }
}
