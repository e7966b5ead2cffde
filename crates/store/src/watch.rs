//! Watchers: committed events are handed to bounded queues in memory; what a queue had no room for comes from the log.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use futures_util::stream::{StreamExt, unfold};

use crate::{Event, EventStream, Revision, StoreError};

/// Events a watcher may leave unread in memory, unless the backend's options say otherwise.
pub const WATCH_EVENTS_MAX: usize = 8192;

/// Bytes of keys and values a watcher may leave unread in memory.
pub const WATCH_BYTES_MAX: usize = 64 << 20;

/// Events a reader takes out of its queue at once.
const TAKEN_EVENTS_MAX: usize = 128;

/// The part of a backend that a watcher catches up from.
pub(crate) trait Log: Send + Sync + 'static {
    /// Where the backend publishes what it commits.
    fn hub(&self) -> &Hub;

    /// Some of the events under `prefix` with a revision above `after` and not above `upto`, from the oldest on.
    fn read_log(self: Arc<Self>, prefix: &str, after: Revision, upto: Revision) -> BoxFuture<'_, LogResult>;
}

/// What a read of the log gives.
pub(crate) type LogResult = Result<LogPage, StoreError>;

/// A stretch of the log.
pub(crate) struct LogPage {
    /// The events, in order.
    pub(crate) events: VecDeque<Event>,
    /// No event up to this revision is missing in the page. It lies above the `after` asked for.
    pub(crate) read_to: Revision,
}

/// All watchers of a store, and the newest revision they were told of.
pub(crate) struct Hub {
    revision: AtomicU64,
    state: Mutex<HubState>,
    events_max: usize,
}

struct HubState {
    watchers: Vec<Weak<Queue>>,
    closed: Option<StoreError>,
}

/// One watcher's backlog.
struct Queue {
    prefix: String,
    state: Mutex<QueueState>,
}

#[derive(Default)]
struct QueueState {
    events: VecDeque<Event>,
    bytes: usize,
    waker: Option<Waker>,
    /// Set once an event found no room: all events up to this revision were queued, later ones were not.
    complete_to: Option<Revision>,
    closed: Option<StoreError>,
}

/// What a reader finds in its queue.
enum Taken {
    Events,
    /// The queue is empty and misses all events after this revision.
    Gap(Revision),
    Closed(StoreError),
}

impl Hub {
    /// A hub of a store whose newest revision is `revision`.
    pub(crate) fn new(revision: Revision, events_max: usize) -> Self {
        let state = HubState { watchers: Vec::new(), closed: None };
        Self { revision: AtomicU64::new(revision), state: Mutex::new(state), events_max: events_max.max(1) }
    }

    /// The newest published revision.
    pub(crate) fn revision(&self) -> Revision {
        self.revision.load(Ordering::Acquire)
    }

    /// Hands committed events to all watchers. The caller publishes every event once, in the order of revisions.
    pub(crate) fn publish(&self, events: &[Event]) {
        let Some(newest) = events.last() else { return };
        let mut state = lock(&self.state);
        self.revision.store(newest.revision, Ordering::Release);
        state.watchers.retain(|watcher| match watcher.upgrade() {
            Some(queue) => {
                queue.push(events, self.events_max);
                true
            }
            None => false,
        });
    }

    /// Ends all watches, now and later, with `error`.
    pub(crate) fn close(&self, error: &StoreError) {
        let mut state = lock(&self.state);
        state.closed.get_or_insert_with(|| error.clone());
        for queue in state.watchers.drain(..).filter_map(|watcher| watcher.upgrade()) {
            let waker = {
                let mut queue = lock(&queue.state);
                queue.closed = Some(error.clone());
                queue.waker.take()
            };
            waker.into_iter().for_each(Waker::wake);
        }
    }

    /// A queue that gets all events after the revision given with it.
    fn subscribe(&self, prefix: String) -> Result<(Arc<Queue>, Revision), StoreError> {
        let mut state = lock(&self.state);
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        let queue = Arc::new(Queue { prefix, state: Mutex::default() });
        state.watchers.push(Arc::downgrade(&queue));
        Ok((queue, self.revision()))
    }

    /// Lets a queue that had run over get events again: all those after the revision returned.
    fn resume(&self, queue: &Queue) -> Revision {
        let _no_publishing = lock(&self.state);
        lock(&queue.state).complete_to = None;
        self.revision()
    }
}

impl Queue {
    fn push(&self, events: &[Event], events_max: usize) {
        let mut state = lock(&self.state);
        if state.complete_to.is_some() {
            return;
        }
        for event in events.iter().filter(|event| event.key.starts_with(self.prefix.as_str())) {
            let bytes = state.bytes + weight(event);
            let full = state.events.len() >= events_max || bytes > WATCH_BYTES_MAX;
            if full && !state.events.is_empty() {
                state.complete_to = Some(event.revision - 1);
                break;
            }
            state.bytes = bytes;
            state.events.push_back(event.clone());
        }
        let waker = if state.events.is_empty() { None } else { state.waker.take() };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll_take(&self, context: &mut Context<'_>, into: &mut VecDeque<Event>) -> Poll<Taken> {
        let mut state = lock(&self.state);
        if !state.events.is_empty() {
            let taken = state.events.len().min(TAKEN_EVENTS_MAX);
            into.extend(state.events.drain(..taken));
            state.bytes -= into.iter().map(weight).sum::<usize>();
            return Poll::Ready(Taken::Events);
        }
        if let Some(error) = &state.closed {
            return Poll::Ready(Taken::Closed(error.clone()));
        }
        if let Some(complete_to) = state.complete_to {
            return Poll::Ready(Taken::Gap(complete_to));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            waker => *waker = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}

/// The stream of events under `prefix` after `after`. The caller has checked that `after` can be served.
pub(crate) fn stream<L: Log>(log: Arc<L>, prefix: String, after: Revision) -> Result<EventStream, StoreError> {
    let (queue, live_from) = log.hub().subscribe(prefix)?;
    let watcher = Watcher { log, queue, position: after, live_from, ready: VecDeque::new(), ended: false };
    Ok(unfold(watcher, |mut watcher| async move {
        let item = watcher.next().await?;
        Some((item, watcher))
    })
    .boxed())
}

/// A reader's place between the log and its queue.
struct Watcher<L> {
    log: Arc<L>,
    queue: Arc<Queue>,
    /// All events up to here were answered, or wait in `ready`.
    position: Revision,
    /// The queue holds all events after this revision; those up to it are in the log only.
    live_from: Revision,
    ready: VecDeque<Event>,
    ended: bool,
}

impl<L: Log> Watcher<L> {
    async fn next(&mut self) -> Option<Result<Event, StoreError>> {
        while !self.ended {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if let Err(error) = self.fill().await {
                self.ended = true;
                return Some(Err(error));
            }
        }
        None
    }

    /// Makes progress: reads a stretch of the log, or waits for the queue.
    async fn fill(&mut self) -> Result<(), StoreError> {
        if self.position < self.live_from {
            let page = self.log.clone().read_log(&self.queue.prefix, self.position, self.live_from).await?;
            self.position = page.read_to;
            self.ready = page.events;
            return Ok(());
        }
        let (queue, ready) = (&self.queue, &mut self.ready);
        match poll_fn(|context| queue.poll_take(context, ready)).await {
            Taken::Events => {
                let position = self.position;
                self.ready.retain(|event| event.revision > position);
                self.position = self.ready.back().map_or(position, |event| event.revision);
                Ok(())
            }
            Taken::Gap(complete_to) => {
                self.position = self.position.max(complete_to);
                self.live_from = self.log.hub().resume(&self.queue);
                Ok(())
            }
            Taken::Closed(error) => Err(error),
        }
    }
}

/// The bytes that an event keeps in memory, more or less: values are shared with other watchers.
fn weight(event: &Event) -> usize {
    let value = event.value.as_ref().map_or(0, bytes::Bytes::len);
    event.key.len() + value + event.previous.as_ref().map_or(0, |previous| previous.value.len())
}

/// A panic elsewhere leaves these states whole, so its mark is ignored.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
