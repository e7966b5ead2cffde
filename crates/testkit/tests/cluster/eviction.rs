//! A node whose pods take more memory than is theirs.

use testkit::{Cluster, REGISTRY};

/// A pod that fills a volume in memory.
fn run(c: &Cluster, name: &str, request: &str, limit: &str, megabytes: u32) {
    let resources = match (request, limit) {
        ("", _) => String::new(),
        (request, "") => format!("resources: {{requests: {{memory: {request}}}}}, "),
        (request, limit) => {
            let both = |memory: &str| format!("{{cpu: 10m, memory: {memory}}}");
            format!("resources: {{requests: {}, limits: {}}}, ", both(request), both(limit))
        }
    };
    c.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  volumes: [{{name: \
         memory, emptyDir: {{medium: Memory}}}}]\n  containers:\n  - {{name: main, image: '{REGISTRY}/shell:1', {resources}\
         volumeMounts: [{{name: memory, mountPath: /fill}}],\n     \
         command: [sh, -c, 'head -c {megabytes}m /dev/zero > /fill/file; sleep 1000']}}\n"
    ));
}

fn node_condition(c: &Cluster) -> String {
    c.field("node/node", r#".status.conditions[?(@.type=="MemoryPressure")].status"#)
}

fn wait_evicted(c: &Cluster, name: &str, class: &str) {
    let object = format!("pod/{name}");
    c.wait_field(&object, ".status.reason", "Evicted");
    assert_eq!(
        (c.field(&object, ".status.phase"), c.field(&object, ".status.qosClass")),
        ("Failed".into(), class.into())
    );
    let message = c.field(&object, ".status.message");
    for part in
        ["The node was low on resource: memory. ", "Container main was using ", "has larger consumption of memory."]
    {
        assert!(message.contains(part), "{message}");
    }
    let cause = c.field(&object, r#".status.conditions[?(@.type=="DisruptionTarget")].reason"#);
    assert_eq!(cause, "TerminationByKubelet");
}

/// Pods have 512 MiB together, of which 200 must stay free, and 340 for most of the time.
#[test]
fn pods_that_take_too_much_memory_go_in_upstreams_order() {
    const MI: u64 = 1 << 20;
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kilobytes: u64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    let reserved = format!("memory={}", kilobytes * 1024 - 512 * MI);
    let mut c = Cluster::with(&[
        "--system-reserved",
        &reserved,
        "--eviction-hard=allocatableMemory.available<200Mi",
        "--eviction-soft=allocatableMemory.available<340Mi",
        "--eviction-soft-grace-period=allocatableMemory.available=5s",
        "--eviction-max-pod-grace-period=1",
        "--eviction-pressure-transition-period=5s",
    ]);
    c.start_registry();
    // Two that keep to what they asked for, one that does not, and one that asked for nothing.
    run(&c, "guaranteed", "128Mi", "128Mi", 100);
    run(&c, "modest", "64Mi", "", 10);
    for name in ["guaranteed", "modest"] {
        c.wait_field(&format!("pod/{name}"), ".status.phase", "Running");
    }
    assert_eq!(node_condition(&c), "False");
    run(&c, "greedy", "16Mi", "", 100);
    run(&c, "best-effort", "", "", 150);
    wait_evicted(&c, "best-effort", "BestEffort");
    // What is left is above the soft threshold only.
    wait_evicted(&c, "greedy", "Burstable");
    let told = c.kubectl(&["get", "events", "--field-selector", "reason=EvictionThresholdMet"]);
    assert!(told.contains("Attempting to reclaim memory"), "{told}");
    let told = c.kubectl(&["get", "--raw", "/api/v1/nodes/node/proxy/metrics"]);
    assert!(told.contains("kubelet_evictions{eviction_signal=\"allocatableMemory.available\"} 2"), "{told}");
    c.wait("the pressure to go", || (node_condition(&c) == "False").then_some(()));
    for name in ["guaranteed", "modest"] {
        assert_eq!(c.field(&format!("pod/{name}"), ".status.phase"), "Running");
    }
    run(&c, "later", "", "", 1);
    c.wait_field("pod/later", ".status.phase", "Running");
}
