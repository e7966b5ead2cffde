//! Times, and how they are told.

use std::time::Duration;

/// Times of one kind of thing.
#[derive(Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Takes in those of another.
    pub fn join(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Milliseconds that this share (in percent) of them stays below.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        sorted.get((sorted.len() * percent / 100).min(last)).map_or(f64::NAN, |t| t.as_secs_f64() * 1000.0)
    }

    /// Median and p99, in one line.
    pub fn tell(&self) -> String {
        format!("p50 {:8.2} ms   p99 {:8.2} ms   (n={})", self.percentile(50), self.percentile(99), self.len())
    }
}
