//! Whether the node can hold what a running pod asks for anew (KEP-1287).

use super::{Question, lacking};
use crate::config::resources::pod_request;
use crate::quantity;

/// Why a pod may not have what it asks for: `Infeasible` when the node could never hold it, `Deferred` when it could
/// beside fewer others.
pub fn refusal(question: &Question<'_>) -> Option<(&'static str, String)> {
    let (wanted, all) = (question.wanted, question.machine.allocatable());
    let memory = ("memory", pod_request(wanted, "memory", quantity::value), all.memory_bytes);
    let cpu = ("cpu", pod_request(wanted, "cpu", quantity::milli), all.milli_cpu);
    if let Some((name, requested, capacity)) = [memory, cpu].into_iter().find(|(_, asks, has)| asks > has) {
        let message = format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
        return Some(("Infeasible", message));
    }
    lacking(question).map(|(_, message)| ("Deferred", message))
}

#[cfg(test)]
mod tests {
    use super::super::tests::pod;
    use super::*;
    use crate::eviction::Pressure;
    use crate::register::Machine;

    #[test]
    fn a_resize_waits_for_room_or_for_ever() {
        let machine = Machine { milli_cpu: 2000, memory_bytes: 1 << 30, pods_max: 110, ..Machine::default() };
        let asking = |uid: &str, cpu: &str, memory: &str| {
            let requests = format!(r#"{{"cpu":"{cpu}","memory":"{memory}"}}"#);
            pod(uid, &format!(r#"{{"containers":[{{"name":"a","resources":{{"requests":{requests}}}}}]}}"#))
        };
        let others = [asking("a", "1500m", "1Mi")];
        for (cpu, memory, told) in [
            ("500m", "1Mi", None),
            (
                "501m",
                "1Mi",
                Some(("Deferred", "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000")),
            ),
            (
                "3",
                "1Mi",
                Some(("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000")),
            ),
            (
                "3",
                "2Gi",
                Some((
                    "Infeasible",
                    "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
                )),
            ),
        ] {
            let wanted = asking("b", cpu, memory);
            let (pods, pressure) = (&others[..], Pressure::default());
            let (machine, taken) = (&machine, &Default::default());
            let found = refusal(&Question { wanted: &wanted, pods, machine, node: None, pressure, taken });
            assert_eq!(found, told.map(|(reason, text)| (reason, text.to_owned())), "{cpu} {memory}");
        }
    }
}
