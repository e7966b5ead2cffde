//! Node ports: random from the upper band; the lower one is left to those who choose theirs (KEP-3668).

use std::fmt;
use std::ops::RangeInclusive;

/// Tries of random ports before all are looked through.
const RANDOM_TRIES_MAX: usize = 16;

pub(super) struct Ports {
    range: RangeInclusive<u16>,
    band: u16,
}

impl Ports {
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        let count = range.end().saturating_sub(*range.start()).saturating_add(1);
        // min(max(16, size / 32), 128); small ranges have no band.
        let band = if count < 16 { 0 } else { (count / 32).clamp(16, 128) };
        Self { band: band.min(count - 1), range }
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.range.contains(&port)
    }

    /// A port that is not taken.
    pub(super) fn free(&self, taken: impl Fn(u16) -> bool) -> Option<u16> {
        let (first, last) = (*self.range.start() + self.band, *self.range.end());
        let count = u64::from(last - first) + 1;
        let random = || u16::try_from(seams::random::below(count)).map_or(first, |offset| first + offset);
        if let Some(found) = (0..RANDOM_TRIES_MAX).map(|_| random()).find(|port| !taken(*port)) {
            return Some(found);
        }
        (first..=last).chain(*self.range.start()..first).find(|port| !taken(*port))
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.range.start(), self.range.end())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_port_is_given_out_once_and_the_lower_band_last() {
        let ports = Ports::new(30000..=30063);
        let mut taken = HashSet::new();
        while let Some(port) = ports.free(|p| taken.contains(&p)) {
            assert!(taken.insert(port) && ports.contains(port));
            assert!(taken.len() > 48 || port >= 30016, "{port}");
        }
        assert_eq!(taken.len(), 64);
    }
}
