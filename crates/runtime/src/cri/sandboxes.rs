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
        let _making = inner.making.read().await;
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
        for directory in self.places(group) {
            if let Err(error) = std::fs::remove_dir(&directory)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::debug!(directory = %directory.display(), %error, "a pod's cgroup stays");
            }
        }
    }

    /// Removes the cgroups of pods in which nothing is: a call that this process left when it died may go on, and make the cgroup
    /// again of a pod that was removed since. Of pods that have no sandbox, groups of containers go too, which such a call may
    /// have left empty. No pod may be made meanwhile.
    pub(super) fn sweep_groups(&self, has_sandbox: impl Fn(&str) -> bool) {
        let classes = ["/kubepods", "/kubepods/burstable", "/kubepods/besteffort"];
        let places = classes.iter().flat_map(|class| self.places(&self.group(class)));
        for entry in places.filter_map(|place| std::fs::read_dir(place).ok()).flatten().flatten() {
            let name = entry.file_name();
            let Some(uid) = name.to_str().and_then(|name| name.strip_prefix("pod")) else { continue };
            let inner = if has_sandbox(uid) { None } else { std::fs::read_dir(entry.path()).ok() };
            let groups =
                inner.into_iter().flatten().flatten().filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
            for group in groups.map(|group| group.path()).chain([entry.path()]) {
                // The kernel refuses what is in use.
                let _ = std::fs::remove_dir(group);
            }
        }
    }

    /// The directories of a group. With version 1, runc makes groups in the hierarchies without controllers too, which nothing
    /// here uses ("systemd", "unified").
    fn places(&self, group: &str) -> Vec<std::path::PathBuf> {
        let mut places: Vec<_> = self.cgroups.directories(group).map(|(directory, _)| directory).collect();
        if !self.cgroups.is_v2() {
            let mounts = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
            places.extend(mounts.map(|mount| mount.path().join(group.trim_start_matches('/'))));
        }
        places
    }
}
