//! Changes of pods' resources: what of them the node takes, one decision at a time (KEP-1287).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use client::events::EventType;

use super::{Agent, Desired};
use crate::admission::{self, Question};
use crate::allocation::{Allocation, Pending, event_text, order};
use crate::eviction::Pressure;
use crate::lock;
use crate::wanted::Wanted;

/// How often pods that wait are asked again even if nothing changed.
const RETRY: Duration = Duration::from_secs(180);

/// What was given to pods. Its lock is held during a decision, and taken before that of the workers.
#[derive(Default)]
pub struct Allocations {
    /// By UID.
    given: HashMap<String, Allocation>,
    /// All pods of this node are known: before, nobody can say what is free.
    open: bool,
}

impl Agent {
    /// The pod as far as it was given what it asks for. One that was not admitted yet is taken as it is.
    pub(super) fn given(&self, allocations: &mut Allocations, asked: &Arc<Wanted>) -> Arc<Wanted> {
        let uid = asked.uid();
        if !allocations.given.contains_key(uid)
            && let Some(kept) = Allocation::read(&self.pod_dir(uid))
        {
            allocations.given.insert(uid.to_owned(), kept);
        }
        allocations.given.get(uid).map_or_else(|| asked.clone(), |given| given.laid_over(asked))
    }

    /// A pod was admitted: it is given what it asked for.
    pub fn allocate(&self, wanted: &Wanted) {
        let mut allocations = lock(&self.allocations);
        if allocations.given.contains_key(wanted.uid()) {
            return;
        }
        let Some(own) = Allocation::of(wanted) else { return };
        self.keep(&own, wanted);
        // What was asked for since is a change to decide on.
        let workers = lock(&self.workers);
        if let Some(handle) = workers.get(wanted.uid()) {
            handle.desired.send_if_modified(|desired| {
                let given = own.laid_over(&desired.asked);
                let changed = !Arc::ptr_eq(&given, &desired.wanted);
                desired.wanted = given;
                changed
            });
        }
        drop(workers);
        allocations.given.insert(wanted.uid().to_owned(), own);
        self.decide_resizes(&mut allocations);
    }

    fn keep(&self, allocation: &Allocation, wanted: &Wanted) -> bool {
        let written = allocation.write(&self.pod_dir(wanted.uid()));
        if let Err(error) = &written {
            tracing::warn!(pod = wanted.full_name(), %error, "what was allocated to a pod is not kept");
        }
        written.is_ok()
    }

    /// A pod is gone, and with it what it was given.
    pub(super) fn release(&self, uid: &str) {
        let mut allocations = lock(&self.allocations);
        allocations.given.remove(uid);
        self.decide_resizes(&mut allocations);
    }

    /// All pods of this node are known: from here on changes are decided.
    pub(super) fn open_resizes(&self) {
        let mut allocations = lock(&self.allocations);
        allocations.open = true;
        self.decide_resizes(&mut allocations);
    }

    /// Gives pods what they wait for, as far as it fits now.
    pub(super) fn decide_resizes(&self, allocations: &mut Allocations) {
        // An agent that stops loses sight of its pods: that is no room for others.
        if !allocations.open || *self.shutdown.borrow() {
            return;
        }
        let mut asking: Vec<Desired> = {
            let workers = lock(&self.workers);
            let all = workers.values().map(|handle| handle.desired.borrow());
            all.filter(|desired| desired.asks_for_more()).map(|desired| desired.clone()).collect()
        };
        if asking.is_empty() {
            return;
        }
        asking.sort_by_cached_key(|d| order(&d.asked, &d.wanted, d.pending.as_ref().map(|p| p.since)));
        for desired in asking {
            let (pods, pressure) = (self.pods(), Pressure::default());
            let (wanted, machine, taken) = (&desired.asked, &self.machine, &BTreeMap::new());
            let question = Question { wanted, pods: &pods, machine, node: None, pressure, taken };
            match self.managers.refuses_resize(wanted).or_else(|| admission::resize::refusal(&question)) {
                None => self.accept(allocations, &desired),
                Some((reason, message)) => self.put_off(&desired, reason, message),
            }
        }
    }

    fn accept(&self, allocations: &mut Allocations, desired: &Desired) {
        let asked = &desired.asked;
        let Some(own) = Allocation::of(asked).filter(|own| self.keep(own, asked)) else { return };
        allocations.given.insert(asked.uid().to_owned(), own);
        let generation = asked.pod.metadata.generation;
        let text = event_text("started", asked, generation, None);
        self.event(&asked.reference(), EventType::Normal, "ResizeStarted", text);
        self.tell(asked, |desired| {
            desired.wanted = desired.asked.clone();
            desired.pending = None;
            desired.accepted = generation;
        });
    }

    fn put_off(&self, desired: &Desired, reason: &'static str, message: String) {
        let asked = &desired.asked;
        let generation = asked.pod.metadata.generation;
        let since = desired.pending.as_ref().map_or_else(seams::clock::now_seconds, |p| p.since);
        let pending = Pending { reason, message, generation, since };
        if desired.pending.as_ref() == Some(&pending) {
            return;
        }
        let event = if reason == "Infeasible" { "ResizeInfeasible" } else { "ResizeDeferred" };
        let text = event_text(reason, asked, generation, Some(&pending.message));
        self.event(&asked.reference(), EventType::Warning, event, text);
        self.tell(asked, |desired| desired.pending = Some(pending));
    }

    fn tell(&self, asked: &Wanted, change: impl FnOnce(&mut Desired)) {
        if let Some(handle) = lock(&self.workers).get(asked.uid()) {
            handle.desired.send_modify(change);
        }
    }
}

/// Asks pods that wait again, for ever.
pub async fn keep(agent: Arc<Agent>) {
    loop {
        tokio::time::sleep(RETRY).await;
        agent.decide_resizes(&mut lock(&agent.allocations));
    }
}
