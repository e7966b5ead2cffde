//! The pure plan of one pod: from what is wanted and what was seen to what is done next.
//!
//! Level-triggered: the same facts give the same plan, and a plan that was carried out gives an empty one. Nothing here
//! does IO or reads a clock.

mod facts;
mod reset;
mod stop;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use runtime::{ContainerState, ContainerStatus, SandboxState};

pub use facts::{Action, Ending, Facts, Health, Hook, Plan, Stopping, Volumes, is_alive, latest};

use crate::wanted::{Member, RestartPolicy, Role};

/// What to do now.
pub fn plan(facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    if let Some(ending) = facts.ending {
        stop::end(facts, ending, &mut plan);
        return plan;
    }
    let starts = match facts.ready_sandbox() {
        None => without_sandbox(facts, &mut plan),
        Some(_) => with_sandbox(facts, &mut plan),
    };
    stop::go_on(facts, None, &mut plan);
    if !facts.bringing_up {
        bring_up(facts, starts, &mut plan);
    }
    plan
}

/// Starts that the pod's state asks for, before waits are looked at.
struct Starts<'a> {
    members: Vec<&'a Member>,
    needs_sandbox: bool,
}

/// There is no usable sandbox: containers of former ones are as good as ended.
fn without_sandbox<'a>(facts: &Facts<'a>, plan: &mut Plan) -> Starts<'a> {
    let none = Starts { members: Vec::new(), needs_sandbox: false };
    let wanted = facts.wanted;
    let had_containers = facts.sandbox().is_some() && !facts.containers.is_empty();
    if wanted.restart_policy() == RestartPolicy::Never && had_containers && all_ran(facts) {
        plan.over = true;
        return none;
    }
    let left = wanted.of_role(Role::Main).any(|m| match facts.latest(m.name()) {
        Some(c) if c.state == ContainerState::Exited => m.restarts_after(c.exit_code.unwrap_or(0)),
        _ => true,
    });
    if !left {
        plan.over = true;
        return none;
    }
    if let Some(old) = facts.sandbox() {
        // What still lives in a broken sandbox is killed with it.
        if !facts.stopping_sandbox && facts.alive().any(|c| c.sandbox_id == old.id) {
            plan.actions.push(Action::StopSandbox { id: old.id.clone() });
            return none;
        }
    }
    Starts { members: Vec::new(), needs_sandbox: true }
}

/// Whether every main container ran in some sandbox.
fn all_ran(facts: &Facts<'_>) -> bool {
    facts.wanted.of_role(Role::Main).any(|m| facts.latest(m.name()).is_some())
}

fn with_sandbox<'a>(facts: &Facts<'a>, plan: &mut Plan) -> Starts<'a> {
    let wanted = facts.wanted;
    if reset::all(facts, plan) {
        return Starts { members: Vec::new(), needs_sandbox: false };
    }
    let mut members: Vec<&Member> =
        wanted.of_role(Role::Ephemeral).filter(|m| facts.latest(m.name()).is_none()).collect();
    let initial = initialize(facts, plan);
    members.extend(initial.starts);
    if initial.failed {
        plan.over = true;
        return Starts { members: Vec::new(), needs_sandbox: false };
    }
    if initial.done {
        let mut kept = 0;
        for member in wanted.of_role(Role::Main) {
            match main_container(facts, member, plan) {
                Verdict::Keep => kept += 1,
                Verdict::Start => members.push(member),
                Verdict::Leave => {}
            }
        }
        let main_starts = members.iter().any(|m| m.role == Role::Main);
        if kept == 0 && !main_starts {
            plan.over = true;
            members.clear();
        }
    }
    Starts { members, needs_sandbox: false }
}

/// What is to be done with a container.
#[derive(PartialEq, Eq)]
enum Verdict {
    /// It runs, or is on its way out to be started again.
    Keep,
    /// Start it (again).
    Start,
    /// It ended for good.
    Leave,
}

fn main_container(facts: &Facts<'_>, member: &Member, plan: &mut Plan) -> Verdict {
    let Some(container) = facts.current(member.name()) else {
        // A container of a former sandbox that ended for good is not run again in a new one.
        return match facts.latest(member.name()) {
            Some(c) if c.state == ContainerState::Exited && !member.restarts_after(c.exit_code.unwrap_or(0)) => {
                Verdict::Leave
            }
            _ => Verdict::Start,
        };
    };
    match container.state {
        ContainerState::Running => {
            if let Some(message) = unhealthy(facts, member, container) {
                begin_restart(facts, member, container, "Container", message, plan);
            }
            Verdict::Keep
        }
        ContainerState::Created | ContainerState::Unknown => Verdict::Start,
        ContainerState::Exited => ended(member, container),
    }
}

fn ended(member: &Member, container: &ContainerStatus) -> Verdict {
    let code = container.exit_code.unwrap_or(0);
    // A container whose image changed starts again whatever its policy.
    let changed = is_changed(member, container);
    if changed || member.restarts_after(code) { Verdict::Start } else { Verdict::Leave }
}

/// The label under which a container keeps its spec's hash.
pub const HASH_ANNOTATION: &str = "io.kubernetes.container.hash";

/// The label under which a container keeps the hash of those resources whose change asks for a restart (KEP-1287).
pub const RESIZE_ANNOTATION: &str = "io.kubernetes.container.resizeHash";

fn is_changed(member: &Member, container: &ContainerStatus) -> bool {
    member.role != Role::Ephemeral && container.annotations.get(HASH_ANNOTATION).is_some_and(|h| *h != member.hash)
}

fn is_resized(member: &Member, container: &ContainerStatus) -> bool {
    container.annotations.get(RESIZE_ANNOTATION).is_some_and(|hash| *hash != member.resize_hash)
}

/// Whether a container gives way to one of another image, or with other resources.
pub fn gives_way(member: &Member, container: &ContainerStatus) -> bool {
    is_changed(member, container) || is_resized(member, container)
}

/// Why a running container must end, as the Killing event says it.
fn unhealthy(facts: &Facts<'_>, member: &Member, container: &ContainerStatus) -> Option<&'static str> {
    let health = facts.health(&container.id);
    if is_changed(member, container) {
        Some("definition changed")
    } else if is_resized(member, container) {
        Some("resize requires restart")
    } else if health.liveness == Some(false) {
        Some("failed liveness probe")
    } else if health.startup == Some(false) {
        Some("failed startup probe")
    } else {
        None
    }
}

fn begin_restart(
    facts: &Facts<'_>,
    member: &Member,
    container: &ContainerStatus,
    what: &str,
    why: &str,
    plan: &mut Plan,
) {
    if facts.stopping.contains_key(&container.id) {
        return;
    }
    let again = matches!(why, "definition changed" | "resize requires restart") || member.restarts_after(137);
    let suffix = if again { ", will be restarted" } else { "" };
    plan.actions.push(Action::BeginStop {
        id: container.id.clone(),
        name: member.name().to_owned(),
        grace: stop::grace_after(facts, member, why),
        message: format!("{what} {} {why}{suffix}", member.name()),
    });
}

/// Where the init containers stand.
struct Initial<'a> {
    starts: Vec<&'a Member>,
    /// All plain ones succeeded and all sidecars started once.
    done: bool,
    /// One failed and may not run again.
    failed: bool,
}

fn initialize<'a>(facts: &Facts<'a>, plan: &mut Plan) -> Initial<'a> {
    let mut initial = Initial { starts: Vec::new(), done: false, failed: false };
    let order: Vec<&Member> = facts.wanted.initial().collect();
    // Once a main container was made in this sandbox, all init containers are behind it, even if they were removed.
    let passed = facts.wanted.of_role(Role::Main).any(|m| facts.current(m.name()).is_some());
    let frontier = if passed { order.len() } else { frontier(facts, &order) };
    for (index, member) in order.iter().enumerate() {
        if index > frontier {
            return initial;
        }
        if index < frontier && member.role == Role::Init {
            continue;
        }
        let step = match member.role {
            Role::Sidecar => sidecar(facts, member, plan),
            _ => plain_init(facts, member),
        };
        match step {
            Step::Start => initial.starts.push(member),
            Step::Failed => {
                initial.failed = true;
                return initial;
            }
            Step::Wait | Step::Next => {}
        }
        if index == frontier && step != Step::Next {
            return initial;
        }
        if index == frontier && index + 1 < order.len() {
            initial.starts.push(order[index + 1]);
            return initial;
        }
    }
    initial.done = true;
    initial
}

/// The last init container that was made in this sandbox, or the first of all.
fn frontier(facts: &Facts<'_>, order: &[&Member]) -> usize {
    order.iter().rposition(|m| facts.current(m.name()).is_some()).unwrap_or(0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It must be started.
    Start,
    /// It runs, and the next one has to wait.
    Wait,
    /// It did its part; the next one may start.
    Next,
    /// It failed for good.
    Failed,
}

fn plain_init(facts: &Facts<'_>, member: &Member) -> Step {
    let Some(container) = facts.current(member.name()) else { return Step::Start };
    match container.state {
        ContainerState::Running => Step::Wait,
        ContainerState::Created => Step::Start,
        ContainerState::Exited if container.exit_code == Some(0) => Step::Next,
        ContainerState::Exited if member.restarts_after(container.exit_code.unwrap_or(1)) => Step::Start,
        ContainerState::Unknown if member.restarts_after(137) => Step::Start,
        ContainerState::Exited | ContainerState::Unknown => Step::Failed,
    }
}

fn sidecar(facts: &Facts<'_>, member: &Member, plan: &mut Plan) -> Step {
    let Some(container) = facts.current(member.name()) else { return Step::Start };
    if container.state != ContainerState::Running {
        return Step::Start;
    }
    if let Some(why) = unhealthy(facts, member, container) {
        begin_restart(facts, member, container, "Init container", why, plan);
    }
    let health = facts.health(&container.id);
    let started = member.spec.startup_probe.is_none() || health.startup == Some(true);
    if started && !health.post_start_running { Step::Next } else { Step::Wait }
}

/// Mounts, sandbox, starts: the first of them that is missing.
fn bring_up(facts: &Facts<'_>, starts: Starts<'_>, plan: &mut Plan) {
    if plan.over || (!starts.needs_sandbox && starts.members.is_empty()) {
        return;
    }
    match facts.volumes {
        Volumes::Missing => return plan.actions.push(Action::MountVolumes),
        Volumes::Failed(until) if until <= facts.now => return plan.actions.push(Action::MountVolumes),
        Volumes::Failed(until) => return plan.wake(until),
        Volumes::Mounted => {}
    }
    if starts.needs_sandbox {
        return create_sandbox(facts, plan);
    }
    for member in starts.members {
        start(facts, member, plan);
    }
}

fn create_sandbox(facts: &Facts<'_>, plan: &mut Plan) {
    if let Some(until) = facts.sandbox_wait.filter(|u| *u > facts.now) {
        return plan.wake(until);
    }
    if facts.stopping_sandbox {
        return;
    }
    let attempt = facts.sandbox().map_or(0, |s| s.attempt + 1);
    let replaces = facts.sandbox().is_some_and(|s| s.state == SandboxState::NotReady);
    plan.actions.push(Action::CreateSandbox { attempt, replaces });
}

fn start(facts: &Facts<'_>, member: &Member, plan: &mut Plan) {
    let latest = facts.latest(member.name());
    if let Some(old) = latest
        && (is_alive(old) || facts.stopping.contains_key(&old.id))
    {
        return;
    }
    let restart = latest.is_some_and(|c| matches!(c.state, ContainerState::Exited | ContainerState::Unknown));
    if restart && let Some(until) = later(facts.crash_waits.get(member.name()), facts.now) {
        plan.crash_looping.insert(member.name().to_owned());
        return plan.wake(until);
    }
    if let Some(until) = later(facts.start_waits.get(member.name()), facts.now) {
        return plan.wake(until);
    }
    let earlier = facts.earlier.get(member.name()).copied().unwrap_or(0);
    let (attempt, replaces) = next_attempt(latest, earlier);
    plan.actions.push(Action::Start { name: member.name().to_owned(), attempt, restart, replaces });
}

/// The attempt of a container's next start, of which `earlier` are known to be over, and the container that it replaces.
pub fn next_attempt(latest: Option<&ContainerStatus>, earlier: u32) -> (u32, Option<String>) {
    match latest {
        // Made but never started, because the agent died in between: the same attempt again.
        Some(c) if c.state == ContainerState::Created && c.attempt >= earlier => (c.attempt, Some(c.id.clone())),
        Some(c) if c.state == ContainerState::Created => (earlier, None),
        Some(c) => (earlier.max(c.attempt + 1), None),
        None => (earlier, None),
    }
}

fn later(until: Option<&Timestamp>, now: Timestamp) -> Option<Timestamp> {
    until.copied().filter(|u| *u > now)
}
