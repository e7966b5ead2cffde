//! How many seats each level has: its share of the server's, and what it lends to or borrows from others meanwhile.

/// What a level's configuration says of its seats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// `nominalConcurrencyShares`
    pub shares: u32,
    /// How much of its own others may use, in percent.
    pub lendable_percent: u32,
    /// How much of others' it may use, in percent of its own; none means as much as there is.
    pub borrowing_percent: Option<u32>,
}

/// Seats of one level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Its share.
    pub nominal: u32,
    /// What it keeps when others borrow.
    pub least: u32,
    /// What it has when it borrows all it may.
    pub most: u32,
}

/// Shares the server's seats out.
pub(super) fn bounds(server_seats: u32, shares: &[Share]) -> Vec<Bounds> {
    let sum: f64 = shares.iter().map(|share| f64::from(share.shares)).sum();
    let of = |share: &Share| {
        let part = if sum > 0.0 { f64::from(share.shares) / sum } else { 0.0 };
        let nominal = whole((f64::from(server_seats) * part).ceil());
        let percent = |percent: u32| whole((f64::from(nominal) * f64::from(percent) / 100.0).round());
        Bounds {
            nominal,
            least: nominal.saturating_sub(percent(share.lendable_percent)),
            most: nominal.saturating_add(share.borrowing_percent.map_or(server_seats, percent)),
        }
    };
    shares.iter().map(of).collect()
}

/// What one level wants when seats are given out anew.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub bounds: Bounds,
    /// The most that was wanted at once since the last time.
    pub peak: u32,
    /// What is wanted most of the time.
    pub smoothed: f64,
}

impl Wish {
    /// What is its own and was used is not lent.
    fn least(&self) -> u32 {
        self.bounds.least.max(self.bounds.nominal.min(self.peak))
    }

    fn target(&self) -> f64 {
        /// No level is nothing, or it would never get anything.
        const TARGET_MIN: f64 = 0.001;
        f64::from(self.least()).max(self.smoothed).max(TARGET_MIN)
    }

    fn at(&self, proportion: f64) -> f64 {
        let (least, most) = (f64::from(self.least()), f64::from(self.bounds.most));
        (proportion * self.target()).clamp(least, most.max(least))
    }
}

/// Gives `seats` out to all levels but the exempt one, which has taken `exempt` of them: each gets the same multiple of what
/// it wants, within its bounds.
pub(super) fn allocate(seats: u32, exempt: u32, wishes: &[Wish]) -> Vec<u32> {
    let left = seats.saturating_sub(exempt);
    let sum = |of: fn(&Wish) -> u32| wishes.iter().map(of).sum::<u32>();
    let (lowest, least) = (sum(|wish| wish.bounds.least), sum(Wish::least));
    if left <= lowest {
        return wishes.iter().map(|wish| wish.bounds.least).collect();
    }
    if left <= least {
        let part = f64::from(left - lowest) / f64::from(least - lowest);
        let of = |wish: &Wish| wish.bounds.least + whole((f64::from(wish.least() - wish.bounds.least) * part).round());
        return wishes.iter().map(of).collect();
    }
    let proportion = proportion(f64::from(seats), wishes);
    wishes.iter().map(|wish| whole(wish.at(proportion).round())).collect()
}

/// The multiple at which all wishes together make up `seats`. What they make up grows with it, so it is found by halving.
fn proportion(seats: f64, wishes: &[Wish]) -> f64 {
    /// Enough for the difference of two neighbouring numbers.
    const HALVINGS: u32 = 100;
    let ratio = |wish: &Wish| f64::from(wish.bounds.most.max(wish.least())) / wish.target();
    let (mut low, mut high) = (0.0, wishes.iter().map(ratio).fold(1.0, f64::max));
    for _ in 0..HALVINGS {
        let middle = (low + high) / 2.0;
        if wishes.iter().map(|wish| wish.at(middle)).sum::<f64>() < seats { low = middle } else { high = middle }
    }
    high
}

/// The number of a whole number of seats.
fn whole(seats: f64) -> u32 {
    // Out of range saturates, and what is no number is none.
    seats as u32
}

/// What a level wants over time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demand {
    count: u32,
    sum: f64,
    squares: f64,
    smoothed: f64,
}

impl Demand {
    /// Seats that are wanted right now.
    pub(super) fn sample(&mut self, seats: u32) {
        let seats = f64::from(seats);
        self.count += 1;
        self.sum += seats;
        self.squares += seats * seats;
    }

    /// Ends a period. Grows at once and shrinks slowly, as upstream has it.
    pub(super) fn smooth(&mut self) -> f64 {
        /// How much of the old value stays.
        const COEFFICIENT: f64 = 0.977;
        if self.count > 0 {
            let count = f64::from(self.count);
            let average = self.sum / count;
            let deviation = (self.squares / count - average * average).max(0.0).sqrt();
            let envelope = average + deviation;
            self.smoothed = envelope.max(COEFFICIENT * self.smoothed + (1.0 - COEFFICIENT) * envelope);
        }
        *self = Self { smoothed: self.smoothed, ..Self::default() };
        self.smoothed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(shares: u32, lendable_percent: u32, borrowing_percent: Option<u32>) -> Share {
        Share { shares, lendable_percent, borrowing_percent }
    }

    #[test]
    fn shares_are_upstreams_of_its_own_set() {
        // The suggested set with upstream's 600 seats: KEP-1040 has these figures.
        let set = [(30, 33), (40, 25), (10, 0), (40, 50), (100, 90), (20, 50), (5, 0)];
        let shares: Vec<Share> = set.iter().map(|(shares, lendable)| share(*shares, *lendable, None)).collect();
        let bounds = bounds(600, &shares);
        let figures: Vec<(u32, u32, u32)> = bounds.iter().map(|b| (b.nominal, b.least, b.most)).collect();
        let wanted =
            [(74, 50, 674), (98, 73, 698), (25, 25, 625), (98, 49, 698), (245, 24, 845), (49, 24, 649), (13, 13, 613)];
        assert_eq!(figures, wanted);
        assert_eq!(super::bounds(600, &[share(0, 0, None)])[0], Bounds { nominal: 0, least: 0, most: 600 });
    }

    #[test]
    fn who_wants_more_borrows_what_others_do_not_use() {
        let bounds = bounds(100, &[share(50, 50, None), share(50, 80, None), share(0, 0, Some(0))]);
        let wish = |i: usize, peak, smoothed| Wish { bounds: bounds[i], peak, smoothed };
        // The second one idles: the first borrows what may be lent.
        let given = allocate(100, 0, &[wish(0, 200, 200.0), wish(1, 0, 0.0), wish(2, 10, 10.0)]);
        assert_eq!(given, [90, 10, 0]);
        // Both want all: each has its own.
        let given = allocate(100, 0, &[wish(0, 200, 200.0), wish(1, 200, 200.0), wish(2, 0, 0.0)]);
        assert_eq!(given, [50, 50, 0]);
        // The exempt ones took most: what may be lent is gone.
        let given = allocate(100, 90, &[wish(0, 200, 200.0), wish(1, 0, 0.0), wish(2, 0, 0.0)]);
        assert_eq!(given, [25, 10, 0]);
    }

    #[test]
    fn demand_grows_at_once_and_shrinks_slowly() {
        let mut demand = Demand::default();
        (0..10).for_each(|_| demand.sample(100));
        assert!((demand.smooth() - 100.0).abs() < 0.001);
        (0..10).for_each(|_| demand.sample(0));
        assert!((demand.smooth() - 97.7).abs() < 0.001);
        assert!((demand.smooth() - 97.7).abs() < 0.001, "nothing was seen, nothing changes");
    }
}
