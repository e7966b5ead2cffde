//! What a controller has asked for and not seen yet, so that it does not ask again (upstream's ControllerExpectations).
//!
//! A copy lags behind our own writes by a moment. Between writing and seeing, a reconcile would count too few or too many.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use client::ObjectKey;
use tokio::time::Instant;

/// After this long, what was not seen is no longer waited for.
const EXPECTATION_TIMEOUT: Duration = Duration::from_secs(300);

#[derive(Default)]
struct Awaited {
    creations: i64,
    deletions: HashSet<String>,
    since: Option<Instant>,
}

/// Awaited creations and deletions by owner.
#[derive(Default)]
pub struct Expectations {
    awaited: Mutex<HashMap<ObjectKey, Awaited>>,
}

impl Expectations {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<ObjectKey, Awaited>) -> T) -> T {
        act(&mut self.awaited.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// Whether everything asked for was seen (or waited for long enough).
    pub fn are_met(&self, owner: &ObjectKey) -> bool {
        self.with(|all| {
            all.get(owner).is_none_or(|a| {
                let met = a.creations <= 0 && a.deletions.is_empty();
                met || a.since.is_some_and(|since| since.elapsed() > EXPECTATION_TIMEOUT)
            })
        })
    }

    /// From now on, `count` creations are awaited.
    pub fn expect_creations(&self, owner: &ObjectKey, count: usize) {
        let awaited = Awaited { creations: count as i64, since: Some(Instant::now()), ..Awaited::default() };
        self.with(|all| all.insert(owner.clone(), awaited));
    }

    /// From now on, the deletion of these objects (by UID) is awaited.
    pub fn expect_deletions(&self, owner: &ObjectKey, uids: impl IntoIterator<Item = String>) {
        let deletions = uids.into_iter().collect();
        let awaited = Awaited { deletions, since: Some(Instant::now()), ..Awaited::default() };
        self.with(|all| all.insert(owner.clone(), awaited));
    }

    /// A creation was seen, or failed.
    pub fn creation_seen(&self, owner: &ObjectKey) {
        self.with(|all| {
            if let Some(awaited) = all.get_mut(owner) {
                awaited.creations -= 1;
            }
        });
    }

    /// A deletion was seen (or begun, or failed).
    pub fn deletion_seen(&self, owner: &ObjectKey, uid: &str) {
        self.with(|all| {
            if let Some(awaited) = all.get_mut(owner) {
                awaited.deletions.remove(uid);
            }
        });
    }

    /// Nothing is awaited for an owner that is gone.
    pub fn forget(&self, owner: &ObjectKey) {
        self.with(|all| all.remove(owner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_never_seen_is_given_up() {
        let (all, owner) = (Expectations::default(), ObjectKey::new("default", "web"));
        all.expect_creations(&owner, 2);
        all.creation_seen(&owner);
        assert!(!all.are_met(&owner));
        tokio::time::advance(EXPECTATION_TIMEOUT + Duration::from_secs(1)).await;
        assert!(all.are_met(&owner));
    }

    #[tokio::test(start_paused = true)]
    async fn deletions_are_awaited_by_uid() {
        let (all, owner) = (Expectations::default(), ObjectKey::new("default", "web"));
        all.expect_deletions(&owner, ["a".to_owned()]);
        all.deletion_seen(&owner, "another");
        assert!(!all.are_met(&owner));
        all.deletion_seen(&owner, "a");
        assert!(all.are_met(&owner));
    }
}
