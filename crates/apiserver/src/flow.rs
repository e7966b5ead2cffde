//! Flow control: a bound on requests in work at once, writes and reads apart, as upstream's in-flight limits. Who finds no
//! place waits for one, for a while and not beside too many others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use machinery::ApiError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Writes in work at once.
const MUTATING_MAX: usize = 1024;
/// Reads in work at once.
const READING_MAX: usize = 2048;
/// Requests that wait for a place at once.
const WAITING_MAX: usize = 16_384;
/// How long they wait.
const WAIT_MAX: Duration = Duration::from_secs(15);
/// Seconds after which a client that was turned away tries again.
const RETRY_AFTER_SECONDS: u32 = 1;

pub(crate) struct Flow {
    mutating: Semaphore,
    reading: Semaphore,
    waiting: AtomicUsize,
}

/// Counts one who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self {
            mutating: Semaphore::new(MUTATING_MAX),
            reading: Semaphore::new(READING_MAX),
            waiting: AtomicUsize::new(0),
        }
    }

    /// A place for a request, held until it is answered. Watches and streams need none.
    pub(crate) async fn enter(&self, verb: &str) -> Result<SemaphorePermit<'_>, ApiError> {
        let places = if matches!(verb, "get" | "list") { &self.reading } else { &self.mutating };
        if let Ok(place) = places.try_acquire() {
            return Ok(place);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if before >= WAITING_MAX {
            return Err(turned_away());
        }
        match tokio::time::timeout(WAIT_MAX, places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(turned_away()),
        }
    }
}

fn turned_away() -> ApiError {
    ApiError::TooManyRequests {
        message: "Too many requests, please try again later.".to_owned(),
        retry_after_seconds: RETRY_AFTER_SECONDS,
        causes: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_house_lets_wait_then_turns_away_and_recovers() {
        let flow = Flow::new();
        let places: Vec<_> = (0..MUTATING_MAX).map(|_| flow.enter("create").now_or_never().unwrap().unwrap()).collect();
        assert_eq!(flow.enter("update").await.unwrap_err().code(), 429);
        assert!(flow.enter("get").await.is_ok());
        let (place, ()) = tokio::join!(flow.enter("patch"), async { drop(places) });
        assert!(place.is_ok() && flow.enter("delete").await.is_ok());
        assert_eq!(flow.waiting.load(Ordering::Relaxed), 0);
    }
}
