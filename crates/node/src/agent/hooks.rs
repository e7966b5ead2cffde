//! Lifecycle hooks: exec, HTTP, sleep.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;
use runtime::SandboxStatus;

use super::Agent;
use crate::probes::{self, Target};
use crate::wanted::{Member, Wanted, seconds};

/// Where a hook runs.
pub struct Context {
    target: Target,
}

impl Context {
    /// A hook of this container.
    pub fn new(
        agent: &Agent,
        wanted: &Wanted,
        member: &Member,
        container_id: &str,
        sandbox: Option<&SandboxStatus>,
    ) -> Self {
        Self { target: Target::new(agent, wanted, member, container_id, sandbox) }
    }
}

/// Runs a hook to its end.
pub async fn run(context: &Context, hook: &LifecycleHandler, most: Duration) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = context.target.runtime.exec_sync(&context.target.container_id, command, Some(most)).await;
        let output = output.map_err(|e| e.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!("command exited with {code}: {}", String::from_utf8_lossy(&output.stderr))),
        };
    }
    if let Some(http) = &hook.http_get {
        return match probes::http::get(&context.target, http, most).await {
            Ok(_) => Ok(()),
            Err(message) => Err(message),
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(seconds(sleep.seconds)).await;
        return Ok(());
    }
    // Upstream keeps lifecycle.*.tcpSocket in the API and fails it when its time comes.
    Err("invalid handler".to_owned())
}
