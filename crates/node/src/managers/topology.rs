//! Which NUMA nodes a container's resources should come from: hints of all that give resources out, merged by a policy
//! (upstream: KEP-693, "Node Topology Manager").

use std::collections::BTreeMap;
use std::str::FromStr;

use super::machine::Distances;

/// A set of NUMA nodes, by their numbers below 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mask(u64);

impl Mask {
    /// Of these nodes; numbers beyond what a mask holds are left out.
    pub fn of(nodes: impl IntoIterator<Item = usize>) -> Self {
        Self(nodes.into_iter().filter(|node| *node < 64).fold(0, |bits, node| bits | 1 << node))
    }

    /// Whether a node is in it.
    pub fn has(self, node: usize) -> bool {
        node < 64 && self.0 & (1 << node) != 0
    }

    /// How many nodes.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The nodes, in order.
    pub fn nodes(self) -> Vec<usize> {
        (0..64).filter(|node| self.has(*node)).collect()
    }

    /// Whether all of `other` is in it.
    pub fn holds(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Fewer nodes, or as many with lower numbers.
    pub fn is_narrower_than(self, other: Self) -> bool {
        if self.count() == other.count() { self.0 < other.0 } else { self.count() < other.count() }
    }

    /// All sets of these nodes but the empty one: the small ones first, in the order of `nodes`.
    pub fn all_of(nodes: &[usize]) -> Vec<Self> {
        (1..=nodes.len()).flat_map(|size| combinations(nodes, size)).map(Self::of).collect()
    }
}

/// All ways to take `size` of `items`, in their order.
pub fn combinations<T: Copy>(items: &[T], size: usize) -> Vec<Vec<T>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (at, first) in items.iter().enumerate() {
        for mut rest in combinations(&items[at + 1..], size - 1) {
            rest.insert(0, *first);
            all.push(rest);
        }
    }
    all
}

/// One way to satisfy a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// From these nodes; `None` is any.
    pub affinity: Option<Mask>,
    /// Whether it takes no more nodes than it must.
    pub preferred: bool,
}

impl Hint {
    /// Wherever.
    pub const ANY: Self = Self { affinity: None, preferred: true };

    /// The masks as hints: those with the fewest nodes that could ever do are preferred.
    pub fn among(masks: Vec<Mask>, least: usize) -> Vec<Self> {
        masks.into_iter().map(|mask| Self { affinity: Some(mask), preferred: mask.count() == least }).collect()
    }
}

/// What one giver of resources says: hints by resource. `None` has no preference; an empty list cannot be satisfied.
pub type Hints = BTreeMap<String, Option<Vec<Hint>>>;

/// What becomes of a pod whose resources do not lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// Nobody asks.
    #[default]
    None,
    /// It runs all the same.
    BestEffort,
    /// It is rejected, unless they lie as close together as they can.
    Restricted,
    /// It is rejected, unless they lie on one node.
    SingleNumaNode,
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "best-effort" => Ok(Self::BestEffort),
            "restricted" => Ok(Self::Restricted),
            "single-numa-node" => Ok(Self::SingleNumaNode),
            other => Err(format!("unknown policy: {other:?}")),
        }
    }
}

/// What is aligned together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Each container by itself.
    #[default]
    Container,
    /// All containers of a pod.
    Pod,
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "container" => Ok(Self::Container),
            "pod" => Ok(Self::Pod),
            other => Err(format!("invalid scope: {other:?}")),
        }
    }
}

/// Merges hints.
#[derive(Debug, Clone)]
pub struct Merger<'a> {
    /// The policy.
    pub policy: Policy,
    /// The machine's nodes and how far they are from each other.
    pub distances: &'a Distances,
    /// Of two sets with as many nodes, the one whose nodes are closer wins (`prefer-closest-numa-nodes`).
    pub closest: bool,
}

impl Merger<'_> {
    /// The best that all givers agree on; `None` when the policy rejects it.
    pub fn merge(&self, givers: &[Hints]) -> Option<Hint> {
        if self.policy == Policy::None {
            return Some(Hint::ANY);
        }
        let mut lists = lists(givers);
        if self.policy == Policy::SingleNumaNode {
            let single = |hint: &Hint| hint.preferred && hint.affinity.is_none_or(|mask| mask.count() == 1);
            lists.iter_mut().for_each(|list| list.retain(single));
        }
        let mut best = self.best(&lists);
        if self.policy == Policy::SingleNumaNode && best.affinity == Some(self.all()) {
            best.affinity = None;
        }
        (self.policy == Policy::BestEffort || best.preferred).then_some(best)
    }

    fn all(&self) -> Mask {
        Mask::of(self.distances.nodes())
    }

    fn best(&self, lists: &[Vec<Hint>]) -> Hint {
        let enough = lists.iter().filter_map(|list| narrowest(list)).map(Mask::count).max().unwrap_or(0);
        let mut best: Option<(Mask, bool)> = None;
        permutations(lists, &mut Vec::new(), &mut |hints| {
            let (mask, preferred) = self.common(hints);
            if mask.count() > 0 {
                best = Some(best.map_or((mask, preferred), |known| self.better(known, (mask, preferred), enough)));
            }
        });
        let (mask, preferred) = best.unwrap_or((self.all(), false));
        Hint { affinity: Some(mask), preferred }
    }

    /// What all hints have in common. It is preferred when all are, and name the same nodes.
    fn common(&self, hints: &[Hint]) -> (Mask, bool) {
        let masks: Vec<Mask> = hints.iter().filter_map(|hint| hint.affinity).collect();
        let equal = masks.iter().all(|mask| *mask == masks[0]);
        let preferred = equal && hints.iter().all(|hint| hint.preferred);
        (masks.into_iter().fold(self.all(), Mask::and), preferred)
    }

    /// The better of two. Of two that are not preferred, the one wins whose number of nodes comes closest to `enough`: what
    /// the most demanding giver needs at least.
    fn better(&self, known: (Mask, bool), other: (Mask, bool), enough: usize) -> (Mask, bool) {
        match (known.1, other.1) {
            (false, true) => return other,
            (true, false) => return known,
            (true, true) => return self.fitter(known, other),
            (false, false) => {}
        }
        let (have, offer) = (known.0.count(), other.0.count());
        if have > enough {
            self.fitter(known, other)
        } else if have == enough {
            if offer == enough { self.fitter(known, other) } else { known }
        } else if offer > enough {
            known
        } else if offer == enough || offer > have {
            other
        } else if offer < have {
            known
        } else {
            self.fitter(known, other)
        }
    }

    fn fitter(&self, known: (Mask, bool), other: (Mask, bool)) -> (Mask, bool) {
        if known.0 == other.0 {
            return known;
        }
        let close = self.closest && self.policy != Policy::SingleNumaNode && known.0.count() == other.0.count();
        if close {
            let (near, far) = (self.distances.average(known.0), self.distances.average(other.0));
            if near != far {
                return if near < far { known } else { other };
            }
        }
        if other.0.is_narrower_than(known.0) { other } else { known }
    }
}

/// One list of hints for each resource of each giver. Who says nothing takes anything.
fn lists(givers: &[Hints]) -> Vec<Vec<Hint>> {
    let mut lists = Vec::new();
    for hints in givers {
        if hints.is_empty() {
            lists.push(vec![Hint::ANY]);
        }
        lists.extend(hints.values().map(|hints| match hints {
            None => vec![Hint::ANY],
            Some(hints) if hints.is_empty() => vec![Hint { affinity: None, preferred: false }],
            Some(hints) => hints.clone(),
        }));
    }
    lists
}

fn narrowest(hints: &[Hint]) -> Option<Mask> {
    let masks = hints.iter().filter_map(|hint| hint.affinity);
    masks.reduce(|best, mask| if mask.is_narrower_than(best) { mask } else { best })
}

/// Calls `each` with every way to take one hint of each list.
fn permutations(lists: &[Vec<Hint>], taken: &mut Vec<Hint>, each: &mut impl FnMut(&[Hint])) {
    let Some((first, rest)) = lists.split_first() else { return each(taken) };
    for hint in first {
        taken.push(*hint);
        permutations(rest, taken, each);
        taken.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(list: &[(&[usize], bool)]) -> Option<Vec<Hint>> {
        let hint = |(nodes, preferred): &(&[usize], bool)| {
            let affinity = (!nodes.is_empty()).then(|| Mask::of(nodes.iter().copied()));
            Hint { affinity, preferred: *preferred }
        };
        Some(list.iter().map(hint).collect())
    }

    fn giver(resource: &str, list: Option<Vec<Hint>>) -> Hints {
        [(resource.to_owned(), list)].into()
    }

    #[test]
    fn masks_come_small_first() {
        let all: Vec<Vec<usize>> = Mask::all_of(&[0, 1, 2]).into_iter().map(Mask::nodes).collect();
        let wanted: [&[usize]; 7] = [&[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];
        assert_eq!(all, wanted);
        assert!(Mask::of([3]).is_narrower_than(Mask::of([0, 1])) && Mask::of([0]).is_narrower_than(Mask::of([1])));
    }

    /// Upstream's cases: two nodes, two givers.
    #[test]
    fn policies_decide_as_upstreams() {
        let distances = Distances::even(&[0, 1]);
        let both = [(&[0][..], true), (&[1][..], true), (&[0, 1][..], false)];
        let only = |node: &'static [usize]| [(node, true), (&[0, 1][..], false)];
        let (zero, one) = (only(&[0]), only(&[1]));
        let pair: [(&[usize], bool); 1] = [(&[0, 1], true)];
        let nothing: [(&[usize], bool); 0] = [];
        let any = Some(Hint::ANY);
        let got = |nodes: &[usize], preferred| hints(&[(nodes, preferred)]).map(|list| list[0]);
        let cases = [
            // first, second: best-effort, restricted, single-numa-node
            (hints(&both), hints(&both), got(&[0], true), got(&[0], true), got(&[0], true)),
            (hints(&both), hints(&one), got(&[1], true), got(&[1], true), got(&[1], true)),
            (hints(&zero), hints(&one), got(&[0], false), None, None),
            (hints(&pair), hints(&pair), got(&[0, 1], true), got(&[0, 1], true), None),
            (hints(&both), None, got(&[0], true), got(&[0], true), got(&[0], true)),
            (hints(&both), hints(&nothing), got(&[0], false), None, None),
            (None, None, got(&[0, 1], true), got(&[0, 1], true), any),
        ];
        for (number, (first, second, effort, restricted, single)) in cases.into_iter().enumerate() {
            let givers = [giver("cpu", first), giver("example.com/device", second)];
            let merged = |policy| Merger { policy, distances: &distances, closest: false }.merge(&givers);
            assert_eq!(merged(Policy::None), any, "case {number}");
            assert_eq!(merged(Policy::BestEffort), effort, "case {number}");
            assert_eq!(merged(Policy::Restricted), restricted, "case {number}");
            assert_eq!(merged(Policy::SingleNumaNode), single, "case {number}");
        }
    }

    #[test]
    fn closer_nodes_may_win() {
        let far = vec![vec![10, 40, 20], vec![40, 10, 40], vec![20, 40, 10]];
        let distances = Distances::new(&[0, 1, 2], far);
        let givers = [giver("cpu", hints(&[(&[0, 1], true), (&[0, 2], true), (&[1, 2], true)]))];
        for (closest, nodes) in [(false, [0, 1]), (true, [0, 2])] {
            let merger = Merger { policy: Policy::BestEffort, distances: &distances, closest };
            assert_eq!(merger.merge(&givers).unwrap().affinity, Some(Mask::of(nodes)));
        }
    }
}
