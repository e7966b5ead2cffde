//! Resources of running containers change in place (KEP-1287).

use k8s_openapi::api::core::v1::ResourceRequirements;
use runtime::SandboxState;

use super::*;
use crate::allocation::{event_text, same};
use crate::config::resources;
use crate::plan::RESIZE_ANNOTATION;
use crate::status::{Actuated, Progress};

/// How long a change that failed rests before it is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Where the changes of a pod's resources stand.
#[derive(Default)]
pub struct Resizing {
    /// What the pod and its running containers were given last. What is not in here has what it should.
    pub actuated: Actuated,
    /// The generation of the last change that was taken on.
    generation: Option<i64>,
    /// Why the last try failed.
    error: Option<String>,
    again_at: Option<Timestamp>,
    busy: bool,
    /// What containers that are being started get.
    starting: BTreeMap<String, ResourceRequirements>,
    /// One was under way when last was looked.
    told: bool,
}

/// What a try leads to.
pub struct Resized {
    containers: Vec<(String, Option<ResourceRequirements>)>,
    pod: Option<ResourceRequirements>,
    result: Result<(), String>,
}

impl Resizing {
    /// What an agent knows that comes later: the status tells what containers were given last.
    pub fn known(reported: &PodStatus) -> Self {
        let lists = [&reported.init_container_statuses, &reported.container_statuses];
        let all = lists.into_iter().flatten().flatten();
        let given = all.filter_map(|s| Some((s.name.clone(), s.resources.clone()?))).collect();
        let conditions = reported.conditions.iter().flatten();
        let condition = conditions.into_iter().find(|c| c.type_ == "PodResizeInProgress");
        Self {
            actuated: Actuated { containers: given, pod: reported.resources.clone() },
            generation: condition.and_then(|c| c.observed_generation),
            told: condition.is_some(),
            ..Self::default()
        }
    }

    /// A change was taken on.
    pub fn accepted(&mut self, generation: Option<i64>) {
        if generation.is_some() && self.generation != generation {
            (self.generation, self.error, self.again_at) = (generation, None, None);
        }
    }
}

/// A limit of memory that would come to lie below what is used.
struct Decrease {
    what: String,
    limit: i64,
    used: i64,
}

impl Worker {
    fn running(&self) -> impl Iterator<Item = (&ContainerStatus, &Member)> {
        let live = self.containers.iter().filter(|c| c.state == ContainerState::Running);
        live.filter_map(|c| Some((c, self.wanted.member(&c.name)?)))
    }

    fn is_behind(&self, member: &Member) -> bool {
        let known = self.resizing.actuated.containers.get(member.name());
        known.is_some_and(|given| !same(Some(given), member.spec.resources.as_ref()))
    }

    fn is_pod_behind(&self) -> bool {
        let given = self.resizing.actuated.pod.as_ref();
        given.is_some() && !same(given, self.wanted.spec().resources.as_ref())
    }

    /// Where a change that was taken on stands, while it is not carried out.
    pub(super) fn resize_progress(&self) -> Option<Progress> {
        let behind = self.is_pod_behind() || self.running().any(|(_, member)| self.is_behind(member));
        let generation = self.resizing.generation.or(self.wanted.pod.metadata.generation);
        behind.then(|| Progress { generation, error: self.resizing.error.clone() })
    }

    /// Gives the pod and its running containers what they were given on paper; says when to try again. The plan starts
    /// those anew that ask for it.
    pub(super) fn resize(&mut self, now: Timestamp) -> Option<Timestamp> {
        self.tell_completed();
        if self.ending.is_some() || self.resizing.busy || self.bringing_up {
            return None;
        }
        let restarts =
            |c: &ContainerStatus, m: &Member| c.annotations.get(RESIZE_ANNOTATION).is_some_and(|h| *h != m.resize_hash);
        let due = self.running().filter(|(c, m)| self.is_behind(m) && !restarts(c, m));
        let due: Vec<(String, Member)> = due.map(|(c, m)| (c.id.clone(), m.clone())).collect();
        let sandbox = self.sandboxes.first().filter(|s| s.state == SandboxState::Ready).map(|s| s.id.clone())?;
        if due.is_empty() && !self.is_pod_behind() {
            return None;
        }
        if let Some(at) = self.resizing.again_at.filter(|at| *at > now) {
            return Some(at);
        }
        self.resizing.busy = true;
        let (agent, wanted, notes) = (self.agent.clone(), self.wanted.clone(), self.notes.clone());
        let before = self.resizing.actuated.clone();
        tokio::spawn(async move {
            let result = carry_out(&agent, &wanted, &sandbox, &due, &before).await;
            let containers = due.into_iter().map(|(_, m)| (m.spec.name, m.spec.resources)).collect();
            let resized = Resized { containers, pod: wanted.spec().resources.clone(), result };
            let _ = notes.send(Note::Resized(Box::new(resized))).await;
        });
        None
    }

    pub(super) fn resized(&mut self, resized: Resized) {
        self.resizing.busy = false;
        match resized.result {
            Ok(()) => {
                (self.resizing.error, self.resizing.again_at) = (None, None);
                for (name, given) in resized.containers {
                    self.resizing.actuated.containers.insert(name, given.unwrap_or_default());
                }
                self.resizing.actuated.pod = resized.pod;
            }
            Err(error) => {
                self.resizing.again_at = Some(seams::clock::now() + RETRY);
                if self.resizing.error.as_ref() != Some(&error) {
                    let text = event_text("error", &self.wanted, self.resizing.generation, Some(&error));
                    self.agent.event(&self.wanted.reference(), EventType::Warning, "ResizeError", text);
                }
                self.resizing.error = Some(error);
            }
        }
    }

    /// A container is being started with what it was given on paper.
    pub(super) fn starts(&mut self, name: &str) {
        let given = self.wanted.member(name).and_then(|m| m.spec.resources.clone()).unwrap_or_default();
        self.resizing.starting.insert(name.to_owned(), given);
    }

    /// A container started.
    pub(super) fn actuated(&mut self, name: &str) {
        if let Some(given) = self.resizing.starting.remove(name) {
            self.resizing.actuated.containers.insert(name.to_owned(), given);
        }
        self.resizing.actuated.pod.get_or_insert_with(|| self.wanted.spec().resources.clone().unwrap_or_default());
    }

    fn tell_completed(&mut self) {
        let under_way = self.resize_progress().is_some();
        if std::mem::replace(&mut self.resizing.told, under_way) && !under_way && self.ending.is_none() {
            let text = event_text("completed", &self.wanted, self.resizing.generation, None);
            self.agent.event(&self.wanted.reference(), EventType::Normal, "ResizeCompleted", text);
        }
    }
}

async fn carry_out(
    agent: &Agent,
    wanted: &Wanted,
    sandbox: &str,
    due: &[(String, Member)],
    before: &Actuated,
) -> Result<(), String> {
    let below = decreases(agent, wanted, sandbox, due, before).await;
    let below: Vec<String> = below
        .into_iter()
        .filter(|d| d.limit < d.used)
        .map(|d| format!("attempting to set {} memory limit ({}) below current usage ({})", d.what, d.limit, d.used))
        .collect();
    match below.as_slice() {
        [] => {}
        [one] => return Err(format!("cannot decrease memory limits: {one}")),
        more => return Err(format!("cannot decrease memory limits: [{}]", more.join(", "))),
    }
    agent.weigh_classes().await;
    let (runtime, pod) = (&agent.options.runtime, agent.pod_resources(wanted));
    // A limit can only be as large as that of the pod: the pod is asked before and after its containers.
    let first = runtime.update_pod_sandbox(sandbox, pod.clone()).await;
    for (id, member) in due {
        let changed = runtime.update_resources(id, agent.container_resources(wanted, member)).await;
        changed.map_err(|e| format!("failed to update resources of container {:?}: {e}", member.name()))?;
    }
    match first {
        Ok(()) => Ok(()),
        Err(_) => runtime.update_pod_sandbox(sandbox, pod).await.map_err(|e| format!("failed to update the pod: {e}")),
    }
}

/// The limits of memory that would become smaller, with what is used of them.
async fn decreases(
    agent: &Agent,
    wanted: &Wanted,
    sandbox: &str,
    due: &[(String, Member)],
    before: &Actuated,
) -> Vec<Decrease> {
    let runtime = &agent.options.runtime;
    let used = |usage: Result<runtime::Usage, RuntimeError>| {
        usage.map_or(0, |u| i64::try_from(u.memory_usage).unwrap_or(i64::MAX))
    };
    let limit = |r: Option<&ResourceRequirements>| {
        r.and_then(|r| r.limits.as_ref()?.get("memory")).map(crate::quantity::value).filter(|l| *l > 0)
    };
    let mut list = Vec::new();
    for (id, member) in due {
        let old = limit(before.containers.get(member.name()));
        let Some(new) = limit(member.spec.resources.as_ref()).filter(|new| old.is_none_or(|old| *new < old)) else {
            continue;
        };
        let (what, usage) = (format!("container {:?}", member.name()), runtime.container_usage(id).await);
        list.push(Decrease { what, limit: new, used: used(usage) });
    }
    let pod_limit = resources::of_pod(wanted, None).memory_limit;
    let pod_asked = limit(wanted.spec().resources.as_ref());
    let pod_decreased = pod_asked.is_some_and(|new| limit(before.pod.as_ref()).is_none_or(|old| new < old));
    if let Some(new) = pod_limit.filter(|_| pod_decreased || (pod_asked.is_none() && !list.is_empty())) {
        let usage = used(runtime.sandbox_usage(sandbox).await);
        list.insert(0, Decrease { what: "pod".to_owned(), limit: new, used: usage });
    }
    list
}
