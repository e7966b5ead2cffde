//! The one reader of the store's events, which keeps all caches current.
//!
//! Whoever waits for a revision reads on itself when nobody else does, so a write is seen without waiting for a task.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use machinery::{ApiError, Entry, Value};
use store::{Event, EventStream, Expect, RangeQuery, Store, StoreError, Write};
use tokio::sync::watch;

use super::Cache;
use super::caches::{Caches, ROOT};
use super::envelope::{self, Envelope};

/// How long a request waits for the caches to become current.
const CURRENT_WAIT: Duration = Duration::from_secs(5);
/// Largest object that is stored, in bytes. DIVERGES: upstream's store takes 1.5 MiB of an encoding that is shorter than this one.
const OBJECT_BYTES_MAX: usize = 3 * 1024 * 1024;
/// How long the feed waits before it reads all anew after the store's events ended.
const RELOAD_WAIT: Duration = Duration::from_millis(200);

/// Keeps the caches current.
pub(crate) struct Feed {
    pub store: Arc<dyn Store>,
    caches: Arc<Caches>,
    stream: Mutex<Option<EventStream>>,
    /// Wakes the feed's own task.
    waker: Mutex<Waker>,
    /// All events up to here stand in the caches.
    applied: AtomicU64,
    progress: watch::Sender<u64>,
    /// Objects on their way to the store, by the address of their bytes: their events need no parsing.
    pending: Mutex<HashMap<usize, Arc<Pending>>>,
}

/// An object on its way to the store.
struct Pending {
    envelope: Envelope,
    tree: Mutex<Option<Value>>,
    entry: OnceLock<Arc<Entry>>,
}

impl Pending {
    fn arrive(&self, revision: u64) -> Option<Arc<Entry>> {
        let mut tree = lock(&self.tree).take()?;
        tree.set_at(&["metadata", "resourceVersion"], revision.to_string());
        let entry = Arc::new(Entry::from_parts(revision, self.envelope.json(revision), Arc::new(tree)));
        Some(self.entry.get_or_init(|| entry).clone())
    }
}

/// Takes a pending object out however the write ends.
struct PendingGuard<'a> {
    feed: &'a Feed,
    address: usize,
}

impl Drop for PendingGuard<'_> {
    fn drop(&mut self) {
        lock(&self.feed.pending).remove(&self.address);
    }
}

/// Why nothing was stored.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Someone else wrote first.
    Raced,
    /// Anything else.
    Api(ApiError),
}

impl From<ApiError> for WriteError {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl Feed {
    /// Reads all that is stored into the caches, and follows the store from then on.
    pub(crate) async fn start(store: Arc<dyn Store>, caches: Arc<Caches>) -> Result<Arc<Self>, ApiError> {
        let feed = Arc::new(Self {
            store,
            caches,
            stream: Mutex::new(None),
            waker: Mutex::new(Waker::noop().clone()),
            applied: AtomicU64::new(0),
            progress: watch::Sender::new(0),
            pending: Mutex::default(),
        });
        feed.load().await.map_err(|e| unavailable(&e))?;
        tokio::spawn(run(Arc::downgrade(&feed)));
        Ok(feed)
    }

    /// All events up to this revision stand in the caches.
    pub(crate) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Resolves once the caches hold all that was acknowledged before this call. Gives a revision that they stand at.
    pub(crate) async fn current(&self) -> Result<u64, ApiError> {
        let newest = self.store.revision();
        self.reach(newest).await.map(|()| self.applied())
    }

    /// Resolves once the caches hold all up to `revision`.
    pub(crate) async fn reach(&self, revision: u64) -> Result<(), ApiError> {
        if self.applied() >= revision {
            return Ok(());
        }
        self.pump();
        if self.applied() >= revision {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let reached = tokio::time::timeout(CURRENT_WAIT, progress.wait_for(|applied| *applied >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ApiError::Timeout(format!("the caches did not reach revision {revision} in time"))),
        }
    }

    /// Stores an object and gives it as it then stands in the cache.
    pub(crate) async fn put(
        &self,
        cache: &Cache,
        key: Arc<str>,
        expect: Expect,
        mut tree: Value,
    ) -> Result<Arc<Entry>, WriteError> {
        let write = |tree: &Value| {
            let envelope = Envelope::write(&key, tree, cache.sealer.as_deref());
            envelope.ok_or_else(|| ApiError::Internal("the object cannot be written".to_owned()))
        };
        let mut envelope = write(&tree)?;
        if envelope.value.len() > OBJECT_BYTES_MAX {
            // As upstream: who owns which field is given up before the object is.
            tree.remove_at(&["metadata", "managedFields"]);
            envelope = write(&tree)?;
            if envelope.value.len() > OBJECT_BYTES_MAX {
                let message = format!("Request entity too large: limit is {OBJECT_BYTES_MAX}");
                return Err(ApiError::TooLarge(message).into());
            }
        }
        let value = envelope.value.clone();
        let pending = Arc::new(Pending { envelope, tree: Mutex::new(Some(tree)), entry: OnceLock::new() });
        let guard = PendingGuard { feed: self, address: address(&value) };
        lock(&self.pending).insert(guard.address, pending.clone());
        let written = self.store.write(Write { key, expect, value: Some(value) }).await.map_err(write_error)?;
        self.reach(written.revision).await?;
        let entry = pending.entry.get().cloned().or_else(|| pending.arrive(written.revision));
        entry.ok_or_else(|| ApiError::Internal("a written object was lost".to_owned()).into())
    }

    /// Deletes an object; gives the revision of that.
    pub(crate) async fn remove(&self, key: Arc<str>, revision: u64) -> Result<u64, WriteError> {
        let write = Write { key, expect: Expect::Revision(revision), value: None };
        let written = self.store.write(write).await.map_err(write_error)?;
        self.reach(written.revision).await?;
        Ok(written.revision)
    }

    async fn load(&self) -> Result<(), StoreError> {
        let page = self.store.range(RangeQuery { prefix: ROOT.to_owned(), ..RangeQuery::default() }).await?;
        let mut objects: HashMap<String, BTreeMap<Arc<str>, Arc<Entry>>> = HashMap::new();
        for record in page.records {
            let Some(cache) = self.caches.of_key(&record.key) else { continue };
            match envelope::open(&record.key, &record.value, record.revision, cache.sealer.as_deref()) {
                Ok(bytes) => {
                    let entry = Arc::new(Entry::from_bytes(record.revision, bytes));
                    match objects.get_mut(&cache.prefix) {
                        Some(objects) => drop(objects.insert(record.key, entry)),
                        None => drop(objects.insert(cache.prefix.clone(), [(record.key, entry)].into())),
                    }
                }
                Err(error) => tracing::error!(key = %record.key, %error, "a stored object cannot be read"),
            }
        }
        self.caches.load(page.revision, objects);
        let stream = self.store.watch(String::new(), page.revision).await?;
        *lock(&self.stream) = Some(stream);
        self.advance(page.revision);
        Ok(())
    }

    /// Applies what has come, unless someone else does so right now.
    fn pump(&self) {
        if let Ok(mut stream) = self.stream.try_lock() {
            self.drain(&mut stream);
        }
    }

    /// Applies all that has come. Takes the stream away when it has ended.
    fn drain(&self, slot: &mut Option<EventStream>) {
        let Some(stream) = slot else { return };
        let waker = lock(&self.waker).clone();
        let mut context = Context::from_waker(&waker);
        let mut touched: Vec<Arc<Cache>> = Vec::new();
        let mut newest = 0;
        let ended = loop {
            match stream.poll_next_unpin(&mut context) {
                Poll::Ready(Some(Ok(event))) => {
                    newest = event.revision;
                    if let Some(cache) = self.apply(event)
                        && !touched.iter().any(|known| Arc::ptr_eq(known, &cache))
                    {
                        touched.push(cache);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    told(&error, "the store's events ended");
                    break true;
                }
                Poll::Ready(None) => break true,
                Poll::Pending => break false,
            }
        };
        if newest > 0 {
            self.advance(newest);
            touched.iter().for_each(|cache| cache.announce());
        }
        if ended {
            *slot = None;
            waker.wake();
        }
    }

    fn apply(&self, event: Event) -> Option<Arc<Cache>> {
        let cache = self.caches.of_key(&event.key)?;
        let new = match &event.value {
            None => None,
            Some(value) => match self.arrived(&event.key, value, event.revision, &cache) {
                Some(entry) => Some(entry),
                None => return None,
            },
        };
        cache.apply(event.key, event.revision, new);
        Some(cache)
    }

    fn arrived(&self, key: &str, value: &Bytes, revision: u64, cache: &Cache) -> Option<Arc<Entry>> {
        let pending = lock(&self.pending).get(&address(value)).cloned();
        if let Some(entry) = pending.and_then(|p| p.arrive(revision)) {
            return Some(entry);
        }
        match envelope::open(key, value, revision, cache.sealer.as_deref()) {
            Ok(bytes) => Some(Arc::new(Entry::from_bytes(revision, bytes))),
            Err(error) => {
                tracing::error!(%key, %error, "a stored object cannot be read");
                None
            }
        }
    }

    fn advance(&self, revision: u64) {
        self.applied.store(revision, Ordering::Release);
        self.progress.send_replace(revision);
    }
}

/// The feed's own task: reads whenever something has come, and starts anew when the store's events end.
async fn run(feed: std::sync::Weak<Feed>) {
    loop {
        let lost = std::future::poll_fn(|context| {
            let Some(feed) = feed.upgrade() else { return Poll::Ready(false) };
            context.waker().clone_into(&mut lock(&feed.waker));
            let mut stream = lock(&feed.stream);
            feed.drain(&mut stream);
            if stream.is_none() { Poll::Ready(true) } else { Poll::Pending }
        })
        .await;
        if !lost {
            return;
        }
        tokio::time::sleep(RELOAD_WAIT).await;
        let Some(feed) = feed.upgrade() else { return };
        if let Err(error) = feed.load().await {
            told(&error, "the store cannot be read");
        }
    }
}

/// A store that was closed is no surprise: the server is stopping.
fn told(error: &StoreError, what: &str) {
    match error {
        StoreError::Unavailable(_) => tracing::debug!(%error, "{what}"),
        _ => tracing::warn!(%error, "{what}"),
    }
}

fn address(bytes: &Bytes) -> usize {
    bytes.as_ptr() as usize
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_error(error: StoreError) -> WriteError {
    match error {
        StoreError::Conflict { .. } => WriteError::Raced,
        other => WriteError::Api(unavailable(&other)),
    }
}

/// The API's error for what goes wrong in the store.
pub(crate) fn unavailable(error: &StoreError) -> ApiError {
    match error {
        StoreError::NoSpace | StoreError::Unavailable(_) => ApiError::ServiceUnavailable(error.to_string()),
        other => ApiError::Internal(other.to_string()),
    }
}
