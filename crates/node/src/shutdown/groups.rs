//! Which pods end when, and how long they get. Pure.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::wanted::Wanted;

/// The priority from which pods are critical.
const CRITICAL: i32 = 2_000_000_000;

/// How long pods of a priority get, and of those above it up to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// The least priority.
    pub priority: i32,
    /// Whole seconds.
    pub grace: Duration,
}

/// The option `--shutdown-grace-period-by-pod-priority`: `0=60s,2000000000=10s`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Periods(Vec<Period>);

impl FromStr for Periods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let form = || format!("{part:?} is not of the form PRIORITY=DURATION");
            let (priority, grace) = part.split_once('=').ok_or_else(form)?;
            let priority = priority.trim().parse().map_err(|_| form())?;
            let nanoseconds = machinery::duration::parse_go(grace.trim()).map_err(|e| format!("{grace:?}: {e}"))?;
            let grace = u64::try_from(nanoseconds).map_err(|_| format!("{grace:?} must not be negative"))?;
            Ok(Period { priority, grace: Duration::from_secs(grace / 1_000_000_000) })
        };
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        Self::sorted(parts.map(one).collect::<Result<_, String>>()?)
    }
}

impl Periods {
    fn sorted(mut list: Vec<Period>) -> Result<Self, String> {
        list.sort_by_key(|period| period.priority);
        match list.windows(2).find(|pair| pair[0].priority == pair[1].priority) {
            Some(pair) => Err(format!("priority {} is named twice", pair[0].priority)),
            None => Ok(Self(list)),
        }
    }

    /// Two phases: `critical` of `all` belongs to critical pods. No time at all gives no phases.
    pub fn of_two(all: Duration, critical: Duration) -> Result<Self, String> {
        if critical > all {
            return Err(format!("shutdownGracePeriodCriticalPods {critical:?} must be <= shutdownGracePeriod {all:?}"));
        }
        let second = Duration::from_secs(1);
        for (name, period) in [("shutdownGracePeriod", all), ("shutdownGracePeriodCriticalPods", critical)] {
            if !period.is_zero() && period < second {
                return Err(format!("{name} {period:?} must be either zero or otherwise >= 1 sec"));
            }
        }
        let whole = |period: Duration| Duration::from_secs(period.as_secs());
        let both = vec![
            Period { priority: 0, grace: whole(all - critical) },
            Period { priority: CRITICAL, grace: whole(critical) },
        ];
        Ok(Self(if all.is_zero() { Vec::new() } else { both }))
    }

    /// Whether pods get no time at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How long the machine has to wait in all.
    pub fn total(&self) -> Duration {
        self.0.iter().map(|period| period.grace).sum()
    }

    /// The pods of each period, the least important ones first. A pod below all of them belongs to the first.
    pub fn groups(&self, pods: &[Arc<Wanted>]) -> Vec<(Period, Vec<Arc<Wanted>>)> {
        let mut groups: Vec<(Period, Vec<Arc<Wanted>>)> = self.0.iter().map(|period| (*period, Vec::new())).collect();
        for pod in pods {
            let priority = pod.spec().priority.unwrap_or(0);
            let above = self.0.partition_point(|period| period.priority <= priority);
            if let Some((_, list)) = groups.get_mut(above.saturating_sub(1)) {
                list.push(pod.clone());
            }
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::tests::pod;

    #[test]
    fn pods_end_by_priority() {
        let periods: Periods = "2000000000=10s, 0=60s,1000=20s".parse().unwrap();
        assert_eq!(periods.total(), Duration::from_secs(90));
        let pods: Vec<_> = [-5, 0, 999, 1000, 1_999_999_999, 2_000_001_000]
            .iter()
            .map(|priority| pod(&priority.to_string(), &format!(r#"{{"priority":{priority},"containers":[]}}"#)))
            .collect();
        let groups = periods.groups(&pods).into_iter();
        let names = |list: &[Arc<Wanted>]| list.iter().map(|p| p.uid().to_owned()).collect::<Vec<_>>().join(" ");
        let found: Vec<_> = groups.map(|(period, list)| (period.grace.as_secs(), names(&list))).collect();
        let wanted = [(60, "-5 0 999"), (20, "1000 1999999999"), (10, "2000001000")];
        assert_eq!(found, wanted.map(|(grace, names)| (grace, names.to_owned())));
    }

    #[test]
    fn the_options_are_checked_as_kubelets_are() {
        let seconds = Duration::from_secs;
        let two = Periods::of_two(seconds(30), seconds(10)).unwrap();
        assert_eq!(two, "0=20s,2000000000=10s".parse().unwrap());
        assert!(Periods::of_two(seconds(0), seconds(0)).unwrap().is_empty());
        assert!(Periods::of_two(seconds(1), seconds(2)).unwrap_err().contains("must be <= shutdownGracePeriod"));
        let short = Periods::of_two(Duration::from_millis(500), seconds(0)).unwrap_err();
        assert_eq!(short, "shutdownGracePeriod 500ms must be either zero or otherwise >= 1 sec");
        for bad in ["1", "x=1s", "1=x", "1=-1s", "1=1s,1=2s"] {
            assert!(bad.parse::<Periods>().is_err(), "{bad}");
        }
    }
}
