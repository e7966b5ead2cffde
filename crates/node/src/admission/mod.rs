//! Whether a pod that was bound to this node may run here. A second opinion: the scheduler asks first, but pods can be
//! bound past it.

pub mod features;
mod labels;
mod ports;
pub mod resize;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::resources::{Qos, is_critical, pod_request, qos};
use crate::eviction::Pressure;
use crate::managers::devices::is_extended;
use crate::quantity;
use crate::register::Machine;
use crate::wanted::Wanted;

/// What is asked about a pod, and beside whom.
pub struct Question<'a> {
    /// The pod.
    pub wanted: &'a Wanted,
    /// All pods here, the pod itself among them perhaps.
    pub pods: &'a [Arc<Wanted>],
    /// The machine.
    pub machine: &'a Machine,
    /// The Node, when it is known.
    pub node: Option<&'a Node>,
    /// What the node is short of.
    pub pressure: Pressure,
    /// How many devices are taken, by resource, when the pod has some of them.
    pub taken: &'a BTreeMap<String, i64>,
}

/// Why a pod is refused: the reason in its status and event, and the message, as upstream words them.
pub type Refusal = (String, String);

/// Why the pod may not run here: what is asked before it is given devices and CPUs.
pub fn at_first(question: &Question<'_>) -> Option<Refusal> {
    short(question).or_else(|| features::rejected(question.wanted))
}

/// The same, when it has them.
pub fn at_last(question: &Question<'_>) -> Option<Refusal> {
    lacking(question).or_else(|| labels::unfit(question)).or_else(|| ports::taken(question))
}

/// A node that is short of memory takes no pods that ask for none; one short of disk or processes takes none but critical
/// ones.
fn short(question: &Question<'_>) -> Option<Refusal> {
    let (wanted, pressure) = (question.wanted, question.pressure);
    let names = pressure.names();
    if names.is_empty() || is_critical(wanted) {
        return None;
    }
    let only_memory = names == ["MemoryPressure"];
    let tolerates = wanted.spec().tolerations.iter().flatten().any(labels::tolerates_memory_pressure);
    if only_memory && (qos(wanted) != Qos::BestEffort || tolerates) {
        return None;
    }
    Some(("Evicted".to_owned(), format!("The node had condition: [{}]. ", names.join(" "))))
}

/// A failed predicate of the scheduler.
fn predicate(name: &str, why: &str) -> Refusal {
    (name.to_owned(), format!("Predicate {name} failed: {why}"))
}

impl Question<'_> {
    /// The pods beside this one that are not over.
    fn others(&self) -> impl Iterator<Item = &Arc<Wanted>> {
        self.pods.iter().filter(|p| p.uid() != self.wanted.uid() && !p.is_terminal())
    }
}

/// A resource: its name, how to read it, how much there is.
type Kind = (String, fn(&Quantity) -> i64, i64);

fn lacking(question: &Question<'_>) -> Option<Refusal> {
    let count = i64::try_from(question.others().count()).unwrap_or(i64::MAX);
    let machine = question.machine.allocatable();
    if count >= machine.pods_max {
        return Some(out_of("pods", 1, count, machine.pods_max));
    }
    let mut kinds: Vec<Kind> = vec![
        ("cpu".to_owned(), quantity::milli, machine.milli_cpu),
        ("memory".to_owned(), quantity::value, machine.memory_bytes),
        ("ephemeral-storage".to_owned(), quantity::value, machine.storage_bytes),
    ];
    kinds.extend(machine.hugepages.iter().map(|(size, all)| {
        let read: fn(&Quantity) -> i64 = quantity::value;
        (format!("hugepages-{size}"), read, *all)
    }));
    kinds.extend(extended(question));
    kinds.into_iter().find_map(|(name, read, capacity)| {
        let requested = pod_request(question.wanted, &name, read);
        if requested == 0 {
            return None;
        }
        let used = question.others().map(|p| pod_request(p, &name, read)).fold(0i64, i64::saturating_add);
        (used.saturating_add(requested) > capacity).then(|| out_of(&name, requested, used, capacity))
    })
}

/// Extended resources that the Node has. Others are not this node's matter: an extender of the scheduler may count them.
fn extended(question: &Question<'_>) -> Vec<Kind> {
    let status = question.node.and_then(|node| node.status.as_ref());
    let all = status.and_then(|status| status.allocatable.as_ref()).into_iter().flatten();
    let kind = |(name, amount): (&String, &Quantity)| {
        let read: fn(&Quantity) -> i64 = quantity::value;
        // The devices of pods that run count, even if their plugin went.
        let taken = question.taken.get(name).copied().unwrap_or(0);
        (name.clone(), read, quantity::value(amount).max(taken))
    };
    all.filter(|(name, _)| is_extended(name)).map(kind).collect()
}

fn out_of(name: &str, requested: i64, used: i64, capacity: i64) -> Refusal {
    let message =
        format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}");
    (format!("OutOf{name}"), message)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    /// A pod with this spec.
    pub fn pod(uid: &str, spec: &str) -> Arc<Wanted> {
        let text = format!(r#"{{"metadata":{{"name":"{uid}","namespace":"n","uid":"{uid}"}},"spec":{spec}}}"#);
        let pod: Pod = serde_json::from_str(&text).unwrap();
        Arc::new(Wanted::new(Arc::new(pod)))
    }

    fn asking(uid: &str, cpu: &str) -> Arc<Wanted> {
        pod(uid, &format!(r#"{{"containers":[{{"name":"a","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}"#))
    }

    #[test]
    fn a_pod_must_fit_beside_the_others() {
        let machine = Machine { milli_cpu: 2000, memory_bytes: 1 << 30, pods_max: 110, ..Machine::default() };
        let others = [asking("a", "1500m")];
        let asked = |wanted: &Wanted| {
            let (pressure, taken) = (Pressure::default(), &BTreeMap::new());
            at_last(&Question { wanted, pods: &others, machine: &machine, node: None, pressure, taken })
        };
        assert_eq!(asked(&asking("b", "500m")), None);
        let (reason, message) = asked(&asking("b", "501m")).unwrap();
        assert_eq!(reason, "OutOfcpu");
        let wanted = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(message, wanted);
        assert_eq!(asked(&others[0]), None);
    }

    #[test]
    fn a_node_under_pressure_takes_only_some() {
        let machine = Machine { milli_cpu: 2000, memory_bytes: 1 << 30, pods_max: 110, ..Machine::default() };
        let (modest, none) = (asking("a", "100m"), pod("b", r#"{"containers":[{"name":"a"}]}"#));
        let critical = pod("c", r#"{"priority":2000001000,"containers":[{"name":"a"}]}"#);
        let memory = Pressure { memory: true, ..Pressure::default() };
        let disk = Pressure { disk: true, ..Pressure::default() };
        for (wanted, pressure, refused) in [
            (&modest, Pressure::default(), false),
            (&modest, memory, false),
            (&none, memory, true),
            (&modest, disk, true),
            (&critical, disk, false),
        ] {
            let taken = &BTreeMap::new();
            let found = at_first(&Question { wanted, pods: &[], machine: &machine, node: None, pressure, taken });
            assert_eq!(found.is_some(), refused);
            if let Some((reason, message)) = found {
                let condition = if pressure.disk { "DiskPressure" } else { "MemoryPressure" };
                assert_eq!((reason.as_str(), message), ("Evicted", format!("The node had condition: [{condition}]. ")));
            }
        }
    }
}
