//! `/containerLogs/NAMESPACE/POD/CONTAINER`

use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Response, StatusCode};
use jiff::Timestamp;
use runtime::{ContainerState, ContainerStatus};
use tokio::sync::mpsc;

use super::Call;
use super::respond::{Body, plain, streamed};
use crate::agent::Agent;
use crate::logs::read::{LogOptions, stream};
use crate::wanted::seconds;

/// All containers of a pod's container name, the newest first.
pub async fn containers(agent: &Agent, namespace: &str, pod: &str, container: &str) -> Vec<ContainerStatus> {
    let runtime = &agent.options.runtime;
    let Ok(sandboxes) = runtime.list_pod_sandboxes().await else { return Vec::new() };
    let newest = sandboxes.iter().filter(|s| s.namespace == namespace && s.name == pod).max_by_key(|s| s.created_at);
    let Some(uid) = newest.map(|s| s.uid.clone()) else { return Vec::new() };
    let own = |c: &ContainerStatus| sandboxes.iter().any(|s| s.id == c.sandbox_id && s.uid == uid);
    let mut list = runtime.list_containers().await.unwrap_or_default();
    list.retain(|c| c.name == container && own(c));
    list.sort_by_key(|c| std::cmp::Reverse((c.attempt, c.created_at)));
    list
}

fn options(call: &Call) -> Result<LogOptions, String> {
    let number = |name: &str| match call.get(name).map(str::parse::<i64>) {
        Some(Ok(n)) if n >= 0 => Ok(Some(n)),
        Some(_) => Err(format!("invalid {name}")),
        None => Ok(None),
    };
    let since_seconds = number("sinceSeconds")?.map(|s| seams::clock::now() - seconds(s));
    let since = match call.get("sinceTime").map(str::parse::<Timestamp>) {
        Some(Ok(at)) => Some(at),
        Some(Err(_)) => return Err("invalid sinceTime".to_owned()),
        None => since_seconds,
    };
    Ok(LogOptions {
        follow: call.flag(&["follow"]),
        tail_lines: number("tailLines")?.and_then(|n| usize::try_from(n).ok()),
        since,
        timestamps: call.flag(&["timestamps"]),
        limit_bytes: number("limitBytes")?.and_then(|n| usize::try_from(n).ok()),
        stream: call.get("stream").map(str::to_owned),
    })
}

/// Answers with a log.
pub async fn serve(agent: &Agent, call: &Call, namespace: &str, pod: &str, container: &str) -> Response<Body> {
    let options = match options(call) {
        Ok(options) => options,
        Err(error) => return plain(StatusCode::BAD_REQUEST, error),
    };
    let list = containers(agent, namespace, pod, container).await;
    let previous = call.flag(&["previous"]);
    let chosen = list.into_iter().filter(|c| c.state != ContainerState::Created).nth(usize::from(previous));
    let Some(chosen) = chosen else {
        let waits = "is waiting to start: ContainerCreating";
        let text = match previous {
            true => format!("previous terminated container {container:?} in pod {pod:?} not found"),
            false => format!("container {container:?} in pod {pod:?} {waits}"),
        };
        return plain(StatusCode::BAD_REQUEST, text);
    };
    let (out, chunks) = mpsc::channel(8);
    let (runtime, id, path) = (agent.options.runtime.clone(), chosen.id.clone(), chosen.log_path.clone());
    tokio::spawn(async move {
        let running = move || -> BoxFuture<'static, bool> {
            let (runtime, id) = (runtime.clone(), id.clone());
            Box::pin(async move {
                let state = runtime.container_status(&id).await;
                let runs = state.is_ok_and(|s| s.state == ContainerState::Running);
                if !runs {
                    // Its last lines are on their way from the pipe to the file.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                runs
            })
        };
        if let Err(error) = stream(path, options, out, running).await {
            tracing::debug!(%error, "log not read");
        }
    });
    streamed(chunks)
}
