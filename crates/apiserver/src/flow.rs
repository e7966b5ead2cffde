//! Flow control: a bound on requests in work at once, writes and reads apart, as upstream's in-flight limits.

use machinery::ApiError;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Writes in work at once.
const MUTATING_MAX: usize = 1024;
/// Reads in work at once.
const READING_MAX: usize = 2048;
/// Seconds after which a client that was turned away tries again.
const RETRY_AFTER_SECONDS: u32 = 1;

pub(crate) struct Flow {
    mutating: Semaphore,
    reading: Semaphore,
}

impl Flow {
    pub(crate) fn new() -> Self {
        Self { mutating: Semaphore::new(MUTATING_MAX), reading: Semaphore::new(READING_MAX) }
    }

    /// A place for a request, held until it is answered. Watches and streams need none.
    pub(crate) fn enter(&self, verb: &str) -> Result<SemaphorePermit<'_>, ApiError> {
        let places = if matches!(verb, "get" | "list") { &self.reading } else { &self.mutating };
        places.try_acquire().map_err(|_| ApiError::TooManyRequests {
            message: "Too many requests, please try again later.".to_owned(),
            retry_after_seconds: RETRY_AFTER_SECONDS,
            causes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_house_turns_away_and_recovers() {
        let flow = Flow::new();
        let places: Vec<_> = (0..MUTATING_MAX).map(|_| flow.enter("create").unwrap()).collect();
        assert_eq!(flow.enter("update").unwrap_err().code(), 429);
        assert!(flow.enter("get").is_ok());
        drop(places);
        assert!(flow.enter("delete").is_ok());
    }
}
