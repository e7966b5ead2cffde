//! From requests and limits to QoS class, cgroup numbers and the OOM score.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use runtime::Resources;

use crate::quantity;
use crate::wanted::{Member, Role, Wanted};

/// The CPU period of all quotas, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The priority from which a pod counts as critical (system-cluster-critical).
const CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Quality of service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qos {
    /// Limits equal requests, for CPU and memory, everywhere.
    Guaranteed,
    /// Something is requested.
    Burstable,
    /// Nothing is requested.
    BestEffort,
}

impl Qos {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

fn get<'a>(map: &'a Option<BTreeMap<String, Quantity>>, name: &str) -> Option<&'a Quantity> {
    map.as_ref()?.get(name)
}

fn limit<'a>(resources: Option<&'a ResourceRequirements>, name: &str) -> Option<&'a Quantity> {
    get(&resources?.limits, name)
}

fn request<'a>(resources: Option<&'a ResourceRequirements>, name: &str) -> Option<&'a Quantity> {
    get(&resources?.requests, name).or_else(|| limit(resources, name))
}

/// The pod's class, by upstream's rule over all containers (or the pod's own resources, when set).
pub fn qos(wanted: &Wanted) -> Qos {
    let own = wanted.spec().resources.as_ref();
    let all: Vec<Option<&ResourceRequirements>> = match own {
        Some(_) => vec![own],
        None => {
            let members = wanted.members.iter().filter(|m| m.role != Role::Ephemeral);
            members.map(|m| m.spec.resources.as_ref()).collect()
        }
    };
    let names = ["cpu", "memory"];
    let positive = |q: Option<&Quantity>| q.map_or(0, quantity::milli) > 0;
    let any = all.iter().any(|r| names.iter().any(|n| positive(request(*r, n)) || positive(limit(*r, n))));
    let equal = |r: Option<&ResourceRequirements>, n: &str| {
        let (wants, most) = (request(r, n).map(quantity::milli), limit(r, n).map(quantity::milli));
        most.is_some_and(|m| m > 0) && wants == most
    };
    match any {
        false => Qos::BestEffort,
        true if all.iter().all(|r| names.iter().all(|n| equal(*r, n))) => Qos::Guaranteed,
        true => Qos::Burstable,
    }
}

/// The pod's cgroup.
pub fn cgroup_parent(wanted: &Wanted) -> String {
    let class = match qos(wanted) {
        Qos::Guaranteed => "",
        Qos::Burstable => "burstable/",
        Qos::BestEffort => "besteffort/",
    };
    format!("/kubepods/{class}pod{}", wanted.uid())
}

/// The group that holds all pods.
pub const ALL_PODS: &str = "/kubepods";

/// CPU weights of the groups that hold all pods of a class: the least for those that ask for nothing, else what all ask
/// for together. Guaranteed pods lie beside these groups.
pub fn class_shares<'a>(pods: impl Iterator<Item = &'a Wanted>) -> [(&'static str, u64); 2] {
    let burstable = pods.filter(|pod| qos(pod) == Qos::Burstable);
    let asked = burstable.map(|pod| pod_request(pod, "cpu", quantity::milli)).fold(0i64, i64::saturating_add);
    [("/kubepods/besteffort", shares(0)), ("/kubepods/burstable", shares(asked))]
}

/// CPU weight for thousandths of a CPU.
pub fn shares(milli: i64) -> u64 {
    u64::try_from(milli.saturating_mul(1024) / 1000).unwrap_or(0).clamp(2, 262_144)
}

fn quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli.saturating_mul(CPU_PERIOD) / 1000).max(1000))
}

/// One container's cgroup.
pub fn of_container(wanted: &Wanted, member: &Member, memory_capacity: i64) -> Resources {
    let resources = member.spec.resources.as_ref();
    let cpu_limit = limit(resources, "cpu").map_or(0, quantity::milli);
    let memory_limit = limit(resources, "memory").map(quantity::value).filter(|l| *l > 0);
    Resources {
        cpu_shares: Some(shares(request(resources, "cpu").map_or(0, quantity::milli))),
        cpu_quota: quota(cpu_limit),
        cpu_period: quota(cpu_limit).map(|_| CPU_PERIOD.unsigned_abs()),
        memory_limit,
        memory_request: None,
        memory_high: None,
        pids_limit: None,
        cpuset_cpus: None,
        cpuset_mems: None,
        hugepage_limits: hugepages(resources),
        oom_score_adj: Some(oom_score_adj(wanted, member, memory_capacity)),
    }
}

/// What a container requests of memory and may have, in bytes; 0 for nothing said.
pub fn memory_of(member: &Member) -> (i64, i64) {
    let resources = member.spec.resources.as_ref();
    (request(resources, "memory").map_or(0, quantity::value), limit(resources, "memory").map_or(0, quantity::value))
}

/// `hugepages-2Mi: 4Mi` as the kernel's controllers name sizes: `2MB`.
fn hugepages(resources: Option<&ResourceRequirements>) -> BTreeMap<String, u64> {
    let limits = resources.and_then(|r| r.limits.as_ref());
    let mut out = BTreeMap::new();
    for (name, amount) in limits.into_iter().flatten() {
        let Some(size) = name.strip_prefix("hugepages-") else { continue };
        let bytes = quantity::value(&Quantity(size.to_owned()));
        let unit = [("GB", 1i64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)].into_iter().find(|(_, u)| bytes % u == 0);
        if let Some((unit, factor)) = unit {
            out.insert(format!("{}{unit}", bytes / factor), u64::try_from(quantity::value(amount)).unwrap_or(0));
        }
    }
    out
}

/// The pod's own cgroup: sums over its containers, limits only where every container has one.
pub fn of_pod(wanted: &Wanted, pids_limit: Option<i64>) -> Resources {
    let qos = qos(wanted);
    if qos == Qos::BestEffort {
        return Resources { cpu_shares: Some(2), pids_limit, ..Resources::default() };
    }
    let own = wanted.spec().resources.as_ref();
    let cpu = limited(wanted, "cpu", quantity::milli, own);
    let memory = limited(wanted, "memory", quantity::value, own);
    Resources {
        cpu_shares: Some(shares(pod_request(wanted, "cpu", quantity::milli))),
        cpu_quota: cpu.and_then(quota),
        cpu_period: cpu.and_then(quota).map(|_| CPU_PERIOD.unsigned_abs()),
        memory_limit: memory.filter(|m| *m > 0),
        pids_limit,
        ..Resources::default()
    }
}

fn limited(wanted: &Wanted, name: &str, read: fn(&Quantity) -> i64, own: Option<&ResourceRequirements>) -> Option<i64> {
    if let Some(own) = limit(own, name) {
        return Some(read(own));
    }
    let of = |m: &Member| limit(m.spec.resources.as_ref(), name).map(read);
    let all = wanted.members.iter().filter(|m| m.role != Role::Ephemeral).all(|m| of(m).is_some_and(|v| v > 0));
    all.then(|| over_time(wanted, &|m| of(m).unwrap_or(0)) + overhead(wanted, name, read))
}

/// What the pod as a whole requests: the most that runs at one time, with its overhead.
pub fn pod_request(wanted: &Wanted, name: &str, read: fn(&Quantity) -> i64) -> i64 {
    let own = wanted.spec().resources.as_ref();
    let sum = match request(own, name) {
        Some(own) => read(own),
        None => over_time(wanted, &|m| request(m.spec.resources.as_ref(), name).map_or(0, read)),
    };
    sum.saturating_add(overhead(wanted, name, read))
}

/// All that the pod as a whole requests of CPU, memory, disk and huge pages, without its overhead.
pub fn pod_requests(wanted: &Wanted) -> BTreeMap<String, Quantity> {
    let own = wanted.spec().resources.as_ref();
    let members = wanted.members.iter().filter(|m| m.role != Role::Ephemeral).map(|m| m.spec.resources.as_ref());
    let lists = members.chain([own]).flatten().flat_map(|r| [&r.requests, &r.limits]);
    let names: BTreeSet<&String> = lists.flatten().flat_map(BTreeMap::keys).collect();
    let mut all = BTreeMap::new();
    for name in names {
        let read = if name == "cpu" { quantity::milli } else { quantity::value };
        let amount = pod_request(wanted, name, read) - overhead(wanted, name, read);
        let text = match name.as_str() {
            "cpu" => quantity::of_milli(amount),
            "memory" | "ephemeral-storage" => quantity::of_bytes(amount),
            other if other.starts_with("hugepages-") => quantity::of_bytes(amount),
            _ => quantity::of_value(amount),
        };
        if amount > 0 {
            all.insert(name.clone(), text);
        }
    }
    all
}

fn overhead(wanted: &Wanted, name: &str, read: fn(&Quantity) -> i64) -> i64 {
    get(&wanted.spec().overhead, name).map_or(0, read)
}

/// Main containers and sidecars run together; init containers beside the sidecars started before them.
pub fn over_time(wanted: &Wanted, of: &dyn Fn(&Member) -> i64) -> i64 {
    let (mut sidecars, mut most) = (0i64, 0i64);
    for member in wanted.initial() {
        if member.role == Role::Sidecar {
            sidecars = sidecars.saturating_add(of(member));
        }
        let beside = if member.role == Role::Sidecar { 0 } else { of(member) };
        most = most.max(sidecars.saturating_add(beside));
    }
    let main: i64 = wanted.of_role(Role::Main).map(of).fold(sidecars, i64::saturating_add);
    main.max(most)
}

/// Whether the cluster cannot do without the pod: its priority says so, or it comes from a file of this node.
pub fn is_critical(wanted: &Wanted) -> bool {
    wanted.is_static() || wanted.spec().priority.unwrap_or(0) >= CRITICAL_PRIORITY
}

/// Upstream's formula: who asked for more memory is killed later.
pub fn oom_score_adj(wanted: &Wanted, member: &Member, memory_capacity: i64) -> i32 {
    if is_critical(wanted) {
        return -997;
    }
    match qos(wanted) {
        Qos::Guaranteed => -997,
        Qos::BestEffort => 1000,
        Qos::Burstable => {
            let memory = request(member.spec.resources.as_ref(), "memory").map_or(0, quantity::value);
            let used = memory.saturating_mul(1000) / memory_capacity.max(1);
            i32::try_from((1000 - used).clamp(3, 999)).unwrap_or(999)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    fn pod(resources: &str) -> Wanted {
        let text =
            format!(r#"{{"metadata":{{"uid":"u"}},"spec":{{"containers":[{{"name":"a","resources":{resources}}}]}}}}"#);
        let pod: Pod = serde_json::from_str(&text).unwrap();
        Wanted::new(Arc::new(pod))
    }

    #[test]
    fn classes_cgroups_and_scores_follow_upstream() {
        for (resources, class, parent, shares, quota, memory, score) in [
            ("{}", "BestEffort", "/kubepods/besteffort/podu", 2, None, None, 1000),
            (
                r#"{"requests":{"cpu":"100m","memory":"256Mi"}}"#,
                "Burstable",
                "/kubepods/burstable/podu",
                102,
                None,
                None,
                750,
            ),
            (
                r#"{"limits":{"cpu":"1500m","memory":"1Gi"}}"#,
                "Guaranteed",
                "/kubepods/podu",
                1536,
                Some(150_000),
                Some(1 << 30),
                -997,
            ),
        ] {
            let wanted = pod(resources);
            assert_eq!(qos(&wanted).as_str(), class);
            assert_eq!(cgroup_parent(&wanted), parent);
            let made = of_container(&wanted, &wanted.members[0], 1 << 30);
            assert_eq!((made.cpu_shares, made.cpu_quota, made.memory_limit), (Some(shares), quota, memory));
            assert_eq!(made.oom_score_adj, Some(score), "{resources}");
        }
    }

    #[test]
    fn init_containers_count_by_their_maximum() {
        let text = r#"{"metadata":{"uid":"u"},"spec":{
            "initContainers":[
                {"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"1"}}},
                {"name":"i","resources":{"requests":{"cpu":"5"}}}],
            "containers":[{"name":"a","resources":{"requests":{"cpu":"2"}}}]}}"#;
        let wanted = Wanted::new(Arc::new(serde_json::from_str(text).unwrap()));
        assert_eq!(pod_request(&wanted, "cpu", quantity::milli), 6000);
    }
}
