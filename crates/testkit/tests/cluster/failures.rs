//! What cannot work is said in one clear line, and nothing is lost.

use std::path::Path;

use nix::sys::signal::Signal;
use testkit::{Cluster, REGISTRY};

/// Starts a server that must fail; returns what it said.
fn refused(c: &Cluster, more: &[&str]) -> String {
    let output = c.server_command().args(more).output().unwrap();
    assert!(!output.status.success(), "the server started");
    let said = String::from_utf8_lossy(&output.stderr);
    let complaint: Vec<&str> = said.lines().filter(|l| l.starts_with("skiff: ")).collect();
    assert_eq!(complaint.len(), 1, "not one line: {said}");
    complaint[0].to_owned()
}

#[test]
fn a_second_server_and_a_busy_port_are_told() {
    let c = Cluster::with(&["--disable", "node"]);
    let said = refused(&c, &["--https-listen-port=7443"]);
    assert!(said.contains("another") || said.contains("in use"), "{said}");
    let other = c.path("other").display().to_string();
    let said = refused(&c, &["--data-dir", &other, "--write-kubeconfig", "/dev/null"]);
    assert!(said.contains("6443") && said.contains("another program"), "{said}");
    assert!(c.kubectl(&["get", "namespaces"]).contains("default"), "the first one goes on");
}

#[test]
fn a_damaged_or_unwritable_data_directory_is_told() {
    let mut c = Cluster::with(&["--disable", "node"]);
    c.stop_server(Signal::SIGTERM);
    let database = std::fs::read_dir(c.path("data/server/db")).unwrap().flatten().map(|e| e.path());
    let largest = database.filter(|p| p.is_file()).max_by_key(|p| p.metadata().map_or(0, |m| m.len())).unwrap();
    let whole = std::fs::read(&largest).unwrap();
    let mut broken = whole.clone();
    broken.iter_mut().take(4096).for_each(|byte| *byte = 0x55);
    std::fs::write(&largest, &broken).unwrap();
    let said = refused(&c, &[]);
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(std::fs::read(&largest).unwrap(), broken, "nothing was changed");
    std::fs::write(&largest, &whole).unwrap();
    c.start_server();
    c.wait("the API", || c.try_kubectl(&["get", "--raw", "/readyz"]).ok());
    c.stop_server(Signal::SIGTERM);
    let said = refused(&c, &["--data-dir", "/proc/skiff"]);
    assert!(said.contains("/proc/skiff"), "{said}");
}

#[test]
fn a_full_disk_refuses_writes_and_serves_reads() {
    let c = Cluster::prepare(&["--disable", "node"]);
    let small = c.path("data");
    std::fs::create_dir(&small).unwrap();
    let mounted = c.command(Path::new("mount")).args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"]).arg(&small).status();
    assert!(mounted.unwrap().success());
    let mut c = c;
    c.start_server();
    // The kubeconfig stands in the mount, which only the namespaces see.
    let kubeconfig = small.join("kubeconfig").display().to_string();
    let kubectl = testkit::kubectls().pop().unwrap();
    let run = |words: &[&str]| {
        let output = c.command(&kubectl).args(["--kubeconfig", &kubeconfig]).args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    };
    c.wait("the API", || run(&["get", "--raw", "/readyz"]).0.then_some(()));
    std::fs::write(c.path("large"), "x".repeat(500_000)).unwrap();
    let refused = c.wait("the disk to be full", || {
        let name = format!("fill-{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos());
        let (fine, text) = run(&["create", "configmap", &name, "--from-file=large"]);
        (!fine).then_some(text)
    });
    assert!(refused.contains("full") || refused.contains("space"), "{refused}");
    let (fine, text) = run(&["get", "configmaps"]);
    assert!(fine && text.contains("fill-"), "{text}");
    // With room it goes on where it was, also after it was started again: what it acknowledged is there.
    let mut enlarge = c.command(Path::new("mount"));
    assert!(enlarge.args(["-o", "remount,size=64m"]).arg(&small).status().unwrap().success());
    c.wait("a write", || run(&["create", "configmap", "later", "--from-file=large"]).0.then_some(()));
    let names = |text: &str| text.lines().filter_map(|l| l.split(' ').next().map(str::to_owned)).collect::<Vec<_>>();
    let (_, before) = run(&["get", "configmaps"]);
    c.stop_server(Signal::SIGKILL);
    c.start_server();
    let run = |words: &[&str]| {
        let output = c.command(&kubectl).args(["--kubeconfig", &kubeconfig]).args(words).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    c.wait("the API", || run(&["get", "--raw", "/readyz"]).0.then_some(()));
    assert_eq!(names(&run(&["get", "configmaps"]).1), names(&before));
}

#[test]
fn images_that_cannot_be_had_are_told() {
    let mut c = Cluster::start();
    c.start_registry();
    let cases = [
        ("missing", format!("{REGISTRY}/nothing:1"), "ErrImagePull", "not found"),
        ("unreachable", "127.0.0.1:1/nothing:1".to_owned(), "ErrImagePull", "127.0.0.1:1"),
        ("broken", format!("{REGISTRY}/broken:1"), "ErrImagePull", "digest"),
        ("badname", "UPPER/case:1".to_owned(), "InvalidImageName", "UPPER/case:1"),
    ];
    for (name, image, ..) in &cases {
        c.kubectl(&["run", name, "--image", image, "--restart=Never"]);
    }
    for (name, _, reason, part) in &cases {
        let object = format!("pod/{name}");
        c.wait(&format!("{name} to be told"), || {
            let waiting = c.field(&object, ".status.containerStatuses[0].state.waiting.reason");
            (waiting == *reason || waiting == "ImagePullBackOff").then_some(())
        });
        let told = c.wait("the event", || {
            let told = c.kubectl(&["describe", "pod", name]);
            told.contains("Failed").then_some(told)
        });
        assert!(told.contains(part), "{part} is not in:\n{told}");
    }
}

#[test]
fn bad_input_gets_upstreams_answers() {
    let c = Cluster::with(&["--disable", "node"]);
    let cases = [
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: Bad_Name}",
            "a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: 1}",
            "cannot unmarshal number into Go struct field ConfigMap.data of type string",
        ),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: []}", "spec.containers: Required value"),
        (
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}",
            "`selector` does not match template `labels`",
        ),
    ];
    for (manifest, expected) in cases {
        std::fs::write(c.path("bad.yaml"), manifest).unwrap();
        let file = c.path("bad.yaml").display().to_string();
        let said = c.try_kubectl(&["create", "--validate=false", "-f", &file]).unwrap_err();
        assert!(said.contains(expected), "{expected} is not in: {said}");
    }
    c.kubectl(&["create", "service", "clusterip", "fixed", "--tcp=80"]);
    let change = ["patch", "service", "fixed", "-p", "{\"spec\":{\"clusterIP\":\"10.43.9.9\"}}"];
    assert!(c.try_kubectl(&change).unwrap_err().contains("may not change once set"));
    let anonymous = c.fetch("-k https://127.0.0.1:6443/api/v1/pods");
    assert!(anonymous.is_err() || anonymous.unwrap().contains("Forbidden"));
}
