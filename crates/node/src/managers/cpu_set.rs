//! Sets of CPUs, as the kernel writes them: `0-2,4`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// The highest CPU number that is read, so that a range cannot fill the memory.
const CPU_MAX: usize = 8191;

/// CPUs by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CpuSet(pub BTreeSet<usize>);

impl CpuSet {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those in either.
    pub fn or(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// Those in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Those that are not in `other`.
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| match part.parse::<usize>() {
            Ok(number) if number <= CPU_MAX => Ok(number),
            _ => Err(format!("{text:?} is not a set of CPUs such as 0-2,4")),
        };
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            cpus.extend(number(first)?..=number(last)?);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut rest = self.0.iter().copied().peekable();
        while let Some(first) = rest.next() {
            let mut last = first;
            while rest.next_if_eq(&(last + 1)).is_some() {
                last += 1;
            }
            parts.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
        }
        out.write_str(&parts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_read_as_the_kernel_writes_them() {
        for (text, printed) in [("", ""), ("0-2,4\n", "0-2,4"), ("3,1,2", "1-3"), ("7", "7"), ("0,2", "0,2")] {
            assert_eq!(text.parse::<CpuSet>().unwrap().to_string(), printed);
        }
        for bad in ["x", "1-", "1-99999", "-1", "1.3"] {
            assert!(bad.parse::<CpuSet>().is_err(), "{bad}");
        }
    }
}
