//! How containers end: preStop hooks, stop signals, sidecars last and in reverse order.

use std::time::Duration;

use jiff::Timestamp;
use runtime::{ContainerStatus, SandboxState};

use super::{Action, Ending, Facts, Hook, Plan, Stopping, is_alive};
use crate::wanted::{Member, Role, seconds};

/// The least time between stop signal and kill, upstream's minimumGracePeriodInSeconds.
const GRACE_MIN: Duration = Duration::from_secs(2);

/// How long a container gets that is stopped for `why` while its pod goes on.
pub fn grace_after(facts: &Facts<'_>, member: &Member, why: &str) -> Duration {
    let probe = match why {
        "failed liveness probe" => member.spec.liveness_probe.as_ref(),
        "failed startup probe" => member.spec.startup_probe.as_ref(),
        _ => None,
    };
    probe.and_then(|p| p.termination_grace_period_seconds).map_or_else(|| facts.wanted.grace(), seconds)
}

/// The whole pod ends.
pub fn end(facts: &Facts<'_>, ending: &Ending, plan: &mut Plan) {
    for container in facts.alive().filter(|c| !facts.stopping.contains_key(&c.id)) {
        plan.actions.push(Action::BeginStop {
            id: container.id.clone(),
            name: container.name.clone(),
            grace: ending.grace,
            message: format!("Stopping container {}", container.name),
        });
    }
    go_on(facts, Some(ending), plan);
    if facts.alive().next().is_some() || facts.bringing_up || facts.stopping_sandbox {
        return;
    }
    let ready = facts.sandboxes.iter().filter(|s| s.state == SandboxState::Ready);
    let stops: Vec<Action> = ready.map(|s| Action::StopSandbox { id: s.id.clone() }).collect();
    plan.gone = stops.is_empty();
    plan.actions.extend(stops);
}

/// The next step of every container that is on its way out.
pub fn go_on(facts: &Facts<'_>, ending: Option<&Ending>, plan: &mut Plan) {
    for container in facts.alive() {
        if let Some(stopping) = facts.stopping.get(&container.id) {
            one(facts, ending, container, stopping, plan);
        }
    }
}

fn one(facts: &Facts<'_>, ending: Option<&Ending>, container: &ContainerStatus, stopping: &Stopping, plan: &mut Plan) {
    let member = facts.wanted.member(&container.name);
    let mut deadline = stopping.since + stopping.grace;
    if let Some(ending) = ending {
        deadline = deadline.min(ending.since + ending.grace);
    }
    let left = duration_until(facts.now, deadline);
    match stopping.hook {
        Hook::Waiting => {
            plan.actions.push(Action::RunHook { id: container.id.clone(), name: container.name.clone(), grace: left });
        }
        Hook::Running if !left.is_zero() => plan.wake(deadline),
        Hook::Running | Hook::Done => {
            let turn = ending.is_none() || left.is_zero() || is_turn(facts, member);
            signal(facts, container, stopping, turn, left, plan);
            if !turn {
                plan.wake(deadline);
            }
        }
    }
}

fn signal(
    facts: &Facts<'_>,
    container: &ContainerStatus,
    stopping: &Stopping,
    turn: bool,
    left: Duration,
    plan: &mut Plan,
) {
    let grace = left.max(GRACE_MIN);
    let sooner = |kill_at: Timestamp| kill_at > facts.now + grace + Duration::from_secs(1);
    // Sent once; again only when the time was cut short meanwhile.
    if turn && stopping.kill_at.is_none_or(sooner) {
        plan.actions.push(Action::Signal { id: container.id.clone(), grace });
    }
}

/// Sidecars stop after all others, and in the reverse of their start order.
fn is_turn(facts: &Facts<'_>, member: Option<&Member>) -> bool {
    let Some(member) = member.filter(|m| m.role == Role::Sidecar) else { return true };
    let mut after = facts.wanted.of_role(Role::Sidecar).skip_while(|m| m.name() != member.name()).skip(1);
    let alive = |name: &str| facts.containers.iter().any(|c| c.name == name && is_alive(c));
    let others = facts.wanted.members.iter().filter(|m| m.role != Role::Sidecar).any(|m| alive(m.name()));
    !others && !after.any(|m| alive(m.name()))
}

fn duration_until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}
