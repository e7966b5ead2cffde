//! All containers start anew because one of them ended in a way that asks for it (KEP-5532): what runs is killed without
//! hooks and grace, then all containers are removed, the one that asked last. The pod then comes up in its sandbox as if
//! it were new.

use super::{Action, Facts, Plan, is_alive, later};
use crate::wanted::Role;
use runtime::{ContainerState, ContainerStatus};

/// Plans the next step of it. `false` when nobody asks for it.
pub fn all(facts: &Facts<'_>, plan: &mut Plan) -> bool {
    let Some(asking) = asking(facts) else { return false };
    let code = asking.exit_code.unwrap_or(0);
    plan.restarting = Some(format!("Container {} exited with code {code}, triggering pod restart", asking.name));
    let own = |c: &&ContainerStatus| facts.wanted.member(&c.name).is_some_and(|m| m.role != Role::Ephemeral);
    let alive: Vec<_> = facts.containers.iter().filter(own).filter(|c| is_alive(c)).collect();
    if !alive.is_empty() {
        let kill = alive.into_iter().filter(|c| facts.stopping.get(&c.id).is_none_or(|s| !s.grace.is_zero()));
        plan.actions.extend(kill.map(|c| Action::Kill { id: c.id.clone(), name: c.name.clone() }));
        return true;
    }
    if facts.bringing_up {
        return true;
    }
    if let Some(until) = later(facts.crash_waits.get(&asking.name), facts.now) {
        plan.crash_looping.insert(asking.name.clone());
        plan.wake(until);
        return true;
    }
    let others = facts.containers.iter().filter(own).filter(|c| c.id != asking.id).map(|c| c.id.clone());
    let ids = others.chain([asking.id.clone()]).collect();
    plan.actions.push(Action::Reset { ids, asking: asking.name.clone() });
    true
}

/// The container of the newest sandbox whose end asks for it.
fn asking<'a>(facts: &Facts<'a>) -> Option<&'a ContainerStatus> {
    let asks = |c: &&ContainerStatus| c.state == ContainerState::Exited;
    let ended = facts.wanted.members.iter().filter_map(|m| Some((m, facts.current(m.name()).filter(asks)?)));
    ended.filter(|(m, c)| m.restarts_all_after(c.exit_code.unwrap_or(0))).map(|(_, c)| c).next()
}
