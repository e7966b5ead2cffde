//! Which devices a container gets: pure, in upstream's order.

use std::collections::{BTreeMap, BTreeSet};

use super::Known;
use crate::managers::topology::{Hint, Mask};

type Ids = BTreeSet<String>;

/// A request for devices of one resource.
pub struct Request<'a> {
    /// The resource's name, for messages.
    pub resource: &'a str,
    /// All devices that the plugin told of.
    pub known: &'a BTreeMap<String, Known>,
    /// Those that are healthy and nobody's.
    pub available: Ids,
    /// Those that an init container of the pod had.
    pub reusable: &'a Ids,
    /// How many.
    pub count: usize,
    /// The NUMA nodes they should come from.
    pub affinity: Option<Mask>,
}

/// Some are taken; the plugin may say which of the others it prefers.
pub struct Partial {
    taken: Ids,
    count: usize,
    /// Among these the plugin may choose.
    candidates: Ids,
    /// What the rest is taken from, in this order.
    pools: Vec<Ids>,
}

impl Request<'_> {
    /// Takes what needs no word of the plugin.
    pub fn begin(self) -> Result<Partial, String> {
        let mut taken: Ids = self.reusable.iter().take(self.count).cloned().collect();
        let missing = self.count - taken.len();
        let available: Ids = self.available.difference(self.reusable).cloned().collect();
        if missing == 0 {
            return Ok(Partial { taken, count: self.count, candidates: Ids::new(), pools: Vec::new() });
        }
        if available.len() < missing {
            let (name, have) = (self.resource, available.len());
            return Err(format!(
                "requested number of devices unavailable for {name}. Requested: {missing}, Available: {have}"
            ));
        }
        let [aligned, others, anywhere] = self.by_affinity(&available);
        if missing < aligned.len() {
            return Ok(Partial { taken, count: self.count, candidates: aligned.clone(), pools: vec![aligned] });
        }
        taken.extend(aligned);
        Ok(Partial { taken, count: self.count, candidates: available, pools: vec![others, anywhere] })
    }

    /// On the nodes that are asked for, on others, and on none that is known.
    fn by_affinity(&self, available: &Ids) -> [Ids; 3] {
        let mask = self.affinity.filter(|_| self.known.values().any(|device| !device.nodes.is_empty()));
        let Some(mask) = mask else { return [Ids::new(), Ids::new(), available.clone()] };
        let mut pools = [Ids::new(), Ids::new(), Ids::new()];
        for id in available {
            let nodes = self.known.get(id).map(|device| device.nodes.as_slice()).unwrap_or_default();
            let place = match nodes {
                [] => 2,
                nodes if Mask::of(node_numbers(nodes)).nodes().iter().any(|node| mask.has(*node)) => 0,
                _ => 1,
            };
            pools[place].insert(id.clone());
        }
        pools
    }
}

impl Partial {
    /// What the plugin is asked, when there is a choice: among which, and which must be in the answer.
    pub fn question(&self) -> Option<(Vec<String>, Vec<String>)> {
        let open = self.taken.len() < self.count;
        open.then(|| (self.candidates.union(&self.taken).cloned().collect(), self.taken.iter().cloned().collect()))
    }

    /// Takes the rest: first what the plugin prefers.
    pub fn finish(mut self, preferred: &[String]) -> Result<Ids, String> {
        let liked: Ids = preferred.iter().filter(|id| self.candidates.contains(*id)).cloned().collect();
        for pool in std::iter::once(liked).chain(std::mem::take(&mut self.pools)) {
            for id in pool {
                if self.taken.len() < self.count {
                    self.taken.insert(id);
                }
            }
        }
        if self.taken.len() < self.count {
            let (wanted, got) = (self.count, self.taken.len());
            return Err(format!(
                "unexpectedly allocated less resources than required. Requested: {wanted}, Got: {got}"
            ));
        }
        Ok(self.taken)
    }
}

fn node_numbers(nodes: &[i64]) -> impl Iterator<Item = usize> {
    nodes.iter().filter_map(|node| usize::try_from(*node).ok())
}

/// From which NUMA nodes `count` devices can come.
pub fn hints(
    known: &BTreeMap<String, Known>,
    available: &Ids,
    reusable: &Ids,
    count: usize,
    nodes: &[usize],
) -> Vec<Hint> {
    let near = |id: &String, mask: Mask| {
        known.get(id).is_some_and(|device| node_numbers(&device.nodes).any(|node| mask.has(node)))
    };
    let without = |id: &&String| known.get(*id).is_none_or(|device| device.nodes.is_empty());
    let (mut least, mut masks) = (nodes.len(), Vec::new());
    for mask in Mask::all_of(nodes) {
        if known.keys().filter(|id| near(id, mask)).count() >= count {
            least = least.min(mask.count());
        }
        let placed: Vec<&String> = reusable.iter().filter(|id| !without(id)).collect();
        let free = available.difference(reusable).filter(|id| near(id, mask)).count();
        if placed.iter().all(|id| near(id, mask)) && placed.len() + free >= count {
            masks.push(mask);
        }
    }
    Hint::among(masks, least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Ids {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// `a0 b1 c`: devices a on node 0, b on node 1, c on none that is known.
    fn known(text: &str) -> BTreeMap<String, Known> {
        let device = |word: &str| {
            let nodes = word[1..].chars().filter_map(|c| c.to_digit(10).map(i64::from)).collect();
            (word[..1].to_owned(), Known { healthy: true, nodes })
        };
        text.split_whitespace().map(device).collect()
    }

    #[test]
    fn devices_are_taken_in_upstreams_order() {
        for (all, available, reusable, count, nodes, preferred, wanted) in [
            ("a b c", "a b c", "", 2, None, "", Ok("a b")),
            ("a b c", "a b c", "", 2, None, "c", Ok("a c")),
            ("a b c", "b c", "a", 2, None, "", Ok("a b")),
            ("a b c", "b c", "a", 1, None, "c", Ok("a")),
            ("a0 b1 c1 d", "a b c d", "", 1, Some([1]), "", Ok("b")),
            ("a0 b1 c1 d", "a b c d", "", 1, Some([1]), "a c", Ok("c")),
            ("a0 b1 c1 d", "a b c d", "", 3, Some([1]), "", Ok("a b c")),
            ("a0 b1 c1 d", "a b c d", "", 3, Some([1]), "d", Ok("b c d")),
            (
                "a b",
                "a",
                "",
                2,
                None,
                "",
                Err("requested number of devices unavailable for e.com/d. Requested: 2, Available: 1"),
            ),
        ] {
            let request = Request {
                resource: "e.com/d",
                known: &known(all),
                available: ids(available),
                reusable: &ids(reusable),
                count,
                affinity: nodes.map(Mask::of),
            };
            let preferred: Vec<String> = ids(preferred).into_iter().collect();
            let got = request.begin().and_then(|partial| partial.finish(&preferred));
            assert_eq!(got, wanted.map(ids).map_err(str::to_owned), "{all} {count} {nodes:?}");
        }
    }

    #[test]
    fn hints_name_the_nodes_that_have_enough() {
        let all = known("a0 b0 c1 d1");
        for (available, reusable, count, wanted) in [
            ("a b c d", "", 2, vec![(vec![0], true), (vec![1], true), (vec![0, 1], false)]),
            ("a c d", "", 2, vec![(vec![1], true), (vec![0, 1], false)]),
            ("a c", "", 2, vec![(vec![0, 1], false)]),
            ("b c d", "a", 2, vec![(vec![0], true), (vec![0, 1], false)]),
            ("a b c d", "", 3, vec![(vec![0, 1], true)]),
            ("a", "", 2, vec![]),
        ] {
            let hints = hints(&all, &ids(available), &ids(reusable), count, &[0, 1]);
            let got: Vec<(Vec<usize>, bool)> =
                hints.into_iter().map(|hint| (hint.affinity.unwrap().nodes(), hint.preferred)).collect();
            assert_eq!(got, wanted, "{available}");
        }
    }
}
