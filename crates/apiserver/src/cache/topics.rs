//! Who waits for which events. An event is handed to those whom it can concern, by namespace, by key and by the fields that
//! watchers select by (`spec.nodeName`): a thousand watchers of other nodes' pods cost a pod's change nothing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use machinery::Entry;
use resources::SelectableField;
use tokio::sync::watch;

use super::ring::{Changed, Ring};

/// The narrowest index under which all that a watcher selects is found.
#[derive(Debug, Clone)]
pub(crate) enum Topic {
    /// All of the resource.
    All,
    /// Keys that start so.
    Namespace(String),
    /// One key.
    Key(String),
    /// Objects with a value in a field.
    Field(SelectableField, String),
}

/// The events of one topic that has watchers.
pub(crate) struct TopicRing {
    ring: Mutex<Ring>,
    /// Wakes the watchers.
    changed: watch::Sender<()>,
    /// Has events that its watchers were not woken for.
    is_dirty: AtomicBool,
    watchers: AtomicUsize,
}

impl TopicRing {
    fn new(after: u64) -> Arc<Self> {
        Arc::new(Self {
            ring: Mutex::new(Ring::new(after)),
            changed: watch::Sender::new(()),
            is_dirty: AtomicBool::new(false),
            watchers: AtomicUsize::new(0),
        })
    }

    pub(crate) fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

type Rings = HashMap<String, Arc<TopicRing>>;

/// The topics of one resource that have watchers.
#[derive(Default)]
pub(crate) struct Topics {
    keys: Rings,
    namespaces: Rings,
    fields: Vec<(SelectableField, Rings)>,
    dirty: Vec<Arc<TopicRing>>,
}

impl Topics {
    /// The ring of a topic, which begins after `newest` when it is new; `None` for all.
    pub(crate) fn join(&mut self, topic: &Topic, newest: u64) -> Option<Arc<TopicRing>> {
        let (rings, value) = self.rings(topic)?;
        let ring = match rings.get(value) {
            Some(ring) => ring.clone(),
            None => rings.entry(value.clone()).or_insert(TopicRing::new(newest)).clone(),
        };
        ring.watchers.fetch_add(1, Ordering::Relaxed);
        Some(ring)
    }

    /// Forgets a topic that its last watcher leaves.
    pub(crate) fn leave(&mut self, topic: &Topic, ring: &TopicRing) {
        if ring.watchers.fetch_sub(1, Ordering::Relaxed) > 1 {
            return;
        }
        if let Some((rings, value)) = self.rings(topic) {
            rings.remove(value);
        }
        self.fields.retain(|(_, rings)| !rings.is_empty());
    }

    fn rings<'a, 'b>(&'a mut self, topic: &'b Topic) -> Option<(&'a mut Rings, &'b String)> {
        match topic {
            Topic::All => None,
            Topic::Namespace(prefix) => Some((&mut self.namespaces, prefix)),
            Topic::Key(key) => Some((&mut self.keys, key)),
            Topic::Field(field, value) => {
                let known = self.fields.iter().position(|(f, _)| f.name == field.name);
                let at = known.unwrap_or_else(|| {
                    self.fields.push((field.clone(), Rings::new()));
                    self.fields.len() - 1
                });
                Some((&mut self.fields[at].1, value))
            }
        }
    }

    /// Hands an event to whom it can concern.
    pub(crate) fn tell(&mut self, event: &Arc<Changed>) {
        for ring in self.concerned(event) {
            ring.ring().push(event.clone());
            if !ring.is_dirty.swap(true, Ordering::AcqRel) {
                self.dirty.push(ring);
            }
        }
    }

    /// Takes an event back which the resource's ring does not hold any more.
    pub(crate) fn forget(&mut self, event: &Changed) {
        for ring in self.concerned(event) {
            ring.ring().forget(event.revision);
        }
    }

    fn concerned(&self, event: &Changed) -> Vec<Arc<TopicRing>> {
        let mut concerned = Vec::new();
        if !self.keys.is_empty() {
            concerned.extend(self.keys.get(&*event.key).cloned());
        }
        if !self.namespaces.is_empty() {
            let end = event.key.rfind('/').map_or(0, |slash| slash + 1);
            concerned.extend(self.namespaces.get(&event.key[..end]).cloned());
        }
        for (field, rings) in &self.fields {
            let value = |entry: &Option<Arc<Entry>>| entry.as_ref().map(|e| field.value.of(e.tree()));
            let (old, new) = (value(&event.old), value(&event.new));
            concerned.extend(new.as_ref().and_then(|new| rings.get(new)).cloned());
            if old != new {
                concerned.extend(old.as_ref().and_then(|old| rings.get(old)).cloned());
            }
        }
        concerned
    }

    /// Wakes those who were handed something.
    pub(crate) fn announce(&mut self) {
        for ring in self.dirty.drain(..) {
            ring.is_dirty.store(false, Ordering::Release);
            ring.changed.send_replace(());
        }
    }

    /// All rings start anew after a revision.
    pub(crate) fn restart(&mut self, revision: u64) {
        let fields = self.fields.iter().flat_map(|(_, rings)| rings.values());
        for ring in self.keys.values().chain(self.namespaces.values()).chain(fields) {
            *ring.ring() = Ring::new(revision);
            ring.changed.send_replace(());
        }
    }

    /// Topics that have watchers.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.namespaces.len() + self.fields.iter().map(|(_, rings)| rings.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> SelectableField {
        SelectableField::new("spec.nodeName", |tree| tree.str_at(&["spec", "nodeName"]).unwrap_or_default().to_owned())
    }

    fn pod(node: &str) -> Option<Arc<Entry>> {
        let json = format!(r#"{{"spec":{{"nodeName":"{node}"}}}}"#);
        Some(Arc::new(Entry::from_bytes(1, json.into())))
    }

    #[test]
    fn events_reach_those_whom_they_concern() {
        let mut topics = Topics::default();
        let names = [
            Topic::Field(node(), "n1".into()),
            Topic::Field(node(), String::new()),
            Topic::Field(node(), "n2".into()),
            Topic::Namespace("/registry/pods/a/".into()),
            Topic::Key("/registry/pods/a/p".into()),
            Topic::Key("/registry/pods/a/q".into()),
        ];
        let rings: Vec<_> = names.iter().map(|topic| topics.join(topic, 1).unwrap()).collect();
        assert!(topics.join(&Topic::All, 1).is_none());
        let mut seen = rings[0].subscribe();
        let mut tell = |revision, key: &str, old, new| {
            topics.tell(&Arc::new(Changed::new(revision, key.into(), old, new)));
        };
        tell(2, "/registry/pods/a/p", None, pod(""));
        tell(3, "/registry/pods/a/p", pod(""), pod("n1"));
        tell(4, "/registry/pods/b/p", None, pod("n1"));
        tell(5, "/registry/pods/a/p", pod("n1"), None);
        let told = |ring: &TopicRing| -> Vec<u64> {
            ring.ring().since(1).unwrap_or_default().iter().map(|event| event.revision).collect()
        };
        let all: Vec<_> = rings.iter().map(|ring| told(ring)).collect();
        assert_eq!(all, [vec![3, 4, 5], vec![2, 3], vec![], vec![2, 3, 5], vec![2, 3, 5], vec![]]);
        assert!(!seen.has_changed().unwrap());
        topics.announce();
        assert!(seen.has_changed().unwrap());
        seen.mark_unchanged();
        topics.announce();
        assert!(!seen.has_changed().unwrap());
        topics.forget(&Changed::new(3, "/registry/pods/a/p".into(), pod(""), pod("n1")));
        assert!(rings[0].ring().since(2).is_none() && rings[2].ring().since(1).is_some());
        assert_eq!(told(&rings[4]).len(), 0);
        topics.restart(9);
        assert!(rings.iter().all(|ring| ring.ring().since(8).is_none()));
        for (topic, ring) in names.iter().zip(rings) {
            topics.leave(topic, &ring);
        }
        assert_eq!((topics.len(), topics.fields.len()), (0, 0));
    }
}
