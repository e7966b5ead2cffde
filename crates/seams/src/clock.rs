//! The wall clock.

use std::cell::Cell;
use std::time::Duration;

use jiff::Timestamp;

thread_local! {
    /// Where simulated wall time started, with tokio's clock at that moment.
    static SIMULATED: Cell<Option<(Timestamp, tokio::time::Instant)>> = const { Cell::new(None) };
}

/// The wall time now, in UTC. Under [`simulate`], tokio's (paused) clock drives it.
pub fn now() -> Timestamp {
    match SIMULATED.get() {
        Some((start, since)) => start + since.elapsed(),
        #[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
        None => Timestamp::now(),
    }
}

/// The wall time now, cut to whole seconds: the precision of `metav1.Time`.
pub fn now_seconds() -> Timestamp {
    Timestamp::from_second(now().as_second()).expect("a timestamp cut to its second stays in range")
}

/// How long ago `then` was; zero when it lies in the future.
pub fn since(then: Timestamp) -> Duration {
    Duration::try_from(now().duration_since(then)).unwrap_or_default()
}

/// From now on, on this thread, wall time starts at `start` and moves with tokio's clock.
pub fn simulate(start: Timestamp) {
    SIMULATED.set(Some((start, tokio::time::Instant::now())));
}
