//! The second backend: any runtime that speaks CRI v1 on a Unix socket, such as containerd.
//!
//! What CRI leaves to the node is done here: the cgroups of pods and of their classes, and the memory of which sandboxes
//! are ours (an annotation). What a runtime would ignore is refused instead.

mod about;
mod calls;
mod containers;
mod events;
mod images;
mod observe;
mod proto;
mod sandboxes;
mod spdy;
mod streams;
mod translate;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use prost::Message;
use tokio::sync::{Notify, broadcast};

use crate::api::*;
use crate::cgroup::Cgroups;
use about::About;
pub use about::CniDirectories;
use grpc::{Channel, Code};

/// Changes that a slow reader may miss before the oldest are dropped.
const EVENTS_MAX: usize = 1024;
/// How long a call may take (upstream's runtimeRequestTimeout), and one that makes or ends a sandbox.
const CALL_MAX: Duration = Duration::from_secs(120);
const SANDBOX_CALL_MAX: Duration = Duration::from_secs(240);

/// What the backend needs to know.
pub struct CriOptions {
    /// The runtime's socket.
    pub socket: PathBuf,
    /// The cgroup above all pods; `/` usually.
    pub cgroup_root: String,
}

struct Inner {
    options: CriOptions,
    channel: Arc<Channel>,
    cgroups: Cgroups,
    about: RwLock<About>,
    /// What is known of sandboxes and does not change while they live.
    sandboxes: Mutex<HashMap<String, observe::KnownSandbox>>,
    containers: Mutex<HashMap<String, observe::KnownContainer>>,
    events: broadcast::Sender<RuntimeEvent>,
    /// Something was done that may have changed a container.
    acted: Notify,
    /// Containers and sandboxes whose ends the runtime told, and when; its lists do not show them yet.
    told_ended: Mutex<HashMap<String, tokio::time::Instant>>,
    /// Shared by those who make a sandbox: its cgroup is empty until they are done.
    making: tokio::sync::RwLock<()>,
}

/// The runtime behind a socket. Clones share everything.
#[derive(Clone)]
pub struct CriRuntime(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A failed call in the trait's words.
fn failed(status: grpc::Status) -> RuntimeError {
    let message = status.message;
    match status.code {
        Code::NotFound => RuntimeError::NotFound(message.trim_end_matches(": not found").to_owned()),
        Code::InvalidArgument => RuntimeError::Invalid(message),
        Code::DeadlineExceeded => {
            RuntimeError::Timeout(message.trim_end_matches(": context deadline exceeded").to_owned())
        }
        Code::Unavailable => RuntimeError::Failed(format!("container runtime is down: {message}")),
        Code::Unimplemented => RuntimeError::Failed(format!("the container runtime cannot do this: {message}")),
        // CRI has no code for it; containerd and CRI-O say it alike.
        Code::Unknown | Code::Other(_) if message.contains("is reserved") => RuntimeError::Busy(message),
        Code::Unknown | Code::Other(_) => RuntimeError::Failed(message),
    }
}

/// For calls whose aim is that something is gone.
fn gone_is_fine(result: Result<proto::Empty>) -> Result<()> {
    match result {
        Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

impl CriRuntime {
    /// A backend for the runtime behind a socket. The runtime may come up later: until then [`Runtime::status`] says that it
    /// is down.
    pub fn new(options: CriOptions) -> Result<Self> {
        let cgroups = Cgroups::detect().map_err(|error| RuntimeError::Failed(format!("cgroups: {error}")))?;
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let inner = Arc::new(Inner {
            channel: Arc::new(Channel::new(&options.socket)),
            options,
            cgroups,
            about: RwLock::default(),
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            events,
            acted: Notify::new(),
            told_ended: Mutex::default(),
            making: tokio::sync::RwLock::default(),
        });
        tokio::spawn(events::follow(Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Tells the runtime the node's pod addresses. Those that make their own network configuration need them.
    pub async fn set_pod_cidr(&self, pod_cidr: &str) -> Result<()> {
        let network_config = Some(proto::NetworkConfig { pod_cidr: pod_cidr.to_owned() });
        let runtime_config = Some(proto::RuntimeConfig { network_config });
        let request = proto::UpdateRuntimeConfigRequest { runtime_config };
        self.0.runtime::<proto::Empty>("UpdateRuntimeConfig", &request).await.map(drop)
    }

    /// Where the runtime looks for network configurations and plugins, once it has answered.
    pub fn cni_directories(&self) -> Option<CniDirectories> {
        self.0.about().cni.clone()
    }
}

impl Inner {
    /// One call of the runtime service.
    async fn runtime<A: Message + Default>(&self, method: &str, request: &impl Message) -> Result<A> {
        self.call(&format!("runtime.v1.RuntimeService/{method}"), request, Some(CALL_MAX)).await
    }

    async fn call<A: Message + Default>(
        &self,
        method: &str,
        request: &impl Message,
        limit: Option<Duration>,
    ) -> Result<A> {
        let answer = self.channel.call(method, request, limit).await;
        answer
            .inspect_err(|error| tracing::debug!(method, ?error, "a call of the container runtime failed"))
            .map_err(failed)
    }

    fn about(&self) -> std::sync::RwLockReadGuard<'_, About> {
        self.about.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pod's cgroup with the node's root before it.
    fn group(&self, parent: &str) -> String {
        format!("{}/{}", self.options.cgroup_root.trim_end_matches('/'), parent.trim_start_matches('/'))
    }

    /// Makes a cgroup, or sets its limits.
    async fn make_group(self: &Arc<Self>, group: String, resources: Resources) -> Result<()> {
        let inner = self.clone();
        let made = tokio::task::spawn_blocking(move || inner.cgroups.create(&group, &resources)).await;
        made.unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|error| RuntimeError::Failed(format!("make the cgroup: {error}")))
    }
}

/// The socket of `unix:///run/containerd/containerd.sock`; the scheme may be left out.
pub fn parse_endpoint(text: &str) -> std::result::Result<PathBuf, String> {
    let path = text.strip_prefix("unix://").unwrap_or(text);
    if !path.starts_with('/') {
        return Err("not a socket such as unix:///run/containerd/containerd.sock".to_owned());
    }
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_unix_sockets() {
        for good in ["unix:///run/a.sock", "/run/a.sock"] {
            assert_eq!(parse_endpoint(good), Ok(PathBuf::from("/run/a.sock")));
        }
        for bad in ["", "tcp://127.0.0.1:1", "unix://run/a.sock", "npipe:///x"] {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn failures_keep_their_kind_and_are_told_once() {
        let of = |code, message: &str| failed(grpc::Status { code, message: message.to_owned() }).to_string();
        assert_eq!(of(Code::NotFound, "container \"x\": not found"), "container \"x\" not found");
        assert_eq!(of(Code::Unavailable, "/s: refused"), "container runtime is down: /s: refused");
        let taken = "failed to reserve sandbox name \"a\": name \"a\" is reserved for \"b\"";
        let taken = grpc::Status { code: Code::Unknown, message: taken.to_owned() };
        assert!(matches!(failed(taken), RuntimeError::Busy(_)));
        assert_eq!(of(Code::DeadlineExceeded, "exec: context deadline exceeded"), "exec: deadline exceeded");
    }
}
