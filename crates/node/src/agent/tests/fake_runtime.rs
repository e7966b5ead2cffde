//! A runtime without containers: it only remembers what it was told.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::{self, BoxStream};
use runtime::*;
use tokio::sync::broadcast;

pub struct FakeRuntime {
    pub state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
}

#[derive(Default)]
pub struct State {
    pub sandboxes: Vec<SandboxStatus>,
    pub containers: Vec<ContainerStatus>,
    pub configs: Vec<ContainerConfig>,
    /// Images that are there.
    pub images: Vec<String>,
    /// Containers that ignore the stop signal never end by it; all others end with 143.
    pub stops: Vec<(String, Duration)>,
    /// What `exec_sync` answers.
    pub exec_code: i32,
    /// CPU shares of cgroups above pods.
    pub groups: std::collections::BTreeMap<String, u64>,
    /// Bytes of containers' writable layers, by id.
    pub disk_use: std::collections::BTreeMap<String, u64>,
    next: u32,
}

impl Default for FakeRuntime {
    fn default() -> Self {
        let state = State { images: vec!["app".to_owned()], ..State::default() };
        Self { state: Mutex::new(state), events: broadcast::channel(256).0 }
    }
}

fn image(name: &str) -> ImageStatus {
    ImageStatus {
        id: "sha256:1".to_owned(),
        repo_tags: vec![name.to_owned()],
        repo_digests: Vec::new(),
        size: 7,
        uid: Some(0),
        username: String::new(),
    }
}

impl FakeRuntime {
    /// Ends the running container of this name.
    pub fn finish(&self, name: &str, code: i32) {
        let id = {
            let mut state = self.state.lock().unwrap();
            let running = |c: &&mut ContainerStatus| c.name == name && c.state == ContainerState::Running;
            let container = state.containers.iter_mut().find(running).unwrap();
            container.state = ContainerState::Exited;
            container.exit_code = Some(code);
            container.finished_at = Some(seams::clock::now());
            container.id.clone()
        };
        self.tell(&id);
    }

    fn tell(&self, id: &str) {
        let state = self.state.lock().unwrap();
        let container = state.containers.iter().find(|c| c.id == id).unwrap();
        let sandbox = state.sandboxes.iter().find(|s| s.id == container.sandbox_id).unwrap();
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
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let sandbox = SandboxStatus {
            id: format!("sandbox{}", state.next),
            name: config.name,
            namespace: config.namespace,
            uid: config.uid,
            attempt: config.attempt,
            state: SandboxState::Ready,
            created_at: seams::clock::now(),
            ips: vec!["127.0.0.1".parse().unwrap()],
            labels: config.labels,
            annotations: config.annotations,
        };
        state.sandboxes.push(sandbox.clone());
        now(Ok(sandbox))
    }
    fn stop_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.state.lock().unwrap();
        state.sandboxes.iter_mut().filter(|s| s.id == id).for_each(|s| s.state = SandboxState::NotReady);
        now(Ok(()))
    }
    fn remove_pod_sandbox<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.state.lock().unwrap();
        state.sandboxes.retain(|s| s.id != id);
        state.containers.retain(|c| c.sandbox_id != id);
        now(Ok(()))
    }
    fn list_pod_sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>>> {
        now(Ok(self.state.lock().unwrap().sandboxes.clone()))
    }
    fn create_container<'a>(&'a self, sandbox: &'a str, config: ContainerConfig) -> BoxFuture<'a, Result<String>> {
        let mut state = self.state.lock().unwrap();
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
            log_path: config.log_path,
            labels: config.labels,
            annotations: config.annotations,
        });
        now(Ok(id))
    }
    fn start_container<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<()>> {
        let mut state = self.state.lock().unwrap();
        let container = state.containers.iter_mut().find(|c| c.id == id).unwrap();
        container.state = ContainerState::Running;
        container.started_at = Some(seams::clock::now());
        now(Ok(()))
    }
    fn stop_container<'a>(&'a self, id: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>> {
        let name = {
            let mut state = self.state.lock().unwrap();
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
        self.state.lock().unwrap().containers.retain(|c| c.id != id);
        now(Ok(()))
    }
    fn list_containers(&self) -> BoxFuture<'_, Result<Vec<ContainerStatus>>> {
        now(Ok(self.state.lock().unwrap().containers.clone()))
    }
    fn container_status<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        let state = self.state.lock().unwrap();
        let found = state.containers.iter().find(|c| c.id == id).cloned();
        now(found.ok_or_else(|| RuntimeError::NotFound(id.to_owned())))
    }
    fn update_resources<'a>(&'a self, _: &'a str, _: Resources) -> BoxFuture<'a, Result<()>> {
        now(Ok(()))
    }
    fn update_group<'a>(&'a self, group: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        self.state.lock().unwrap().groups.insert(group.to_owned(), resources.cpu_shares.unwrap_or(0));
        now(Ok(()))
    }
    fn update_pod_sandbox<'a>(&'a self, _: &'a str, _: Resources) -> BoxFuture<'a, Result<()>> {
        now(Ok(()))
    }
    fn container_disk_usage<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<u64>> {
        now(Ok(self.state.lock().unwrap().disk_use.get(id).copied().unwrap_or(0)))
    }
    fn reopen_log<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        now(Ok(()))
    }
    fn exec_sync<'a>(&'a self, _: &'a str, _: Vec<String>, _: Option<Duration>) -> BoxFuture<'a, Result<ExecOutput>> {
        let exit_code = self.state.lock().unwrap().exec_code;
        now(Ok(ExecOutput { exit_code, ..ExecOutput::default() }))
    }
    fn exec<'a>(&'a self, _: &'a str, request: ExecRequest) -> BoxFuture<'a, Result<ProcessStreams>> {
        if request.command != ["cat"] {
            return now(Err(RuntimeError::Failed("no such command".to_owned())));
        }
        // Says what it is told, and ends with 3.
        let (stdin, mut told) = tokio::io::duplex(64);
        let (mut says, stdout) = tokio::io::duplex(64);
        let copied = tokio::spawn(async move {
            let _ = tokio::io::copy(&mut told, &mut says).await;
        });
        now(Ok(ProcessStreams {
            stdin: Some(Box::pin(stdin)),
            stdout: Some(Box::pin(stdout)),
            stderr: None,
            resize: tokio::sync::mpsc::channel(1).0,
            exit: Box::pin(async move {
                let _ = copied.await;
                Ok(3)
            }),
        }))
    }
    fn attach<'a>(&'a self, _: &'a str, _: bool) -> BoxFuture<'a, Result<ProcessStreams>> {
        now(Err(RuntimeError::Failed("no processes here".to_owned())))
    }
    fn connect<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, Result<tokio::net::TcpStream>> {
        let connected = tokio::net::TcpStream::connect(("127.0.0.1", port));
        Box::pin(async move { connected.await.map_err(|e| RuntimeError::Failed(e.to_string())) })
    }
    fn container_usage<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Usage>> {
        now(Ok(Usage::default()))
    }
    fn sandbox_usage<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Usage>> {
        now(Ok(Usage::default()))
    }
    fn pull_image<'a>(&'a self, name: &'a str, _: Vec<Credentials>) -> BoxFuture<'a, Result<ImageStatus>> {
        let known = name != "missing";
        let error = RuntimeError::Pull { reason: "ErrImagePull", message: "not found".to_owned() };
        now(if known { Ok(image(name)) } else { Err(error) })
    }
    fn image_status<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<ImageStatus>>> {
        let there = self.state.lock().unwrap().images.iter().any(|i| i == name);
        now(Ok(there.then(|| image(name))))
    }
    fn list_images(&self) -> BoxFuture<'_, Result<Vec<ImageStatus>>> {
        now(Ok(vec![image("app")]))
    }
    fn remove_image<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        now(Ok(()))
    }
    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let next = |mut events: broadcast::Receiver<RuntimeEvent>| async move {
            events.recv().await.ok().map(|event| (event, events))
        };
        Box::pin(stream::unfold(self.events.subscribe(), next))
    }
}
