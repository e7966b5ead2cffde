//! What a pod asks for beyond the usual, as its processes and its status show it; and what its node tells.

use testkit::{Cluster, REGISTRY};

/// One pod with many fields, each of which its process sees or its status tells. Debian's containerd does not have all of them:
/// what it would pass over is refused there (`containerd::what_it_cannot_do_is_refused`), and left out here.
#[test]
fn many_fields_show_in_processes_and_status() {
    let mut c = Cluster::start();
    c.start_registry();
    let everything = !testkit::on_containerd();
    let if_had = |text: &str| if everything { text.to_owned() } else { String::new() };
    let script = "echo dir=$(pwd); echo groups=$(id -G); readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid; \
        touch /ro/x 2>&1; touch /slave/x 2>&1; sleep 1000";
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: many}}\nspec:
  hostPID: true
  hostIPC: true
  securityContext: {{runAsUser: 1000, runAsGroup: 2000, supplementalGroups: [4000]{strict}}}
  containers:
  - name: main
    image: {REGISTRY}/shell:1
    command: [sh, -c, {script:?}]
    workingDir: /made/in/here
    lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}}
    readinessProbe: {{exec: {{command: ['true']}}, successThreshold: 2, periodSeconds: 1, timeoutSeconds: {limit}}}
    securityContext: {{procMount: Default}}
    volumeMounts:
    - {{name: tree, mountPath: /ro, readOnly: true{recursive}}}
    - {{name: below, mountPath: /slave, readOnly: true, mountPropagation: HostToContainer}}
{mounted}  volumes:
  - {{name: tree, emptyDir: {{}}}}
  - {{name: below, emptyDir: {{}}}}
{picture}",
        limit = testkit::slowness(),
        strict = if_had(", supplementalGroupsPolicy: Strict"),
        recursive = if_had(", recursiveReadOnly: Enabled"),
        mounted = if_had("    - {name: picture, mountPath: /picture}\n"),
        picture = if_had(&format!("  - {{name: picture, image: {{reference: {REGISTRY}/shell:1}}}}\n")),
    );
    c.apply(&manifest);
    c.wait_field("pod/many", ".status.phase", "Running");
    let log = c.wait("the output", || c.try_kubectl(&["logs", "many"]).ok().filter(|l| l.contains("/slave/x")));
    for part in ["dir=/made/in/here", "groups=2000 4000", "Read-only file system"] {
        assert!(log.contains(part), "{part} is not in:\n{log}");
    }
    for name in ["ipc", "pid"] {
        let server = c.server_pid().expect("the server runs");
        let own = std::fs::read_link(format!("/proc/{server}/ns/{name}")).unwrap().display().to_string();
        assert!(log.contains(&own), "{own} is not in:\n{log}");
    }
    let status = |path: &str| c.field("pod/many", &format!(".status.containerStatuses[0].{path}"));
    c.wait_field("pod/many", ".status.containerStatuses[0].ready", "true");
    assert_eq!(c.field("pod/many", ".status.hostIPs[0].ip"), c.field("pod/many", ".status.hostIP"));
    assert_eq!(c.field("pod/many", ".status.observedGeneration"), c.field("pod/many", ".metadata.generation"));
    let features = ["runtimeHandlers[0].features.userNamespaces", "features.supplementalGroupsPolicy"];
    let told = features.map(|path| c.field("node", &format!(".items[0].status.{path}")) == "true");
    assert_eq!(told, [everything; 2]);
    if everything {
        assert_eq!((status("user.linux.uid"), status("user.linux.gid")), ("1000".to_owned(), "2000".to_owned()));
        assert!(status("user.linux.supplementalGroups").contains("4000"));
        assert_eq!(status("volumeMounts[0].recursiveReadOnly"), "Enabled");
        assert_eq!(status("volumeMounts[2].volumeStatus.image.imageRef"), status("imageID"));
    }
}

/// A pod asks for more than there is, then for less: it gets what fits, in place.
#[test]
fn a_running_pod_gets_what_fits() {
    let mut c = Cluster::start();
    c.start_registry();
    c.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: grows}}\nspec:\n  containers:\n  - name: main\n    \
         image: {REGISTRY}/shell:1\n    command: [sh, -c, 'sleep 1000']\n    \
         resources: {{requests: {{cpu: 100m, memory: 32Mi}}, limits: {{cpu: 100m, memory: 32Mi}}}}\n"
    ));
    c.wait_field("pod/grows", ".status.phase", "Running");
    let resize = |(cpu, memory): (&str, &str), (more, larger): (&str, &str)| {
        let file = c.path("resize.json");
        let object = c.kubectl(&["get", "pod", "grows", "-o", "json"]);
        // What the status says in the same words is not taken from here.
        let amounts = |cpu: &str, memory: &str| (format!("\"cpu\": \"{cpu}\""), format!("\"memory\": \"{memory}\""));
        let ((cpu, memory), (more, larger)) = (amounts(cpu, memory), amounts(more, larger));
        std::fs::write(&file, object.replace(&cpu, &more).replace(&memory, &larger)).unwrap();
        let place = "/api/v1/namespaces/default/pods/grows/resize";
        c.kubectl(&["replace", "--raw", place, "-f", &file.to_string_lossy()]);
    };
    let pending = r#".status.conditions[?(@.type=="PodResizePending")].reason"#;
    resize(("100m", "32Mi"), ("9999", "32Mi"));
    c.wait_field("pod/grows", pending, "Infeasible");
    let own = |path: &str| c.field("pod/grows", &format!(".status.containerStatuses[0].{path}"));
    assert_eq!((own("allocatedResources.cpu"), own("resources.limits.cpu")), ("100m".to_owned(), "100m".to_owned()));
    resize(("9999", "32Mi"), ("200m", "64Mi"));
    c.wait_field("pod/grows", ".status.containerStatuses[0].resources.limits.memory", "64Mi");
    c.wait_field("pod/grows", pending, "");
    assert_eq!((own("allocatedResources.cpu"), own("restartCount")), ("200m".to_owned(), "0".to_owned()));
    let limit = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null";
    let shown = c.try_kubectl(&["exec", "grows", "--", "sh", "-c", limit]).unwrap_or_else(|text| text);
    assert!(shown.contains("67108864"), "{shown}");
}
