//! The calls of [`Runtime`], each one short.

use std::path::Path;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::*;

impl Runtime for CriRuntime {
    fn version(&self) -> String {
        let told = self.0.about().version.clone();
        if told.is_empty() { "unknown://unknown".to_owned() } else { told }
    }

    fn has_strict_groups(&self) -> bool {
        self.0.about().abilities.strict_groups
    }

    fn handlers(&self) -> Vec<Handler> {
        self.0.about().handlers.clone()
    }

    fn status(&self) -> BoxFuture<'_, Result<()>> {
        self.look().boxed()
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
        self.sandboxes().boxed()
    }

    fn create_container<'a>(&'a self, sandbox_id: &'a str, config: ContainerConfig) -> BoxFuture<'a, Result<String>> {
        self.make_container(sandbox_id, config).boxed()
    }

    fn start_container<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let request = proto::ContainerRequest { container_id: container_id.to_owned() };
            let started = self.0.runtime::<proto::Empty>("StartContainer", &request).await;
            self.0.acted.notify_one();
            started.map(drop)
        }
        .boxed()
    }

    fn stop_container<'a>(&'a self, container_id: &'a str, grace: Duration) -> BoxFuture<'a, Result<()>> {
        self.stop(container_id, grace).boxed()
    }

    fn remove_container<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let request = proto::ContainerRequest { container_id: container_id.to_owned() };
            gone_is_fine(self.0.runtime("RemoveContainer", &request).await)?;
            lock(&self.0.containers).remove(container_id);
            Ok(())
        }
        .boxed()
    }

    fn list_containers(&self) -> BoxFuture<'_, Result<Vec<ContainerStatus>>> {
        self.containers().boxed()
    }

    fn container_status<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<ContainerStatus>> {
        self.container(container_id).boxed()
    }

    fn update_resources<'a>(&'a self, container_id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        async move {
            let linux = Some(translate::resources(&resources, self.0.cgroups.is_v2()));
            let request = proto::UpdateContainerResourcesRequest { container_id: container_id.to_owned(), linux };
            self.0.runtime::<proto::Empty>("UpdateContainerResources", &request).await.map(drop)
        }
        .boxed()
    }

    fn update_group<'a>(&'a self, group: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        async move { self.0.make_group(self.0.group(group), resources).await }.boxed()
    }

    fn group_usage<'a>(&'a self, group: &'a str) -> BoxFuture<'a, Result<Usage>> {
        async move {
            let usage = self.0.cgroups.usage(&self.0.group(group));
            usage.map_err(|error| RuntimeError::Failed(format!("read usage: {error}")))
        }
        .boxed()
    }

    fn update_pod_sandbox<'a>(&'a self, sandbox_id: &'a str, resources: Resources) -> BoxFuture<'a, Result<()>> {
        async move {
            let known = self.known(sandbox_id).await?;
            self.0.make_group(self.0.group(&known.config.cgroup_parent), resources).await
        }
        .boxed()
    }

    fn reopen_log<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let request = proto::ContainerRequest { container_id: container_id.to_owned() };
            self.0.runtime::<proto::Empty>("ReopenContainerLog", &request).await.map(drop)
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
        self.start_exec(container_id, request).boxed()
    }

    fn attach<'a>(&'a self, container_id: &'a str, stdin: bool) -> BoxFuture<'a, Result<ProcessStreams>> {
        self.start_attach(container_id, stdin).boxed()
    }

    fn connect<'a>(&'a self, sandbox_id: &'a str, port: u16) -> BoxFuture<'a, Result<PodConnection>> {
        self.forward(sandbox_id, port).boxed()
    }

    fn container_usage<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<Usage>> {
        self.usage(container_id).boxed()
    }

    fn container_disk_usage<'a>(&'a self, container_id: &'a str) -> BoxFuture<'a, Result<u64>> {
        async move {
            let stats = self.stats(container_id).await?;
            Ok(stats.writable_layer.and_then(|layer| layer.used_bytes).map_or(0, |bytes| bytes.value))
        }
        .boxed()
    }

    fn network_usage<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<Vec<InterfaceUsage>>> {
        self.interfaces(sandbox_id).boxed()
    }

    fn sandbox_usage<'a>(&'a self, sandbox_id: &'a str) -> BoxFuture<'a, Result<Usage>> {
        async move {
            let group = self.0.group(&self.known(sandbox_id).await?.config.cgroup_parent);
            let usage = self.0.cgroups.usage(&group);
            usage.map_err(|error| RuntimeError::Failed(format!("read usage: {error}")))
        }
        .boxed()
    }

    fn pull_image<'a>(&'a self, reference: &'a str, credentials: Vec<Credentials>) -> BoxFuture<'a, Result<Pulled>> {
        self.pull(reference, credentials).boxed()
    }

    fn image_status<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<Option<ImageStatus>>> {
        self.image(reference).boxed()
    }

    fn list_images(&self) -> BoxFuture<'_, Result<Vec<ImageStatus>>> {
        self.images().boxed()
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> BoxFuture<'a, Result<()>> {
        self.forget_image(reference).boxed()
    }

    fn import_images<'a>(&'a self, archive: &'a Path) -> BoxFuture<'a, Result<Vec<ImageStatus>>> {
        let hint = format!("ctr --namespace k8s.io images import {}", archive.display());
        let text = format!("CRI has no call that imports images; with containerd, use: {hint}");
        async { Err(RuntimeError::Invalid(text)) }.boxed()
    }

    fn image_filesystem(&self) -> BoxFuture<'_, Result<ImageFilesystem>> {
        self.filesystem().boxed()
    }

    fn events(&self) -> BoxStream<'static, RuntimeEvent> {
        events::subscribe(&self.0)
    }
}
