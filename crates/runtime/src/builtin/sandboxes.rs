//! Sandboxes: made, stopped, removed.

use super::*;

/// The name of the one handler that there is, for RuntimeClasses.
const HANDLER: &str = "skiff";

impl BuiltinRuntime {
    pub(super) async fn make_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        let handler = config.runtime_handler.as_str();
        if !handler.is_empty() && handler != HANDLER {
            return Err(RuntimeError::Invalid(format!("no runtime for {handler:?} is configured")));
        }
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

    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let Ok(sandbox) = self.sandbox(id) else { return Ok(()) };
        let record = {
            let mut record = lock(&sandbox.record);
            record.stopped = true;
            record.clone()
        };
        write_json(&sandbox.directory.join("sandbox.json"), &record).map_err(failed("write sandbox"))?;
        // Also what only is about to start: a shim that waits for it answers again.
        self.0.cgroups.kill(&record.cgroup);
        let containers = self.containers_of(id);
        let stops = containers.iter().map(|(id, _)| self.stop(id, Duration::ZERO));
        for error in futures_util::future::join_all(stops).await.into_iter().filter_map(Result::err) {
            tracing::debug!(sandbox = id, %error, "a container was not stopped; its pod's cgroup is killed");
        }
        if record.config.network != NamespaceMode::Node {
            self.0.options.network.teardown(id).await?;
        }
        if sandbox.shim.is_alive() {
            let told = shim_client::ask(&sandbox.directory, &Request::Shutdown);
            let _ = tokio::time::timeout(SHIM_WAIT, told).await;
        }
        self.clear_cgroup(&record.cgroup).await;
        if sandbox.shim.is_alive() {
            let _ = sys::kill(sandbox.shim.pid, libc::SIGKILL);
        }
        sandbox.gone.store(true, std::sync::atomic::Ordering::Release);
        Ok(())
    }

    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<()> {
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
}

impl Sandbox {
    pub(super) fn status(&self) -> SandboxStatus {
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
