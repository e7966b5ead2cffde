//! What bringing the pod up has led to: its volumes, its sandbox, its containers, or why not.

use super::*;

/// How long a failed pull shows as such before it shows as a back-off.
const PULL_FAILURE_SHOWN: Duration = Duration::from_secs(2);
/// How long a container that cannot be configured waits.
const CONFIG_WAIT: Duration = Duration::from_secs(5);
/// How long a name rests that the runtime still holds, and when it is given up.
const BUSY_WAIT: Duration = Duration::from_millis(500);
const HELD_MAX: Duration = Duration::from_secs(10);

impl Worker {
    pub(super) fn mounted(&mut self, result: Result<BTreeMap<String, Mounted>, String>) {
        self.bringing_up = false;
        let now = seams::clock::now();
        match result {
            Ok(mounts) => {
                self.volume_failures = 0;
                // What changed while they were mounted is asked for anew.
                self.refresh_at = mounts.values().filter_map(|m| m.refresh_at).chain(self.refresh_at).min();
                self.mounts = Arc::new(mounts);
                self.volumes = Volumes::Mounted;
            }
            Err(message) => {
                self.agent.event(&self.wanted.reference(), EventType::Warning, "FailedMount", message);
                let wait = backoff(Duration::from_millis(500), self.volume_failures, Duration::from_secs(122));
                self.volume_failures += 1;
                match self.volumes {
                    // A refresh failed: running pods keep what they have.
                    Volumes::Mounted => self.refresh_at = Some(now + wait),
                    _ => self.volumes = Volumes::Failed(now + wait),
                }
            }
        }
    }

    pub(super) async fn made_sandbox(&mut self, result: Result<SandboxStatus, RuntimeError>) {
        self.bringing_up = false;
        match result {
            Ok(sandbox) => {
                self.sandbox_failures = 0;
                self.sandbox_wait = None;
                self.sandboxes.retain(|s| s.id != sandbox.id);
                self.sandboxes.insert(0, sandbox);
            }
            Err(error) => {
                let text = format!("Failed to create pod sandbox: {error}");
                self.agent.event(&self.wanted.reference(), EventType::Warning, "FailedCreatePodSandBox", text);
                let wait = match error {
                    RuntimeError::Busy(_) => BUSY_WAIT,
                    _ => backoff(Duration::from_millis(500), self.sandbox_failures, Duration::from_secs(60)),
                };
                self.sandbox_failures += 1;
                self.sandbox_wait = Some(seams::clock::now() + wait);
                // It may have left one, which keeps its attempt.
                self.relist().await;
            }
        }
    }

    pub(super) async fn started(&mut self, name: String, result: Result<ContainerStatus, StartError>) {
        let now = seams::clock::now();
        match result {
            Ok(status) => {
                self.held.remove(&name);
                self.failures.remove(&name);
                self.actuated(&name);
                self.reset.remove(&name);
                self.start_waits.remove(&name);
                self.pulls.remove(&name);
                self.keep(status).await;
                self.collect_garbage();
            }
            Err(error) => {
                if error.fault == Fault::Pull {
                    let next = Backoff::next(self.pulls.get(&name).map(|(b, _)| *b), now);
                    self.start_waits.insert(name.clone(), now + next.wait);
                    self.pulls.insert(name.clone(), (next, now + PULL_FAILURE_SHOWN));
                } else {
                    self.pulls.remove(&name);
                    let wait = if error.fault == Fault::Busy { BUSY_WAIT } else { CONFIG_WAIT };
                    if error.fault != Fault::Busy {
                        self.held.remove(&name);
                    }
                    self.start_waits.insert(name.clone(), now + wait);
                }
                if let Some(status) = error.status {
                    if status.state != ContainerState::Created {
                        self.start_waits.remove(&name);
                    }
                    self.keep(status).await;
                }
                let waiting = Waiting { reason: error.reason.to_owned(), message: error.message };
                self.failures.insert(name.clone(), waiting);
                // One that was made for it may still be there, and hold its name.
                self.relist().await;
                if error.fault == Fault::Busy {
                    self.give_up(name, now);
                }
            }
        }
    }

    /// The runtime holds the name of a container's next start: after a while it becomes the attempt after that, as upstream
    /// makes it at once.
    fn give_up(&mut self, name: String, now: Timestamp) {
        let since = *self.held.entry(name.clone()).or_insert(now);
        if now.duration_since(since) >= HELD_MAX.try_into().unwrap_or_default() {
            self.held.remove(&name);
            let attempts = self.earlier.entry(name.clone()).or_default();
            *attempts = plan::next_attempt(plan::latest(&self.containers, &name), *attempts).0 + 1;
        }
    }
}
