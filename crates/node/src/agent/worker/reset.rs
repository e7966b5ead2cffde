//! All containers of a pod start anew (KEP-5532).

use super::*;

impl Worker {
    /// Kills a container because all start anew.
    pub(super) fn kill(&mut self, id: String, name: &str, now: Timestamp) {
        let reference = self.wanted.member_reference(name);
        let text = format!("Container {name} will be restarted with all others");
        self.agent.event(&reference, EventType::Normal, "Killing", text);
        let grace = Duration::ZERO;
        self.stopping.insert(id.clone(), Stopping { since: now, grace, hook: Hook::Done, kill_at: None });
        self.signal(id, grace, now);
    }

    /// Removes ended containers one after the other, and remembers how often they ran.
    pub(super) fn reset(&mut self, ids: Vec<String>, asking: &str, now: Timestamp) {
        self.reset_told = false;
        let next = Backoff::next(self.crashes.get(asking).copied(), now);
        self.crashes.insert(asking.to_owned(), next);
        for container in self.containers.iter().filter(|c| ids.contains(&c.id)) {
            let attempts = self.earlier.entry(container.name.clone()).or_default();
            *attempts = (*attempts).max(container.attempt + 1);
            self.reset.insert(container.name.clone());
        }
        self.containers.retain(|c| !ids.contains(&c.id));
        let (runtime, notes) = (self.agent.options.runtime.clone(), self.notes.clone());
        self.spawn_up(async move {
            for id in ids {
                if let Err(error) = runtime.remove_container(&id).await {
                    tracing::warn!(container = id, %error, "a container that starts anew was not removed");
                }
            }
            let _ = notes.send(Note::BroughtUp).await;
            let _ = notes.send(Note::Relist).await;
        });
    }
}
