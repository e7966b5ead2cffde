//! What `skiff server` is told: flags, or the same names in a YAML file.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use clap::builder::PossibleValuesParser;
use network::Cidr;

use super::COMPONENTS;

/// Options of `skiff server`.
#[derive(Args, Clone)]
pub struct ServerOptions {
    /// Read options from a YAML file: the same names without dashes in front; flags win over it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where everything is kept that must last: objects, certificates, images, volumes
    #[arg(short, long, value_name = "DIR", default_value = "/var/lib/skiff", help_heading = "Places")]
    pub data_dir: PathBuf,
    /// Where running containers are kept track of; emptied by a reboot
    #[arg(long, value_name = "DIR", default_value = "/run/skiff", help_heading = "Places")]
    pub state_dir: PathBuf,
    /// Where the logs of containers go [default: /var/log/pods, or DATA_DIR/log/pods with another data directory]
    #[arg(long, value_name = "DIR", help_heading = "Places")]
    pub pod_logs_dir: Option<PathBuf>,
    /// Where to write the administrator's kubeconfig [default: DATA_DIR/kubeconfig]
    #[arg(long, value_name = "FILE", help_heading = "Places")]
    pub write_kubeconfig: Option<PathBuf>,
    /// Permissions of that file, octal
    #[arg(long, value_name = "MODE", default_value = "600", value_parser = parse_mode, help_heading = "Places")]
    pub write_kubeconfig_mode: u32,

    /// Address that the API server listens on
    #[arg(long, value_name = "IP", default_value = "0.0.0.0", help_heading = "API server")]
    pub bind_address: IpAddr,
    /// Port that the API server listens on
    #[arg(long, value_name = "PORT", default_value_t = 6443, help_heading = "API server")]
    pub https_listen_port: u16,
    /// Address at which pods and other nodes find the API server [default: the node's address]
    #[arg(long, value_name = "IP", help_heading = "API server")]
    pub advertise_address: Option<Ipv4Addr>,
    /// Further names and addresses in the API server's certificate
    #[arg(long, value_name = "NAME", value_delimiter = ',', help_heading = "API server")]
    pub tls_san: Vec<String>,

    /// Name of this machine's Node [default: the host name]
    #[arg(long, value_name = "NAME", help_heading = "Node")]
    pub node_name: Option<String>,
    /// Address of this machine's Node [default: that of the default route, else the pod network's]
    #[arg(long, value_name = "IP", help_heading = "Node")]
    pub node_ip: Option<Ipv4Addr>,
    /// Labels for this machine's Node
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse_label, help_heading = "Node")]
    pub node_label: Vec<(String, String)>,
    /// Directory with manifests of static pods, which run here whatever the API says
    #[arg(long, value_name = "DIR", help_heading = "Node")]
    pub pod_manifest_path: Option<PathBuf>,
    /// Port of the node's HTTPS API
    #[arg(long, value_name = "PORT", default_value_t = 10250, help_heading = "Node")]
    pub kubelet_port: u16,
    /// Below what the node is short of memory, disk or processes and evicts pods at once; a percentage is of all there is
    #[arg(long, value_name = "SIGNAL<AMOUNT,…", default_value = node::Thresholds::DEFAULT, help_heading = "Node")]
    pub eviction_hard: node::Thresholds,
    /// The same for shortages that last: pods go after SIGNAL's grace period
    #[arg(long, value_name = "SIGNAL<AMOUNT,…", default_value = "", help_heading = "Node")]
    pub eviction_soft: node::Thresholds,
    /// How long a shortage of --eviction-soft may last (memory.available=1m30s)
    #[arg(long, value_name = "SIGNAL=DURATION,…", default_value = "", help_heading = "Node")]
    pub eviction_soft_grace_period: node::GracePeriods,
    /// Seconds that containers get at most to stop when --eviction-soft drives them away
    #[arg(long, value_name = "SECONDS", default_value_t = 0, help_heading = "Node")]
    pub eviction_max_pod_grace_period: u32,
    /// How much more than its threshold is freed of something that ran short (nodefs.available=500Mi)
    #[arg(long, value_name = "SIGNAL=AMOUNT,…", default_value = "", help_heading = "Node")]
    pub eviction_minimum_reclaim: node::Reclaims,
    /// How long the node tells of a shortage after it was last seen
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration, help_heading = "Node")]
    pub eviction_pressure_transition_period: Duration,
    /// Most pods of this machine
    #[arg(long, value_name = "NUMBER", default_value_t = 110, help_heading = "Node")]
    pub max_pods: u32,
    /// Most processes of one pod [default: as many as the machine has]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(1..), help_heading = "Node")]
    pub pod_max_pids: Option<i64>,
    /// What of the machine pods cannot have: for skiff itself …
    #[arg(long, value_name = "RESOURCE=AMOUNT,…", default_value = "", help_heading = "Node")]
    pub kube_reserved: node::Reserved,
    /// … and for the system
    #[arg(long, value_name = "RESOURCE=AMOUNT,…", default_value = "", help_heading = "Node")]
    pub system_reserved: node::Reserved,
    /// Keep the memory that containers request for them, and slow them down from this part of the way to their limit on (0.9;
    /// needs cgroup v2) [default: neither]
    #[arg(long, value_name = "FACTOR", help_heading = "Node")]
    pub memory_throttling_factor: Option<node::MemoryQos>,
    /// How long a shutdown of the machine is delayed so that pods end in order (needs systemd-logind) …
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration, help_heading = "Node")]
    pub shutdown_grace_period: Duration,
    /// … and how much of that belongs to critical pods, which end last
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration, help_heading = "Node")]
    pub shutdown_grace_period_critical_pods: Duration,
    /// The same for any priorities, instead of those two (0=60s,2000000000=10s)
    #[arg(long, value_name = "PRIORITY=DURATION,…", default_value = "", help_heading = "Node")]
    pub shutdown_grace_period_by_pod_priority: node::Periods,
    /// Where the sockets of device plugins and of the pod-resources API are (device-plugins/kubelet.sock, pod-resources/kubelet.sock)
    /// [default: /var/lib/kubelet, or DATA_DIR/kubelet with another data directory]
    #[arg(long, value_name = "DIR", help_heading = "Places")]
    pub root_dir: Option<PathBuf>,
    /// Whether containers of Guaranteed pods that ask for whole CPUs have them for themselves
    #[arg(long, value_name = "POLICY", default_value = "none", value_parser = ["none", "static"], help_heading = "Resources")]
    pub cpu_manager_policy: String,
    /// full-pcpus-only, distribute-cpus-across-numa, align-by-socket, strict-cpu-reservation
    #[arg(long, value_name = "OPTION=true,…", default_value = "", help_heading = "Resources")]
    pub cpu_manager_policy_options: node::CpuOptions,
    /// CPUs that no container has for itself, instead of an amount of them in --kube-reserved and --system-reserved
    #[arg(long, value_name = "CPUS", default_value = "", help_heading = "Resources")]
    pub reserved_cpus: node::CpuSet,
    /// Whether containers of Guaranteed pods are bound to NUMA nodes with enough memory
    #[arg(long, value_name = "POLICY", default_value = "None", value_parser = ["None", "Static"], help_heading = "Resources")]
    pub memory_manager_policy: String,
    /// Memory of each NUMA node that pods cannot have (0:memory=1Gi;1:memory=1Gi); all together what --kube-reserved,
    /// --system-reserved and --eviction-hard keep
    #[arg(long, value_name = "NODE:memory=AMOUNT;…", default_value = "", help_heading = "Resources")]
    pub reserved_memory: node::ReservedMemory,
    /// What becomes of pods whose CPUs, memory and devices are not on the same NUMA nodes: none, best-effort, restricted,
    /// single-numa-node
    #[arg(long, value_name = "POLICY", default_value = "none", help_heading = "Resources")]
    pub topology_manager_policy: node::Policy,
    /// Whether that is asked of each container or of the whole pod: container, pod
    #[arg(long, value_name = "SCOPE", default_value = "container", help_heading = "Resources")]
    pub topology_manager_scope: node::Scope,
    /// prefer-closest-numa-nodes=true: of several NUMA nodes, those that are close to each other
    #[arg(long, value_name = "OPTION=true", default_value = "", value_parser = parse_closest, help_heading = "Resources")]
    pub topology_manager_policy_options: bool,
    /// Which images that are on the node pods may use without a look at their credentials: NeverVerify (all),
    /// NeverVerifyPreloadedImages (those that no pod pulled), NeverVerifyAllowlistedImages, AlwaysVerify (none)
    #[arg(long, value_name = "POLICY", default_value = "NeverVerifyPreloadedImages", help_heading = "Node",
        value_parser = ["NeverVerify", "NeverVerifyPreloadedImages", "NeverVerifyAllowlistedImages", "AlwaysVerify"])]
    pub image_pull_credentials_verification_policy: String,
    /// The images of NeverVerifyAllowlistedImages, without tags or digests (registry.io/app,registry.io/team/*)
    #[arg(long, value_name = "IMAGE", value_delimiter = ',', help_heading = "Node")]
    pub preloaded_images_verification_allowlist: Vec<node::ImagePattern>,
    /// Run containers with this runtime, which speaks CRI v1, instead of the built-in one (unix:///run/containerd/containerd.sock)
    #[arg(long, value_name = "ENDPOINT", value_parser = runtime::parse_endpoint, help_heading = "Node")]
    pub container_runtime_endpoint: Option<PathBuf>,
    /// The cgroup above all pods
    #[arg(long, value_name = "PATH", default_value = "/", help_heading = "Node")]
    pub cgroup_root: String,

    /// Addresses of pods
    #[arg(long, value_name = "CIDR", default_value = "10.42.0.0/16", value_parser = parse_cidr, help_heading = "Network")]
    pub cluster_cidr: Cidr,
    /// Prefix length of one node's part of the pod addresses
    #[arg(long, value_name = "BITS", default_value_t = 24, help_heading = "Network")]
    pub node_cidr_mask_size: u8,
    /// Addresses of services
    #[arg(long, value_name = "CIDR", default_value = "10.43.0.0/16", value_parser = parse_cidr, help_heading = "Network")]
    pub service_cidr: Cidr,
    /// Ports of services of type NodePort
    #[arg(long, value_name = "A-B", default_value = "30000-32767", value_parser = parse_ports, help_heading = "Network")]
    pub service_node_port_range: RangeInclusive<u16>,
    /// Domain of the cluster's names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local", help_heading = "Network")]
    pub cluster_domain: String,
    /// Addresses of a DNS server for pods [default: none, pods use the machine's]
    #[arg(long, value_name = "IP", value_delimiter = ',', help_heading = "Network")]
    pub cluster_dns: Vec<IpAddr>,

    /// Components not to run; without a node there is no proxy either
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = component_names())]
    pub disable: Vec<String>,
    /// How much to log
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    pub log_level: String,
}

impl ServerOptions {
    /// Whether a component is to run.
    pub fn runs(&self, component: &str) -> bool {
        !self.disable.iter().any(|d| d == component)
    }

    /// Where the administrator's kubeconfig goes.
    pub fn kubeconfig(&self) -> PathBuf {
        self.write_kubeconfig.clone().unwrap_or_else(|| self.data_dir.join("kubeconfig"))
    }

    /// Where containers' logs go.
    pub fn logs(&self) -> PathBuf {
        let usual = || match self.data_dir.as_path() == Path::new("/var/lib/skiff") {
            true => PathBuf::from("/var/log/pods"),
            false => self.data_dir.join("log/pods"),
        };
        self.pod_logs_dir.clone().unwrap_or_else(usual)
    }

    /// Where programs of the node meet its agent.
    pub fn root(&self) -> PathBuf {
        let usual = || match self.data_dir.as_path() == Path::new("/var/lib/skiff") {
            true => PathBuf::from("/var/lib/kubelet"),
            false => self.data_dir.join("kubelet"),
        };
        self.root_dir.clone().unwrap_or_else(usual)
    }

    /// How CPUs, memory and devices are given to containers for themselves.
    pub fn policies(&self) -> node::Policies {
        node::Policies {
            cpu: (self.cpu_manager_policy == "static").then_some(self.cpu_manager_policy_options),
            reserved_cpus: self.reserved_cpus.clone(),
            memory: (self.memory_manager_policy == "Static").then(|| self.reserved_memory.clone()),
            topology: self.topology_manager_policy,
            scope: self.topology_manager_scope,
            closest: self.topology_manager_policy_options,
        }
    }

    /// Where the API server listens.
    pub fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.bind_address, self.https_listen_port)
    }

    /// What cannot work together.
    pub fn check(&self) -> Result<()> {
        let (pods, services) = (&self.cluster_cidr, &self.service_cidr);
        if pods.contains(services.network()) || services.contains(pods.network()) {
            bail!("--cluster-cidr {pods} and --service-cidr {services} overlap");
        }
        if self.node_cidr_mask_size < pods.prefix() || self.node_cidr_mask_size > 30 {
            bail!("--node-cidr-mask-size {} must lie between {} and 30", self.node_cidr_mask_size, pods.prefix());
        }
        if services.prefix() < 12 || services.prefix() > 28 {
            bail!("--service-cidr {services}: the prefix must lie between 12 and 28");
        }
        self.eviction().and_then(|_| self.shutdown()).and_then(|_| self.image_verification()).map(drop)
    }

    /// Which images that are there pods may use without a look at their credentials.
    pub fn image_verification(&self) -> Result<node::Verification> {
        let list = &self.preloaded_images_verification_allowlist;
        let policy = self.image_pull_credentials_verification_policy.as_str();
        if policy != "NeverVerifyAllowlistedImages" && !list.is_empty() {
            bail!(
                "--preloaded-images-verification-allowlist needs \
                 --image-pull-credentials-verification-policy=NeverVerifyAllowlistedImages"
            );
        }
        Ok(match policy {
            "NeverVerify" => node::Verification::Never,
            "NeverVerifyAllowlistedImages" => node::Verification::NotListed(list.clone()),
            "AlwaysVerify" => node::Verification::Always,
            _ => node::Verification::NotPreloaded,
        })
    }

    /// How long pods get when the machine ends.
    pub fn shutdown(&self) -> Result<node::Periods> {
        let (all, critical) = (self.shutdown_grace_period, self.shutdown_grace_period_critical_pods);
        let by_priority = &self.shutdown_grace_period_by_pod_priority;
        if !(by_priority.is_empty() || all.is_zero() && critical.is_zero()) {
            bail!("--shutdown-grace-period-by-pod-priority cannot be used together with --shutdown-grace-period");
        }
        let two = node::Periods::of_two(all, critical).map_err(anyhow::Error::msg)?;
        Ok(if by_priority.is_empty() { two } else { by_priority.clone() })
    }

    /// What the node does when it runs short of something.
    pub fn eviction(&self) -> Result<node::Eviction> {
        let (hard, soft) = (&self.eviction_hard, &self.eviction_soft);
        let all = node::Eviction::new(hard, soft, &self.eviction_soft_grace_period, &self.eviction_minimum_reclaim);
        let max_pod_grace = Duration::from_secs(self.eviction_max_pod_grace_period.into());
        let transition = self.eviction_pressure_transition_period;
        Ok(node::Eviction { max_pod_grace, transition, ..all.map_err(anyhow::Error::msg)? })
    }
}

fn component_names() -> PossibleValuesParser {
    PossibleValuesParser::new(COMPONENTS.iter().map(|c| c.name))
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777).ok_or_else(|| "not an octal mode".to_owned())
}

fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let cidr: Cidr = text.parse().map_err(|_| "not a network in CIDR notation".to_owned())?;
    match (cidr.address(), cidr.network()) {
        (IpAddr::V6(_), _) => Err("IPv6 is not supported yet".to_owned()),
        (address, network) if address != network => {
            Err(format!("has host bits set; meant {network}/{}?", cidr.prefix()))
        }
        _ => Ok(cidr),
    }
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parsed = text.split_once('-').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
    match parsed {
        Some((first, last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("not a range of ports such as 30000-32767".to_owned()),
    }
}

/// `1m30s`, as Go writes durations.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = machinery::duration::parse_go(text).map_err(|e| e.to_string())?;
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| "must not be negative".to_owned())
}

fn parse_closest(text: &str) -> Result<bool, String> {
    match text.split_once('=') {
        None if text.is_empty() => Ok(false),
        Some(("prefer-closest-numa-nodes", value)) => value.parse().map_err(|_| "neither true nor false".to_owned()),
        _ => Err(format!("unknown Topology Manager Policy option: {text:?}")),
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("not of the form KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The command line with the options of its `--config` file put before its own, so that its own win.
pub fn with_file(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_none_or(|command| command != "server") {
        return arguments;
    }
    let Some(path) = config_file(&arguments) else { return arguments };
    match read_file(&path) {
        Ok(options) => {
            arguments.splice(2..2, options.into_iter().map(OsString::from));
            arguments
        }
        Err(error) => {
            crate::command::say_error(&error);
            std::process::exit(1)
        }
    }
}

fn config_file(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().skip(2);
    while let Some(argument) = rest.next() {
        if argument == "--config" || argument == "-c" {
            return rest.next().map(PathBuf::from);
        }
        if let Some(path) = argument.to_str().and_then(|a| a.strip_prefix("--config=")) {
            return Some(PathBuf::from(path));
        }
    }
    None
}

fn read_file(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    flags(&text).with_context(|| path.display().to_string())
}

/// `data-dir: /x` becomes `--data-dir=/x`; a list gives its flag several times.
fn flags(yaml: &str) -> Result<Vec<String>> {
    if yaml.trim().is_empty() {
        return Ok(Vec::new());
    }
    let options: std::collections::BTreeMap<String, serde_json::Value> =
        serde_saphyr::from_str(yaml).context("not a YAML mapping of options")?;
    let mut flags = Vec::new();
    for (name, value) in options {
        let values = match value {
            serde_json::Value::Array(values) => values,
            value => vec![value],
        };
        for value in values {
            match value {
                serde_json::Value::String(text) => flags.push(format!("--{name}={text}")),
                serde_json::Value::Number(number) => flags.push(format!("--{name}={number}")),
                serde_json::Value::Bool(yes) => flags.push(format!("--{name}={yes}")),
                _ => bail!("{name}: neither a text nor a number nor a list of them"),
            }
        }
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::{Cli, Command};

    fn parse(arguments: &[&str]) -> Result<ServerOptions, clap::Error> {
        let all = ["skiff", "server"].iter().chain(arguments).map(|a| (*a).to_owned());
        match Cli::try_parse_from(all)?.command {
            Command::Server(options) => Ok(*options),
            _ => unreachable!("the command is server"),
        }
    }

    #[test]
    fn a_file_gives_flags_and_flags_win() {
        let mut all = flags("data-dir: /x\nhttps-listen-port: 7443\ndisable: [node, proxy]\n").unwrap();
        all.push("--https-listen-port=8443".to_owned());
        let options = parse(&all.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        assert_eq!(options.data_dir, Path::new("/x"));
        assert_eq!(options.https_listen_port, 8443);
        assert_eq!(options.disable, ["node", "proxy"]);
        assert_eq!(options.kubeconfig(), Path::new("/x/kubeconfig"));
        assert!(!options.runs("node") && options.runs("scheduler"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "--cluster-cidr=10.42.0.1/16",
            "--cluster-cidr=fd00::/64",
            "--service-node-port-range=5-1",
            "--eviction-hard=nodefs.free<1Gi",
            "--eviction-soft-grace-period=memory.available=-1s",
            "--eviction-minimum-reclaim=memory.available",
            "--eviction-pressure-transition-period=5",
            "--pod-max-pids=0",
            "--memory-throttling-factor=2",
            "--shutdown-grace-period=soon",
            "--shutdown-grace-period-by-pod-priority=high=1s",
            "--system-reserved=gpu=1",
            "--cpu-manager-policy=dynamic",
            "--cpu-manager-policy-options=x=true",
            "--reserved-cpus=a",
            "--reserved-memory=0",
            "--topology-manager-policy=best",
            "--topology-manager-scope=node",
            "--topology-manager-policy-options=x=true",
            "--disable=everything",
            "--write-kubeconfig-mode=9",
            "--node-label=x",
            "--container-runtime-endpoint=tcp://127.0.0.1:1",
            "--image-pull-credentials-verification-policy=Sometimes",
            "--preloaded-images-verification-allowlist=registry.io/app:1",
            "--unknown=1",
        ] {
            assert!(parse(&[bad]).is_err(), "{bad}");
        }
        let options = parse(&["--cpu-manager-policy=static", "--reserved-cpus=0-1", "--data-dir=/x"]).unwrap();
        assert_eq!(options.policies().reserved_cpus.to_string(), "0-1");
        assert!(options.policies().cpu.is_some() && options.policies().memory.is_none());
        assert_eq!(options.root(), Path::new("/x/kubelet"));
        assert!(parse(&["--cluster-cidr=10.43.0.0/20"]).unwrap().check().is_err(), "overlaps with the services");
        let soft = "--eviction-soft=memory.available<1Gi";
        assert!(parse(&[soft]).unwrap().check().is_err(), "no grace period");
        assert!(parse(&[soft, "--eviction-soft-grace-period=memory.available=90s"]).unwrap().check().is_ok());
        let both = ["--shutdown-grace-period=30s", "--shutdown-grace-period-by-pod-priority=0=1s"];
        assert!(parse(&both[..1]).unwrap().check().is_ok());
        assert!(parse(&both).unwrap().check().is_err());
        assert!(parse(&["--shutdown-grace-period-critical-pods=5s"]).unwrap().check().is_err());
        assert!(parse(&["--node-cidr-mask-size=8"]).unwrap().check().is_err());
        let listed = [
            "--preloaded-images-verification-allowlist=registry.io/app,registry.io/team/*",
            "--image-pull-credentials-verification-policy=NeverVerifyAllowlistedImages",
        ];
        assert!(parse(&listed).unwrap().check().is_ok());
        assert!(parse(&listed[..1]).unwrap().check().is_err(), "not the policy that has a list");
        assert!(parse(&[]).unwrap().check().is_ok());
        assert!(flags("- a list").is_err());
        assert!(flags("data-dir: {a: b}").is_err());
    }
}
