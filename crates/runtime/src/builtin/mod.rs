//! The built-in runtime: holds images, knows all sandboxes, and asks their shims.

mod shim_client;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::io::AsyncReadExt;
use tokio::sync::{broadcast, watch};

use crate::api::*;
use crate::cgroup::Cgroups;
use crate::image::ImageStore;
use crate::record::{
    ContainerRecord, ProcessState, ProcessStatus, Request, Response, SandboxRecord, ShimIdentity, nanoseconds,
    read_json, timestamp, write_json,
};
use crate::sys;
use shim_client::Connection;

/// Changes that a slow reader may miss before the oldest are dropped.
const EVENTS_MAX: usize = 1024;
/// How long a new shim may take to be ready.
const SHIM_START_MAX: Duration = Duration::from_secs(20);
/// The most output of one stream of [`Runtime::exec_sync`].
const EXEC_OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// What the runtime needs to know.
pub struct BuiltinOptions {
    /// Images and containers' writable layers.
    pub data_dir: PathBuf,
    /// Sandboxes and containers: gone after a reboot.
    pub state_dir: PathBuf,
    /// The program whose `shim` command is [`shim_main`](crate::shim_main), and which hello images are made of.
    pub shim_exe: PathBuf,
    /// Gives pods their network.
    pub network: Arc<dyn PodNetwork>,
    /// The cgroup above all pods; `/` usually.
    pub cgroup_root: String,
}

struct Sandbox {
    record: Mutex<SandboxRecord>,
    shim: ShimIdentity,
    directory: PathBuf,
    gone: std::sync::atomic::AtomicBool,
}

struct Container {
    record: ContainerRecord,
    status: watch::Sender<ProcessStatus>,
}

struct Inner {
    options: BuiltinOptions,
    /// The program through a read-only mount: no container can write to it through /proc/self/exe.
    program: Option<std::os::fd::OwnedFd>,
    cgroups: Cgroups,
    images: Arc<ImageStore>,
    sandboxes: Mutex<BTreeMap<String, Arc<Sandbox>>>,
    containers: Mutex<BTreeMap<String, Arc<Container>>>,
    events: broadcast::Sender<RuntimeEvent>,
}

/// The runtime. Clones share everything.
#[derive(Clone)]
pub struct BuiltinRuntime(Arc<Inner>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> RuntimeError {
    move |error| RuntimeError::Failed(format!("{what}: {error}"))
}

fn new_id() -> String {
    seams::random::uuid().replace('-', "")
}

/// Runs file work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::Failed(error.to_string()))?
}

/// A second name for the program on a read-only mount of its own.
fn protect_program(path: &Path) -> Option<std::os::fd::OwnedFd> {
    use std::os::fd::AsFd;
    let tree = sys::open_tree(None, path, sys::OPEN_TREE_CLONE).ok()?;
    sys::mount_setattr(tree.as_fd(), false, sys::MOUNT_ATTR_RDONLY, libc::MS_PRIVATE).ok()?;
    Some(tree)
}

impl BuiltinRuntime {
    /// Opens the runtime and takes over what earlier lives of this process left running.
    pub async fn open(options: BuiltinOptions) -> Result<Self> {
        let inner = blocking(move || {
            for directory in [options.state_dir.join("sandboxes"), options.data_dir.join("containers")] {
                std::fs::create_dir_all(&directory).map_err(failed(directory.display()))?;
            }
            let cgroups = Cgroups::detect().map_err(failed("cgroups"))?;
            let images = ImageStore::open(&options.data_dir.join("images")).map_err(failed("open image store"))?;
            let images = Arc::new(images);
            let program = protect_program(&options.shim_exe);
            let (events, _) = broadcast::channel(EVENTS_MAX);
            let (sandboxes, containers) = (Mutex::default(), Mutex::default());
            Ok(Inner { options, program, cgroups, images, sandboxes, containers, events })
        })
        .await?;
        let runtime = Self(Arc::new(inner));
        runtime.restore().await?;
        Ok(runtime)
    }

    /// Imports the images of a `docker save` or OCI archive.
    pub async fn import(&self, path: &Path) -> Result<Vec<ImageStatus>> {
        let (inner, path) = (self.0.clone(), path.to_owned());
        blocking(move || inner.images.import(&path)).await
    }

    async fn restore(&self) -> Result<()> {
        let inner = self.0.clone();
        let found = blocking(move || {
            let directory = inner.options.state_dir.join("sandboxes");
            let entries = std::fs::read_dir(&directory).map_err(failed(directory.display()))?;
            Ok(entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>())
        })
        .await?;
        for directory in found {
            let record: Option<SandboxRecord> = read_json(&directory.join("sandbox.json")).ok();
            let shim: Option<ShimIdentity> = read_json(&directory.join("shim.json")).ok();
            match (record, shim) {
                (Some(record), Some(shim)) if record.complete => self.adopt(directory, record, shim).await,
                (record, shim) => self.discard(&directory, record, shim).await,
            }
        }
        let known: BTreeSet<String> = lock(&self.0.containers).keys().cloned().collect();
        for entry in std::fs::read_dir(self.0.options.data_dir.join("containers")).into_iter().flatten().flatten() {
            if !known.contains(&*entry.file_name().to_string_lossy()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// Removes what is left of a sandbox that was never complete.
    async fn discard(&self, directory: &Path, record: Option<SandboxRecord>, shim: Option<ShimIdentity>) {
        if let Some(shim) = shim.filter(ShimIdentity::is_alive) {
            let _ = sys::kill(shim.pid, libc::SIGKILL);
        }
        if let Some(record) = record {
            let _ = self.0.options.network.teardown(&record.id).await;
            self.clear_cgroup(&record.cgroup).await;
        }
        let _ = sys::unmount(&directory.join("shm"), libc::MNT_DETACH);
        let _ = std::fs::remove_dir_all(directory);
    }

    async fn adopt(&self, directory: PathBuf, record: SandboxRecord, shim: ShimIdentity) {
        for entry in std::fs::read_dir(directory.join("containers")).into_iter().flatten().flatten() {
            if let Ok(container) = read_json::<ContainerRecord>(&entry.path().join("container.json")) {
                let status = read_json(&entry.path().join("status.json")).unwrap_or_default();
                let id = container.id.clone();
                let container = Container { record: container, status: watch::Sender::new(status) };
                lock(&self.0.containers).insert(id, Arc::new(container));
            }
        }
        let id = record.id.clone();
        let sandbox =
            Arc::new(Sandbox { record: Mutex::new(record), shim, directory, gone: (!shim.is_alive()).into() });
        lock(&self.0.sandboxes).insert(id, sandbox.clone());
        if shim.is_alive() {
            self.watch(sandbox).await;
        } else {
            self.lost(&sandbox).await;
        }
    }

    /// Follows the changes that a shim tells, until it ends.
    async fn watch(&self, sandbox: Arc<Sandbox>) {
        let connected = Connection::open(&sandbox.directory).await;
        let runtime = self.clone();
        let mut connection = match connected {
            Ok(connection) => connection,
            Err(_) => return self.lost(&sandbox).await,
        };
        if connection.send(&Request::Watch, &[]).await.is_err() {
            return self.lost(&sandbox).await;
        }
        let _ = connection.receive().await;
        // What changed before the watch began is on disk.
        for (id, container) in self.containers_of(&lock(&sandbox.record).id.clone()) {
            let path = sandbox.directory.join("containers").join(id).join("status.json");
            if let Ok(status) = read_json::<ProcessStatus>(&path) {
                container.advance(status);
            }
        }
        tokio::spawn(async move {
            while let Ok((response, _)) = connection.receive().await {
                if let Response::Changed { container, status } = response {
                    let known = lock(&runtime.0.containers).get(&container).cloned();
                    if let Some(known) = known {
                        known.advance(status);
                        runtime.tell_container(&sandbox, container);
                    }
                }
            }
            runtime.lost(&sandbox).await;
        });
    }

    fn tell_container(&self, sandbox: &Sandbox, container_id: String) {
        let record = lock(&sandbox.record);
        let event =
            RuntimeEvent::Container { sandbox_id: record.id.clone(), pod_uid: record.config.uid.clone(), container_id };
        let _ = self.0.events.send(event);
    }

    /// A shim is gone: so is everything it held.
    async fn lost(&self, sandbox: &Sandbox) {
        sandbox.gone.store(true, std::sync::atomic::Ordering::Release);
        let (id, pod_uid, cgroup) = {
            let record = lock(&sandbox.record);
            (record.id.clone(), record.config.uid.clone(), record.cgroup.clone())
        };
        self.clear_cgroup(&cgroup).await;
        for (id, container) in self.containers_of(&id) {
            let path = sandbox.directory.join("containers").join(&id).join("status.json");
            if let Ok(status) = read_json::<ProcessStatus>(&path) {
                container.advance(status);
            }
            if container.status.borrow().state == ProcessState::Running {
                let started_at = container.status.borrow().started_at;
                let status = ProcessStatus {
                    state: ProcessState::Exited,
                    started_at,
                    finished_at: Some(nanoseconds(seams::clock::now())),
                    exit_code: Some(137),
                    reason: "Unknown".to_owned(),
                    message: "the container's shim ended before its exit code was written".to_owned(),
                    ..ProcessStatus::default()
                };
                let _ = write_json(&path, &status);
                container.advance(status);
            }
        }
        let _ = self.0.events.send(RuntimeEvent::Sandbox { sandbox_id: id, pod_uid });
    }

    /// Kills what runs in a cgroup and removes it. Bounded: a process in uninterruptible sleep is left to the kernel.
    async fn clear_cgroup(&self, group: &str) {
        for _ in 0..200 {
            self.0.cgroups.kill(group);
            if self.0.cgroups.remove(group) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn containers_of(&self, sandbox_id: &str) -> Vec<(String, Arc<Container>)> {
        let containers = lock(&self.0.containers);
        let own = containers.iter().filter(|(_, container)| container.record.sandbox_id == sandbox_id);
        own.map(|(id, container)| (id.clone(), container.clone())).collect()
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>> {
        let found = lock(&self.0.sandboxes).get(id).cloned();
        found.ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))
    }

    fn container(&self, id: &str) -> Result<(Arc<Container>, Arc<Sandbox>)> {
        let found = lock(&self.0.containers).get(id).cloned();
        let container = found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        let sandbox = self.sandbox(&container.record.sandbox_id)?;
        Ok((container, sandbox))
    }

    async fn make_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        let id = new_id();
        let root = self.0.options.cgroup_root.trim_end_matches('/');
        let parent = config.cgroup_parent.trim_start_matches('/');
        let parent = if parent.is_empty() { format!("skiff/{id}") } else { parent.to_owned() };
        let mut record = SandboxRecord {
            cgroup: format!("{root}/{parent}"),
            created_at: nanoseconds(seams::clock::now()),
            id: id.clone(),
            config,
            ..SandboxRecord::default()
        };
        let directory = self.0.options.state_dir.join("sandboxes").join(&id);
        std::fs::create_dir_all(directory.join("containers")).map_err(failed("make sandbox"))?;
        write_json(&directory.join("sandbox.json"), &record).map_err(failed("write sandbox"))?;
        let made = self.start_sandbox(&directory, &mut record).await;
        match made {
            Ok(shim) => {
                let sandbox = Sandbox { record: Mutex::new(record), shim, directory, gone: false.into() };
                let sandbox = Arc::new(sandbox);
                lock(&self.0.sandboxes).insert(id, sandbox.clone());
                self.watch(sandbox.clone()).await;
                Ok(sandbox.status())
            }
            Err(error) => {
                let shim = read_json(&directory.join("shim.json")).ok();
                self.discard(&directory, Some(record), shim).await;
                Err(error)
            }
        }
    }

    async fn start_sandbox(&self, directory: &Path, record: &mut SandboxRecord) -> Result<ShimIdentity> {
        let started = tokio::time::timeout(SHIM_START_MAX, self.spawn_shim(directory)).await;
        let shim = started.map_err(|_| RuntimeError::Timeout("start of the shim".to_owned()))??;
        if record.config.network != NamespaceMode::Node {
            let namespace = PathBuf::from(format!("/proc/{}/ns/net", shim.pid));
            record.ips = self.0.options.network.setup(&record.id, &namespace, &record.config).await?;
        }
        record.complete = true;
        write_json(&directory.join("sandbox.json"), record).map_err(failed("write sandbox"))?;
        Ok(shim)
    }

    async fn spawn_shim(&self, directory: &Path) -> Result<ShimIdentity> {
        use std::os::fd::AsRawFd;
        let (read, write) = sys::pipe().map_err(failed("pipe"))?;
        let own = format!("/proc/{}/fd/", std::process::id());
        let program = self
            .0
            .program
            .as_ref()
            .map_or_else(|| self.0.options.shim_exe.clone(), |fd| PathBuf::from(format!("{own}{}", fd.as_raw_fd())));
        let mut child = tokio::process::Command::new(program)
            .arg0("skiff")
            .arg("shim")
            .arg(directory)
            .stdin(std::process::Stdio::null())
            .stdout(write)
            .stderr(std::process::Stdio::null())
            .env_clear()
            .spawn()
            .map_err(failed("start shim"))?;
        let _ = child.wait().await;
        sys::set_nonblocking(std::os::fd::AsFd::as_fd(&read), true).map_err(failed("pipe"))?;
        let mut pipe = tokio::net::unix::pipe::Receiver::from_owned_fd(read).map_err(failed("pipe"))?;
        let mut text = String::new();
        pipe.read_to_string(&mut text).await.map_err(failed("start shim"))?;
        serde_json::from_str(&text).map_err(|_| RuntimeError::Failed(format!("start of the sandbox: {text}")))
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let record = {
            let mut record = lock(&sandbox.record);
            record.stopped = true;
            record.clone()
        };
        write_json(&sandbox.directory.join("sandbox.json"), &record).map_err(failed("write sandbox"))?;
        for (id, _) in self.containers_of(id) {
            self.stop(&id, Duration::ZERO).await?;
        }
        if record.config.network != NamespaceMode::Node {
            self.0.options.network.teardown(id).await?;
        }
        if sandbox.shim.is_alive() {
            let _ = shim_client::ask(&sandbox.directory, &Request::Shutdown).await;
        }
        self.clear_cgroup(&record.cgroup).await;
        if sandbox.shim.is_alive() {
            let _ = sys::kill(sandbox.shim.pid, libc::SIGKILL);
        }
        sandbox.gone.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        self.stop_sandbox(id).await?;
        for (id, _) in self.containers_of(id) {
            self.remove(&id).await?;
        }
        let directory = sandbox.directory.clone();
        blocking(move || {
            let _ = sys::unmount(&directory.join("shm"), libc::MNT_DETACH);
            match std::fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove sandbox")(error)),
                _ => Ok(()),
            }
        })
        .await?;
        lock(&self.0.sandboxes).remove(id);
        Ok(())
    }

    async fn make_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        if sandbox.status().state != SandboxState::Ready {
            return Err(RuntimeError::Invalid(format!("sandbox {sandbox_id} is not ready")));
        }
        let image = self.0.images.find(&config.image);
        let image = image.ok_or_else(|| RuntimeError::NotFound(format!("image {}", config.image)))?;
        crate::shim::capabilities::for_container(&config.security).map_err(RuntimeError::Invalid)?;
        let id = new_id();
        let (cgroup, logs) = {
            let record = lock(&sandbox.record);
            (format!("{}/{id}", record.cgroup), record.config.log_directory.clone())
        };
        let no_log = config.log_path.as_os_str().is_empty();
        let record = ContainerRecord {
            id: id.clone(),
            sandbox_id: sandbox_id.to_owned(),
            image: image.defaults,
            image_id: image.id,
            layers_dir: self.0.images.layers_dir(),
            layers: image.layers,
            root_dir: self.0.options.data_dir.join("containers").join(&id),
            cgroup,
            log_path: if no_log { PathBuf::new() } else { logs.join(&config.log_path) },
            created_at: nanoseconds(seams::clock::now()),
            config,
        };
        let directory = sandbox.directory.join("containers").join(&id);
        let record = blocking(move || prepare_container(record, &directory).map_err(failed("make container"))).await?;
        let container = Container { record, status: watch::Sender::new(ProcessStatus::default()) };
        lock(&self.0.containers).insert(id.clone(), Arc::new(container));
        Ok(id)
    }

    async fn start(&self, id: &str) -> Result<()> {
        let (container, sandbox) = self.container(id)?;
        if container.status.borrow().state != ProcessState::Created {
            return Err(RuntimeError::Invalid(format!("container {id} was started already")));
        }
        let result = shim_client::ask(&sandbox.directory, &Request::Start { container: id.to_owned() }).await;
        let path = sandbox.directory.join("containers").join(id).join("status.json");
        if let Ok(status) = read_json::<ProcessStatus>(&path) {
            container.advance(status);
        }
        result.map(drop)
    }

    /// The stop signal: the pod's, else the image's, else SIGTERM.
    fn stop_signal(container: &Container) -> i32 {
        let wanted = container.record.config.stop_signal.as_deref().filter(|name| !name.is_empty());
        signal_number(wanted.unwrap_or(&container.record.image.stop_signal)).unwrap_or(libc::SIGTERM)
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        let Ok((container, sandbox)) = self.container(id) else { return Ok(()) };
        let mut status = container.status.subscribe();
        if status.borrow().state != ProcessState::Running {
            return Ok(());
        }
        let signal = |signal, all| Request::Signal { container: id.to_owned(), signal, all };
        if !grace.is_zero() {
            shim_client::ask(&sandbox.directory, &signal(Self::stop_signal(&container), false)).await?;
            let ended = status.wait_for(|status| status.state == ProcessState::Exited);
            if tokio::time::timeout(grace, ended).await.is_ok() {
                return Ok(());
            }
        }
        shim_client::ask(&sandbox.directory, &signal(libc::SIGKILL, true)).await?;
        let ended = status.wait_for(|status| status.state == ProcessState::Exited);
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        ended.map_err(|_| RuntimeError::Timeout(format!("kill of container {id}"))).map(drop)
    }

    async fn remove(&self, id: &str) -> Result<()> {
        let Ok((container, sandbox)) = self.container(id) else { return Ok(()) };
        self.stop(id, Duration::ZERO).await?;
        if sandbox.shim.is_alive() {
            let _ = shim_client::ask(&sandbox.directory, &Request::Forget { container: id.to_owned() }).await;
        }
        self.clear_cgroup(&container.record.cgroup).await;
        let directories = [container.record.root_dir.clone(), sandbox.directory.join("containers").join(id)];
        blocking(move || {
            for directory in directories {
                match std::fs::remove_dir_all(&directory) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        return Err(failed("remove container")(error));
                    }
                    _ => {}
                }
            }
            Ok(())
        })
        .await?;
        lock(&self.0.containers).remove(id);
        Ok(())
    }

    async fn run_exec_sync(&self, id: &str, command: Vec<String>, timeout: Option<Duration>) -> Result<ExecOutput> {
        let request = ExecRequest { command, tty: false, stdin: false };
        let (_, sandbox) = self.container(id)?;
        let (streams, exec) = streams::exec(&sandbox.directory, id, request).await?;
        let ProcessStreams { stdout, stderr, exit, .. } = streams;
        let read = |reader: Option<Reader>| async move {
            let mut bytes = Vec::new();
            if let Some(reader) = reader {
                let _ = reader.take(EXEC_OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await;
            }
            bytes
        };
        let all = async { tokio::join!(read(stdout), read(stderr), exit) };
        let outcome = match timeout.filter(|timeout| !timeout.is_zero()) {
            Some(timeout) => tokio::time::timeout(timeout, all).await.ok(),
            None => Some(all.await),
        };
        match outcome {
            Some((stdout, stderr, exit)) => Ok(ExecOutput { stdout, stderr, exit_code: exit? }),
            None => {
                let _ = shim_client::ask(&sandbox.directory, &Request::KillExec { exec }).await;
                Err(RuntimeError::Timeout("command".to_owned()))
            }
        }
    }

    /// Makes a hello image when `reference` names one.
    async fn make_hello(&self, reference: &str) -> Result<Option<ImageStatus>> {
        let (inner, name) = (self.0.clone(), reference.to_owned());
        let made = move || Ok(inner.images.hello(&name, &inner.options.shim_exe)?.map(|image| image.status()));
        blocking(made).await
    }

    async fn fetch(&self, reference: &str, credentials: Vec<Credentials>) -> Result<ImageStatus> {
        match self.make_hello(reference).await? {
            Some(image) => Ok(image),
            None => crate::image::pull(self.0.images.clone(), reference, credentials).await,
        }
    }
}

fn prepare_container(record: ContainerRecord, directory: &Path) -> std::io::Result<ContainerRecord> {
    for part in ["upper", "work", "root"] {
        std::fs::create_dir_all(record.root_dir.join(part))?;
    }
    // A hostPath without a type is made when missing, as by other runtimes.
    for mount in &record.config.mounts {
        if !mount.host_path.exists() {
            std::fs::create_dir_all(&mount.host_path)?;
        }
    }
    std::fs::create_dir(directory)?;
    write_json(&directory.join("container.json"), &record)?;
    Ok(record)
}

/// The number of `SIGTERM`, `TERM` or `15`.
fn signal_number(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return offset.parse::<i32>().ok().map(|offset| 34 + offset).filter(|number| *number <= 64);
    }
    NAMES.iter().position(|known| *known == name).map(|index| index as i32 + 1)
}

impl Sandbox {
    fn status(&self) -> SandboxStatus {
        let gone = self.gone.load(std::sync::atomic::Ordering::Acquire);
        let record = lock(&self.record);
        let ready = !gone && !record.stopped;
        SandboxStatus {
            id: record.id.clone(),
            name: record.config.name.clone(),
            namespace: record.config.namespace.clone(),
            uid: record.config.uid.clone(),
            attempt: record.config.attempt,
            state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
            created_at: timestamp(record.created_at),
            ips: record.ips.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }
    }
}

impl Container {
    /// Takes a newer status; an older one that comes late changes nothing.
    fn advance(&self, status: ProcessStatus) {
        self.status.send_if_modified(|known| {
            let newer = status.state > known.state;
            if newer {
                *known = status;
            }
            newer
        });
    }

    fn status(&self) -> ContainerStatus {
        let status = self.status.borrow().clone();
        let record = &self.record;
        ContainerStatus {
            id: record.id.clone(),
            sandbox_id: record.sandbox_id.clone(),
            name: record.config.name.clone(),
            attempt: record.config.attempt,
            state: match status.state {
                ProcessState::Created => ContainerState::Created,
                ProcessState::Running => ContainerState::Running,
                ProcessState::Exited => ContainerState::Exited,
            },
            pid: status.pid.map(|pid| pid as u32),
            created_at: timestamp(record.created_at),
            started_at: status.started_at.map(timestamp),
            finished_at: status.finished_at.map(timestamp),
            exit_code: status.exit_code,
            signal: status.signal,
            reason: status.reason,
            message: status.message,
            image_reference: record.config.image_reference.clone(),
            image_id: record.image_id.clone(),
            log_path: record.log_path.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }
    }
}

impl Runtime for BuiltinRuntime {
    fn version(&self) -> String {
        format!("skiff://{}", env!("CARGO_PKG_VERSION"))
    }

    fn status(&self) -> BoxFuture<'_, Result<()>> {
        async { Ok(()) }.boxed()
    }

    fn run_pod_sandbox(&self, config: SandboxConfig) -> BoxFuture<'_, Result<SandboxStatus>> {
        self.make_sandbox(config).boxed()
    }

    fn stop_pod_sandbox<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.stop_sandbox(sandbox_id).boxed()
    }

    fn remove_pod_sandbox<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.remove_sandbox(sandbox_id).boxed()
    }

    fn list_pod_sandboxes(&self) -> BoxFuture<'_, Result<Vec<SandboxStatus>>> {
        async { Ok(lock(&self.0.sandboxes).values().map(|sandbox| sandbox.status()).collect()) }.boxed()
    }

    fn create_container<'a>(&'a self, sandbox_id: &'a str, config: ContainerConfig) -> BoxFuture<'a, Result<String>> {
        self.make_container(sandbox_id, config).boxed()
    }

    fn start_container<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.start(container_id).boxed()
    }

    fn stop_container<'a>(&'a self, container_id: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>> {
        self.stop(container_id, grace).boxed()
    }

    fn remove_container<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>> {
        self.remove(container_id).boxed()
    }

    fn list_containers(&self) -> BoxFuture<'_, Result<Vec<ContainerStatus>>> {
        async { Ok(lock(&self.0.containers).values().map(|container| container.status()).collect()) }.boxed()
    }

    fn container_status<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        async move { self.container(container_id).map(|(container, _)| container.status()) }.boxed()
    }

    fn update_resources<'a>(&'a self, container_id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        async move {
            let (container, _) = self.container(container_id)?;
            self.0.cgroups.update(&container.record.cgroup, &resources).map_err(failed("update resources"))
        }
        .boxed()
    }

    fn reopen_log<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (_, sandbox) = self.container(container_id)?;
            let request = Request::ReopenLog { container: container_id.to_owned() };
            shim_client::ask(&sandbox.directory, &request).await.map(drop)
        }
        .boxed()
    }

    fn exec_sync<'a>(
        &'a self,
        container_id: &'a str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> BoxFuture<'a, Result<ExecOutput>> {
        self.run_exec_sync(container_id, command, timeout).boxed()
    }

    fn exec<'a>(&'a self, container_id: &'a str, request: ExecRequest) -> BoxFuture<'a, Result<ProcessStreams>> {
        async move {
            let (_, sandbox) = self.container(container_id)?;
            streams::exec(&sandbox.directory, container_id, request).await.map(|(streams, _)| streams)
        }
        .boxed()
    }

    fn attach<'a>(&'a self, container_id: &'a str, stdin: bool) -> BoxFuture<'a, Result<ProcessStreams>> {
        async move {
            let (container, sandbox) = self.container(container_id)?;
            if container.status.borrow().state != ProcessState::Running {
                return Err(RuntimeError::Invalid(format!("container {container_id} is not running")));
            }
            let tty = container.record.config.tty;
            streams::attach(&sandbox.directory, container_id, stdin, tty).await
        }
        .boxed()
    }

    fn connect<'a>(&'a self, sandbox_id: &'a str, port: u16) -> BoxFuture<'a, Result<tokio::net::TcpStream>> {
        async move {
            let sandbox = self.sandbox(sandbox_id)?;
            let pid = sandbox.shim.pid;
            streams::connect(pid, port).await
        }
        .boxed()
    }

    fn container_usage<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<Usage>> {
        async move {
            let (container, _) = self.container(container_id)?;
            self.0.cgroups.usage(&container.record.cgroup).map_err(failed("read usage"))
        }
        .boxed()
    }

    fn sandbox_usage<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<Usage>> {
        async move {
            let group = lock(&self.sandbox(sandbox_id)?.record).cgroup.clone();
            self.0.cgroups.usage(&group).map_err(failed("read usage"))
        }
        .boxed()
    }

    fn pull_image<'a>(
        &'a self,
        reference: &'a str,
        credentials: Vec<Credentials>,
    ) -> BoxFuture<'a, Result<ImageStatus>> {
        self.fetch(reference, credentials).boxed()
    }

    fn image_status<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<ImageStatus>>> {
        async move {
            let is_hello = crate::image::normalize(reference).is_ok_and(|n| n.starts_with(crate::HELLO_PREFIX));
            if is_hello {
                return self.make_hello(reference).await;
            }
            Ok(self.0.images.find(reference).map(|image| image.status()))
        }
        .boxed()
    }

    fn list_images(&self) -> BoxFuture<'_, Result<Vec<ImageStatus>>> {
        async { Ok(self.0.images.list().iter().map(crate::image::Image::status).collect()) }.boxed()
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let in_use: BTreeSet<String> =
                lock(&self.0.containers).values().flat_map(|container| container.record.layers.clone()).collect();
            let (inner, reference) = (self.0.clone(), reference.to_owned());
            blocking(move || inner.images.remove(&reference, &in_use)).await
        }
        .boxed()
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        let receiver = self.0.events.subscribe();
        Box::pin(futures_util::stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        }))
    }
}
