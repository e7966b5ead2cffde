//! The first session that every user of Kubernetes has, with Debian's kubectl and the newest one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use testkit::{Cluster, REGISTRY, kubectls};

/// One kubectl at work.
struct Session {
    cluster: Cluster,
    kubectl: PathBuf,
}

impl Session {
    fn run(&self, arguments: &str) -> String {
        let words: Vec<&str> = arguments.split(' ').collect();
        let output = self.cluster.command(&self.kubectl).args(&words).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "kubectl {arguments}: {out}{error}\n{}", self.cluster.log());
        out.trim_end().to_owned()
    }

    fn rolled_out(&self) -> String {
        self.run(&format!("rollout status deployment/web --timeout={}s", testkit::patience().as_secs()))
    }

    /// A command line of the shell in which `kubectl` is this one.
    fn shell(&self, script: &str) -> String {
        let script = format!("kubectl() {{ {} \"$@\"; }}; {script}", self.kubectl.display());
        let output = self.cluster.command(Path::new("bash")).args(["-c", &script]).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {out}{error}\n{}", self.cluster.log());
        format!("{}{}", out.trim_end(), error.trim_end())
    }
}

fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

/// Debian's, and the newest that the machine has.
#[test]
fn with_every_kubectl() {
    let runtime = if testkit::on_containerd() { "containerd://1." } else { "skiff://" };
    std::thread::scope(|scope| {
        for kubectl in kubectls() {
            println!("with {}", kubectl.display());
            scope.spawn(|| {
                let mut cluster = Cluster::start();
                cluster.start_registry();
                workshop(cluster, kubectl, runtime)
            });
        }
    });
}

/// The session, on a cluster with a registry.
pub fn workshop(cluster: Cluster, kubectl: PathBuf, runtime: &str) {
    let session = Session { cluster, kubectl };
    looks_around(&session, runtime);
    deploys(&session);
    let address = exposes(&session);
    rolls(&session, &address);
    edits(&session);
    reaches_in(&session);
    cleans_up(&session);
}

fn looks_around(s: &Session, runtime: &str) {
    contains(&s.run("version --output=json"), &["serverVersion", "v1.36"]);
    contains(&s.run("get nodes -o wide"), &["node", "Ready", "v1.36", runtime]);
    contains(&s.run("describe node node"), &["Allocatable:", "KubeletReady", "NodeReady"]);
    contains(&s.run("api-resources"), &["deployments", "deploy", "pods", "endpointslices"]);
    contains(&s.run("explain deployment.spec.strategy"), &["rollingUpdate"]);
}

fn deploys(s: &Session) {
    let image = format!("{REGISTRY}/web:1");
    contains(&s.run(&format!("create deployment web --image={image}")), &["deployment.apps/web created"]);
    contains(&s.rolled_out(), &["successfully rolled out"]);
    contains(
        &s.run("get deployments,rs,pods -o wide"),
        &["deployment.apps/web", "1/1", "replicaset.apps/web-", &image],
    );
    contains(
        &s.run("describe deployment web"),
        &["NewReplicaSetAvailable", "Scaled up replica set web-", "from 0 to 1"],
    );
    contains(&s.run("describe rs -l app=web"), &["SuccessfulCreate", "Created pod: web-"]);
    contains(
        &s.run("describe pods -l app=web"),
        &["Successfully assigned default/web-", "Successfully pulled image", "Started"],
    );
    contains(&s.run("exec deployment/web -- cat /www/index.html"), &["page 1"]);
    // A terminal: what the shell says comes back through it.
    let typed = s.shell(
        "script -qec \"$(declare -f kubectl); kubectl exec -it deployment/web -- sh -c 'tty; stty size'\" /dev/null",
    );
    contains(&typed, &["/dev/pts/"]);
}

fn exposes(s: &Session) -> String {
    s.run("expose deployment web --type=NodePort --port=80");
    let address = s.run("get service web -o jsonpath={.spec.clusterIP}");
    let (port, node) = (
        s.run("get service web -o jsonpath={.spec.ports[0].nodePort}"),
        s.run("get node node -o jsonpath={.status.addresses[0].address}"),
    );
    for url in [format!("http://{address}"), format!("http://{node}:{port}"), format!("http://127.0.0.1:{port}")] {
        let page = s.cluster.wait(&url, || s.cluster.fetch(&url).ok());
        assert_eq!(page, "page 1", "{url}");
    }
    contains(&s.run("get endpoints web"), &[":80"]);
    contains(&s.run("describe service web"), &["NodePort:", "Endpoints:"]);
    address
}

/// Fetches the page some hundred times a second, from inside, while something happens; returns how many requests there were.
fn fetching(s: &Session, address: &str, what: impl FnOnce()) -> usize {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let failed = std::thread::scope(|scope| {
        let (stopped, counted) = (stop.clone(), count.clone());
        let fetcher = scope.spawn(move || {
            let mut failed = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match s.cluster.fetch_from_here(address) {
                    Ok(page) if page.starts_with("page ") => drop(counted.fetch_add(1, Ordering::Relaxed)),
                    other => failed.push(format!("{other:?}")),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            failed
        });
        what();
        stop.store(true, Ordering::Relaxed);
        fetcher.join().unwrap()
    });
    assert!(failed.is_empty(), "{} requests failed: {:?}", failed.len(), failed.first());
    count.load(Ordering::Relaxed)
}

fn rolls(s: &Session, address: &str) {
    s.run("scale deployment web --replicas=4");
    s.rolled_out();
    if testkit::slowness() > 1 {
        // A server without a probe counts as ready after a second, and here it takes longer until it listens.
        let probe = serde_json::json!({"tcpSocket": {"port": 80}, "periodSeconds": 1});
        let containers = serde_json::json!([{"name": "web", "readinessProbe": probe}]);
        let patch = serde_json::json!({"spec": {"template": {"spec": {"containers": containers}}}});
        s.shell(&format!("kubectl patch deployment web -p '{patch}'"));
        s.rolled_out();
    }
    let fetched = fetching(s, address, || {
        s.run(&format!("set image deployment/web web={REGISTRY}/web:2"));
        s.rolled_out();
    });
    assert!(fetched > 20, "only {fetched} requests were made");
    assert_eq!(s.cluster.fetch(&format!("http://{address}")).unwrap(), "page 2");
    contains(&s.run("rollout history deployment/web"), &["REVISION", "1", "2"]);
    fetching(s, address, || {
        s.run("rollout undo deployment/web");
        s.rolled_out();
    });
    assert_eq!(s.cluster.fetch(&format!("http://{address}")).unwrap(), "page 1");
}

/// The names of the pods, once there are so many and those on their way out are gone.
fn pods(s: &Session, count: usize) -> Vec<String> {
    s.cluster.wait("the old pods to go", || {
        let names = s.run("get pods -l app=web -o jsonpath={.items[*].metadata.name}");
        let names: Vec<String> = names.split(' ').map(str::to_owned).collect();
        (names.len() == count).then_some(names)
    })
}

fn edits(s: &Session) {
    s.run("label deployment web tier=front");
    contains(&s.run("get deployments -l tier=front -o name"), &["deployment.apps/web"]);
    assert_eq!(s.run("get deployments -l tier=back -o name"), "");
    let pod = pods(s, 4).remove(0);
    s.run(&format!("delete pod {pod}"));
    s.cluster.wait_field("deployment/web", ".status.readyReplicas", "4");
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {color: red}\n";
    std::fs::write(s.cluster.path("settings.yaml"), manifest).unwrap();
    contains(&s.run("apply -f settings.yaml"), &["created"]);
    contains(&s.run("apply -f settings.yaml"), &["unchanged"]);
    std::fs::write(s.cluster.path("settings.yaml"), manifest.replace("red", "blue")).unwrap();
    contains(&s.shell("kubectl diff -f settings.yaml || [ $? = 1 ]"), &["-  color: red", "+  color: blue"]);
    contains(&s.run("apply -f settings.yaml"), &["configured"]);
    contains(&s.shell("EDITOR='sed -i s/blue/green/' kubectl edit configmap settings"), &["edited"]);
    assert_eq!(s.run("get configmap settings -o jsonpath={.data.color}"), "green");
    s.run("patch configmap settings --type=merge -p {\"data\":{\"size\":\"9\"}}");
    s.run("patch deployment web -p {\"spec\":{\"replicas\":2}}");
    s.cluster.wait_field("deployment/web", ".status.replicas", "2");
    contains(&s.run("apply --server-side --force-conflicts -f settings.yaml"), &["serverside-applied"]);
}

fn reaches_in(s: &Session) {
    let pod = pods(s, 2).remove(0);
    let tries = 100 * testkit::slowness();
    let forwarded = s.shell(&format!(
        "kubectl port-forward deployment/web 8888:80 > forward.log 2>&1 & forward=$!; \
         for i in $(seq {tries}); do curl -sf http://127.0.0.1:8888 && break; sleep 0.1; done; kill %1 $forward 2>/dev/null; true",
    ));
    contains(&forwarded, &["page 1"]);
    std::fs::write(s.cluster.path("sent"), "sent and fetched\n").unwrap();
    s.run(&format!("cp sent {pod}:/tmp/sent"));
    assert_eq!(s.run(&format!("exec {pod} -- cat /tmp/sent")), "sent and fetched");
    s.run(&format!("cp {pod}:/tmp/sent fetched"));
    assert_eq!(std::fs::read_to_string(s.cluster.path("fetched")).unwrap(), "sent and fetched\n");
    let failed = s.cluster.command(&s.kubectl).args(["exec", &pod, "--", "sh", "-c", "exit 3"]).status().unwrap();
    assert_eq!(failed.code(), Some(3), "kubectl passes the exit code on");
    let input = s.shell(&format!("printf 'one two' | kubectl exec -i {pod} -- wc -w"));
    assert_eq!(input.trim(), "2");
}

fn cleans_up(s: &Session) {
    contains(&s.run("delete deployment,service web"), &["\"web\" deleted"]);
    s.cluster.wait("the pods to go", || s.run("get pods -o name").is_empty().then_some(()));
    assert_eq!(s.run("get rs -o name"), "");
    s.cluster.wait("the endpoints to go", || (!s.run("get endpoints -o name").contains("web")).then_some(()));
}

/// What `make run` starts: it shows a page, and takes everything away again.
#[test]
fn the_demo_shows_a_page_and_leaves_nothing() {
    // It has a runtime of its own.
    if testkit::on_containerd() {
        return;
    }
    let c = Cluster::prepare(&[]);
    let place = c.path("demo");
    let output = c.command(&testkit::skiff()).args(["demo", "--once", "--data-dir"]).arg(&place).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.contains("through the Service: Hello from pod"), "{output:?}");
    assert!(
        !place.exists(),
        "left: {:?}",
        std::fs::read_dir(&place).map(|entries| entries.flatten().collect::<Vec<_>>())
    );
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
    let left: Vec<_> = hierarchies.map(|place| place.join("skiff-demo")).filter(|place| place.exists()).collect();
    assert!(left.is_empty() && !std::path::Path::new("/sys/fs/cgroup/skiff-demo").exists(), "left: {left:?}");
}
