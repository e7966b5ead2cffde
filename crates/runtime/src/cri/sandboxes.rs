//! Sandboxes: made, stopped, removed.

use super::*;

impl CriRuntime {
    pub(super) async fn make_sandbox(&self, config: SandboxConfig) -> Result<SandboxStatus> {
        let inner = &self.0;
        let group = inner.group(&config.cgroup_parent);
        let abilities = inner.about().abilities;
        abilities.check(&config)?;
        let runtime_handler = config.runtime_handler.clone();
        let request =
            proto::RunPodSandboxRequest { config: Some(translate::sandbox(&config, &group)?), runtime_handler };
        // Limits of the whole pod are the node's to set: CRI only names the group.
        inner.make_group(group.clone(), config.resources.clone()).await?;
        let method = "runtime.v1.RuntimeService/RunPodSandbox";
        let made: Result<proto::RunPodSandboxResponse> = inner.call(method, &request, Some(SANDBOX_CALL_MAX)).await;
        inner.acted.notify_one();
        match made {
            Ok(made) => self.sandbox(&made.pod_sandbox_id).await,
            Err(error) => {
                inner.remove_group(&group);
                Err(error)
            }
        }
    }

    pub(super) async fn stop_sandbox(&self, id: &str) -> Result<()> {
        let request = proto::PodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let method = "runtime.v1.RuntimeService/StopPodSandbox";
        let stopped = gone_is_fine(self.0.call(method, &request, Some(SANDBOX_CALL_MAX)).await);
        self.0.acted.notify_one();
        stopped
    }

    pub(super) async fn remove_sandbox(&self, id: &str) -> Result<()> {
        let known = self.known(id).await.ok();
        self.stop_sandbox(id).await?;
        let request = proto::PodSandboxRequest { pod_sandbox_id: id.to_owned() };
        let method = "runtime.v1.RuntimeService/RemovePodSandbox";
        gone_is_fine(self.0.call(method, &request, Some(SANDBOX_CALL_MAX)).await)?;
        lock(&self.0.sandboxes).remove(id);
        if let Some(known) = known {
            self.0.remove_group(&self.0.group(&known.config.cgroup_parent));
        }
        Ok(())
    }
}

impl Inner {
    /// Removes a pod's cgroup. Another sandbox of the same pod may live in it: then it stays.
    fn remove_group(&self, group: &str) {
        for (directory, _) in self.cgroups.directories(group) {
            if let Err(error) = std::fs::remove_dir(&directory)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::debug!(directory = %directory.display(), %error, "a pod's cgroup stays");
            }
        }
    }
}
