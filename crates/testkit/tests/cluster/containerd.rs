//! The same pods on another runtime: Debian's containerd with runc, through CRI. All other tests of this directory run there
//! too when `SKIFF_TEST_RUNTIME` is `containerd`.

use nix::sys::signal::Signal;
use testkit::{Cluster, REGISTRY, kubectls};

use crate::{pods, workshop};

const READY: &str = ".status.conditions[?(@.type==\"Ready\")]";

/// All pod tests at once, in one cluster; one after the other where so many kubectls would be too much for the machine.
#[test]
fn what_a_pod_asks_for_is_what_it_gets() {
    let c = Cluster::on_containerd();
    let tests =
        pods::ALL.iter().chain(&[host_ports_and_privileges, what_it_cannot_do_is_refused, attached, empty_groups_go]);
    if testkit::slowness() > 1 {
        return tests.for_each(|test| test(&c));
    }
    std::thread::scope(|scope| tests.for_each(|test| drop(scope.spawn(|| test(&c)))));
}

/// A call to the runtime that is broken off may leave a pod's cgroup behind, and a container's in it.
fn empty_groups_go(c: &Cluster) {
    let class = c.path("").file_name().unwrap().to_string_lossy().into_owned() + "/kubepods/besteffort";
    let root = std::path::Path::new("/sys/fs/cgroup");
    let place = c.wait("the cgroup above pods", || {
        let inside = std::fs::read_dir(root).unwrap().flatten().map(|entry| entry.path());
        inside.chain([root.to_owned()]).map(|place| place.join(&class)).find(|place| place.is_dir())
    });
    let pod = place.join("podgone");
    std::fs::create_dir_all(pod.join("container")).unwrap();
    c.wait("the groups to go", || (!pod.exists()).then_some(()));
}

/// What is typed reaches the container's own process, and what it says comes back.
fn attached(c: &Cluster) {
    let kubectl = kubectls().pop().unwrap();
    let run = format!("{} run reader -i --restart=Never --image={REGISTRY}/shell:1 -- cat", kubectl.display());
    let script = format!("(sleep 3; echo typed) | {run}");
    let output = c.command(std::path::Path::new("sh")).args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("typed"), "{said}\n{}", c.log());
    c.wait_field("pod/reader", ".status.phase", "Succeeded");
}

fn host_ports_and_privileges(c: &Cluster) {
    let shell = format!("{REGISTRY}/shell:1");
    c.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: hosted}}\nspec:\n  containers:\n  - name: web\n    image: {REGISTRY}/web:1\n    \
         ports: [{{containerPort: 80, hostPort: 8088}}]\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: strong}}\nspec:\n  hostNetwork: true\n  shareProcessNamespace: true\n  containers:\n  \
         - name: main\n    image: {shell}\n    command: [sh, -c, 'grep CapEff /proc/self/status; ls /dev | wc -l; sleep 1000']\n    \
         securityContext: {{privileged: true}}\n  - name: group\n    image: {shell}\n    command: [sh, -c, 'id; sleep 1000']\n    \
         securityContext: {{runAsGroup: 5}}\n"
    ));
    c.wait_field("pod/hosted", ".status.phase", "Running");
    let node = c.field("node/node", ".status.addresses[0].address");
    let page = c.wait("the page", || c.fetch(&format!("http://{node}:8088")).ok());
    assert_eq!(page, "page 1");
    c.wait_field("pod/strong", ".status.phase", "Running");
    let log = c
        .wait("the output", || c.try_kubectl(&["logs", "strong", "-c", "main"]).ok().filter(|l| l.lines().count() > 1));
    assert!(!log.contains("CapEff:\t00000000"), "{log}");
    assert_eq!(c.field("pod/strong", ".status.podIP"), c.field("pod/strong", ".status.hostIP"));
    let log =
        c.wait("the output", || c.try_kubectl(&["logs", "strong", "-c", "group"]).ok().filter(|l| l.contains("gid")));
    assert!(log.contains("uid=0") && log.contains("gid=5"), "{log}");
    let stats = c.kubectl(&["get", "--raw", "/api/v1/nodes/node/proxy/stats/summary"]);
    assert!(stats.contains("hosted") && stats.contains("workingSetBytes") && stats.contains("imageFs"), "{stats}");
}

/// What this containerd would pass over.
fn what_it_cannot_do_is_refused(c: &Cluster) {
    let image = format!("  volumes: [{{name: volume, image: {{reference: '{REGISTRY}/shell:1'}}}}]\n");
    let recursive = "{name: volume, mountPath: /volume, readOnly: true, recursiveReadOnly: Enabled}";
    let cases = [
        ("strict", "  securityContext: {supplementalGroupsPolicy: Strict}\n", "", "supplementalGroupsPolicy Strict"),
        ("recursive", "  volumes: [{name: volume, emptyDir: {}}]\n", recursive, "recursiveReadOnly"),
        ("image", image.as_str(), "{name: volume, mountPath: /volume}", "an image as a volume"),
        ("users", "  hostUsers: false\n", "", "hostUsers false"),
    ];
    for (name, rest, mount, told) in cases {
        c.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{rest}  containers:\n  - name: main\n    \
             image: {REGISTRY}/shell:1\n    command: [sleep, '1000']\n    volumeMounts: [{mount}]\n"
        ));
        let told = format!("{told} is not supported by the container runtime");
        c.wait(&told, || c.kubectl(&["describe", "pod", name]).contains(&told).then_some(()));
    }
}

/// Services, rolling updates, exec, attach, copies, port-forwards.
#[test]
fn the_first_session_works() {
    let kubectl = kubectls().pop().unwrap();
    workshop::workshop(Cluster::on_containerd(), kubectl, "containerd://1.");
}

#[test]
fn a_runtime_that_is_down_is_told_and_found_again() {
    let mut c = Cluster::prepare_containerd();
    c.start_server();
    let said = |c: &Cluster| c.field("node/node", &format!("{READY}.message"));
    c.wait("the node to say that it is down", || said(&c).contains("container runtime is down").then_some(()));
    assert_eq!(c.field("node/node", &format!("{READY}.status")), "False");
    c.start_containerd();
    c.wait_ready();
    let image = format!("{REGISTRY}/shell:1");
    c.kubectl(&["run", "stays", "--image", &image, "--", "sleep", "1000"]);
    c.kubectl(&["run", "ends", "--image", &image, "--", "sh", "-c", "until [ -e /tmp/end ]; do sleep 0.1; done"]);
    c.wait_field("pod/stays", ".status.phase", "Running");
    c.wait_field("pod/ends", ".status.phase", "Running");
    let id = c.field("pod/stays", ".status.containerStatuses[0].containerID");
    assert!(id.starts_with("containerd://"), "{id}");
    // Neither side's end is the pods'.
    c.stop_server(Signal::SIGKILL);
    c.start_server();
    c.kill_containerd();
    c.wait("the node to notice", || said(&c).contains("container runtime is down").then_some(()));
    c.start_containerd();
    c.wait_ready();
    assert_eq!(c.kubectl(&["exec", "stays", "--", "echo", "here"]), "here");
    assert_eq!(c.field("pod/stays", ".status.containerStatuses[0].containerID"), id);
    assert_eq!(c.field("pod/stays", ".status.containerStatuses[0].restartCount"), "0");
    let begun = std::time::Instant::now();
    c.kubectl(&["exec", "stays", "--", "true"]);
    let usual = begun.elapsed();
    // An end is seen at once, not at the next look.
    c.kubectl(&["exec", "ends", "--", "touch", "/tmp/end"]);
    let begun = std::time::Instant::now();
    c.wait_field("pod/ends", ".status.containerStatuses[0].restartCount", "1");
    assert!(begun.elapsed() < 4 * usual + testkit::patience() / 12, "{:?}", begun.elapsed());
    c.kubectl(&["delete", "pod", "stays", "ends", "--now"]);
    c.wait("the pods to go", || c.kubectl(&["get", "pods", "-o", "name"]).is_empty().then_some(()));
}
