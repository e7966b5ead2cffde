//! Whether a pod that was bound to this node fits beside those that are here.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::config::resources::pod_request;
use crate::quantity;
use crate::register::{Machine, PODS_MAX};
use crate::wanted::Wanted;

/// A resource: its name, the reason when it lacks, how to read it, how much there is.
type Kind = (&'static str, &'static str, fn(&Quantity) -> i64, i64);

/// Why the pod does not fit: `(reason, message)`, as upstream words them. A second opinion: the scheduler asks first,
/// but pods can be bound past it.
pub fn lacking(wanted: &Wanted, pods: &[Arc<Wanted>], machine: &Machine) -> Option<(&'static str, String)> {
    let others = || pods.iter().filter(|p| p.uid() != wanted.uid() && !p.is_terminal());
    let count = i64::try_from(others().count()).unwrap_or(i64::MAX);
    if count >= PODS_MAX {
        return Some(("OutOfpods", message("pods", 1, count, PODS_MAX)));
    }
    let kinds: [Kind; 3] = [
        ("cpu", "OutOfcpu", quantity::milli, machine.cpus * 1000),
        ("memory", "OutOfmemory", quantity::value, machine.memory_bytes),
        ("ephemeral-storage", "OutOfephemeral-storage", quantity::value, machine.storage_bytes),
    ];
    kinds.into_iter().find_map(|(name, reason, read, capacity)| {
        let requested = pod_request(wanted, name, read);
        let used = others().map(|p| pod_request(p, name, read)).fold(0i64, i64::saturating_add);
        let fits = requested == 0 || used.saturating_add(requested) <= capacity;
        (!fits).then(|| (reason, message(name, requested, used, capacity)))
    })
}

fn message(name: &str, requested: i64, used: i64, capacity: i64) -> String {
    format!("Node didn't have enough resource: {name}, requested: {requested}, used: {used}, capacity: {capacity}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(uid: &str, cpu: &str) -> Arc<Wanted> {
        let text = format!(
            r#"{{"metadata":{{"uid":"{uid}"}},"spec":{{"containers":[
                {{"name":"a","resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
        );
        let pod: Pod = serde_json::from_str(&text).unwrap();
        Arc::new(Wanted::new(Arc::new(pod)))
    }

    #[test]
    fn a_pod_must_fit_beside_the_others() {
        let machine = Machine { cpus: 2, memory_bytes: 1 << 30, ..Machine::default() };
        let others = [pod("a", "1500m")];
        assert_eq!(lacking(&pod("b", "500m"), &others, &machine), None);
        let (reason, message) = lacking(&pod("b", "501m"), &others, &machine).unwrap();
        assert_eq!(reason, "OutOfcpu");
        let wanted = "Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000";
        assert_eq!(message, wanted);
        assert_eq!(lacking(&others[0], &others, &machine), None);
    }
}
