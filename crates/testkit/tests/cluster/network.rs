//! Services: addresses, ports, readiness, an even spread.

use std::collections::BTreeMap;

use testkit::Cluster;

fn hello(c: &Cluster, replicas: u32) {
    let replicas = replicas.to_string();
    c.kubectl(&["create", "deployment", "hello", "--image=localhost/skiff/hello:v1", "--replicas", &replicas]);
    c.wait_field("deployment/hello", ".status.readyReplicas", &replicas);
}

#[test]
fn requests_are_spread_over_ready_pods_only() {
    let c = Cluster::start();
    hello(&c, 3);
    c.kubectl(&["expose", "deployment", "hello", "--port=80", "--target-port=8080"]);
    let url = format!("http://{}", c.field("service/hello", ".spec.clusterIP"));
    c.wait("the service", || c.fetch(&url).ok());
    let mut pages: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..60 {
        *pages.entry(c.fetch(&url).unwrap()).or_default() += 1;
    }
    assert_eq!(pages.len(), 3, "{pages:?}");
    assert!(pages.values().all(|count| *count >= 5), "{pages:?}");
    // Without its label a pod is out of the service at once, and another takes its place.
    let pod = c.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    c.kubectl(&["label", "pod", &pod, "app=other", "--overwrite"]);
    c.wait("the pod to leave", || (!c.kubectl(&["get", "endpointslices", "-o", "yaml"]).contains(&pod)).then_some(()));
    c.wait_field("deployment/hello", ".status.readyReplicas", "3");
    for _ in 0..20 {
        assert!(!c.fetch(&url).unwrap().contains(&pod));
    }
}

#[test]
fn pods_reach_pods_services_the_api_and_themselves() {
    let c = Cluster::start();
    hello(&c, 1);
    c.kubectl(&["expose", "deployment", "hello", "--port=80", "--target-port=8080", "--type=NodePort"]);
    let service = c.field("service/hello", ".spec.clusterIP");
    let pod = c.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    c.wait("the service", || c.fetch(&format!("http://{service}")).ok());
    // The hello image has no shell: the host's curl enters the pod's network.
    let process = c.wait("the pod's process", || pid_of(&c));
    for url in [
        format!("http://{service}"),
        format!("http://{}:8080", c.field(&format!("pod/{pod}"), ".status.podIP")),
        "-k https://10.43.0.1/version".to_owned(),
    ] {
        let words: Vec<&str> = url.split(' ').collect();
        let mut command = std::process::Command::new("nsenter");
        let limit = (3 * testkit::slowness()).to_string();
        command.args(["--target", &process, "--net", "curl", "-sS", "--max-time", &limit]).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn pid_of(c: &Cluster) -> Option<String> {
    let name = c.kubectl(&["get", "pods", "-o", "jsonpath={.items[0].metadata.name}"]);
    let processes = std::fs::read_dir("/proc").ok()?.flatten().map(|e| e.path());
    let mut ours = processes.filter(|p| {
        let command = std::fs::read(p.join("cmdline")).unwrap_or_default();
        let is_hello = command.starts_with(b"/skiff\0hello");
        let environment = std::fs::read(p.join("environ")).unwrap_or_default();
        is_hello && String::from_utf8_lossy(&environment).contains(&format!("HOSTNAME={name}"))
    });
    Some(ours.next()?.file_name()?.to_string_lossy().into_owned())
}

#[test]
fn host_ports_lead_to_their_pod() {
    let c = Cluster::start();
    c.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: hosted}\nspec:\n  containers:\n  - name: hello\n    \
         image: localhost/skiff/hello:v1\n    ports: [{containerPort: 8080, hostPort: 8088}]\n",
    );
    c.wait_field("pod/hosted", ".status.phase", "Running");
    let node = c.field("node/node", ".status.addresses[0].address");
    let page = c.wait("the page", || c.fetch(&format!("http://{node}:8088")).ok());
    assert!(page.contains("pod hosted"), "{page}");
}
