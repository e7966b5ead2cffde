//! What a worker says of its pod: the status, and why containers wait.

use super::*;
use crate::meter;
use crate::status::Seen;

/// How long a container may be away for one of another image before the status says so.
const REPLACED: Duration = Duration::from_secs(1);

impl Worker {
    /// Until when the status stays as it is, because a container just gave way to its successor, which is being started:
    /// upstream's agent does both at one go, and its conformance suite expects the pod to be ready meanwhile.
    pub(super) fn replaced_until(&self, now: Timestamp) -> Option<Timestamp> {
        let members = self.wanted.members.iter().filter(|m| !self.failures.contains_key(m.name()));
        let replaced = members.filter_map(|member| {
            // A successor that was made but does not run yet changes nothing.
            let begun = |c: &&ContainerStatus| c.name == member.name() && c.state != ContainerState::Created;
            let last = self.containers.iter().filter(begun).max_by_key(|c| (c.attempt, c.created_at))?;
            let gone = last.state == ContainerState::Exited && plan::gives_way(member, last);
            Some(last.finished_at.filter(|_| gone)? + REPLACED)
        });
        replaced.filter(|at| *at > now && self.ending.is_none()).max()
    }

    /// Computes the status and has it written when it changed.
    pub(super) fn report(&mut self, plan: &Plan) {
        let now = seams::clock::now();
        self.show_back_offs(now);
        let waiting = self.waiting(plan);
        let progress = self.resize_progress();
        let version = self.agent.options.runtime.version();
        let status = crate::status::status(&Seen {
            wanted: &self.wanted,
            sandboxes: &self.sandboxes,
            containers: &self.containers,
            health: &self.health,
            waiting: &waiting,
            last_words: &self.last_words,
            devices: &self.agent.managers.health(&self.wanted),
            reset: &self.reset,
            restarting: plan.restarting.as_deref(),
            pending: self.pending.as_ref(),
            progress: progress.as_ref(),
            actuated: &self.resizing.actuated,
            failure: self.failure.as_ref(),
            over: self.over && !self.bringing_up || plan.gone,
            before: &self.reported,
            host_ip: Some(self.agent.options.node_ip),
            runtime: version.split("://").next().unwrap_or_default(),
            started: self.started,
            now: seams::clock::now_seconds(),
        });
        if status != self.reported {
            let phase = |status: &PodStatus| status.phase.clone().unwrap_or_default();
            if (phase(&self.reported).as_str(), phase(&status).as_str()) == ("Pending", "Running") {
                self.agent.meter.took(&meter::POD_START, &[], self.seen.elapsed());
            }
            self.reported = status;
            if !self.removed {
                self.writer.write(self.reported.clone());
            }
        }
    }

    fn waiting(&mut self, plan: &Plan) -> BTreeMap<String, Waiting> {
        let mut waiting = BTreeMap::new();
        for (name, failure) in &self.failures {
            let last = plan::latest(&self.containers, name).filter(|c| c.state == ContainerState::Exited);
            let again =
                |code: Option<i32>| self.wanted.member(name).is_some_and(|m| m.restarts_after(code.unwrap_or(1)));
            if self.ending.is_none() && last.is_none_or(|c| again(c.exit_code)) {
                waiting.insert(name.clone(), failure.clone());
            }
        }
        for name in &plan.crash_looping {
            let wait = self.crashes.get(name).map_or(CRASH_WAIT_MIN, |b| b.wait);
            let full = self.wanted.full_name();
            let message = format!("back-off {} restarting failed container={name} pod={full}", go_duration(wait));
            waiting.insert(name.clone(), Waiting { reason: "CrashLoopBackOff".to_owned(), message });
            let attempt = plan::latest(&self.containers, name).map_or(0, |c| c.attempt);
            if self.told.insert(name.clone(), attempt) != Some(attempt) {
                let text = format!("Back-off restarting failed container {name} in pod {full}");
                let reference = self.wanted.member_reference(name);
                self.agent.event(&reference, EventType::Warning, "BackOff", text);
            }
        }
        waiting
    }

    /// A pull that failed a while ago shows as a back-off.
    fn show_back_offs(&mut self, now: Timestamp) {
        for (name, (_, at)) in &self.pulls {
            let Some(failure) = self.failures.get_mut(name).filter(|f| f.reason != "ImagePullBackOff") else {
                continue;
            };
            let image = self.wanted.member(name).and_then(|m| m.spec.image.clone()).unwrap_or_default();
            if *at <= now {
                let reference = self.wanted.member_reference(name);
                let text = format!("Back-off pulling image {image:?}");
                self.agent.event(&reference, EventType::Normal, "BackOff", text.clone());
                self.agent.event(&reference, EventType::Warning, "Failed", "Error: ImagePullBackOff");
                failure.message = format!("{text}: {}: {}", failure.reason, failure.message);
                failure.reason = "ImagePullBackOff".to_owned();
            }
        }
    }
}
