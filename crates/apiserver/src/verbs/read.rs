//! Get, list and watch: answered from the cache, which is current.

use std::sync::Arc;
use std::time::Duration;

use client::{List, Reply, Watch, WatchEvent};
use futures_util::StreamExt;
use machinery::continue_token::ContinueToken;
use machinery::{ApiError, Entry};
use store::{RangeQuery, StoreError};

use super::Call;
use crate::cache::feed::unavailable;
use crate::cache::selection::Selection;
use crate::cache::watching::{self, Start};
use crate::cache::{Stretch, envelope};
use crate::request::list_options::{Freshness, freshness, revision};

/// Shortest time after which a watch without a timeout ends; up to twice that, so that not all end at once.
const WATCH_SECONDS_MIN: u64 = 1800;
/// How long a read waits for a revision that is not there yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);
/// Records that a page reads from the store at once.
const RANGE_RECORDS_MAX: usize = 1000;

/// Reads one object.
pub(crate) async fn get(call: &Call<'_>) -> Result<Reply, ApiError> {
    match revision(&call.options.resource_version)? {
        None => call.pipeline.feed.current().await.map(|_| ())?,
        Some(0) => {}
        Some(revision) => reach(call, revision).await?,
    }
    let found = call.kind.find(call.namespace(), call.name());
    let entry = found.ok_or_else(|| ApiError::not_found(&call.kind.resource, call.name()))?;
    Ok(Reply::Object(call.kind.present(&entry)))
}

/// Reads many objects.
pub(crate) async fn list(call: &Call<'_>) -> Result<List, ApiError> {
    let options = call.options;
    let selection = Selection::new(&call.kind.row, call.namespace(), options)?;
    let freshness = freshness(options, false)?;
    if !options.continue_token.is_empty() {
        let token = ContinueToken::decode(&options.continue_token)?;
        if !options.resource_version.is_empty() && options.resource_version != "0" {
            let message = "specifying resource version is not allowed when using continue";
            return Err(ApiError::BadRequest(message.to_owned()));
        }
        let after = format!("{}{}", call.kind.cache.prefix, token.after);
        return match token.revision {
            Some(revision) => at_revision(call, &selection, revision, Some(after)).await,
            None => {
                call.pipeline.feed.current().await?;
                Ok(newest(call, &selection, Some(&after)))
            }
        };
    }
    match freshness {
        Freshness::Newest => call.pipeline.feed.current().await.map(|_| ())?,
        Freshness::Any => {}
        Freshness::NotOlderThan(revision) => reach(call, revision).await?,
        Freshness::Exact(revision) => {
            reach(call, revision).await?;
            return at_revision(call, &selection, revision, None).await;
        }
    }
    Ok(newest(call, &selection, None))
}

/// Waits for a revision that the client has seen somewhere.
async fn reach(call: &Call<'_>, revision: u64) -> Result<(), ApiError> {
    let feed = &call.pipeline.feed;
    match tokio::time::timeout(FUTURE_WAIT, feed.reach(revision)).await {
        Ok(reached) => reached,
        Err(_) => Err(ApiError::TooLargeResourceVersion { wanted: revision, current: feed.applied() }),
    }
}

/// What the cache holds of a selection, and some more: the caller still has to select.
fn candidates(call: &Call<'_>, selection: &Selection, after: Option<&str>, limit: usize) -> Stretch {
    match selection.indexed() {
        Some((field, value)) => call.kind.cache.indexed(field, value, after),
        None => {
            let most = if selection.is_everything() { limit } else { 0 };
            call.kind.cache.stretch(&selection.prefix, after, most)
        }
    }
}

fn limit(call: &Call<'_>) -> usize {
    usize::try_from(call.options.limit).unwrap_or(usize::MAX)
}

/// A list of what the cache holds.
fn newest(call: &Call<'_>, selection: &Selection, after: Option<&str>) -> List {
    let applied = call.pipeline.feed.applied();
    if after.is_none() && limit(call) == 0 && selection.is_everything() {
        let (items, newest) = call.kind.cache.whole(&selection.prefix);
        let items = items.into_iter().map(|entry| call.kind.present_owned(entry)).collect();
        return List { items, resource_version: applied.max(newest), ..List::default() };
    }
    let stretch = candidates(call, selection, after, limit(call));
    let revision = applied.max(stretch.newest);
    page_of(call, selection, stretch, revision)
}

/// The list of a stretch of the cache.
fn page_of(call: &Call<'_>, selection: &Selection, stretch: Stretch, revision: u64) -> List {
    let plain = selection.is_everything();
    let mut page = Page::new(call, limit(call));
    page.items.reserve(if plain { stretch.items.len() } else { 0 });
    for (key, entry) in stretch.items {
        if (plain || selection.matches(&key, &entry)) && !page.push(&key, entry) {
            break;
        }
    }
    if plain {
        page.more = stretch.remaining > 0;
    }
    let remaining = (plain && page.more).then_some(stretch.remaining);
    page.finish(revision, Some(revision), remaining)
}

/// A list as it was at a revision: from the cache when nothing has changed since, else from the store.
async fn at_revision(
    call: &Call<'_>,
    selection: &Selection,
    revision: u64,
    mut after: Option<String>,
) -> Result<List, ApiError> {
    let kind = call.kind;
    let limit = limit(call);
    let plain = selection.is_everything();
    if call.pipeline.feed.applied() >= revision {
        let stretch = candidates(call, selection, after.as_deref(), limit);
        if stretch.newest <= revision {
            return Ok(page_of(call, selection, stretch, revision));
        }
    }
    let first = after.clone();
    let mut page = Page::new(call, limit);
    let remaining = loop {
        let most = if plain && limit > 0 { limit.min(RANGE_RECORDS_MAX) } else { RANGE_RECORDS_MAX };
        let prefix = selection.prefix.clone();
        let query = RangeQuery { prefix, after: after.clone(), limit: most, at: Some(revision) };
        let read =
            call.pipeline.feed.store.range(query).await.map_err(|e| gone(&e, call, revision, first.as_deref()))?;
        for record in &read.records {
            let bytes = envelope::open(&record.key, &record.value, record.revision, kind.cache.sealer.as_deref())
                .map_err(|e| ApiError::Internal(e.to_string()))?;
            let entry = Arc::new(Entry::from_bytes(record.revision, bytes));
            if selection.matches(&record.key, &entry) && !page.push(&record.key, entry) {
                break;
            }
        }
        after = read.records.last().map(|r| r.key.to_string());
        let full = limit > 0 && page.items.len() >= limit;
        if full || !read.more {
            page.more = page.more || (full && read.more);
            break read.remaining.filter(|_| plain && full && read.more);
        }
    };
    Ok(page.finish(revision, Some(revision), remaining))
}

/// 410: the revision of a list is gone; 504: it is not there yet. A continued list may go on with what is there now.
fn gone(error: &StoreError, call: &Call<'_>, revision: u64, after: Option<&str>) -> ApiError {
    match error {
        StoreError::Compacted { .. } => {}
        StoreError::Future { current } => {
            return ApiError::TooLargeResourceVersion { wanted: revision, current: *current };
        }
        other => return unavailable(other),
    }
    let Some(after) = after else {
        let message = "The resourceVersion for the provided list is too old.".to_owned();
        return ApiError::Expired { message, continue_token: None };
    };
    let after = after.strip_prefix(call.kind.cache.prefix.as_str()).unwrap_or(after).to_owned();
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
        list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
        results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, \
        or deleted between the time the first chunk was returned and now may show up in the list.";
    let token = ContinueToken { revision: None, after };
    ApiError::Expired { message: message.to_owned(), continue_token: Some(token.encode()) }
}

/// A page of a list that is being filled.
struct Page<'a> {
    call: &'a Call<'a>,
    limit: usize,
    items: Vec<Arc<Entry>>,
    last: String,
    more: bool,
}

impl<'a> Page<'a> {
    fn new(call: &'a Call<'a>, limit: usize) -> Self {
        Self { call, limit, items: Vec::new(), last: String::new(), more: false }
    }

    /// Adds an object; false when the page is full.
    fn push(&mut self, key: &str, entry: Arc<Entry>) -> bool {
        if self.limit > 0 && self.items.len() >= self.limit {
            self.more = true;
            return false;
        }
        self.items.push(self.call.kind.present_owned(entry));
        if self.limit > 0 && self.items.len() == self.limit {
            key.clone_into(&mut self.last);
        }
        true
    }

    fn finish(self, revision: u64, token_revision: Option<u64>, remaining: Option<u64>) -> List {
        let continue_token = if self.more {
            let after = self.last.strip_prefix(self.call.kind.cache.prefix.as_str()).unwrap_or(&self.last).to_owned();
            ContinueToken { revision: token_revision, after }.encode()
        } else {
            String::new()
        };
        List { items: self.items, resource_version: revision, continue_token, remaining }
    }
}

/// Starts a watch.
pub(crate) async fn watch(call: &Call<'_>) -> Result<Watch, ApiError> {
    let (options, kind) = (call.options, call.kind);
    let selection = if options.field_selector.is_empty() && !call.name().is_empty() {
        let field_selector = format!("metadata.name={}", call.name());
        let named = client::Options { field_selector, ..options.clone() };
        Selection::new(&kind.row, call.namespace(), &named)?
    } else {
        Selection::new(&kind.row, call.namespace(), options)?
    };
    let freshness = freshness(options, true)?;
    let asks_initial = options.send_initial_events;
    let initial = match (freshness, asks_initial) {
        (_, Some(initial)) => initial,
        (Freshness::Newest | Freshness::Any, None) => true,
        _ => false,
    };
    match freshness {
        Freshness::Newest => call.pipeline.feed.current().await.map(|_| ())?,
        Freshness::NotOlderThan(revision) | Freshness::Exact(revision) if initial => {
            // What goes wrong from here on is told in the stream, as upstream does.
            if let Err(error) = reach(call, revision).await {
                return Ok(futures_util::stream::iter([WatchEvent::Error(error)]).boxed());
            }
        }
        _ => {}
    }
    let applied = call.pipeline.feed.applied();
    let stretch =
        if initial { candidates(call, &selection, None, 0) } else { kind.cache.stretch(&selection.prefix, None, 1) };
    let now = applied.max(stretch.newest);
    let after = match freshness {
        Freshness::NotOlderThan(revision) | Freshness::Exact(revision) if !initial => revision,
        _ => now,
    };
    let items = if initial { stretch.items } else { Vec::new() };
    let chosen = items.into_iter().filter(|(key, entry)| selection.matches(key, entry)).map(|(_, entry)| entry);
    let seconds = match options.timeout_seconds {
        Some(seconds) if seconds > 0 => seconds,
        _ => WATCH_SECONDS_MIN + seams::random::below(WATCH_SECONDS_MIN),
    };
    let start = Start {
        after,
        initial: chosen.collect(),
        initial_end: asks_initial == Some(true) && options.allow_watch_bookmarks,
        bookmarks: options.allow_watch_bookmarks,
        timeout: Duration::from_secs(seconds),
    };
    let feed = call.pipeline.feed.clone();
    Ok(watching::watch(&kind.cache, feed, selection, kind.presenter(), start))
}
