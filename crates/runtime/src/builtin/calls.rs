//! The calls of [`Runtime`], each one short.

use super::*;

impl Runtime for BuiltinRuntime {
    fn version(&self) -> String {
        format!("skiff://{}", env!("CARGO_PKG_VERSION"))
    }

    fn handlers(&self) -> Vec<Handler> {
        let one = |name: &str| Handler { name: name.to_owned(), recursive_read_only: true, user_namespaces: true };
        ["", "skiff"].map(one).into()
    }

    fn status(&self) -> BoxFuture<'_, Result<()>> {
        async {
            let layers = self.0.images.layers_dir();
            std::fs::metadata(&layers).map_err(failed(format!("container runtime not ready: {}", layers.display())))?;
            let network = self.0.options.network.status();
            network.map_err(|error| RuntimeError::Failed(format!("container runtime network not ready: {error}")))
        }
        .boxed()
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

    fn update_group<'a>(&'a self, group: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        async move { self.0.cgroups.create(&self.group(group), &resources).map_err(failed("update resources")) }.boxed()
    }

    fn group_usage<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Usage>> {
        async move { self.0.cgroups.usage(&self.group(group)).map_err(failed("read usage")) }.boxed()
    }

    fn update_pod_sandbox<'a>(&'a self, sandbox_id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        async move {
            let group = lock(&self.sandbox(sandbox_id)?.record).cgroup.clone();
            self.0.cgroups.update(&group, &resources).map_err(failed("update resources"))
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
            streams::exec(&sandbox.directory, container_id, request, seams::random::number()).await
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

    fn connect<'a>(&'a self, sandbox_id: &'a str, port: u16) -> BoxFuture<'a, Result<PodConnection>> {
        async move {
            let sandbox = self.sandbox(sandbox_id)?;
            let pid = sandbox.shim.pid;
            let socket = streams::connect(pid, port).await?;
            let _ = socket.set_nodelay(true);
            Ok(Box::pin(socket) as PodConnection)
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

    fn container_disk_usage<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<u64>> {
        async move {
            let upper = self.container(container_id)?.0.record.root_dir.join("upper");
            blocking(move || Ok(crate::image::disk_use(&upper))).await
        }
        .boxed()
    }

    fn network_usage<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<Vec<InterfaceUsage>>> {
        async move {
            let sandbox = self.sandbox(sandbox_id)?;
            if lock(&sandbox.record).config.network == NamespaceMode::Node {
                return Ok(Vec::new());
            }
            let table = std::fs::read_to_string(format!("/proc/{}/net/dev", sandbox.shim.pid));
            Ok(InterfaceUsage::read(&table.map_err(failed("read network use"))?))
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

    fn pull_image<'a>(&'a self, reference: &'a str, credentials: Vec<Credentials>) -> BoxFuture<'a, Result<Pulled>> {
        self.fetch(reference, credentials).boxed()
    }

    fn image_status<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<ImageStatus>>> {
        async move {
            let found = self.0.images.find(reference).map(|image| image.status());
            let is_hello = match crate::image::normalize(reference) {
                Ok(name) => name.starts_with(crate::HELLO_PREFIX),
                Err(error) if found.is_none() => return Err(RuntimeError::Invalid(error.to_string())),
                Err(_) => false,
            };
            // A name that is not provided is found out when it is pulled.
            if is_hello { Ok(self.make_hello(reference).await.unwrap_or(None)) } else { Ok(found) }
        }
        .boxed()
    }

    fn list_images(&self) -> BoxFuture<'_, Result<Vec<ImageStatus>>> {
        async { Ok(self.0.images.list().iter().map(crate::image::Image::status).collect()) }.boxed()
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let (runtime, reference) = (self.clone(), reference.to_owned());
            blocking(move || runtime.0.images.remove(&reference, || runtime.layers_in_use())).await
        }
        .boxed()
    }

    fn import_images<'a>(&'a self, archive: &'a Path) -> BoxFuture<'a, Result<Vec<ImageStatus>>> {
        let (inner, path) = (self.0.clone(), archive.to_owned());
        blocking(move || inner.images.import(&path)).boxed()
    }

    fn image_filesystem(&self) -> BoxFuture<'_, Result<ImageFilesystem>> {
        let inner = self.0.clone();
        blocking(move || {
            let used_bytes = inner.images.list().iter().map(|image| image.size).sum();
            Ok(ImageFilesystem { mountpoint: inner.images.layers_dir(), used_bytes, inodes_used: 0 })
        })
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
