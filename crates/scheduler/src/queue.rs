//! Pods that wait: those to be tried next (by priority, then age), those that back off, and those that no node can take now.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cluster::PodInfo;
use crate::framework::Event;
use crate::plugins::PLUGINS;

/// Waits after failures, doubling.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A pod that nothing seems to help is tried again after this long anyway.
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// Where a pod waits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// To be tried, in this order.
    Active((Reverse<i32>, u64)),
    /// Backing off until then.
    Backoff((Instant, u64)),
    /// Until something changes that may help against these plugins.
    Unschedulable { until: (Instant, u64), rejected_by: BTreeSet<&'static str> },
    /// Until its gates are opened.
    Gated,
    /// Being tried right now.
    Tried,
}

struct Waiting {
    pod: Arc<PodInfo>,
    place: Place,
    attempts: u32,
    /// When its back-off ends.
    rested: Instant,
    /// Order of arrival.
    number: u64,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    waiting: HashMap<String, Waiting>,
    active: BTreeMap<(Reverse<i32>, u64), String>,
    backoff: BTreeMap<(Instant, u64), String>,
    unschedulable: BTreeMap<(Instant, u64), String>,
    arrivals: u64,
}

fn is_gated(pod: &PodInfo) -> bool {
    pod.pod.spec.as_ref().is_some_and(|s| s.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()))
}

impl Queue {
    /// A pod without a node is new or changed.
    pub fn set(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        let Some(known) = self.waiting.get_mut(&uid) else {
            self.arrivals += 1;
            let (place, number) = (Place::Tried, self.arrivals);
            let gated = is_gated(&pod);
            self.waiting.insert(uid.clone(), Waiting { pod, place, attempts: 0, rested: Instant::now(), number });
            return self.put(&uid, if gated { Wish::Gated } else { Wish::Active });
        };
        let changed = known.pod.pod.spec != pod.pod.spec || known.pod.pod.metadata.labels != pod.pod.metadata.labels;
        let (opened, unschedulable) =
            (known.place == Place::Gated && !is_gated(&pod), matches!(known.place, Place::Unschedulable { .. }));
        known.pod = pod;
        // Its own status says nothing new; a changed spec may fit now.
        if opened || (unschedulable && changed) {
            self.put(&uid, Wish::Active);
        }
    }

    /// A pod has a node, or is gone.
    pub fn remove(&mut self, uid: &str) {
        self.take_out(uid);
        self.waiting.remove(uid);
    }

    fn take_out(&mut self, uid: &str) {
        match self.waiting.get(uid).map(|w| w.place.clone()) {
            Some(Place::Active(at)) => drop(self.active.remove(&at)),
            Some(Place::Backoff(at)) => drop(self.backoff.remove(&at)),
            Some(Place::Unschedulable { until, .. }) => drop(self.unschedulable.remove(&until)),
            _ => {}
        }
    }

    fn put(&mut self, uid: &str, wish: Wish) {
        self.take_out(uid);
        let Some(waiting) = self.waiting.get_mut(uid) else { return };
        waiting.place = match wish {
            Wish::Active => {
                let at = (Reverse(waiting.pod.priority), waiting.number);
                self.active.insert(at, uid.to_owned());
                Place::Active(at)
            }
            Wish::Backoff => {
                let at = (waiting.rested, waiting.number);
                self.backoff.insert(at, uid.to_owned());
                Place::Backoff(at)
            }
            Wish::Unschedulable(rejected_by) => {
                let until = (Instant::now() + UNSCHEDULABLE_MAX, waiting.number);
                self.unschedulable.insert(until, uid.to_owned());
                Place::Unschedulable { until, rejected_by }
            }
            Wish::Gated => Place::Gated,
        };
    }

    /// The next pod to try. It stays known until it is removed or put back.
    pub fn pop(&mut self) -> Option<Arc<PodInfo>> {
        self.wake_rested();
        let (_, uid) = self.active.pop_first()?;
        let waiting = self.waiting.get_mut(&uid)?;
        waiting.place = Place::Tried;
        waiting.attempts += 1;
        Some(waiting.pod.clone())
    }

    /// Until when nothing happens by time alone; `None` when nothing waits for time.
    pub fn next_moment(&self) -> Option<Instant> {
        let firsts = [&self.backoff, &self.unschedulable].map(|m| m.keys().next().map(|(at, _)| *at));
        firsts.into_iter().flatten().min()
    }

    fn wake_rested(&mut self) {
        let now = Instant::now();
        let due = |waiting: &BTreeMap<(Instant, u64), String>| -> Vec<String> {
            waiting.iter().take_while(|((at, _), _)| *at <= now).map(|(_, uid)| uid.clone()).collect()
        };
        let (rested, forgotten) = (due(&self.backoff), due(&self.unschedulable));
        rested.iter().chain(&forgotten).for_each(|uid| self.put(uid, Wish::Active));
    }

    fn rest(&mut self, uid: &str) {
        if let Some(waiting) = self.waiting.get_mut(uid) {
            let doublings = waiting.attempts.saturating_sub(1).min(10);
            waiting.rested = Instant::now() + (BACKOFF_MIN * 2u32.pow(doublings)).min(BACKOFF_MAX);
        }
    }

    /// No node can take the pod that was tried.
    pub fn unschedulable(&mut self, uid: &str, rejected_by: BTreeSet<&'static str>) {
        self.rest(uid);
        self.put(uid, Wish::Unschedulable(rejected_by));
    }

    /// Something went wrong with the pod that was tried; it is tried again after a rest.
    pub fn failed(&mut self, pod: Arc<PodInfo>) {
        let uid = pod.uid.clone();
        if !self.waiting.contains_key(&uid) {
            self.set(pod);
        }
        self.rest(&uid);
        self.put(&uid, Wish::Backoff);
    }

    /// The cluster changed: pods that the change may help are tried again, after their rest. After its first try a pod needs
    /// none: a node that is not ready yet when a pod comes takes it as soon as it is. DIVERGES: upstream asks for no rest at all
    /// while no other pod is to be tried (KEP-5142).
    pub fn cluster_changed(&mut self, event: Event) {
        let helps = |w: &&Waiting| match &w.place {
            Place::Unschedulable { rejected_by, .. } => {
                rejected_by.is_empty() || PLUGINS.iter().any(|p| rejected_by.contains(p.name) && (p.helped_by)(event))
            }
            _ => false,
        };
        let now = Instant::now();
        let waiting = self.unschedulable.values().filter_map(|uid| self.waiting.get(uid));
        let helped: Vec<(String, bool)> =
            waiting.filter(helps).map(|w| (w.pod.uid.clone(), w.attempts < 2 || w.rested <= now)).collect();
        for (uid, rested) in helped {
            self.put(&uid, if rested { Wish::Active } else { Wish::Backoff });
        }
    }
}

/// Where a pod should wait.
enum Wish {
    Active,
    Backoff,
    Unschedulable(BTreeSet<&'static str>),
    Gated,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str, priority: i32) -> Arc<PodInfo> {
        let pod = serde_json::json!({"metadata": {"uid": uid}, "spec": {"priority": priority, "containers": []}});
        Arc::new(PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap())))
    }

    fn next(queue: &mut Queue) -> Option<String> {
        queue.pop().map(|p| p.uid.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn important_pods_go_first_then_older_ones() {
        let mut queue = Queue::default();
        for (uid, priority) in [("a", 0), ("b", 10), ("c", 0)] {
            queue.set(pod(uid, priority));
        }
        queue.remove("c");
        queue.set(pod("d", 0));
        let order: Vec<_> = std::iter::from_fn(|| next(&mut queue)).collect();
        assert_eq!(order, ["b", "a", "d"]);
    }

    #[tokio::test(start_paused = true)]
    async fn gated_pods_wait_until_their_gates_open() {
        let mut queue = Queue::default();
        let gated = serde_json::json!({"metadata": {"uid": "a"},
            "spec": {"containers": [], "schedulingGates": [{"name": "example.com/later"}]}});
        queue.set(Arc::new(PodInfo::new(Arc::new(serde_json::from_value(gated).unwrap()))));
        tokio::time::advance(UNSCHEDULABLE_MAX).await;
        queue.cluster_changed(Event::NodeAdded);
        assert_eq!(next(&mut queue), None);
        queue.set(pod("a", 0));
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_help_wakes_a_pod() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0));
        queue.pop();
        queue.unschedulable("a", ["NodeName"].into());
        tokio::time::advance(BACKOFF_MIN).await;
        queue.cluster_changed(Event::PodRemoved);
        assert_eq!(next(&mut queue), None);
        queue.cluster_changed(Event::NodeAdded);
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_tried_once_is_tried_again_without_a_rest() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0));
        for rests in [false, true] {
            queue.pop().unwrap();
            queue.unschedulable("a", ["TaintToleration"].into());
            queue.cluster_changed(Event::NodeChanged);
            assert_eq!(queue.active.is_empty(), rests);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rests_grow_and_what_nothing_helps_is_tried_anyway() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0));
        for wait in [1, 2, 4, 8, 10, 10] {
            let tried = queue.pop().unwrap();
            queue.failed(tried);
            tokio::time::advance(Duration::from_secs(wait) - Duration::from_millis(1)).await;
            assert_eq!(next(&mut queue), None, "{wait} s");
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        queue.pop().unwrap();
        queue.unschedulable("a", ["NodeName"].into());
        tokio::time::advance(UNSCHEDULABLE_MAX).await;
        assert_eq!(next(&mut queue).as_deref(), Some("a"));
    }
}
