//! What goes wrong around pods: the server dies at any moment, shims die, file systems and servers hang, disks fill up, and many
//! pods come at once.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::{Cluster, REGISTRY};
use tokio::time::Instant;

fn cluster() -> Cluster {
    let mut cluster = Cluster::start();
    cluster.start_registry();
    cluster
}

/// Waits until a pod is ready.
fn wait_ready(c: &Cluster, name: &str) {
    let pod = format!("pod/{name}");
    c.wait_field(&pod, READY, "True");
}

/// How long a [`rich`] pod takes to be ready: what is slow and what only the machine makes slow differ by it.
fn time_to_ready(c: &Cluster, name: &str) -> Duration {
    let begun = Instant::now();
    c.apply(&rich(name));
    wait_ready(c, name);
    begun.elapsed()
}

const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";

fn entries(place: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Command lines of processes that name something.
fn processes(part: &str) -> Vec<String> {
    command_lines(part, |_| true)
}

/// The same, of a cluster's pods alone.
fn pod_processes(c: &Cluster, part: &str) -> Vec<String> {
    let group = c.path("").file_name().unwrap().to_string_lossy().into_owned();
    command_lines(part, |place| {
        std::fs::read_to_string(place.join("cgroup")).is_ok_and(|groups| groups.contains(&group))
    })
}

fn command_lines(part: &str, counts: impl Fn(&Path) -> bool) -> Vec<String> {
    let all = entries(Path::new("/proc")).into_iter().filter(|place| counts(place));
    let all = all.filter_map(|place| std::fs::read(place.join("cmdline")).ok());
    all.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(part)).collect()
}

fn pod_cgroups(place: &Path, found: &mut Vec<String>) {
    for entry in entries(place).into_iter().filter(|entry| entry.is_dir()) {
        if entry.file_name().is_some_and(|name| name.to_string_lossy().starts_with("pod")) {
            found.push(entry.display().to_string());
        }
        pod_cgroups(&entry, found);
    }
}

/// What pods left behind on the node.
fn left(c: &Cluster) -> Vec<String> {
    let mut found = Vec::new();
    for place in
        ["data/node/pods", "data/runtime/containers", "state/runtime/sandboxes", "data/log/pods", "data/network"]
    {
        let names = entries(&c.path(place)).into_iter().map(|entry| entry.display().to_string());
        found.extend(names.filter(|name| !name.contains("/.") && !name.ends_with(".lock")));
    }
    let directory = c.path("").display().to_string();
    found.extend(processes(&directory).into_iter().filter(|line| line.contains(" shim ")));
    let inside = |program: &str, words: &[&str]| {
        let output = c.command(Path::new(program)).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mounts = inside("cat", &["/proc/self/mountinfo"]);
    found.extend(mounts.lines().filter(|line| line.contains(&directory)).map(str::to_owned));
    let links = inside("ip", &["-o", "link"]);
    found.extend(links.lines().filter(|line| line.contains("master")).map(str::to_owned));
    let group = c.path("").file_name().unwrap().to_string_lossy().into_owned();
    for hierarchy in entries(Path::new("/sys/fs/cgroup")).iter().chain([&PathBuf::from("/sys/fs/cgroup")]) {
        pod_cgroups(&hierarchy.join(&group), &mut found);
    }
    found
}

fn wait_until_nothing_is_left(c: &Cluster) {
    let mut last = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < testkit::patience() {
        last = left(c);
        if last.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("left behind: {last:#?}\n{}", c.log());
}

/// A pod with something of everything that is made and removed for it.
fn rich(name: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 2
  initContainers:
  - {{name: first, image: {REGISTRY}/shell:1, command: ['true']}}
  containers:
  - name: main
    image: {REGISTRY}/shell:1
    command: [sh, -c, 'trap \"exit 0\" TERM; sleep 1000 & wait', marker-{name}-end]
    lifecycle:
      postStart: {{exec: {{command: [sh, -c, sleep 0.1]}}}}
      preStop: {{exec: {{command: [sh, -c, sleep 0.1]}}}}
    readinessProbe: {{exec: {{command: ['true']}}, periodSeconds: 1, timeoutSeconds: {limit}}}
    volumeMounts:
    - {{name: memory, mountPath: /memory}}
    - {{name: memory, mountPath: /part, subPath: part}}
    - {{name: settings, mountPath: /settings}}
  volumes:
  - {{name: memory, emptyDir: {{medium: Memory}}}}
  - {{name: settings, configMap: {{name: kube-root-ca.crt}}}}
",
        limit = testkit::slowness(),
    )
}

/// Starts kubectl with a manifest, without waiting for it.
fn create(c: &Cluster, manifest: &str) -> Child {
    let kubectl = testkit::kubectls().pop().unwrap();
    let mut command = c.command(&kubectl);
    command.args(["create", "--validate=false", "-f", "-"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifest.as_bytes()).unwrap();
    child
}

/// The server is killed at moments swept over a pod's start and another one's end. Afterwards each pod that is there runs once,
/// was never restarted, and of the others nothing is left.
#[test]
fn the_server_may_die_at_any_moment() {
    const ROUNDS: u64 = 10;
    let mut c = cluster();
    // The image is there from now on, so that the moments fall on what comes after.
    let usual = time_to_ready(&c, "p0");
    let kubectl = testkit::kubectls().pop().unwrap();
    for round in 1..=ROUNDS {
        let before = format!("p{}", round - 1);
        let mut delete = c.command(&kubectl);
        delete.args(["delete", "pod", &before, "--wait=false", "--ignore-not-found"]);
        let mut delete = delete.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut post = create(&c, &rich(&format!("p{round}")));
        std::thread::sleep(Duration::from_millis(40 + 60 * round) * testkit::slowness());
        c.stop_server(Signal::SIGKILL);
        post.wait().unwrap();
        delete.wait().unwrap();
        c.start_server();
        c.wait("the API", || c.try_kubectl(&["get", "--raw", "/readyz"]).ok());
    }
    let begun = Instant::now();
    c.wait_ready();
    let template = "{{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}";
    let names = c.kubectl(&["get", "pods", "-o", &format!("go-template={template}")]);
    let there: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
    assert!(!there.is_empty(), "the last pod at least was posted");
    for name in &there {
        c.wait_until_set(&format!("pod/{name}"), ".status.containerStatuses[0].state.running.startedAt");
    }
    // Nothing waits for what will not come, such as the network of a pod that was only half made. That they are ready is not
    // looked at: containerd 1.6 may hold the next command in a container for half a minute after one whose caller died.
    let (limit, took) = (4 * usual + testkit::patience() / 4, begun.elapsed());
    let told = || format!("{}\n{}", c.kubectl(&["describe", "pods"]), c.log());
    assert!(took < limit, "they ran after {took:?}, one alone was ready after {usual:?}\n{}", told());
    for name in &there {
        wait_ready(&c, name);
        let restarts = c.field(&format!("pod/{name}"), ".status.containerStatuses[0].restartCount");
        assert_eq!(restarts, "0", "{name}\n{}", told());
    }
    let count = || c.kubectl(&["get", "pods", "-o", "name"]).lines().count();
    c.wait("the deleted pods to go", || (count() == there.len()).then_some(()));
    for round in 0..=ROUNDS {
        let name = format!("p{round}");
        let runs = pod_processes(&c, &format!("marker-{name}-end"));
        assert_eq!(runs.len(), usize::from(there.contains(&name)), "{name}: {runs:?}");
    }
    c.kubectl(&["delete", "pods", "--all", "--wait=false"]);
    wait_until_nothing_is_left(&c);
}

#[test]
fn a_killed_shim_is_seen_and_its_pod_restarted() {
    // The shim is found by the files that skiff's own runtime keeps; containerd looks after its own shims.
    if testkit::on_containerd() {
        return;
    }
    let c = cluster();
    c.apply(&rich("once"));
    wait_ready(&c, "once");
    let before = c.field("pod/once", ".status.containerStatuses[0].containerID");
    let shim = entries(&c.path("state/runtime/sandboxes")).pop().unwrap().join("shim.json");
    let shim: serde_json::Value = serde_json::from_slice(&std::fs::read(shim).unwrap()).unwrap();
    let pid = i32::try_from(shim["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    c.wait_field("pod/once", ".status.containerStatuses[0].restartCount", "1");
    wait_ready(&c, "once");
    assert_ne!(c.field("pod/once", ".status.containerStatuses[0].containerID"), before);
    assert_eq!(c.field("pod/once", ".status.containerStatuses[0].lastState.terminated.exitCode"), "137");
    assert!(c.kubectl(&["describe", "pod", "once"]).contains("SandboxChanged"));
    assert_eq!(pod_processes(&c, "marker-once-end").len(), 1);
    c.kubectl(&["delete", "pod", "once"]);
    wait_until_nothing_is_left(&c);
}

/// Mounts a file system that never answers, for as long as the process lives.
const DEAD_MOUNT: &str = "
import ctypes, os, sys, time
place = sys.argv[1]
os.mkdir(place)
fd = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode()
if ctypes.CDLL(None, use_errno=True).mount(b'dead', place.encode(), b'fuse', 0, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print('mounted', flush=True)
time.sleep(1000)
";

fn dead_mount(c: &Cluster, place: &Path) -> Child {
    let mut command = c.command(Path::new("python3"));
    command.args(["-c", DEAD_MOUNT]).arg(place).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = [0; 7];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).expect("FUSE can be mounted");
    child
}

#[test]
fn what_hangs_delays_only_its_own_pod() {
    let c = cluster();
    let usual = time_to_ready(&c, "before");
    let place = c.path("dead");
    let mut mount = dead_mount(&c, &place);
    // A registry and a web server that accept and never answer.
    let silent = c.inside(|| std::net::TcpListener::bind("127.0.0.1:5999").unwrap());
    let shell = |rest: &str| {
        format!(
            "  terminationGracePeriodSeconds: 1\n  containers:\n  - name: main\n    image: {REGISTRY}/shell:1\n    command: [sleep, '1000']\n{rest}"
        )
    };
    let never = "{exec: {command: [sleep, '1000']}}";
    let mut cases = vec![
        ("registry".to_owned(), "  containers: [{name: main, image: '127.0.0.1:5999/never:1'}]\n".to_owned()),
        ("post-start".to_owned(), shell(&format!("    lifecycle: {{postStart: {never}}}\n"))),
        (
            "sleep".to_owned(),
            rich("sleep")
                .replace(
                    "exec: {command: [sh, -c, sleep 0.1]}}\n      preStop",
                    "sleep: {seconds: 600}}\n      preStop",
                )
                .replace("PeriodSeconds: 2", "PeriodSeconds: 601")
                .split_once("spec:\n")
                .unwrap()
                .1
                .to_owned(),
        ),
        ("pre-stop".to_owned(), shell(&format!("    lifecycle: {{preStop: {never}}}\n"))),
        (
            "probe".to_owned(),
            shell("    livenessProbe: {exec: {command: [sleep, '1000']}, periodSeconds: 1, timeoutSeconds: 300}\n"),
        ),
        (
            "web".to_owned(),
            shell(
                "    livenessProbe: {httpGet: {host: 127.0.0.1, port: 5999}, periodSeconds: 1, timeoutSeconds: 300}\n",
            ),
        ),
    ];
    // More of them than the server has threads.
    let volume = format!("  volumes: [{{name: dead, hostPath: {{path: {}}}}}]\n", place.display());
    let mounted = shell(&format!("    volumeMounts: [{{name: dead, mountPath: /dead}}]\n{volume}"));
    cases.extend((0..8).map(|number| (format!("mount-{number}"), mounted.clone())));
    let manifests: Vec<String> = cases
        .iter()
        .map(|(name, spec)| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n{spec}"))
        .collect();
    c.apply(&manifests.join("---\n"));
    for name in ["pre-stop", "probe", "web"] {
        c.wait_field(&format!("pod/{name}"), ".status.phase", "Running");
    }
    let took = time_to_ready(&c, "beside");
    assert!(took < 4 * usual + testkit::patience() / 6, "a pod beside took {took:?}, without them {usual:?}");
    c.kubectl(&["delete", "pod", "beside"]);
    for name in ["registry", "post-start", "sleep", "mount-0"] {
        assert_ne!(c.field(&format!("pod/{name}"), ".status.containerStatuses[0].ready"), "true", "{name}");
    }
    let begun = Instant::now();
    c.kubectl(&["delete", "pods", "--all"]);
    assert!(begun.elapsed() < testkit::patience() / 2, "their end took {:?}", begun.elapsed());
    drop(silent);
    let _ = mount.kill();
    let _ = mount.wait();
    let _ = c.command(Path::new("umount")).arg("-l").arg(&place).status();
    wait_until_nothing_is_left(&c);
}

/// The node's own directories on a small disk, which fills up and gets room again.
#[test]
fn a_node_whose_disk_is_full_says_so_and_recovers() {
    // What fills up here are the directories of skiff's own runtime.
    if testkit::on_containerd() {
        return;
    }
    let mut c = Cluster::prepare(&[]);
    let sized = |c: &Cluster, place: &str, options: &str| {
        let place = c.path(place);
        std::fs::create_dir_all(&place).unwrap();
        let mut mount = c.command(Path::new("mount"));
        let done = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&place).status().unwrap();
        assert!(done.success());
    };
    sized(&c, "data/runtime", "size=24m");
    sized(&c, "data/node", "size=4m,nr_inodes=200");
    c.start_server();
    c.wait_ready();
    c.start_registry();
    c.apply(&rich("first"));
    wait_ready(&c, "first");
    // By its whole path: the working directory is what stood there before the mounts.
    let sh = |script: &str| {
        let script = format!("cd {} && [ $(stat -f -c %T runtime) = tmpfs ] && {script}", c.path("data").display());
        let output = c.command(Path::new("sh")).args(["-c", &script]).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for fill in
        ["dd if=/dev/zero of=runtime/fill bs=64k count=1000", "for i in $(seq 300); do touch node/fill-$i; done"]
    {
        let said = sh(fill);
        assert!(said.contains("No space"), "{said}");
    }
    let image = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: image}}\nspec: {{containers: [{{name: main, image: '{REGISTRY}/web:1'}}]}}\n"
    );
    c.apply(&format!("{image}---\n{}", rich("second")));
    for (name, part) in [("image", "No space left on device"), ("second", "No space left on device")] {
        c.wait(&format!("{name} to be told"), || {
            let told = c.kubectl(&["describe", "pod", name]);
            told.to_lowercase().contains(&part.to_lowercase()).then_some(())
        });
    }
    assert_eq!(c.field("pod/first", READY), "True", "what runs goes on");
    assert_eq!(c.field("pod/first", ".status.containerStatuses[0].restartCount"), "0");
    sh("rm runtime/fill node/fill-*");
    wait_ready(&c, "second");
    c.wait("the image", || {
        let waiting = c.field("pod/image", ".status.containerStatuses[0].state.waiting.reason");
        let told = c.kubectl(&["describe", "pod", "image"]);
        // nginx needs more room than there is: it goes on to say so.
        (waiting == "ImagePullBackOff" || told.contains("Started")).then_some(())
    });
    c.kubectl(&["delete", "pods", "--all"]);
}

/// A full node at upstream's rate of five pods a second.
#[test]
fn a_hundred_and_ten_pods_come_and_go() {
    const PODS: usize = 110;
    const A_SECOND: usize = 5;
    let c = cluster();
    let manifest = |name: usize| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{name}, labels: {{many: 'yes'}}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers: [{{name: main, image: '{REGISTRY}/pause:1'}}]\n---\n"
        )
    };
    let begun = Instant::now();
    for second in 0..PODS / A_SECOND {
        let batch: String = (0..A_SECOND).map(|number| manifest(second * A_SECOND + number)).collect();
        assert!(create(&c, &batch).wait().unwrap().success());
        let next = Duration::from_secs(second as u64 + 1);
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    let all = PODS.to_string();
    let path = "jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].status}";
    c.wait(&format!("{all} pods to be ready"), || {
        let told = c.kubectl(&["get", "pods", "-l", "many=yes", "-o", path]);
        (told.split(' ').filter(|status| *status == "True").count() == PODS).then_some(())
    });
    let restarts = c.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[0].restartCount}"]);
    assert!(restarts.split(' ').all(|count| count == "0"), "{restarts}");
    let addresses = c.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.podIP}"]);
    let addresses: std::collections::BTreeSet<&str> = addresses.split(' ').collect();
    assert_eq!(addresses.len(), PODS);
    c.kubectl(&["delete", "pods", "--all", "--wait=false"]);
    wait_until_nothing_is_left(&c);
}
