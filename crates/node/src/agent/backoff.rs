//! Waits after failures, and how durations are told.

use std::time::Duration;

use jiff::Timestamp;

/// First and longest wait after crashes (upstream's defaults).
pub const CRASH_WAIT_MIN: Duration = Duration::from_secs(10);
const CRASH_WAIT_MAX: Duration = Duration::from_secs(300);
/// After how long without one crashes are forgotten.
pub const CRASH_FORGOTTEN: Duration = Duration::from_secs(600);

/// How long what failed again and again waits.
#[derive(Clone, Copy)]
pub struct Backoff {
    /// The wait.
    pub wait: Duration,
    /// When it last grew.
    pub updated: Timestamp,
}

impl Backoff {
    /// The next wait after one more failure.
    pub fn next(before: Option<Self>, now: Timestamp) -> Self {
        let fresh = |b: &Self| now.duration_since(b.updated) <= CRASH_FORGOTTEN.try_into().unwrap_or_default();
        let wait = before.filter(fresh).map_or(CRASH_WAIT_MIN, |b| (b.wait * 2).min(CRASH_WAIT_MAX));
        Self { wait, updated: now }
    }
}

/// The wait after so many failures: doubling, bounded.
pub fn backoff(first: Duration, failures: u32, most: Duration) -> Duration {
    first.saturating_mul(1 << failures.min(16)).min(most)
}

/// A duration as Go prints it: `1m20s`, `10s`, `1.5s`, `250ms`.
pub fn go_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        return format!("{}ms", duration.as_millis());
    }
    let (minutes, seconds) = (duration.as_secs() / 60, duration.as_secs() % 60);
    let fraction = match duration.subsec_millis() {
        0 => String::new(),
        ms => format!(".{ms:03}").trim_end_matches('0').to_owned(),
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, m) => format!("{m}m{seconds}{fraction}s"),
        (h, m) => format!("{h}h{m}m{seconds}{fraction}s"),
    }
}
