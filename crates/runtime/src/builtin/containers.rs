//! Containers: made, started, stopped, removed, and commands in them.

use super::*;

/// Names of layers by the id of their image.
type VolumeLayers = BTreeMap<String, Vec<String>>;

impl BuiltinRuntime {
    pub(super) async fn make_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String> {
        let sandbox = self.sandbox(sandbox_id)?;
        if sandbox.status().state != SandboxState::Ready {
            return Err(RuntimeError::Invalid(format!("sandbox {sandbox_id} is not ready")));
        }
        if let Some(name) = config.cdi_devices.first() {
            return Err(RuntimeError::Invalid(format!("the built-in runtime knows no CDI devices ({name})")));
        }
        let image = self.0.images.find_for_use(&config.image);
        let (image, _pin) = image.ok_or_else(|| RuntimeError::NotFound(format!("image {}", config.image)))?;
        let (volume_layers, _pins) = self.volume_layers(&config)?;
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
            image_ref: image.reference_for(&config.image_reference),
            image: image.defaults,
            image_id: image.id,
            layers_dir: self.0.images.layers_dir(),
            layers: image.layers,
            volume_layers,
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

    /// The layers of the images that a container mounts, which stay as long as the pins do.
    fn volume_layers(&self, config: &ContainerConfig) -> Result<(VolumeLayers, Vec<Pin>)> {
        let (mut layers, mut pins) = (BTreeMap::new(), Vec::new());
        for id in config.mounts.iter().filter_map(|mount| mount.image.as_ref()) {
            let found = self.0.images.find_for_use(id);
            let (image, pin) = found.ok_or_else(|| RuntimeError::NotFound(format!("image {id}")))?;
            layers.insert(id.clone(), image.layers);
            pins.push(pin);
        }
        Ok((layers, pins))
    }

    pub(super) async fn start(&self, id: &str) -> Result<()> {
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

    pub(super) async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        let Ok((container, sandbox)) = self.container(id) else { return Ok(()) };
        let mut status = container.status.subscribe();
        let signal = |signal, all| Request::Signal { container: id.to_owned(), signal, all };
        let state = status.borrow().state;
        if state == ProcessState::Created && sandbox.shim.is_alive() {
            // Its program may be about to start, and never get there. One that nobody starts is not known there.
            let request = signal(libc::SIGKILL, true);
            let _ = tokio::time::timeout(SHIM_WAIT, shim_client::ask(&sandbox.directory, &request)).await;
            return Ok(());
        }
        if state != ProcessState::Running {
            return Ok(());
        }
        if !grace.is_zero() {
            let request = signal(Self::stop_signal(&container), false);
            let told = shim_client::ask(&sandbox.directory, &request);
            // A shim that does not answer must not keep its pod alive.
            if let Err(error) = tokio::time::timeout(grace, told).await.unwrap_or(Ok(Response::Done)) {
                tracing::debug!(container = id, %error, "the signal to stop was not delivered");
            }
            let ended = status.wait_for(|status| status.state == ProcessState::Exited);
            if tokio::time::timeout(grace, ended).await.is_ok() {
                return Ok(());
            }
        }
        self.0.cgroups.kill(&container.record.cgroup);
        let request = signal(libc::SIGKILL, true);
        let told = shim_client::ask(&sandbox.directory, &request);
        let late = |_| RuntimeError::Timeout("an answer of the sandbox's shim".to_owned());
        if let Err(error) = tokio::time::timeout(SHIM_WAIT, told).await.map_err(late)? {
            tracing::debug!(container = id, %error, "killed without its shim, which may be gone");
        }
        let ended = status.wait_for(|status| status.state == ProcessState::Exited);
        let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
        ended.map_err(|_| RuntimeError::Timeout(format!("kill of container {id}"))).map(drop)
    }

    pub(super) async fn remove(&self, id: &str) -> Result<()> {
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

    pub(super) async fn run_exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        let request = ExecRequest { command, tty: false, stdin: false };
        let (_, sandbox) = self.container(id)?;
        let exec = seams::random::number();
        let ended = async { output_of(streams::exec(&sandbox.directory, id, request, exec).await?).await };
        let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) else { return ended.await };
        match tokio::time::timeout(timeout, ended).await {
            Ok(output) => output,
            Err(_) => {
                // Nobody waits for this: a shim that hangs would make the caller late.
                tokio::spawn(async move { shim_client::ask(&sandbox.directory, &Request::KillExec { exec }).await });
                Err(RuntimeError::Timeout("command".to_owned()))
            }
        }
    }
}

/// Reads what a process writes until its end. What it leaves running may hold its streams open: nobody waits for that.
async fn output_of(streams: ProcessStreams) -> Result<ExecOutput> {
    async fn read(reader: Option<Reader>, bytes: &mut Vec<u8>) {
        if let Some(reader) = reader {
            let _ = reader.take(EXEC_OUTPUT_BYTES_MAX).read_to_end(bytes).await;
        }
    }
    let ProcessStreams { stdout, stderr, mut exit, .. } = streams;
    let mut output = ExecOutput::default();
    {
        let (out, err) = (&mut output.stdout, &mut output.stderr);
        let reading = async { tokio::join!(read(stdout, out), read(stderr, err)) };
        tokio::pin!(reading);
        output.exit_code = tokio::select! {
            biased;
            _ = &mut reading => exit.await?,
            code = &mut exit => {
                let _ = tokio::time::timeout(EXEC_DRAIN_MAX, &mut reading).await;
                code?
            }
        };
    }
    Ok(output)
}

fn prepare_container(record: ContainerRecord, directory: &Path) -> std::io::Result<ContainerRecord> {
    for part in ["upper", "work", "root", "volume"] {
        std::fs::create_dir_all(record.root_dir.join(part))?;
    }
    // A hostPath without a type is made when missing, as by other runtimes.
    for mount in record.config.mounts.iter().filter(|mount| mount.image.is_none()) {
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

impl Container {
    /// Takes a newer status; an older one that comes late changes nothing.
    pub(super) fn advance(&self, status: ProcessStatus) {
        self.status.send_if_modified(|known| {
            let newer = status.state > known.state;
            if newer {
                *known = status;
            }
            newer
        });
    }

    pub(super) fn status(&self) -> ContainerStatus {
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
            image_ref: record.image_ref.clone(),
            user: status.user,
            log_path: record.log_path.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }
    }
}
