//! Watches: each reads the ring of its resource at its own pace.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use client::{Watch, WatchEvent};
use futures_util::StreamExt;
use machinery::Entry;
use tokio::time::{Instant, Sleep};

use super::feed::Feed;
use super::ring::Changed;
use super::selection::Selection;
use super::{Cache, Subscription};

/// Time between bookmarks.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// Makes the version's form of a stored object.
pub(crate) type Present = Arc<dyn Fn(&Arc<Entry>) -> Arc<Entry> + Send + Sync>;

/// How a watch begins.
pub(crate) struct Start {
    /// Send the changes after this revision.
    pub after: u64,
    /// Send these first, as added.
    pub initial: Vec<Arc<Entry>>,
    /// Close the initial events with a bookmark.
    pub initial_end: bool,
    /// Send bookmarks.
    pub bookmarks: bool,
    /// When it ends.
    pub timeout: Duration,
}

struct Watcher {
    subscription: Subscription,
    feed: Arc<Feed>,
    selection: Selection,
    present: Option<Present>,
    cursor: u64,
    ready: VecDeque<WatchEvent>,
    ended: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
}

/// Starts a watch. `present` makes another version's form.
pub(crate) fn watch(
    cache: &Arc<Cache>,
    feed: Arc<Feed>,
    selection: Selection,
    present: Option<Present>,
    start: Start,
) -> Watch {
    let now = Instant::now();
    let deadline = now + start.timeout;
    let next_bookmark = now + BOOKMARK_PERIOD;
    let first = if start.bookmarks { next_bookmark.min(deadline) } else { deadline };
    let show = |entry: &Arc<Entry>| present.as_ref().map_or_else(|| entry.clone(), |p| p(entry));
    let mut ready: VecDeque<WatchEvent> = start.initial.iter().map(|e| WatchEvent::Added(show(e))).collect();
    if start.initial_end {
        ready.push_back(WatchEvent::Bookmark { revision: start.after, initial_end: true });
    }
    let subscription = cache.follow(selection.topic());
    let watcher = Watcher {
        subscription,
        feed,
        selection,
        present,
        cursor: start.after,
        ready,
        ended: false,
        bookmarks: start.bookmarks,
        next_bookmark,
        deadline,
        timer: Box::pin(tokio::time::sleep_until(first)),
    };
    let next = |mut watcher: Watcher| async move { watcher.next().await.map(|event| (event, watcher)) };
    futures_util::stream::unfold(watcher, next).boxed()
}

impl Watcher {
    async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.subscription.changed.borrow_and_update();
            if self.take() {
                continue;
            }
            tokio::select! {
                changed = self.subscription.changed.changed() => self.ended = changed.is_err(),
                () = self.timer.as_mut() => self.on_timer(),
            }
        }
    }

    /// Takes events from the ring; false when there are none.
    fn take(&mut self) -> bool {
        match self.subscription.after(self.cursor) {
            Ok(events) => {
                for event in &events {
                    self.cursor = event.revision;
                    if let Some(event) = self.seen(event) {
                        self.ready.push_back(event);
                    }
                }
                !events.is_empty()
            }
            Err(error) => {
                self.ready.push_back(WatchEvent::Error(error));
                self.ended = true;
                true
            }
        }
    }

    /// What a change looks like through the selectors.
    fn seen(&self, event: &Changed) -> Option<WatchEvent> {
        let matches =
            |entry: &Option<Arc<Entry>>| entry.as_ref().is_some_and(|e| self.selection.matches(&event.key, e));
        let (before, after) = (matches(&event.old), matches(&event.new));
        Some(match (before, after, &event.new) {
            (false, true, Some(new)) => WatchEvent::Added(self.show(new)),
            (true, true, Some(new)) => WatchEvent::Modified(self.show(new)),
            (true, false, _) => WatchEvent::Deleted(self.show(event.gone()?)),
            _ => return None,
        })
    }

    fn show(&self, entry: &Arc<Entry>) -> Arc<Entry> {
        self.present.as_ref().map_or_else(|| entry.clone(), |present| present(entry))
    }

    fn on_timer(&mut self) {
        let now = Instant::now();
        let over = now >= self.deadline;
        if self.bookmarks {
            self.bookmark();
            self.next_bookmark = now + BOOKMARK_PERIOD;
        }
        self.ended = over;
        let next = if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
        self.timer.as_mut().reset(next);
    }

    /// All up to what is applied now was sent, or stands in the ring: that goes first.
    fn bookmark(&mut self) {
        let applied = self.feed.applied();
        while self.cursor < applied && self.take() && !self.ended {}
        if !self.ended && applied >= self.cursor {
            self.cursor = applied;
            self.ready.push_back(WatchEvent::Bookmark { revision: applied, initial_end: false });
        }
    }
}
