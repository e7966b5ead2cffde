//! Flow control: API Priority and Fairness (KEP-1040). Flow schemas sort requests into priority levels, a level has seats,
//! and who finds none waits in a queue of its flow, so that nobody's flood holds up others.
//!
//! Classification reads a compiled snapshot; a request of a level that has room costs a few atomic operations.

mod classify;
mod config;
mod debug;
mod dropped;
mod level;
mod limits;
mod metrics;
mod queues;
mod work;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue};
use machinery::ApiError;

use crate::kinds::Kinds;
use config::Book;
use debug::Asked;
use level::{Level, NoSeat, Seat};

pub(crate) use classify::{Digest, Schema};
pub(crate) use config::start;
pub(crate) use work::ListWork;

/// Seats of all levels together: upstream's default for reads (400) and writes (200).
const SERVER_SEATS: u32 = 600;
/// How long a request without a limit of its own waits for a seat: a quarter of upstream's default of 60 s.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(15);
/// How long any request waits for a seat.
const WAIT_MOST: Duration = Duration::from_secs(60);
/// What those who are turned away are told.
pub(crate) const TURNED_AWAY: &str = "Too many requests, please try again later.";
const SCHEMA_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_HEADER: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// Flow control of one server.
pub(crate) struct Flow {
    snapshot: ArcSwap<Snapshot>,
    book: Mutex<Book>,
}

/// What requests are asked against.
struct Snapshot {
    /// In the order in which they are asked.
    schemas: Vec<Arc<Schema>>,
    /// Takes what none of them matches.
    catch_all: Arc<Schema>,
    levels: Vec<Arc<Level>>,
}

/// A request's seats, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    schema: Arc<Schema>,
    seat: Seat,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.schema.level.give_back(&self.seat);
    }
}

impl Place {
    /// Tells the client by which objects it was sorted.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        self.schema.mark(headers);
    }
}

impl Schema {
    fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(LEVEL_HEADER, self.level_uid.clone());
        headers.insert(SCHEMA_HEADER, self.uid.clone());
    }
}

/// There is no place for a request.
#[derive(Debug)]
pub(crate) struct TurnedAway {
    schema: Arc<Schema>,
    retry_after_seconds: u32,
}

impl TurnedAway {
    /// The same, and when to come again.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        self.schema.mark(headers);
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from(self.retry_after_seconds));
    }
}

impl From<TurnedAway> for ApiError {
    fn from(turned_away: TurnedAway) -> Self {
        Self::TooManyRequests {
            message: TURNED_AWAY.to_owned(),
            retry_after_seconds: turned_away.retry_after_seconds,
            causes: Vec::new(),
        }
    }
}

impl Flow {
    /// Flow control by the mandatory objects alone, until others are known.
    pub(crate) fn new() -> Self {
        Self::with_seats(SERVER_SEATS)
    }

    fn with_seats(seats: u32) -> Self {
        let mut book = Book::new(seats);
        let (snapshot, _) = book.digest(&[], &[]);
        Self { snapshot: ArcSwap::from_pointee(snapshot), book: Mutex::new(book) }
    }

    /// A place for a request, held until it is answered (watches: until they have begun). Waits for one as long as
    /// `wait_max`.
    pub(crate) async fn enter(
        &self,
        digest: &Digest<'_>,
        kinds: &Kinds,
        wait_max: Duration,
    ) -> Result<Place, TurnedAway> {
        let schema = self.classify(digest);
        let level = &schema.level;
        let seats = match level.is_exempt {
            true => 1,
            false => work::seats(digest, level.seats_max.load(Ordering::Relaxed), kinds),
        };
        if let Some(seat) = level.try_take(seats) {
            schema.counts.dispatched.fetch_add(1, Ordering::Relaxed);
            return Ok(Place { schema, seat });
        }
        match level.take(schema.flow(digest), seats, wait_max.min(WAIT_MOST), Asked::new(&schema, digest)).await {
            Ok(seat) => {
                schema.counts.dispatched.fetch_add(1, Ordering::Relaxed);
                Ok(Place { schema, seat })
            }
            Err(reason) => Err(turn_away(schema, reason)),
        }
    }

    /// The first schema that matches.
    fn classify(&self, digest: &Digest<'_>) -> Arc<Schema> {
        let snapshot = self.snapshot.load();
        let found = snapshot.schemas.iter().find(|schema| schema.matches(digest));
        found.unwrap_or(&snapshot.catch_all).clone()
    }
}

fn turn_away(schema: Arc<Schema>, reason: NoSeat) -> TurnedAway {
    let counter = match reason {
        NoSeat::ConcurrencyLimit => &schema.counts.concurrency_limit,
        NoSeat::QueueFull => &schema.counts.queue_full,
        NoSeat::TimeOut => &schema.counts.time_out,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    let retry_after_seconds = schema.level.dropped.note(seams::clock::now().as_second());
    tracing::debug!(schema = schema.name, level = schema.level.name, ?reason, "a request was turned away");
    TurnedAway { schema, retry_after_seconds }
}

#[cfg(test)]
mod tests;
