//! The built-in runtime: holds images, knows all sandboxes, and asks their shims.

mod calls;
mod containers;
mod preflight;
mod sandboxes;
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
use crate::image::{ImageStore, Pin, Pulls};
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
/// How long a shim may take to answer that it was told to kill; after that it is done without it.
const SHIM_WAIT: Duration = Duration::from_secs(5);
/// The most output of one stream of [`Runtime::exec_sync`].
const EXEC_OUTPUT_BYTES_MAX: u64 = 16 << 20;

/// How long the output of such a command may still come after its end.
const EXEC_DRAIN_MAX: Duration = Duration::from_millis(500);

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
    pulls: Arc<Pulls>,
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
            preflight::check()?;
            for directory in [options.state_dir.join("sandboxes"), options.data_dir.join("containers")] {
                std::fs::create_dir_all(&directory).map_err(failed(directory.display()))?;
            }
            let cgroups = Cgroups::detect().map_err(failed("cgroups"))?;
            let images = ImageStore::open(&options.data_dir.join("images")).map_err(failed("open image store"))?;
            let images = Arc::new(images);
            let program = protect_program(&options.shim_exe);
            let (events, _) = broadcast::channel(EVENTS_MAX);
            let (sandboxes, containers) = (Mutex::default(), Mutex::default());
            let pulls = Arc::default();
            Ok(Inner { options, program, cgroups, images, pulls, sandboxes, containers, events })
        })
        .await?;
        let runtime = Self(Arc::new(inner));
        runtime.restore().await?;
        Ok(runtime)
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
        self.0.images.sweep(&self.layers_in_use());
        Ok(())
    }

    /// Removes what is left of a sandbox that was never complete.
    async fn discard(&self, directory: &Path, record: Option<SandboxRecord>, shim: Option<ShimIdentity>) {
        if let Some(shim) = shim.filter(ShimIdentity::is_alive) {
            let _ = sys::kill(shim.pid, libc::SIGKILL);
        }
        if let Some(record) = record {
            let (network, id) = (self.0.options.network.clone(), record.id.clone());
            // Not waited for: after a restart there is no network before the runtime has all its pods.
            tokio::spawn(async move { network.teardown(&id).await });
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
                let ProcessStatus { started_at, user, .. } = container.status.borrow().clone();
                let status = ProcessStatus {
                    state: ProcessState::Exited,
                    started_at,
                    user,
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

    fn layers_in_use(&self) -> BTreeSet<String> {
        let containers = lock(&self.0.containers);
        let of = |record: &ContainerRecord| {
            let volumes = record.volume_layers.values().flatten();
            record.layers.iter().chain(volumes).cloned().collect::<Vec<_>>()
        };
        containers.values().flat_map(|container| of(&container.record)).collect()
    }

    fn containers_of(&self, sandbox_id: &str) -> Vec<(String, Arc<Container>)> {
        let containers = lock(&self.0.containers);
        let own = containers.iter().filter(|(_, container)| container.record.sandbox_id == sandbox_id);
        own.map(|(id, container)| (id.clone(), container.clone())).collect()
    }

    /// A cgroup above pods, below the one that the options name.
    fn group(&self, group: &str) -> String {
        format!("{}/{}", self.0.options.cgroup_root.trim_end_matches('/'), group.trim_start_matches('/'))
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

    /// Makes a hello image when `reference` names one.
    async fn make_hello(&self, reference: &str) -> Result<Option<ImageStatus>> {
        let (inner, name) = (self.0.clone(), reference.to_owned());
        let made = move || Ok(inner.images.hello(&name, &inner.options.shim_exe)?.map(|image| image.status()));
        blocking(made).await
    }

    async fn fetch(&self, reference: &str, credentials: Vec<Credentials>) -> Result<Pulled> {
        match self.make_hello(reference).await? {
            Some(image) => Ok(Pulled { image, credentials: None }),
            None => self.0.pulls.pull(self.0.images.clone(), reference, credentials).await,
        }
    }
}
