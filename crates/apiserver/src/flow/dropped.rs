//! When those who were turned away may come again: the more there are, the later (upstream's dropped requests tracker).

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Seconds after which those who were turned away come again at the latest.
const RETRY_AFTER_SECONDS_MAX: i64 = 32;

/// Counts of one level.
#[derive(Debug, Default)]
pub(super) struct Dropped(Mutex<History>);

#[derive(Debug)]
struct History {
    /// Seconds with how many were turned away in them; the last one still runs.
    seconds: VecDeque<(i64, i64)>,
    retry_after: i64,
    /// When that was doubled.
    doubled: i64,
}

impl Default for History {
    fn default() -> Self {
        Self { seconds: VecDeque::new(), retry_after: 1, doubled: 0 }
    }
}

impl Dropped {
    /// Somebody was turned away in this second; gives after how many he may try again.
    pub(super) fn note(&self, second: i64) -> u32 {
        let mut history = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        history.note(second);
        u32::try_from(history.retry_after).unwrap_or(1)
    }
}

impl History {
    fn note(&mut self, second: i64) {
        if let Some((_, count)) = self.seconds.back_mut().filter(|(last, _)| *last == second) {
            *count += 1;
            return;
        }
        self.adjust(second);
        self.seconds.push_back((second, 1));
        let oldest = second - (2 * self.retry_after).min(RETRY_AFTER_SECONDS_MAX);
        while self.seconds.front().is_some_and(|(first, _)| *first < oldest) {
            self.seconds.pop_front();
        }
    }

    /// Doubles it when many were turned away within it, takes one off when few were.
    fn adjust(&mut self, second: i64) {
        let since = second - self.retry_after;
        let recent: i64 = self.seconds.iter().filter(|(at, _)| *at >= since).map(|(_, count)| count).sum();
        if second - self.doubled >= self.retry_after && recent >= 3 * self.retry_after {
            self.retry_after = (self.retry_after * 2).min(RETRY_AFTER_SECONDS_MAX);
            self.doubled = second;
        } else if recent < self.retry_after && self.retry_after > 1 {
            self.retry_after -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floods_are_kept_away_longer_and_longer_and_quiet_times_shorten_that() {
        let dropped = Dropped::default();
        let mut told = Vec::new();
        for second in 100..200 {
            (0..200).for_each(|_| _ = dropped.note(second));
            told.push(dropped.note(second));
        }
        assert_eq!(told[..4], [1, 2, 2, 4]);
        assert_eq!(told.last(), Some(&32));
        let later: Vec<u32> = (0..40).map(|i| dropped.note(1_000 + i * 40)).collect();
        assert!(later.is_sorted_by(|a, b| a >= b) && later.last() == Some(&1), "{later:?}");
    }
}
