//! Below what the node is short of something, and what then happens: the options `--eviction-…` of kubelet.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use machinery::quantity::Quantity;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Signal {
    /// `memory.available`: bytes that processes can still have.
    Memory,
    /// `allocatableMemory.available`: bytes that pods can still have, of those that are theirs.
    PodMemory,
    /// `nodefs.available`: free bytes where volumes and logs are.
    NodeBytes,
    /// `nodefs.inodesFree`: free inodes there.
    NodeInodes,
    /// `imagefs.available`: free bytes where images and containers are.
    ImageBytes,
    /// `imagefs.inodesFree`: free inodes there.
    ImageInodes,
    /// `pid.available`: processes that can still start.
    Pids,
}

impl Signal {
    /// Each with the name that options have for it.
    const ALL: [(&'static str, Self); 7] = [
        ("memory.available", Self::Memory),
        ("allocatableMemory.available", Self::PodMemory),
        ("nodefs.available", Self::NodeBytes),
        ("nodefs.inodesFree", Self::NodeInodes),
        ("imagefs.available", Self::ImageBytes),
        ("imagefs.inodesFree", Self::ImageInodes),
        ("pid.available", Self::Pids),
    ];

    fn parse(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|(own, _)| *own == name.trim());
        known.map(|(_, signal)| signal).ok_or_else(|| format!("unrecognized eviction signal {}", name.trim()))
    }

    /// Its name in options.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, signal)| *signal == self).map_or("", |(name, _)| name)
    }

    /// How it is called when it runs short.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory | Self::PodMemory => "memory",
            Self::NodeBytes | Self::ImageBytes => "ephemeral-storage",
            Self::NodeInodes | Self::ImageInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// Whether it is about memory, which comes first when the node is short of several things.
    pub fn is_memory(self) -> bool {
        matches!(self, Self::Memory | Self::PodMemory)
    }

    /// Whether it counts bytes.
    pub fn is_bytes(self) -> bool {
        self.is_memory() || matches!(self, Self::NodeBytes | Self::ImageBytes)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource())
    }
}

/// How much must be left, or be freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes, inodes or processes.
    Absolute(u64),
    /// Millionths of all there is.
    Share(u64),
}

impl Amount {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
            return match percent >= 0.0 {
                true => Ok(Self::Share((percent * 10_000.0) as u64)),
                false => Err(format!("{text:?} must not be negative")),
            };
        }
        let quantity = Quantity::parse(text).map_err(|_| format!("{text:?} is neither a quantity nor a percentage"))?;
        u64::try_from(quantity.value()).map(Self::Absolute).map_err(|_| format!("{text:?} must not be negative"))
    }

    /// The amount, of `all` there is.
    pub fn of(self, all: u64) -> u64 {
        match self {
            Self::Absolute(amount) => amount,
            Self::Share(millionths) => {
                u64::try_from(u128::from(all) * u128::from(millionths) / 1_000_000).unwrap_or(all)
            }
        }
    }

    /// As messages show it: percentages as upstream computes them, in binary units.
    pub fn is_share(self) -> bool {
        matches!(self, Self::Share(_))
    }
}

/// Signals of the file system of containers' own layers. It has no thresholds of its own, in upstream either: those of the
/// images' hold there too, and what options say of it is overridden.
const OVERRIDDEN: [&str; 2] = ["containerfs.available", "containerfs.inodesFree"];

/// `A<B,C<D` or `A=B,C=D` as pairs; `form` tells how one looks.
fn pairs<'a>(text: &'a str, between: char, form: &str) -> Result<Vec<(Signal, &'a str)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let one = |part: &'a str| {
        let (signal, rest) = part.split_once(between).ok_or_else(|| format!("{part:?} is not of the form {form}"))?;
        if OVERRIDDEN.contains(&signal.trim()) {
            tracing::warn!(signal = signal.trim(), "overridden: what holds for imagefs holds here");
            return Ok(None);
        }
        Ok(Some((Signal::parse(signal)?, rest.trim())))
    };
    parts.map(one).filter_map(Result::transpose).collect()
}

/// `memory.available<100Mi,nodefs.available<10%`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Thresholds(Vec<(Signal, Amount)>);

impl Thresholds {
    /// The default. DIVERGES: upstream keeps 10% of the disk free (15% of the images'), which on a large and well-filled
    /// disk of a developer or a CI machine means that no pod runs with dozens of gigabytes to spare. One gigabyte is
    /// enough to stop in order; the rest is upstream's.
    pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<1Gi,nodefs.inodesFree<5%";
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (signal, amount) in pairs(text, '<', "SIGNAL<AMOUNT")? {
            let own = Amount::parse(amount)?;
            let name = signal.name();
            match own {
                // Nothing and all switch a threshold off.
                Amount::Share(0 | 1_000_000) => continue,
                Amount::Share(1_000_001..) => {
                    return Err(format!("eviction percentage threshold {name} must be <= 100%: {amount}"));
                }
                Amount::Absolute(0) => return Err(format!("eviction threshold {name} must be positive: {amount}")),
                _ => all.push((signal, own)),
            }
        }
        Ok(Self(all))
    }
}

/// `memory.available=1m30s`: how long something may be short before pods go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GracePeriods(BTreeMap<Signal, Duration>);

impl FromStr for GracePeriods {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |(signal, text): (Signal, &str)| {
            let nanoseconds = machinery::duration::parse_go(text).map_err(|e| format!("{text:?}: {e}"))?;
            let period = u64::try_from(nanoseconds).map(Duration::from_nanos);
            let bad = |_| format!("invalid eviction grace period specified: {text}, must be a positive value");
            Ok((signal, period.map_err(bad)?))
        };
        pairs(text, '=', "SIGNAL=DURATION")?.into_iter().map(one).collect::<Result<_, String>>().map(Self)
    }
}

/// `nodefs.available=500Mi`: how much more than the threshold is freed once it was crossed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reclaims(BTreeMap<Signal, Amount>);

impl FromStr for Reclaims {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |(signal, text): (Signal, &str)| match Amount::parse(text)? {
            Amount::Share(0) => {
                Err(format!("eviction percentage minimum reclaim {} must be positive: {text}", signal.name()))
            }
            amount => Ok((signal, amount)),
        };
        pairs(text, '=', "SIGNAL=AMOUNT")?.into_iter().map(one).collect::<Result<_, String>>().map(Self)
    }
}

/// One threshold with all that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// What is looked at.
    pub signal: Signal,
    /// What must be left.
    pub least: Amount,
    /// How long it may be crossed; a hard threshold has no such time.
    pub grace: Option<Duration>,
    /// What is freed beyond it.
    pub reclaim: Option<Amount>,
}

/// All options of eviction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Hard and soft ones.
    pub thresholds: Vec<Threshold>,
    /// How long containers get at most when a soft threshold drives them away.
    pub max_pod_grace: Duration,
    /// How long a shortage is told after it was last seen.
    pub transition: Duration,
}

impl Eviction {
    /// How long a shortage is told by default.
    pub const TRANSITION: Duration = Duration::from_secs(300);

    /// Nothing is ever short.
    pub fn none() -> Self {
        Self { thresholds: Vec::new(), max_pod_grace: Duration::ZERO, transition: Self::TRANSITION }
    }

    /// Puts the options together. What hard thresholds keep free of the node's memory they keep free of the pods' too, as
    /// upstream has it. An error says which do not fit.
    pub fn new(
        hard: &Thresholds,
        soft: &Thresholds,
        graces: &GracePeriods,
        reclaims: &Reclaims,
    ) -> Result<Self, String> {
        let one = |(signal, least): &(Signal, Amount), grace| Threshold {
            signal: *signal,
            least: *least,
            grace,
            reclaim: reclaims.0.get(signal).copied(),
        };
        let mut thresholds: Vec<Threshold> = hard.0.iter().map(|pair| one(pair, None)).collect();
        for pair in &soft.0 {
            let grace = graces.0.get(&pair.0).copied().ok_or_else(|| {
                format!("grace period must be specified for the soft eviction threshold {}", pair.0.name())
            })?;
            thresholds.push(one(pair, Some(grace)));
        }
        let hard_memory = |threshold: &&Threshold| threshold.signal == Signal::Memory && threshold.grace.is_none();
        let pods = thresholds.iter().filter(hard_memory).map(|own| Threshold { signal: Signal::PodMemory, ..*own });
        let pods: Vec<Threshold> = pods.collect();
        thresholds.extend(pods);
        Ok(Self { thresholds, ..Self::none() })
    }

    /// What hard thresholds keep free of a signal that has `all` there is; the largest of them.
    pub fn least(&self, signal: Signal, all: u64) -> u64 {
        let own = self.thresholds.iter().filter(|t| t.signal == signal && t.grace.is_none());
        own.map(|t| t.least.of(all)).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flags_are_read_as_kubelet_reads_them() {
        let hard: Thresholds =
            "memory.available<5%, nodefs.available<1Gi,pid.available<0%,containerfs.available<9Gi".parse().unwrap();
        let soft: Thresholds = "memory.available<10%".parse().unwrap();
        let graces: GracePeriods = "memory.available=1m30s".parse().unwrap();
        let reclaims: Reclaims = "memory.available=0Mi,nodefs.available=500Mi".parse().unwrap();
        let own = Eviction::new(&hard, &soft, &graces, &reclaims).unwrap();
        assert_eq!((own.least(Signal::Memory, 1000), own.least(Signal::NodeBytes, 2 << 30)), (50, 1 << 30));
        assert_eq!(own.least(Signal::Pids, 1000), 0);
        assert_eq!(own.thresholds.len(), 4);
        assert_eq!((own.thresholds[3].signal, own.thresholds[3].least), (Signal::PodMemory, own.thresholds[0].least));
        assert_eq!(own.thresholds[1].reclaim, Some(Amount::Absolute(500 << 20)));
        assert_eq!(own.thresholds[2].grace, Some(Duration::from_secs(90)));
        let none = Eviction::new(&"".parse().unwrap(), &soft, &GracePeriods::default(), &reclaims);
        let why = "grace period must be specified for the soft eviction threshold memory.available";
        assert_eq!(none, Err(why.to_owned()));
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let thresholds = |text: &str| text.parse::<Thresholds>().unwrap_err();
        let graces = |text: &str| text.parse::<GracePeriods>().unwrap_err();
        let reclaims = |text: &str| text.parse::<Reclaims>().unwrap_err();
        for (found, why) in [
            (thresholds("memory.available"), "\"memory.available\" is not of the form SIGNAL<AMOUNT"),
            (thresholds("memory.free<1"), "unrecognized eviction signal memory.free"),
            (thresholds("nodefs.available<x"), "\"x\" is neither a quantity nor a percentage"),
            (
                thresholds("nodefs.available<101%"),
                "eviction percentage threshold nodefs.available must be <= 100%: 101%",
            ),
            (thresholds("nodefs.available<-1"), "\"-1\" must not be negative"),
            (thresholds("pid.available<0"), "eviction threshold pid.available must be positive: 0"),
            (graces("memory.available=-5s"), "invalid eviction grace period specified: -5s, must be a positive value"),
            (graces("disk=5s"), "unrecognized eviction signal disk"),
            (
                reclaims("imagefs.available=0%"),
                "eviction percentage minimum reclaim imagefs.available must be positive: 0%",
            ),
        ] {
            assert_eq!(found, why);
        }
        assert!(graces("memory.available=soon").starts_with("\"soon\": "));
    }
}
