//! What a plugin is: filters say which nodes can take a pod, scores say which should.

use crate::cluster::{Cluster, NodeInfo, PodInfo};

/// Highest score of a node by one plugin.
pub const SCORE_MAX: i64 = 100;

/// A change of the cluster that may make room for a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A node is new.
    NodeAdded,
    /// A node's labels, taints or capacity changed.
    NodeChanged,
    /// A pod came to a node, or its labels changed.
    PodAdded,
    /// A pod left its node.
    PodRemoved,
    /// A claim, a volume or a class of storage is new or changed.
    VolumeChanged,
}

/// Why a node cannot take a pod; one line each, in upstream's words.
pub type Reasons = Vec<String>;

/// Asked for each node.
pub type Filter<'a> = Box<dyn Fn(&NodeInfo) -> Result<(), Reasons> + 'a>;

/// What a filter makes of a pod before any node is looked at.
pub enum Prepared<'a> {
    /// It has nothing to say about this pod.
    Skip,
    /// It wants to see the nodes.
    Filter(Filter<'a>),
    /// No node can take the pod, for this reason.
    Reject(String),
}

/// How raw scores become 0 to [`SCORE_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalize {
    /// They are already.
    As,
    /// The highest becomes the maximum.
    ByMax,
    /// The lowest becomes the maximum, the highest 0.
    ByMaxReversed,
    /// The lowest becomes 0, the highest the maximum.
    ByRange,
    /// Pods spread: the fewer the better.
    Spread,
}

/// Scores of a pod's nodes.
pub struct Score<'a> {
    /// Asked for each node that can take the pod.
    pub of: Box<dyn Fn(&NodeInfo) -> i64 + 'a>,
    /// Afterwards.
    pub normalize: Normalize,
}

/// One plugin.
pub struct Plugin {
    /// Its upstream name.
    pub name: &'static str,
    /// Whether a change may help a pod that it rejected.
    pub helped_by: fn(Event) -> bool,
    /// Which nodes can take a pod.
    pub filter: Option<for<'a> fn(&'a PodInfo, &'a Cluster) -> Prepared<'a>>,
    /// Which of them should.
    pub score: Option<for<'a> fn(&'a PodInfo, &'a Cluster) -> Option<Score<'a>>>,
    /// How much its scores count.
    pub weight: i64,
}

impl Normalize {
    /// Makes raw scores comparable.
    pub fn apply(self, scores: &mut [i64]) {
        let (min, max) = (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for score in scores.iter_mut() {
            *score = match self {
                Self::As => *score,
                Self::ByMax if max == 0 => 0,
                Self::ByMax => *score * SCORE_MAX / max,
                Self::ByMaxReversed if max == 0 => SCORE_MAX,
                Self::ByMaxReversed => SCORE_MAX - *score * SCORE_MAX / max,
                Self::ByRange if max == min => 0,
                Self::ByRange => (*score - min) * SCORE_MAX / (max - min),
                Self::Spread if max == 0 => SCORE_MAX,
                Self::Spread => (max + min - *score) * SCORE_MAX / max,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_comparable() {
        let cases = [
            (Normalize::As, [1, 2, 3], [1, 2, 3]),
            (Normalize::ByMax, [0, 5, 10], [0, 50, 100]),
            (Normalize::ByMax, [0, 0, 0], [0, 0, 0]),
            (Normalize::ByMaxReversed, [0, 1, 2], [100, 50, 0]),
            (Normalize::ByMaxReversed, [0, 0, 0], [100, 100, 100]),
            (Normalize::ByRange, [-10, 0, 10], [0, 50, 100]),
            (Normalize::Spread, [0, 1, 2], [100, 50, 0]),
        ];
        for (normalize, mut raw, expected) in cases {
            normalize.apply(&mut raw);
            assert_eq!(raw, expected, "{normalize:?}");
        }
    }
}
