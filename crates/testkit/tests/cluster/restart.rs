//! What outlives the server: acknowledged writes and containers.

use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::Cluster;

fn started(c: &Cluster) -> String {
    c.kubectl(&[
        "get",
        "pods",
        "-o",
        "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].containerID} {.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].state.running.startedAt}{\"\\n\"}{end}",
    ])
}

#[test]
fn containers_outlive_the_server() {
    let mut c = Cluster::start();
    c.kubectl(&["create", "deployment", "hello", "--image=localhost/skiff/hello:v1", "--replicas=2"]);
    c.wait_field("deployment/hello", ".status.readyReplicas", "2");
    c.kubectl(&["expose", "deployment", "hello", "--port=80", "--target-port=8080"]);
    let url = format!("http://{}", c.field("service/hello", ".spec.clusterIP"));
    c.wait("the service", || c.fetch(&url).ok());
    let before = started(&c);
    let took = c.stop_server(Signal::SIGTERM);
    assert!(took < testkit::patience() / 60, "SIGTERM took {took:?}");
    assert!(c.fetch(&url).is_ok(), "containers and services go on without the server");
    c.start_server();
    c.wait_ready();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(started(&c), before);
    c.stop_server(Signal::SIGKILL);
    assert!(c.fetch(&url).is_ok(), "also when it is killed");
    c.start_server();
    c.wait_ready();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(started(&c), before);
    c.kubectl(&["delete", "deployment", "hello"]);
    c.wait("the pods to go", || c.kubectl(&["get", "pods", "-o", "name"]).is_empty().then_some(()));
}

#[test]
fn no_acknowledged_write_is_lost() {
    let mut c = Cluster::with(&["--disable", "node"]);
    let acknowledged = |c: &Cluster| std::fs::read_to_string(c.path("acknowledged")).unwrap_or_default();
    let mut written = 0;
    for round in 0..4 {
        // Writers that are cut off in the middle: only what kubectl reported counts.
        let script = format!(
            "for i in $(seq 1000); do {} create configmap r{round}-$i --from-literal=a=b >> acknowledged 2>/dev/null || exit 0; done",
            testkit::kubectls()[0].display()
        );
        let mut writer = c.command(std::path::Path::new("bash")).args(["-c", &script]).spawn().unwrap();
        c.wait("some writes", || (acknowledged(&c).lines().count() >= written + 3).then_some(()));
        std::thread::sleep(Duration::from_millis(40 * round) * testkit::slowness());
        c.stop_server(Signal::SIGKILL);
        writer.wait().unwrap();
        c.start_server();
        c.wait("the API", || c.try_kubectl(&["get", "--raw", "/readyz"]).ok());
        let acknowledged = acknowledged(&c);
        let there = c.kubectl(&["get", "configmaps", "-o", "name"]);
        for line in acknowledged.lines() {
            let name = line.split(' ').next().unwrap();
            assert!(there.lines().any(|l| l == name), "{name} was acknowledged and is lost");
        }
        written = acknowledged.lines().count();
    }
    assert!(written >= 12, "only {written} writes were made");
}
