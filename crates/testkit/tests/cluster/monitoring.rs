//! Prometheus: what it discovers through the API, and what it reads of the servers.
//!
//! Debian builds its Prometheus without Kubernetes service discovery, so discovery is vmagent's (package `victoria-metrics`), which
//! takes the same configuration. Debian's Prometheus, the stricter reader, then reads the metrics that were found.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use testkit::{Cluster, REGISTRY, tool};

const DISCOVERY: &str = include_str!("monitoring.yml");

/// A pod that serves one metric, its service and its ingress.
const MEASURED: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: measured}
data: {metrics: 'answers_total 42'}
---
apiVersion: v1
kind: Pod
metadata: {name: measured, labels: {app: measured}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: REGISTRY/shell:1
    command: [httpd, -f, -p, '8080', -h, /www]
    ports: [{name: metrics, containerPort: 8080}]
    volumeMounts: [{name: www, mountPath: /www}]
  volumes: [{name: www, configMap: {name: measured}}]
---
apiVersion: v1
kind: Service
metadata: {name: measured, annotations: {prometheus.io/scrape: 'true'}}
spec: {selector: {app: measured}, ports: [{port: 80, targetPort: metrics}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: measured}
spec:
  rules:
  - host: measured.example.org
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: measured, port: {number: 80}}}}]}
";

/// Prometheus or its like, at work until it is dropped.
struct Collector<'a> {
    cluster: &'a Cluster,
    process: Child,
    port: u16,
}

impl Drop for Collector<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<'a> Collector<'a> {
    fn start(cluster: &'a Cluster, program: &Path, port: u16, arguments: &[String]) -> Self {
        let log = std::fs::File::create(cluster.path(&format!("collector-{port}.log"))).unwrap();
        let mut command = cluster.command(program);
        let process = command.args(arguments).stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        Self { cluster, process, port }
    }

    fn ask(&self, path: &str) -> Option<Value> {
        let text = self.cluster.fetch(&format!("http://127.0.0.1:{}/api/v1/{path}", self.port)).ok()?;
        serde_json::from_str::<Value>(&text).ok()?.get_mut("data").map(Value::take)
    }

    /// The targets of each job: where they are, and whether they answer.
    fn targets(&self) -> BTreeMap<String, Vec<(String, String)>> {
        let data = self.ask("targets").unwrap_or_default();
        let mut jobs: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for target in data["activeTargets"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let job = jobs.entry(text(&target["labels"]["job"])).or_default();
            job.push((text(&target["scrapeUrl"]), text(&target["health"])));
        }
        jobs
    }

    fn wait_targets(&self, wanted: &[(&str, &str, &str)]) {
        let wanted: BTreeMap<_, _> = wanted
            .iter()
            .map(|(job, url, health)| ((*job).to_owned(), vec![((*url).to_owned(), (*health).to_owned())]))
            .collect();
        let mut last = BTreeMap::new();
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < testkit::patience() {
            last = self.targets();
            if last == wanted {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(self.cluster.path(&format!("collector-{}.log", self.port))).unwrap();
        panic!("targets are {last:#?}, not {wanted:#?}\n{log}");
    }
}

/// Writes the administrator's certificate into files; gives Prometheus' `tls_config` of them.
fn tls_config(c: &Cluster) -> String {
    let parts = [
        ("ca_file", "clusters", "cluster", "certificate-authority-data"),
        ("cert_file", "users", "user", "client-certificate-data"),
        ("key_file", "users", "user", "client-key-data"),
    ];
    let entries = parts.map(|(name, list, item, key)| {
        let template = format!("{{{{index (index .{list} 0).{item} \"{key}\" | base64decode}}}}");
        let pem = c.kubectl(&["config", "view", "--raw", "-o", &format!("go-template={template}")]);
        std::fs::write(c.path(name), pem).unwrap();
        format!("{name}: {}", c.path(name).display())
    });
    format!("{{{}}}", entries.join(", "))
}

/// How often is read, and how long that may take: as long as the machine needs.
fn interval() -> String {
    format!("{}s", testkit::slowness())
}

/// Each role of discovery finds what is there, what it finds answers, and what goes is forgotten.
#[test]
fn prometheus_finds_nodes_pods_services_and_reads_them() {
    let mut c = Cluster::start();
    c.start_registry();
    c.apply(&MEASURED.replace("REGISTRY", REGISTRY));
    c.wait_field("pod/measured", ".status.phase", "Running");
    let tls = tls_config(&c);
    std::fs::write(c.path("discovery.yml"), DISCOVERY.replace("TLS", &tls).replace("INTERVAL", &interval())).unwrap();
    let agent = Collector::start(
        &c,
        &tool("victoria-metrics", "usr/bin/vmagent"),
        8429,
        &[
            format!("-promscrape.config={}", c.path("discovery.yml").display()),
            format!("-remoteWrite.tmpDataPath={}", c.path("vmagent").display()),
            "-remoteWrite.url=http://127.0.0.1:1/".to_owned(),
            "-httpListenAddr=127.0.0.1:8429".to_owned(),
            "-loggerLevel=ERROR".to_owned(),
        ],
    );
    let node = c.field("node/node", ".status.addresses[0].address");
    let pod = c.field("pod/measured", ".status.podIP");
    let service = c.field("service/measured", ".spec.clusterIP");
    let found = |path: &str| format!("https://{node}:{path}");
    let always = [
        ("apiservers", found("6443/metrics")),
        ("cadvisor", found("10250/metrics/cadvisor")),
        ("ingresses", "http://127.0.0.1:1/metrics".to_owned()),
        ("nodes", found("10250/metrics")),
        ("nodes-through-the-api", "https://127.0.0.1:6443/api/v1/nodes/node/proxy/metrics".to_owned()),
        ("services", format!("http://{service}:80/metrics")),
    ];
    let of_pod = [("pods", format!("http://{pod}:8080/metrics")), ("slices", format!("http://{pod}:8080/metrics"))];
    let health = |job: &str| if job == "ingresses" { "down" } else { "up" };
    let all: Vec<(&str, &str, &str)> =
        always.iter().chain(&of_pod).map(|(job, url)| (*job, url.as_str(), health(job))).collect();
    agent.wait_targets(&all);
    debian_reads(&c, &tls, &node);
    c.kubectl(&["delete", "pod/measured", "service/measured", "ingress/measured"]);
    let rest = all.into_iter().filter(|(job, ..)| job.starts_with("node") || ["apiservers", "cadvisor"].contains(job));
    agent.wait_targets(&rest.collect::<Vec<_>>());
}

/// Debian's Prometheus reads all metrics of the servers.
fn debian_reads(c: &Cluster, tls: &str, node: &str) {
    let jobs = [
        ("apiservers", format!("{node}:6443"), "/metrics"),
        ("cadvisor", format!("{node}:10250"), "/metrics/cadvisor"),
        ("nodes", format!("{node}:10250"), "/metrics"),
        ("probes", format!("{node}:10250"), "/metrics/probes"),
        ("resource", format!("{node}:10250"), "/metrics/resource"),
    ];
    let mut config = format!("global: {{scrape_interval: {}}}\nscrape_configs:\n", interval());
    for (job, address, path) in &jobs {
        config.push_str(&format!(
            "- {{job_name: {job}, scheme: https, metrics_path: {path}, tls_config: {tls}, static_configs: [{{targets: ['{address}']}}]}}\n"
        ));
    }
    std::fs::write(c.path("prometheus.yml"), config).unwrap();
    let prometheus = Collector::start(
        c,
        &tool("prometheus", "usr/bin/prometheus"),
        9090,
        &[
            format!("--config.file={}", c.path("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", c.path("prometheus").display()),
            "--web.listen-address=127.0.0.1:9090".to_owned(),
        ],
    );
    let urls = jobs.map(|(job, address, path)| (job, format!("https://{address}{path}")));
    prometheus.wait_targets(&urls.iter().map(|(job, url)| (*job, url.as_str(), "up")).collect::<Vec<_>>());
    for metric in [
        "apiserver_request_total{verb=\"LIST\",resource=\"pods\"}",
        "container_memory_working_set_bytes{container=\"web\"}",
        "kubelet_running_pods",
        "kubelet_pod_start_duration_seconds_bucket",
        "node_memory_working_set_bytes",
    ] {
        let sum = c.wait(metric, || {
            let encoded = metric.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
            let answer = prometheus.ask(&format!("query?query=sum({encoded})"))?;
            answer["result"][0]["value"][1].as_str()?.parse::<f64>().ok()
        });
        assert!(metric == "kubelet_running_pods" || sum > 0.0, "{metric}: {sum}");
    }
}
