//! A queue of keys to work on (client-go's workqueue): each key is there once, and never worked on twice at a time.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::api::Resource;

/// First wait of a failing key; it doubles up to [`BACKOFF_MAX`] (client-go's defaults).
const BACKOFF_MIN: Duration = Duration::from_millis(5);
/// Longest wait of a failing key. client-go waits up to 1,000 s; a cluster that heals should be seen to heal.
/// DIVERGES: 60 s instead of 1,000 s.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Empty for cluster-scoped objects.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// A key of its parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.metadata();
        Self::new(meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

struct State<T> {
    ready: VecDeque<T>,
    /// What stands in `ready`, or must go there once it is done.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    later: BTreeSet<(Instant, T)>,
    failures: HashMap<T, u32>,
    closed: bool,
}

/// A queue of keys. Cheap to clone.
pub struct Queue<T> {
    inner: Arc<(Mutex<State<T>>, Notify)>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<T: Clone + Eq + Hash + Ord> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            later: BTreeSet::new(),
            failures: HashMap::new(),
            closed: false,
        };
        Self { inner: Arc::new((Mutex::new(state), Notify::new())) }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.inner.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Asks for work on `key`, as soon as a worker is free.
    pub fn add(&self, key: T) {
        let mut state = self.state();
        if state.closed || !state.dirty.insert(key.clone()) {
            return;
        }
        if !state.processing.contains(&key) {
            state.ready.push_back(key);
            drop(state);
            self.inner.1.notify_one();
        }
    }

    /// Asks for work on `key` after a while.
    pub fn add_after(&self, key: T, wait: Duration) {
        if wait.is_zero() {
            return self.add(key);
        }
        self.state().later.insert((Instant::now() + wait, key));
        self.inner.1.notify_one();
    }

    /// Asks for work on a key that failed: each time it waits twice as long, until [`Queue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let failures = {
            let mut state = self.state();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        let wait = BACKOFF_MIN.saturating_mul(2u32.saturating_pow(failures - 1)).min(BACKOFF_MAX);
        self.add_after(key, wait);
    }

    /// Says that `key` does well again.
    pub fn forget(&self, key: &T) {
        self.state().failures.remove(key);
    }

    /// How often `key` failed in a row.
    pub fn failures(&self, key: &T) -> u32 {
        self.state().failures.get(key).copied().unwrap_or_default()
    }

    /// The next key to work on; `None` once the queue is closed. The worker calls [`Queue::done`] afterwards.
    pub async fn next(&self) -> Option<T> {
        loop {
            let notified = self.inner.1.notified();
            let due = match self.try_next() {
                Next::Key(key) => return Some(key),
                Next::Closed => return None,
                Next::Wait(due) => due,
            };
            match due {
                Some(due) => tokio::select! {
                    () = notified => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => notified.await,
            }
        }
    }

    fn try_next(&self) -> Next<T> {
        let mut state = self.state();
        if state.closed {
            return Next::Closed;
        }
        let now = Instant::now();
        while state.later.first().is_some_and(|(due, _)| *due <= now) {
            let (_, key) = state.later.pop_first().expect("it was just seen");
            if state.dirty.insert(key.clone()) && !state.processing.contains(&key) {
                state.ready.push_back(key);
            }
        }
        let Some(key) = state.ready.pop_front() else {
            return Next::Wait(state.later.first().map(|(due, _)| *due));
        };
        state.dirty.remove(&key);
        state.processing.insert(key.clone());
        if !state.ready.is_empty() {
            self.inner.1.notify_one();
        }
        Next::Key(key)
    }

    /// Ends the work on `key`; if it was asked for meanwhile, it is ready again.
    pub fn done(&self, key: &T) {
        let mut state = self.state();
        state.processing.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.inner.1.notify_one();
        }
    }

    /// Ends all waiting workers.
    pub fn close(&self) {
        self.state().closed = true;
        self.inner.1.notify_waiters();
        self.inner.1.notify_one();
    }

    /// How many keys are ready.
    pub fn len(&self) -> usize {
        self.state().ready.len()
    }

    /// Whether no key is ready.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

enum Next<T> {
    Key(T),
    Wait(Option<Instant>),
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_is_worked_on_once_at_a_time() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty(), "it waits until the first work is done");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_wait_longer_each_time() {
        let queue = Queue::new();
        for expected in [5, 10, 20] {
            let start = Instant::now();
            queue.add_rate_limited("a");
            assert_eq!(queue.next().await, Some("a"));
            queue.done(&"a");
            assert_eq!(start.elapsed().as_millis(), expected);
        }
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_queue_ends_its_workers() {
        let queue: Queue<u8> = Queue::new();
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.close();
        assert_eq!(worker.await.unwrap(), None);
    }
}
