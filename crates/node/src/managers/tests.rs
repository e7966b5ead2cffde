//! Whole pods on made-up machines.

use super::machine::tests::sysfs;
use super::*;
use crate::admission::tests::pod;

fn container(name: &str, cpus: &str, memory: &str) -> String {
    let amounts = format!(r#"{{"cpu":"{cpus}","memory":"{memory}"}}"#);
    format!(r#"{{"name":"{name}","resources":{{"requests":{amounts},"limits":{amounts}}}}}"#)
}

fn machine() -> Machine {
    let kept = crate::Reserved { milli_cpu: 1000, memory: 200 << 20, storage: 0 };
    Machine { memory_bytes: 2200 << 20, kept, ..Machine::default() }
}

/// Two sockets, each one NUMA node with four cores of one thread and 1100 MiB.
fn open(root: &Path, policy: &str, scope: &str) -> Managers {
    let policies = Policies {
        cpu: Some(CpuOptions::default()),
        memory: Some("0:memory=100Mi;1:memory=100Mi".parse().unwrap()),
        topology: policy.parse().unwrap(),
        scope: scope.parse().unwrap(),
        ..Policies::default()
    };
    let sysfs = sysfs(2, 2, 8, 1, 1100);
    Managers::open(&policies, root, sysfs.path(), &machine()).unwrap()
}

fn bound(managers: &Managers, uid: &str, name: &str) -> (String, String) {
    let mut resources = runtime::Resources { cpu_quota: Some(100_000), ..runtime::Resources::default() };
    managers.bind(uid, name, &mut resources);
    let own = resources.cpu_quota == Some(-1);
    let cpus = resources.cpuset_cpus.unwrap_or_default();
    (if own { cpus } else { format!("shared {cpus}") }, resources.cpuset_mems.unwrap_or_default())
}

#[tokio::test]
async fn resources_of_a_pod_lie_together() {
    let pair = |uid: &str, cpus: &str| {
        let (a, b) = (container("a", cpus, "100Mi"), container("b", cpus, "100Mi"));
        pod(uid, &format!(r#"{{"containers":[{a},{b}]}}"#))
    };
    let affinity = ("TopologyAffinityError", "Resources cannot be allocated with Topology locality");
    // Node 0 has three CPUs to give, node 1 has four.
    for (policy, scope, cpus, wanted) in [
        ("none", "container", "3", Ok(["1-3", "4-6"])),
        (
            "best-effort",
            "container",
            "4",
            Err((
                "UnexpectedAdmissionError",
                "Allocate failed due to not enough cpus available to satisfy request, which is unexpected",
            )),
        ),
        ("best-effort", "pod", "3", Ok(["1-3", "4-6"])),
        ("restricted", "container", "3", Ok(["1-3", "4-6"])),
        ("single-numa-node", "container", "3", Ok(["1-3", "4-6"])),
        ("single-numa-node", "pod", "2", Ok(["4-5", "6-7"])),
        ("single-numa-node", "pod", "3", Err(affinity)),
        ("single-numa-node", "container", "5", Err(affinity)),
        // Memory could come from one node, the CPUs of both containers cannot.
        ("restricted", "pod", "3", Err(affinity)),
    ] {
        let root = tempfile::tempdir().unwrap();
        let managers = open(root.path(), policy, scope);
        let pod = pair("p", cpus);
        let given = managers.admit(&pod).await;
        let got = given.map(|()| ["a", "b"].map(|name| bound(&managers, "p", name).0));
        let wanted = wanted.map(|cpus| cpus.map(str::to_owned)).map_err(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(got, wanted, "{policy} {scope} {cpus}");
        managers.release("p");
        assert_eq!(bound(&managers, "p", "a"), ("shared 0-7".to_owned(), String::new()), "{policy} {scope} {cpus}");
    }
}

#[tokio::test]
async fn what_was_given_outlives_the_node_and_ends_with_the_pod() {
    let root = tempfile::tempdir().unwrap();
    let wanted = pod("p", &format!(r#"{{"containers":[{}]}}"#, container("a", "2", "100Mi")));
    open(root.path(), "single-numa-node", "container").admit(&wanted).await.unwrap();
    let managers = open(root.path(), "single-numa-node", "container");
    let first = bound(&managers, "p", "a");
    assert_eq!(first, ("1-2".to_owned(), "0".to_owned()));
    assert_eq!(bound(&managers, "q", "a").0, "shared 0,3-7");
    managers.sweep(|uid| uid == "p");
    assert_eq!(bound(&managers, "p", "a"), first);
    managers.sweep(|_| false);
    assert_eq!(bound(&managers, "q", "a").0, "shared 0-7");
}

#[test]
fn policies_that_cannot_be_are_refused() {
    let root = tempfile::tempdir().unwrap();
    let sysfs = sysfs(2, 2, 8, 1, 1100);
    let of = |policies: Policies, kept: i64| {
        let kept = crate::Reserved { milli_cpu: kept, ..Default::default() };
        let machine = Machine { kept, ..Machine::default() };
        let opened = Managers::open(&policies, root.path(), sysfs.path(), &machine);
        opened.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let cpu = Some(CpuOptions::default());
    assert!(of(Policies { cpu, ..Policies::default() }, 0).contains("to be greater than zero"));
    let reserved_cpus = "8".parse().unwrap();
    let error = of(Policies { cpu, reserved_cpus, ..Policies::default() }, 0);
    assert_eq!(error, "[cpumanager] unable to reserve the required amount of CPUs (size of 8 did not equal 1)");
    let memory = Some(ReservedMemory::default());
    assert!(
        of(Policies { memory, ..Policies::default() }, 0).contains("you should specify the system reserved memory")
    );
    let by_socket = Some("align-by-socket=true".parse().unwrap());
    let policies = Policies { cpu: by_socket, topology: Policy::SingleNumaNode, ..Policies::default() };
    assert!(of(policies, 1000).contains("incompatible"));
    assert_eq!(of(Policies::default(), 0), "");
}
