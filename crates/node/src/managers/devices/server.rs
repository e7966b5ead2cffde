//! Where plugins register, and the watch of each plugin's devices.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpc::{Channel, Code, Replies, Status};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::proto::{DevicePluginOptions, Empty, ListAndWatchResponse, RegisterRequest};
use super::{Devices, Known, Plugin, Resource};
use crate::lock;

/// The socket's name, and the one version of the API.
const SOCKET: &str = "kubelet.sock";
pub const VERSION: &str = "v1beta1";
/// How long a plugin may take to answer when it registers.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A plugin whose devices are to be followed.
pub struct Follow {
    resource: String,
    channel: Arc<Channel>,
    number: u64,
}

/// Makes a directory for sockets, without those of an earlier life: plugins see that and register anew.
pub fn clean(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for entry in std::fs::read_dir(directory)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether plugins may offer a resource of this name (upstream's rule for extended resources).
pub fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    !native
        && !name.starts_with("requests.")
        && machinery::names::qualified_name(&format!("requests.{name}")).is_empty()
}

impl Devices {
    /// Makes the socket on which plugins register.
    pub fn listen(&self) -> io::Result<UnixListener> {
        clean(&self.directory)?;
        UnixListener::bind(self.directory.join(SOCKET))
    }

    /// Serves plugins, for ever.
    pub async fn serve(self: Arc<Self>, listener: UnixListener) {
        let Some(mut registered) = lock(&self.registered.1).take() else { return };
        let own = self.clone();
        let server = grpc::serve(listener, move |method, request| own.clone().answer(method, request));
        tokio::pin!(server);
        let mut followers = JoinSet::new();
        loop {
            tokio::select! {
                () = &mut server => return,
                Some(follow) = registered.recv() => {
                    followers.spawn(self.clone().follow(follow));
                }
                Some(_) = followers.join_next() => {}
            }
        }
    }

    fn answer(self: Arc<Self>, method: &str, request: Bytes) -> Option<Replies> {
        let asked = match method {
            "v1beta1.Registration/Register" => grpc::decode::<RegisterRequest>(request),
            _ => return None,
        };
        Some(grpc::reply(async move { self.register(asked?).await }))
    }

    async fn register(&self, request: RegisterRequest) -> Result<Empty, Status> {
        let name = request.resource_name;
        let refused = |message: String| {
            tracing::info!(resource = name, message, "a device plugin was refused");
            Err(Status::new(Code::Unknown, message))
        };
        if request.version != VERSION {
            let version = request.version;
            return refused(format!(
                "requested API version {version:?} is not supported by kubelet. Supported version is [{VERSION:?}]"
            ));
        }
        if let Err(why) = check_name(&name) {
            return refused(why);
        }
        // A plugin names a file beside our socket.
        if request.endpoint.is_empty() || request.endpoint.contains('/') {
            return refused(format!("the endpoint {:?} is not the name of a socket", request.endpoint));
        }
        match self.connect(&name, &self.directory.join(&request.endpoint)).await {
            Ok(_) => Ok(Empty {}),
            Err(why) => refused(why),
        }
    }

    /// Follows the devices of the plugin at this socket from now on; its number.
    pub async fn connect(&self, name: &str, endpoint: &Path) -> Result<u64, String> {
        let channel = Arc::new(Channel::new(endpoint));
        let method = "v1beta1.DevicePlugin/GetDevicePluginOptions";
        let options = channel.call::<DevicePluginOptions>(method, &Empty {}, Some(CONNECT_MAX)).await;
        let failed = |status: Status| format!("failed to get device plugin options: {}", status.as_go_prints_it());
        let options = options.map_err(failed)?;
        tracing::info!(resource = name, "a device plugin registered");
        let number = self.adopt(name, &channel, options);
        let follow = Follow { resource: name.to_owned(), channel, number };
        self.registered.0.send(follow).await.map_err(|_| "the node stops".to_owned())?;
        Ok(number)
    }

    /// A plugin took its leave.
    pub fn leave(&self, resource: &str, number: u64) {
        tracing::info!(resource, "a device plugin left");
        self.lose(resource, number);
    }

    fn adopt(&self, resource: &str, channel: &Arc<Channel>, options: DevicePluginOptions) -> u64 {
        let mut state = lock(&self.state);
        state.plugins += 1;
        let number = state.plugins;
        state.gone.remove(resource);
        let known: &mut Resource = state.resources.entry(resource.to_owned()).or_default();
        (known.plugin, known.stopped) = (Some(Plugin { channel: channel.clone(), options, number }), None);
        number
    }

    /// Follows a plugin's devices until it goes.
    async fn follow(self: Arc<Self>, plugin: Follow) {
        let name = &plugin.resource;
        let ended = async {
            let method = "v1beta1.DevicePlugin/ListAndWatch";
            let mut lists = plugin.channel.start::<ListAndWatchResponse>(method, &Empty {}, None).await?;
            while let Some(list) = lists.next().await? {
                if !self.update(&plugin, list) {
                    break;
                }
            }
            Ok::<(), Status>(())
        };
        let ended = ended.await;
        tracing::info!(resource = name, ?ended, "ListAndWatch ended for a device plugin");
        self.lose(&plugin.resource, plugin.number);
    }

    /// Takes a new list of devices. `false` when another plugin took this one's place.
    fn update(&self, plugin: &Follow, list: ListAndWatchResponse) -> bool {
        let mut state = lock(&self.state);
        let Some(resource) = state.resources.get_mut(&plugin.resource) else { return false };
        if resource.plugin.as_ref().is_none_or(|known| known.number != plugin.number) {
            return false;
        }
        let devices: BTreeMap<String, Known> = list.devices.into_iter().map(known).collect();
        if devices != resource.devices {
            resource.devices = devices;
            state.touch(&plugin.resource);
            self.save(&state);
            self.changed.send_replace(());
        }
        true
    }

    /// The plugin went: its devices are not healthy any more.
    fn lose(&self, name: &str, number: u64) {
        let mut state = lock(&self.state);
        let Some(resource) = state.resources.get_mut(name) else { return };
        if resource.plugin.as_ref().is_none_or(|known| known.number != number) {
            return;
        }
        resource.plugin = None;
        resource.stopped = Some(Instant::now());
        resource.devices.values_mut().for_each(|device| device.healthy = false);
        state.touch(name);
        self.changed.send_replace(());
    }
}

/// Whether a plugin may have a name.
pub fn check_name(name: &str) -> Result<(), String> {
    if is_extended(name) { Ok(()) } else { Err(format!("the ResourceName {name:?} is invalid")) }
}

fn known(device: super::proto::Device) -> (String, Known) {
    let nodes = device.topology.map(|topology| topology.nodes).unwrap_or_default();
    (device.id, Known { healthy: device.health == "Healthy", nodes: nodes.into_iter().map(|node| node.id).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_resources_are_upstreams() {
        for (name, fits) in [
            ("example.com/device", true),
            ("cpu", false),
            ("device", false),
            ("kubernetes.io/device", false),
            ("x.kubernetes.io/device", false),
            ("requests.example.com/device", false),
            ("example.com/a/b", false),
            ("example.com/", false),
        ] {
            assert_eq!(is_extended(name), fits, "{name}");
        }
    }
}
