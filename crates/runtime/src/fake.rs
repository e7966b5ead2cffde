//! A runtime without containers, for tests and simulations: it remembers what it was told, and tells it back at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, BoxStream};
use tokio::sync::broadcast;

use crate::api::*;

/// Changes that a slow reader may miss before the oldest are dropped.
const EVENTS_MAX: usize = 256;
/// How many sizes of a terminal may wait.
const SIZES_MAX: usize = 1;
/// Bytes that wait between the ends of a command's pipes.
const PIPE_BYTES: usize = 64;

/// The runtime.
pub struct FakeRuntime {
    /// What it was told, and what it is to answer.
    pub state: Mutex<FakeState>,
    events: broadcast::Sender<RuntimeEvent>,
}

/// The state of a [`FakeRuntime`].
#[derive(Default)]
pub struct FakeState {
    /// All sandboxes.
    pub sandboxes: Vec<SandboxStatus>,
    /// All containers.
    pub containers: Vec<ContainerStatus>,
    /// What containers were made of, in order, the removed ones too.
    pub configs: Vec<ContainerConfig>,
    /// Names of images that are there. All others but `missing` can be pulled.
    pub images: Vec<String>,
    /// Images that are pulled only with these credentials.
    pub private_images: BTreeMap<String, Credentials>,
    /// Which containers were told to stop, and how long they were given. They end at once, with 143.
    pub stops: Vec<(String, Duration)>,
    /// What `exec_sync` answers.
    pub exec_code: i32,
    /// CPU shares of cgroups above pods.
    pub groups: BTreeMap<String, u64>,
    /// Bytes of containers' writable layers, by id.
    pub disk_use: BTreeMap<String, u64>,
    /// The address of the first pod, those of the others follow; without one, all pods have loopback's.
    pub first_address: Option<Ipv4Addr>,
    /// What containers (by name) and sandboxes (by pod name) were given while they ran, in order.
    pub updates: Vec<(String, Resources)>,
    /// How often it refuses to remove a container that never ran, because a call that was given up may yet start it.
    pub held: u32,
    /// Bytes of memory that containers and pods use, by the same names, and cgroups above pods.
    pub memory_use: BTreeMap<String, u64>,
    next: u32,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        let state = FakeState { images: vec!["app".to_owned()], ..FakeState::default() };
        Self { state: Mutex::new(state), events: broadcast::channel(EVENTS_MAX).0 }
    }
}

fn image(name: &str) -> ImageStatus {
    ImageStatus {
        id: format!("sha256:{name}"),
        repo_tags: vec![name.to_owned()],
        repo_digests: Vec::new(),
        size: 7,
        uid: Some(0),
        username: String::new(),
    }
}

impl FakeState {
    fn container_name(&self, id: &str) -> String {
        self.containers.iter().find(|c| c.id == id).map(|c| c.name.clone()).unwrap_or_default()
    }

    fn pod_name(&self, id: &str) -> String {
        self.sandboxes.iter().find(|s| s.id == id).map(|s| s.name.clone()).unwrap_or_default()
    }

    fn usage(&self, name: &str) -> Usage {
        let bytes = self.memory_use.get(name).copied().unwrap_or(0);
        Usage { memory_usage: bytes, memory_working_set: bytes, ..Usage::default() }
    }

    fn address(&self) -> IpAddr {
        let before = u32::try_from(self.sandboxes.len()).unwrap_or(u32::MAX);
        let address = self.first_address.map(|first| Ipv4Addr::from_bits(first.to_bits().saturating_add(before)));
        address.unwrap_or(Ipv4Addr::LOCALHOST).into()
    }
}

impl FakeRuntime {
    fn lock(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the running container of this name, if there is one.
    pub fn finish(&self, name: &str, code: i32) {
        let id = {
            let mut state = self.lock();
            let running = |c: &&mut ContainerStatus| c.name == name && c.state == ContainerState::Running;
            let Some(container) = state.containers.iter_mut().find(running) else { return };
            container.state = ContainerState::Exited;
            container.exit_code = Some(code);
            container.finished_at = Some(seams::clock::now());
            container.id.clone()
        };
        self.tell(&id);
    }

    fn tell(&self, id: &str) {
        let state = self.lock();
        let Some(container) = state.containers.iter().find(|c| c.id == id) else { return };
        let Some(sandbox) = state.sandboxes.iter().find(|s| s.id == container.sandbox_id) else { return };
        let _ = self.events.send(RuntimeEvent::Container {
            sandbox_id: sandbox.id.clone(),
            pod_uid: sandbox.uid.clone(),
            container_id: id.to_owned(),
        });
    }
}

fn now<'a, T: Send + 'a>(value: Result<T>) -> BoxFuture<'a, Result<T>> {
    ready(value).boxed()
}

impl Runtime for FakeRuntime {
    fn version(&self) -> String {
        "fake://1".to_owned()
    }
    fn status(&self) -> BoxFuture<'_, Result<()>> {
        now(Ok(()))
    }
    fn run_pod_sandbox(&self, config: SandboxConfig) -> BoxFuture<'_, Result<SandboxStatus>> {
        let mut state = self.lock();
        state.next += 1;
        let sandbox = SandboxStatus {
            id: format!("sandbox{}", state.next),
            name: config.name,
            namespace: config.namespace,
            uid: config.uid,
            attempt: config.attempt,
            state: SandboxState::Ready,
            created_at: seams::clock::now(),
            ips: vec![state.address()],
            labels: config.labels,
            annotations: config.annotations,
        };
        state.sandboxes.push(sandbox.clone());
        now(Ok(sandbox))
    }
    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        state.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.state = SandboxState::NotReady);
        now(Ok(()))
    }
    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        state.sandboxes.retain(|s| s.id != id);
        state.containers.retain(|c| c.sandbox_id != id);
        now(Ok(()))
    }
    fn list_pod_sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>>> {
        now(Ok(self.lock().sandboxes.clone()))
    }
    fn create_container<'a>(&'a self, sandbox: &'a str, config: ContainerConfig) -> BoxFuture<'a, Result<String>> {
        let mut state = self.lock();
        let own = |c: &&ContainerStatus| c.sandbox_id == sandbox && c.name == config.name;
        if let Some(other) = state.containers.iter().filter(own).find(|c| c.attempt == config.attempt) {
            return now(Err(RuntimeError::Busy(format!("name {:?} is reserved for {:?}", config.name, other.id))));
        }
        state.next += 1;
        let id = format!("c{}", state.next);
        state.configs.push(config.clone());
        state.containers.push(ContainerStatus {
            id: id.clone(),
            sandbox_id: sandbox.to_owned(),
            name: config.name,
            attempt: config.attempt,
            state: ContainerState::Created,
            pid: None,
            created_at: seams::clock::now(),
            started_at: None,
            finished_at: None,
            exit_code: None,
            signal: None,
            reason: String::new(),
            message: String::new(),
            image_reference: config.image_reference,
            image_id: config.image.clone(),
            image_ref: config.image,
            user: None,
            log_path: config.log_path,
            labels: config.labels,
            annotations: config.annotations,
        });
        now(Ok(id))
    }
    fn start_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        let Some(container) = state.containers.iter_mut().find(|c| c.id == id) else {
            return now(Err(RuntimeError::NotFound(format!("container {id}"))));
        };
        container.state = ContainerState::Running;
        container.started_at = Some(seams::clock::now());
        now(Ok(()))
    }
    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>> {
        let name = {
            let mut state = self.lock();
            state.stops.push((id.to_owned(), grace));
            let running = |c: &&ContainerStatus| c.id == id && c.state == ContainerState::Running;
            state.containers.iter().find(running).map(|c| c.name.clone())
        };
        if let Some(name) = name {
            self.finish(&name, 143);
        }
        now(Ok(()))
    }
    fn remove_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        let made = state.containers.iter().any(|c| c.id == id && c.state == ContainerState::Created);
        if made && state.held > 0 {
            state.held -= 1;
            return now(Err(RuntimeError::Failed("container is in starting state, can't be removed".to_owned())));
        }
        state.containers.retain(|c| c.id != id);
        now(Ok(()))
    }
    fn list_containers(&self) -> BoxFuture<'_, Result<Vec<ContainerStatus>>> {
        now(Ok(self.lock().containers.clone()))
    }
    fn container_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        let state = self.lock();
        let found = state.containers.iter().find(|c| c.id == id).cloned();
        now(found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}"))))
    }
    fn update_resources<'a>(&'a self, id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        let name = state.container_name(id);
        state.updates.push((name, resources));
        now(Ok(()))
    }
    fn update_group<'a>(&'a self, group: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        state.groups.insert(group.to_owned(), resources.cpu_shares.unwrap_or(0));
        state.updates.push((group.to_owned(), resources));
        drop(state);
        now(Ok(()))
    }
    fn group_usage<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Usage>> {
        now(Ok(self.lock().usage(group)))
    }
    fn update_pod_sandbox<'a>(&'a self, id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        let mut state = self.lock();
        let name = state.pod_name(id);
        state.updates.push((name, resources));
        now(Ok(()))
    }
    fn container_disk_usage<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u64>> {
        now(Ok(self.lock().disk_use.get(id).copied().unwrap_or(0)))
    }
    fn reopen_log<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        now(Ok(()))
    }
    fn exec_sync<'a>(&'a self, _: &'a str, _: Vec<String>, _: Option<Duration>) -> BoxFuture<'a, Result<ExecOutput>> {
        let exit_code = self.lock().exec_code;
        now(Ok(ExecOutput { exit_code, ..ExecOutput::default() }))
    }
    fn exec<'a>(&'a self, _: &'a str, request: ExecRequest) -> BoxFuture<'a, Result<ProcessStreams>> {
        if request.command != ["cat"] {
            return now(Err(RuntimeError::Failed("no such command".to_owned())));
        }
        // Says what it is told, and ends with 3.
        let (stdin, mut told) = tokio::io::duplex(PIPE_BYTES);
        let (mut says, stdout) = tokio::io::duplex(PIPE_BYTES);
        let copied = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut told, &mut says).await;
        });
        now(Ok(ProcessStreams {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            resize: tokio::sync::mpsc::channel(SIZES_MAX).0,
            exit: Box::pin(async move {
                let _ = copied.await;
                Ok(3)
            }),
        }))
    }
    fn attach<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<ProcessStreams>> {
        now(Err(RuntimeError::Failed("no processes here".to_owned())))
    }
    fn connect<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, Result<PodConnection>> {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port));
        Box::pin(async move {
            let socket = connected.await.map_err(|e| RuntimeError::Failed(e.to_string()))?;
            Ok(Box::pin(socket) as PodConnection)
        })
    }
    fn container_usage<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Usage>> {
        let state = self.lock();
        now(Ok(state.usage(&state.container_name(id))))
    }
    fn sandbox_usage<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Usage>> {
        let state = self.lock();
        now(Ok(state.usage(&state.pod_name(id))))
    }
    fn pull_image<'a>(&'a self, name: &'a str, given: Vec<Credentials>) -> BoxFuture<'a, Result<Pulled>> {
        let mut state = self.lock();
        let failed =
            |message: &str| now(Err(RuntimeError::Pull { reason: "ErrImagePull", message: message.to_owned() }));
        let credentials = match state.private_images.get(name).map(|wanted| given.iter().position(|c| c == wanted)) {
            Some(None) => return failed("unauthorized"),
            Some(known) => known,
            None => None,
        };
        if name == "missing" {
            return failed("not found");
        }
        state.images.push(name.to_owned());
        now(Ok(Pulled { image: image(name), credentials }))
    }
    fn image_status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<ImageStatus>>> {
        let there = self.lock().images.iter().any(|i| i == name);
        now(Ok(there.then(|| image(name))))
    }
    fn list_images(&self) -> BoxFuture<'_, Result<Vec<ImageStatus>>> {
        now(Ok(self.lock().images.iter().map(|name| image(name)).collect()))
    }
    fn remove_image<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        now(Ok(()))
    }
    fn import_images<'a>(&'a self, _: &'a Path) -> BoxFuture<'a, Result<Vec<ImageStatus>>> {
        now(Ok(Vec::new()))
    }
    fn image_filesystem(&self) -> BoxFuture<'_, Result<ImageFilesystem>> {
        now(Ok(ImageFilesystem { mountpoint: "/".into(), ..ImageFilesystem::default() }))
    }
    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let next = |mut events: broadcast::Receiver<RuntimeEvent>| async move {
            events.recv().await.ok().map(|event| (event, events))
        };
        Box::pin(stream::unfold(self.events.subscribe(), next))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    #[tokio::test]
    async fn it_keeps_what_it_is_told() {
        let runtime = FakeRuntime::default();
        runtime.lock().first_address = Some(Ipv4Addr::new(10, 0, 0, 255));
        let mut events = runtime.events();
        let mut sandboxes = Vec::new();
        for uid in ["a", "b"] {
            let config = SandboxConfig { uid: uid.to_owned(), ..SandboxConfig::default() };
            sandboxes.push(runtime.run_pod_sandbox(config).await.expect("made"));
        }
        let addresses: Vec<String> = sandboxes.iter().map(|s| s.ips[0].to_string()).collect();
        assert_eq!(addresses, ["10.0.0.255", "10.0.1.0"]);
        let config = ContainerConfig { name: "main".to_owned(), ..ContainerConfig::default() };
        let id = runtime.create_container(&sandboxes[1].id, config).await.expect("made");
        runtime.start_container(&id).await.expect("started");
        assert!(runtime.start_container("other").await.is_err());
        runtime.stop_container(&id, Duration::from_secs(9)).await.expect("stopped");
        assert_eq!(runtime.container_status(&id).await.expect("there").exit_code, Some(143));
        let told = events.next().await.expect("an event");
        let sandbox_id = sandboxes[1].id.clone();
        assert_eq!(told, RuntimeEvent::Container { sandbox_id, pod_uid: "b".to_owned(), container_id: id });
        runtime.remove_pod_sandbox(&sandboxes[1].id).await.expect("removed");
        assert!(runtime.list_containers().await.expect("a list").is_empty());
    }
}
