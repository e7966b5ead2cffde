//! Writes a pod's status: only the newest, one write at a time, never in the way of the worker.

use std::sync::Arc;
use std::time::Duration;

use client::{Api, Client, DeleteOptions};
use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use machinery::ApiError;
use tokio::sync::watch;

use crate::static_pods::MIRROR;
use crate::status::conditions::{DISRUPTED_BY_NODE, IN_PROGRESS, PENDING};

/// Condition types that the agent owns; all others are left as others wrote them.
const OWN_CONDITIONS: [&str; 8] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "AllContainersRestarting",
    PENDING,
    IN_PROGRESS,
];

/// What is to be written.
#[derive(Clone, Default)]
struct Order {
    status: Option<Arc<PodStatus>>,
    /// Grows when the status is to be written even if it was.
    round: u64,
    /// After the status: remove the object.
    delete: bool,
}

impl Order {
    /// The status, unless it was written as it is.
    fn due(&self, written: Option<&(Arc<PodStatus>, u64)>) -> Option<&Arc<PodStatus>> {
        let known = |s: &&Arc<PodStatus>| written.is_some_and(|(status, round)| status == *s && *round == self.round);
        self.status.as_ref().filter(|s| !known(s))
    }
}

/// One pod's writer. Its task ends with it, or after the deletion.
pub struct Writer {
    orders: watch::Sender<Order>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Writer {
    /// A writer for this pod.
    pub fn new(client: &Client, pod: Arc<Pod>) -> Self {
        let (orders, inbox) = watch::channel(Order::default());
        let api = Api::namespaced(client, pod.metadata.namespace.as_deref().unwrap_or_default());
        let is_static = crate::wanted::Wanted::new(pod.clone()).is_static();
        let task = tokio::spawn(write_all(api, pod, is_static, inbox));
        Self { orders, task }
    }

    /// Has a status written, unless a newer one comes first.
    pub fn write(&self, status: PodStatus) {
        self.orders.send_modify(|order| order.status = Some(Arc::new(status)));
    }

    /// Has the last status written once more.
    pub fn write_again(&self) {
        self.orders.send_modify(|order| order.round += 1);
    }

    /// Has the last status written and then the object removed. Resolves when it is.
    pub async fn delete(mut self) {
        self.orders.send_modify(|order| order.delete = true);
        let _ = (&mut self.task).await;
    }
}

async fn write_all(api: Api<Pod>, mut pod: Arc<Pod>, is_static: bool, mut inbox: watch::Receiver<Order>) {
    let mut written: Option<(Arc<PodStatus>, u64)> = None;
    let mut wait = Duration::from_millis(100);
    while inbox.changed().await.is_ok() {
        loop {
            let order = inbox.borrow_and_update().clone();
            let done = match is_static {
                true => show(&api, &pod, &mut written, &order).await,
                false => carry_out(&api, &mut pod, &mut written, &order).await,
            };
            match done {
                Ok(()) if order.delete => return,
                Ok(()) => {
                    wait = Duration::from_millis(100);
                    break;
                }
                Err(error) if error.is_not_found() => return,
                Err(error) => {
                    tracing::debug!(pod = pod.metadata.name, %error, "status not written yet");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(10));
                }
            }
        }
    }
}

async fn carry_out(
    api: &Api<Pod>,
    pod: &mut Arc<Pod>,
    written: &mut Option<(Arc<PodStatus>, u64)>,
    order: &Order,
) -> Result<(), ApiError> {
    let name = pod.metadata.name.clone().unwrap_or_default();
    if let Some(status) = order.due(written.as_ref()) {
        write(api, &name, pod, status).await?;
        *written = Some((status.clone(), order.round));
    }
    if order.delete {
        let uid = pod.metadata.uid.clone();
        let options = DeleteOptions { grace_period_seconds: Some(0), uid, ..DeleteOptions::default() };
        match api.delete(&name, options).await {
            // Another object of the same name means that ours is gone.
            Err(e) if e.is_conflict() => {}
            other => other?,
        }
    }
    Ok(())
}

/// Writes a static pod's status to its mirror.
async fn show(
    api: &Api<Pod>,
    pod: &Pod,
    written: &mut Option<(Arc<PodStatus>, u64)>,
    order: &Order,
) -> Result<(), ApiError> {
    let Some(status) = order.due(written.as_ref()) else { return Ok(()) };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let of = |mirror: &Pod| mirror.metadata.annotations.as_ref()?.get(MIRROR).cloned();
    let mirror = api.get_opt(&name).await?.filter(|m| of(m) == pod.metadata.uid);
    let missing = || ApiError::ServiceUnavailable("the mirror pod is not there yet".to_owned());
    let mut object = mirror.ok_or_else(missing)?.as_ref().clone();
    object.status = Some(merged(status.as_ref().clone(), object.status.as_ref()));
    api.replace_status(&name, &object).await?;
    *written = Some((status.clone(), order.round));
    Ok(())
}

async fn write(api: &Api<Pod>, name: &str, pod: &mut Arc<Pod>, status: &PodStatus) -> Result<(), ApiError> {
    let mut object = pod.as_ref().clone();
    object.status = Some(status.clone());
    match api.replace_status(name, &object).await {
        Ok(reply) => *pod = reply,
        Err(error) if error.is_conflict() => {
            let fresh = api.get(name).await?;
            if fresh.metadata.uid != pod.metadata.uid {
                return Err(ApiError::not_found(&Api::<Pod>::resource().group_resource(), name));
            }
            let mut object = fresh.as_ref().clone();
            object.status = Some(merged(status.clone(), fresh.status.as_ref()));
            *pod = api.replace_status(name, &object).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Whether a condition is the agent's own. Others write DisruptionTarget too.
fn is_own(condition: &PodCondition) -> bool {
    let disrupted = condition.type_ == "DisruptionTarget" && condition.reason.as_deref() == Some(DISRUPTED_BY_NODE);
    disrupted || OWN_CONDITIONS.contains(&condition.type_.as_str())
}

/// Our status with the conditions that others wrote.
pub fn merged(mut ours: PodStatus, theirs: Option<&PodStatus>) -> PodStatus {
    let mut conditions: Vec<_> = ours.conditions.take().unwrap_or_default();
    conditions.retain(is_own);
    let foreign = theirs.and_then(|s| s.conditions.as_ref()).into_iter().flatten().filter(|c| !is_own(c));
    let foreign: Vec<_> = foreign.filter(|c| conditions.iter().all(|own| own.type_ != c.type_)).cloned().collect();
    conditions.extend(foreign);
    ours.conditions = Some(conditions);
    ours
}
