//! Who may use an image that is on the node.

use nix::sys::signal::Signal;
use testkit::{Cluster, PRIVATE_REGISTRY};

fn run(c: &Cluster, namespace: &str, name: &str, policy: &str) {
    c.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         imagePullSecrets: [{{name: registry}}]\n  containers:\n  - {{name: main, image: '{PRIVATE_REGISTRY}/shell:1', \
         imagePullPolicy: {policy}, command: [sleep, '1000']}}\n"
    ));
}

fn log_in(c: &Cluster, namespace: &str) {
    let server = format!("--docker-server={PRIVATE_REGISTRY}");
    let user = ["--docker-username=me", "--docker-password=secret", "-n", namespace];
    c.kubectl(&[&["create", "secret", "docker-registry", "registry", &server], &user[..]].concat());
}

/// What a pod's container waits for, or that it runs.
fn state(c: &Cluster, namespace: &str, name: &str) -> String {
    let path = "jsonpath={.status.containerStatuses[0].state.waiting.reason}{.status.phase}";
    c.kubectl(&["get", "pod", name, "-n", namespace, "-o", path])
}

fn wait(c: &Cluster, namespace: &str, name: &str, wanted: &[&str]) {
    let what = format!("{namespace}/{name} to be {wanted:?}");
    c.wait(&what, || wanted.contains(&state(c, namespace, name).as_str()).then_some(()));
}

const REFUSED: &[&str] = &["ErrImagePullPending", "ImagePullBackOffPending"];
const NEVER: &[&str] = &["ErrImageNeverPullPending"];
const RUNNING: &[&str] = &["Running"];

#[test]
fn an_image_is_for_the_namespaces_that_could_pull_it() {
    let mut c = Cluster::start();
    c.start_private_registry();
    c.kubectl(&["create", "namespace", "ours"]);
    c.kubectl(&["create", "namespace", "theirs"]);
    c.kubectl(&["create", "namespace", "friends"]);
    for namespace in ["ours", "theirs", "friends"] {
        c.wait("the service account", || c.try_kubectl(&["get", "sa", "default", "-n", namespace]).ok());
    }
    log_in(&c, "ours");
    run(&c, "ours", "first", "IfNotPresent");
    wait(&c, "ours", "first", RUNNING);
    // The image is there now. Who cannot pull it does not get it.
    run(&c, "theirs", "pulls", "IfNotPresent");
    run(&c, "theirs", "never", "Never");
    wait(&c, "theirs", "pulls", REFUSED);
    wait(&c, "theirs", "never", NEVER);
    // Who has the same credentials does, and what is known needs no registry, not even in the server's next life.
    log_in(&c, "friends");
    run(&c, "friends", "pulls", "IfNotPresent");
    wait(&c, "friends", "pulls", RUNNING);
    let events = c.kubectl(&["get", "events", "-n", "friends"]);
    assert!(events.contains("already present on machine and can be accessed by the pod"), "{events}");
    c.stop_private_registry();
    c.stop_server(Signal::SIGTERM);
    c.start_server();
    c.wait_ready();
    for (namespace, wanted) in [("ours", RUNNING), ("friends", RUNNING), ("theirs", NEVER)] {
        run(&c, namespace, "later", "Never");
        wait(&c, namespace, "later", wanted);
    }
    // With the credentials, the one that was refused starts.
    c.start_private_registry();
    log_in(&c, "theirs");
    wait(&c, "theirs", "pulls", RUNNING);
}
