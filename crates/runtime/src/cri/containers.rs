//! Containers: made, stopped, measured, and commands in them.

use super::*;

impl CriRuntime {
    pub(super) async fn make_container(&self, sandbox_id: &str, mut config: ContainerConfig) -> Result<String> {
        let known = self.known(sandbox_id).await?;
        let user = self.image_user(&mut config).await?;
        let abilities = self.0.about().abilities;
        let mut wanted = translate::container(&config, &known.config, abilities, self.0.cgroups.is_v2())?;
        if let Some(security) = wanted.linux.as_mut().and_then(|linux| linux.security_context.as_mut()) {
            security.run_as_username = user;
        }
        // A container that is added later may be the first privileged one.
        let sandbox =
            SandboxConfig { privileged: known.config.privileged || config.security.privileged, ..known.config };
        let sandbox = translate::sandbox(&sandbox, &self.0.group(&sandbox.cgroup_parent))?;
        let stop_signal = wanted.stop_signal;
        let request = proto::CreateContainerRequest {
            pod_sandbox_id: sandbox_id.to_owned(),
            config: Some(wanted),
            sandbox_config: Some(sandbox),
        };
        let made: proto::CreateContainerResponse = self.0.runtime("CreateContainer", &request).await?;
        if stop_signal != 0 {
            self.check_stop_signal(&made.container_id, stop_signal).await?;
        }
        Ok(made.container_id)
    }

    /// A group is given together with a user: where the pod names none, the image's. Its name, when it is no number.
    async fn image_user(&self, config: &mut ContainerConfig) -> Result<String> {
        if config.security.run_as_group.is_none() || config.security.run_as_user.is_some() {
            return Ok(String::new());
        }
        let image = self.image_by_id(&config.image).await?;
        let image = image.ok_or_else(|| RuntimeError::NotFound(format!("image {}", config.image)))?;
        if image.uid.is_none() && !image.username.is_empty() {
            return Ok(image.username);
        }
        config.security.run_as_user = Some(image.uid.unwrap_or(0));
        Ok(String::new())
    }

    /// Runtimes that do not know a container's own stop signal pass over it without a word, but do not tell it either.
    async fn check_stop_signal(&self, id: &str, wanted: i32) -> Result<()> {
        let request = proto::ContainerRequest { container_id: id.to_owned() };
        let told: proto::ContainerStatusResponse = self.0.runtime("ContainerStatus", &request).await?;
        if told.status.is_some_and(|status| status.stop_signal == wanted) {
            return Ok(());
        }
        self.remove_container(id).await?;
        let version = self.version();
        Err(RuntimeError::Invalid(format!("a stop signal of the pod's own is not supported by {version}")))
    }

    pub(super) async fn stop(&self, id: &str, grace: Duration) -> Result<()> {
        let timeout = i64::try_from(grace.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX);
        let request = proto::StopContainerRequest { container_id: id.to_owned(), timeout };
        let limit = grace.saturating_add(CALL_MAX);
        let stopped = self.0.call("runtime.v1.RuntimeService/StopContainer", &request, Some(limit)).await;
        self.0.acted.notify_one();
        gone_is_fine(stopped)
    }

    pub(super) async fn run_exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput> {
        let timeout = timeout.filter(|timeout| !timeout.is_zero());
        // CRI counts in seconds; 0 would be no limit.
        let seconds =
            timeout.map_or(0, |timeout| i64::try_from(timeout.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX));
        let request = proto::ExecSyncRequest { container_id: id.to_owned(), cmd: command, timeout: seconds };
        let limit = timeout.map(|timeout| timeout.saturating_add(CALL_MAX));
        let method = "runtime.v1.RuntimeService/ExecSync";
        let output: proto::ExecSyncResponse =
            self.0.call(method, &request, limit).await.map_err(|error| match error {
                RuntimeError::Timeout(_) => RuntimeError::Timeout("command".to_owned()),
                error => error,
            })?;
        Ok(ExecOutput { stdout: output.stdout, stderr: output.stderr, exit_code: output.exit_code })
    }

    pub(super) async fn stats(&self, id: &str) -> Result<proto::ContainerStats> {
        let request = proto::ContainerRequest { container_id: id.to_owned() };
        let told: proto::ContainerStatsResponse = self.0.runtime("ContainerStats", &request).await?;
        told.stats.ok_or_else(|| RuntimeError::NotFound(format!("use of container {id}")))
    }

    /// From the container's cgroup, which costs the runtime nothing; from the runtime, when it keeps its groups elsewhere.
    pub(super) async fn usage(&self, id: &str) -> Result<Usage> {
        let container = self.container(id).await?;
        let known = self.known(&container.sandbox_id).await?;
        let group = self.0.group(&format!("{}/{id}", known.config.cgroup_parent));
        if let Ok(usage) = self.0.cgroups.usage(&group) {
            return Ok(usage);
        }
        let stats = self.stats(id).await?;
        let value = |value: Option<proto::UInt64Value>| value.map_or(0, |v| v.value);
        let memory = stats.memory.unwrap_or_default();
        Ok(Usage {
            cpu_nanoseconds: value(stats.cpu.and_then(|cpu| cpu.usage_core_nano_seconds)),
            memory_working_set: value(memory.working_set_bytes),
            memory_usage: value(memory.usage_bytes.or(memory.working_set_bytes)),
            memory_rss: value(memory.rss_bytes),
            ..Usage::default()
        })
    }

    /// From the tables of a process in the sandbox, which is found by its cgroup.
    pub(super) async fn interfaces(&self, sandbox_id: &str) -> Result<Vec<InterfaceUsage>> {
        let known = self.known(sandbox_id).await?;
        if known.config.network == NamespaceMode::Node {
            return Ok(Vec::new());
        }
        let group = self.0.group(&format!("{}/{sandbox_id}", known.config.cgroup_parent));
        let Some(pid) = self.0.cgroups.processes(&group).first().copied() else { return Ok(Vec::new()) };
        let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev"));
        Ok(InterfaceUsage::read(&table.unwrap_or_default()))
    }
}
