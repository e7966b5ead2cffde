//! What a plan is made from, and what it says to do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use runtime::{ContainerState, ContainerStatus, SandboxState, SandboxStatus};

use crate::wanted::Wanted;

/// What the probes of one container say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// The startup probe's verdict; `None` as long as there is none.
    pub startup: Option<bool>,
    /// The verdict on traffic: the readiness probe's, or without one whether the services' ports listen. `None` as long as
    /// there is none; a container without a probe is ready then.
    pub readiness: Option<bool>,
    /// Whether it was decided if those ports are waited for.
    pub listening_asked: bool,
    /// The liveness probe's verdict.
    pub liveness: Option<bool>,
    /// The postStart hook still runs.
    pub post_start_running: bool,
}

/// How far the end of one container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopping {
    /// When it was decided.
    pub since: Timestamp,
    /// How long it gets, hook included.
    pub grace: Duration,
    /// Where its preStop hook stands.
    pub hook: Hook,
    /// When the kill comes, once the stop signal was sent.
    pub kill_at: Option<Timestamp>,
}

/// Where a preStop hook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Not started.
    Waiting,
    /// Started, not over.
    Running,
    /// Over, or there is none.
    Done,
}

/// Why and since when the whole pod ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When it was decided.
    pub since: Timestamp,
    /// How long containers get.
    pub grace: Duration,
}

/// Where the pod's volumes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    /// Not mounted.
    Missing,
    /// All mounted.
    Mounted,
    /// Mounting failed; again at this time.
    Failed(Timestamp),
}

/// All that a plan depends on.
pub struct Facts<'a> {
    /// The pod.
    pub wanted: &'a Wanted,
    /// Its sandboxes, newest attempt first.
    pub sandboxes: &'a [SandboxStatus],
    /// Its containers in all sandboxes.
    pub containers: &'a [ContainerStatus],
    /// What probes say, by container id.
    pub health: &'a BTreeMap<String, Health>,
    /// Containers on their way out, by container id.
    pub stopping: &'a BTreeMap<String, Stopping>,
    /// The attempts with which containers go on that ran before the runtime forgot them (a reboot), by name.
    pub earlier: &'a BTreeMap<String, u32>,
    /// Something that brings the pod up (mounts, a sandbox, starts) is under way.
    pub bringing_up: bool,
    /// A sandbox is being stopped.
    pub stopping_sandbox: bool,
    /// Until when each container must wait after crashes, by name.
    pub crash_waits: &'a BTreeMap<String, Timestamp>,
    /// Until when a container's start must wait after a failed start or pull, by name.
    pub start_waits: &'a BTreeMap<String, Timestamp>,
    /// Until when a new sandbox must wait after a failed one.
    pub sandbox_wait: Option<Timestamp>,
    /// Where the volumes stand.
    pub volumes: Volumes,
    /// Set when the pod ends.
    pub ending: Option<&'a Ending>,
    /// Now.
    pub now: Timestamp,
}

impl<'a> Facts<'a> {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&'a SandboxStatus> {
        self.sandboxes.first()
    }

    /// The newest sandbox, when it can be used.
    pub fn ready_sandbox(&self) -> Option<&'a SandboxStatus> {
        self.sandbox().filter(|s| s.state == SandboxState::Ready)
    }

    /// The newest container of this name in any sandbox.
    pub fn latest(&self, name: &str) -> Option<&'a ContainerStatus> {
        latest(self.containers, name)
    }

    /// The newest container of this name in the newest sandbox.
    pub fn current(&self, name: &str) -> Option<&'a ContainerStatus> {
        let sandbox = self.sandbox()?;
        self.containers.iter().filter(|c| c.name == name && c.sandbox_id == sandbox.id).max_by_key(|c| c.attempt)
    }

    /// What the probes say of a container.
    pub fn health(&self, id: &str) -> Health {
        self.health.get(id).copied().unwrap_or_default()
    }

    /// Containers whose process may run.
    pub fn alive(&self) -> impl Iterator<Item = &'a ContainerStatus> {
        self.containers.iter().filter(|c| is_alive(c))
    }
}

/// Whether its process may run.
pub fn is_alive(container: &ContainerStatus) -> bool {
    container.state == ContainerState::Running
}

/// The newest container of this name.
pub fn latest<'a>(containers: &'a [ContainerStatus], name: &str) -> Option<&'a ContainerStatus> {
    containers.iter().filter(|c| c.name == name).max_by_key(|c| (c.attempt, c.created_at))
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Mount the volumes.
    MountVolumes,
    /// Make a sandbox.
    CreateSandbox {
        /// Its attempt.
        attempt: u32,
        /// It replaces one that broke.
        replaces: bool,
    },
    /// Take a sandbox down.
    StopSandbox {
        /// Which.
        id: String,
    },
    /// Make and start a container.
    Start {
        /// Which.
        name: String,
        /// Its attempt: how many ended before.
        attempt: u32,
        /// It crashed before, so the next wait grows.
        restart: bool,
        /// The container that was made for the same attempt and never ran: it goes before.
        replaces: Option<String>,
    },
    /// Kill a container at once, without its hook.
    Kill {
        /// Which.
        id: String,
        /// Its name.
        name: String,
    },
    /// Remove all these ended containers in this order, so that the pod starts from its beginning.
    Reset {
        /// Which.
        ids: Vec<String>,
        /// The container that asked for it.
        asking: String,
    },
    /// Decide that a container ends.
    BeginStop {
        /// Which.
        id: String,
        /// Its name.
        name: String,
        /// How long it gets.
        grace: Duration,
        /// The text of the Killing event.
        message: String,
    },
    /// Run its preStop hook.
    RunHook {
        /// Which.
        id: String,
        /// Its name.
        name: String,
        /// How long it may take.
        grace: Duration,
    },
    /// Send the stop signal; kill after `grace`.
    Signal {
        /// Which.
        id: String,
        /// How long until the kill.
        grace: Duration,
    },
}

/// What to do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order; starts happen one after the other.
    pub actions: Vec<Action>,
    /// When to plan again even if nothing happens.
    pub wake_at: Option<Timestamp>,
    /// Containers that wait after crashes.
    pub crash_looping: BTreeSet<String>,
    /// All containers are on their way to start anew, and why.
    pub restarting: Option<String>,
    /// All containers have ended and none will start: the pod as a whole is to end.
    pub over: bool,
    /// The pod ends and nothing of it is left running.
    pub gone: bool,
}

impl Plan {
    /// Plans again at `at`, or earlier.
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}
