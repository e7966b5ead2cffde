//! Below what the node is short of something: `memory.available<100Mi,nodefs.available<10%`, as kubelet's
//! `--eviction-hard` has it.

use std::fmt;
use std::str::FromStr;

use machinery::quantity::Quantity;

use crate::disk::Space;

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `memory.available`: bytes that processes can still have.
    Memory,
    /// `nodefs.available` and, as images lie on the same file system here, `imagefs.available`: free bytes.
    Disk,
    /// `nodefs.inodesFree` and `imagefs.inodesFree`: free inodes.
    Inodes,
}

impl Signal {
    fn parse(name: &str) -> Result<Self, String> {
        match name {
            "memory.available" => Ok(Self::Memory),
            "nodefs.available" | "imagefs.available" => Ok(Self::Disk),
            "nodefs.inodesFree" | "imagefs.inodesFree" => Ok(Self::Inodes),
            "pid.available" | "allocatableMemory.available" => Err(format!("eviction signal {name} is not supported")),
            _ => Err(format!("unknown eviction signal {name:?}")),
        }
    }

    /// How it is called when it runs short.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "ephemeral-storage",
            Self::Inodes => "inodes",
        }
    }
}

/// How much must be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes or inodes.
    Absolute(u64),
    /// Millionths of all there is.
    Share(u64),
}

impl Amount {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| format!("{text:?} is not a percentage"))?;
            return match (0.0..=100.0).contains(&percent) {
                true => Ok(Self::Share((percent * 10_000.0) as u64)),
                false => Err(format!("{text:?} must lie between 0% and 100%")),
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
}

/// Hard thresholds of eviction: no time of grace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds(Vec<(Signal, Amount)>);

impl Thresholds {
    /// The default. DIVERGES: upstream keeps 10% of the disk free (15% of the images'), which on a large and well-filled
    /// disk of a developer or a CI machine means that no pod runs with dozens of gigabytes to spare. One gigabyte is
    /// enough to stop in order; the rest is upstream's.
    pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<1Gi,nodefs.inodesFree<5%";

    /// Nothing is ever short.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// What must be left of a signal that has `all` there is; the largest of its thresholds.
    pub fn least(&self, signal: Signal, all: u64) -> u64 {
        let own = self.0.iter().filter(|(of, _)| *of == signal);
        own.map(|(_, amount)| amount.of(all)).max().unwrap_or(0)
    }

    /// What must be left of a disk: bytes and inodes.
    pub fn least_of(&self, disk: &Space) -> (u64, u64) {
        (self.least(Signal::Disk, disk.bytes), self.least(Signal::Inodes, disk.inodes))
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let one = |part: &str| {
            let (signal, amount) =
                part.split_once('<').ok_or_else(|| format!("{part:?} is not of the form SIGNAL<AMOUNT"))?;
            Ok((Signal::parse(signal.trim())?, Amount::parse(amount.trim())?))
        };
        parts.map(one).collect::<Result<_, String>>().map(Self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.resource())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_read_as_kubelet_reads_it() {
        let own: Thresholds = "memory.available<5%, nodefs.available<1Gi,imagefs.available<15%".parse().unwrap();
        assert_eq!(own.least(Signal::Memory, 1000), 50);
        assert_eq!(own.least(Signal::Disk, 2 << 30), 1 << 30);
        assert_eq!(own.least(Signal::Disk, 100 << 30), 15 << 30);
        assert_eq!(own.least(Signal::Inodes, 1000), 0);
        assert_eq!("".parse(), Ok(Thresholds::none()));
        for (bad, why) in [
            ("memory.available", "\"memory.available\" is not of the form SIGNAL<AMOUNT"),
            ("memory.free<1", "unknown eviction signal \"memory.free\""),
            ("pid.available<1", "eviction signal pid.available is not supported"),
            ("nodefs.available<x", "\"x\" is neither a quantity nor a percentage"),
            ("nodefs.available<101%", "\"101%\" must lie between 0% and 100%"),
            ("nodefs.available<-1", "\"-1\" must not be negative"),
        ] {
            assert_eq!(bad.parse::<Thresholds>(), Err(why.to_owned()), "{bad}");
        }
    }
}
