//! `/stats/summary` (stats.v1alpha1 of upstream's kubelet).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use machinery::Value;
use runtime::{ImageFilesystem, InterfaceUsage, Usage};

use super::used::{self, Container, Pod};
use crate::agent::Agent;
use crate::config::resources::ALL_PODS;
use crate::disk::{Space, used_by};
use crate::register::meminfo;
use crate::volumes;
use crate::wanted::Wanted;

/// CPU time at a moment, by container, pod or node: the next answer tells the pace since then.
#[derive(Default)]
pub struct Paces(Mutex<HashMap<String, (Timestamp, u64)>>);

/// The shortest time over which a pace is computed, in nanoseconds.
const PACE_MIN: i128 = 100_000_000;

impl Paces {
    /// Nanoseconds of CPU per second since the last answer; nothing the first time.
    fn of(&self, key: &str, now: Timestamp, cpu: u64) -> Option<u64> {
        let mut known = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let before = known.get(key).copied();
        let passed = before.map_or(i128::MAX, |(at, _)| now.as_nanosecond() - at.as_nanosecond());
        if passed >= PACE_MIN {
            known.insert(key.to_owned(), (now, cpu));
        }
        let (_, then) = before.filter(|_| passed >= PACE_MIN)?;
        u64::try_from(u128::from(cpu.saturating_sub(then)) * 1_000_000_000 / u128::try_from(passed).ok()?).ok()
    }

    fn forget_others(&self, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(|e| e.into_inner());
        known.retain(|_, (at, _)| now.as_nanosecond() - at.as_nanosecond() < 600_000_000_000);
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Builds one answer.
struct Summary<'a> {
    now: Timestamp,
    paces: &'a Paces,
}

impl Summary<'_> {
    fn time(&self) -> String {
        machinery::time::format(self.now)
    }

    fn object(&self) -> Value {
        let mut tree = Value::object();
        tree.set_at(&["time"], self.time());
        tree
    }

    fn cpu(&self, key: &str, total: u64) -> Value {
        let mut tree = self.object();
        if let Some(pace) = self.paces.of(key, self.now, total) {
            tree.set_at(&["usageNanoCores"], number(pace));
        }
        tree.set_at(&["usageCoreNanoSeconds"], number(total));
        tree
    }

    fn memory(&self, usage: &Usage) -> Value {
        let mut tree = self.object();
        for (name, value) in [
            ("usageBytes", usage.memory_usage),
            ("workingSetBytes", usage.memory_working_set),
            ("rssBytes", usage.memory_rss),
            ("pageFaults", usage.page_faults),
            ("majorPageFaults", usage.major_page_faults),
        ] {
            tree.set_at(&[name], number(value));
        }
        tree
    }

    fn disk(&self, space: &Space, used: Option<u64>) -> Value {
        let mut tree = self.object();
        for (name, value) in [
            ("availableBytes", space.bytes_free),
            ("capacityBytes", space.bytes),
            ("usedBytes", used.unwrap_or(space.bytes.saturating_sub(space.bytes_free))),
            ("inodesFree", space.inodes_free),
            ("inodes", space.inodes),
        ] {
            tree.set_at(&[name], number(value));
        }
        if used.is_none() {
            tree.set_at(&["inodesUsed"], number(space.inodes.saturating_sub(space.inodes_free)));
        }
        tree
    }

    fn network(&self, all: &[InterfaceUsage]) -> Option<Value> {
        let one = |interface: &InterfaceUsage| {
            let mut tree = Value::object();
            tree.set_at(&["name"], interface.name.clone());
            tree.set_at(&["rxBytes"], number(interface.rx_bytes));
            tree.set_at(&["rxErrors"], number(interface.rx_errors));
            tree.set_at(&["txBytes"], number(interface.tx_bytes));
            tree.set_at(&["txErrors"], number(interface.tx_errors));
            tree
        };
        let mut tree = one(all.first()?);
        tree.set_at(&["time"], self.time());
        tree.set_at(&["interfaces"], all.iter().map(one).collect::<Vec<_>>());
        Some(tree)
    }

    fn container(&self, container: &Container, disk: &Space, sizes: &Sizes) -> Value {
        let mut tree = Value::object();
        tree.set_at(&["name"], container.name.clone());
        if let Some(started) = container.started {
            tree.set_at(&["startTime"], machinery::time::format(started));
        }
        tree.set_at(&["cpu"], self.cpu(&container.id, container.usage.cpu_nanoseconds));
        tree.set_at(&["memory"], self.memory(&container.usage));
        let of = |sizes: &HashMap<String, u64>| sizes.get(&container.name).copied().unwrap_or(0);
        tree.set_at(&["rootfs"], self.disk(disk, Some(of(&sizes.layers))));
        tree.set_at(&["logs"], self.disk(disk, Some(of(&sizes.logs))));
        tree
    }

    fn pod(&self, pod: &Pod, disk: &Space, sizes: &Sizes) -> Value {
        let mut tree = Value::object();
        tree.set_at(&["podRef", "name"], pod.sandbox.name.clone());
        tree.set_at(&["podRef", "namespace"], pod.sandbox.namespace.clone());
        tree.set_at(&["podRef", "uid"], pod.sandbox.uid.clone());
        tree.set_at(&["startTime"], machinery::time::format(pod.sandbox.created_at));
        let containers = pod.containers.iter().map(|container| self.container(container, disk, sizes));
        tree.set_at(&["containers"], containers.collect::<Vec<_>>());
        tree.set_at(&["cpu"], self.cpu(&pod.sandbox.uid, pod.usage.cpu_nanoseconds));
        tree.set_at(&["memory"], self.memory(&pod.usage));
        if let Some(network) = self.network(&pod.network) {
            tree.set_at(&["network"], network);
        }
        let volumes = sizes.volumes.iter().map(|volume| {
            let mut one = self.disk(&volume.space, volume.used);
            one.set_at(&["name"], volume.name.clone());
            if let Some(claim) = &volume.claim {
                one.set_at(&["pvcRef", "name"], claim.clone());
                one.set_at(&["pvcRef", "namespace"], pod.sandbox.namespace.clone());
            }
            one
        });
        tree.set_at(&["volume"], volumes.collect::<Vec<_>>());
        tree.set_at(&["ephemeral-storage"], self.disk(disk, Some(sizes.total())));
        tree.set_at(&["process_stats", "process_count"], number(pod.usage.pids));
        tree
    }

    fn node(&self, agent: &Agent, disk: &Space, images: Option<&ImageFilesystem>) -> Value {
        let mut tree = Value::object();
        tree.set_at(&["nodeName"], agent.options.node_name.clone());
        if let Some(boot) = used::boot() {
            tree.set_at(&["startTime"], machinery::time::format(boot));
        }
        tree.set_at(&["cpu"], self.cpu("", used::machine_cpu()));
        let mut memory = self.object();
        memory.set_at(&["availableBytes"], number(meminfo("MemAvailable")));
        memory.set_at(&["usageBytes"], number(meminfo("MemTotal").saturating_sub(meminfo("MemFree"))));
        memory.set_at(&["workingSetBytes"], number(used::machine_memory()));
        memory.set_at(&["rssBytes"], number(meminfo("AnonPages")));
        tree.set_at(&["memory"], memory);
        let table = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
        if let Some(network) = self.network(&InterfaceUsage::read(&table)) {
            tree.set_at(&["network"], network);
        }
        tree.set_at(&["fs"], self.disk(disk, None));
        if let Some(images) = images {
            tree.set_at(&["runtime", "imageFs"], self.disk(&Space::of(&images.mountpoint), Some(images.used_bytes)));
        }
        let mut limits = self.object();
        let read = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<i64>().ok();
        if let Some(most) = read("/proc/sys/kernel/pid_max") {
            limits.set_at(&["maxpid"], most);
        }
        let running = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let threads = running.split([' ', '/']).nth(4).and_then(|n| n.parse::<i64>().ok());
        if let Some(threads) = threads {
            limits.set_at(&["curproc"], threads);
        }
        tree.set_at(&["rlimit"], limits);
        tree
    }
}

/// All pods together, as the system container that upstream has of them.
async fn all_pods(summary: &Summary<'_>, agent: &Agent) -> Option<Value> {
    let (usage, memory) = crate::eviction::of_pods(agent).await?;
    let mut tree = Value::object();
    tree.set_at(&["name"], "pods");
    tree.set_at(&["cpu"], summary.cpu(ALL_PODS, usage.cpu_nanoseconds));
    let mut told = summary.memory(&usage);
    told.set_at(&["availableBytes"], number(memory.available));
    tree.set_at(&["memory"], told);
    Some(tree)
}

/// One volume's place.
struct Volume {
    name: String,
    space: Space,
    /// Bytes, where it shares its file system with others.
    used: Option<u64>,
    /// The claim behind it: what is there is not the pod's own.
    claim: Option<String>,
}

/// What a pod takes on disk, in bytes.
#[derive(Default)]
struct Sizes {
    layers: HashMap<String, u64>,
    logs: HashMap<String, u64>,
    volumes: Vec<Volume>,
}

impl Sizes {
    async fn of(agent: &Agent, pod: &Pod, wanted: Option<&Wanted>) -> Self {
        let mut sizes = Self::default();
        for container in &pod.containers {
            let bytes = agent.options.runtime.container_disk_usage(&container.id).await.unwrap_or(0);
            sizes.layers.insert(container.name.clone(), bytes);
        }
        let Some(wanted) = wanted else { return sizes };
        let names: Vec<String> = pod.containers.iter().map(|c| c.name.clone()).collect();
        let (logs, own) = (agent.pod_log_dir(wanted), agent.pod_dir(wanted.uid()));
        let walk = move || {
            let logs = names.into_iter().map(|name| (name.clone(), used_by(&logs.join(name)))).collect();
            (logs, volumes_of(&own))
        };
        (sizes.logs, sizes.volumes) = tokio::task::spawn_blocking(walk).await.unwrap_or_default();
        sizes
    }

    fn total(&self) -> u64 {
        let volumes = self.volumes.iter().filter_map(|volume| volume.used);
        self.layers.values().sum::<u64>() + self.logs.values().sum::<u64>() + volumes.sum::<u64>()
    }
}

/// The volumes of a pod: `volumes/PLUGIN/NAME`, and those of claims.
fn volumes_of(pod_dir: &Path) -> Vec<Volume> {
    let place = pod_dir.join("volumes");
    let claims = volumes::records(pod_dir);
    let below = |path: PathBuf| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let own = |path: &Path| nix::sys::stat::stat(path).map(|s| s.st_dev).ok();
    let of_claim = |path: &Path| claims.iter().any(|(_, record)| record.path == path);
    let remote = |path: &Path| path.parent().is_some_and(|plugin| plugin.ends_with("kubernetes.io~nfs"));
    let mut list: Vec<Volume> = below(place.clone())
        .flat_map(below)
        .filter(|path| !of_claim(path))
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            if remote(&path) {
                return Some(Volume { name, space: Space::of_remote(&path), used: None, claim: None });
            }
            let shared = own(&path) == own(&place);
            Some(Volume { name, space: Space::of(&path), used: shared.then(|| used_by(&path)), claim: None })
        })
        .collect();
    list.extend(claims.iter().filter(|(_, record)| !record.device).map(|(name, record)| Volume {
        name: name.clone(),
        space: Space::of_remote(&record.path),
        used: None,
        claim: Some(record.claim.clone()),
    }));
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list
}

/// The answer. `cpu_and_memory` leaves out what takes long to find: disks, networks, volumes.
pub async fn summary(agent: &Agent, paces: &Paces, cpu_and_memory: bool) -> Value {
    let pods = used::pods(agent).await;
    let wanted = agent.pods();
    let disk = Space::of(&agent.options.data_dir);
    let images = agent.options.runtime.image_filesystem().await.ok();
    let summary = Summary { now: seams::clock::now(), paces };
    let mut list = Vec::new();
    for pod in &pods {
        let own = wanted.iter().find(|w| w.uid() == pod.sandbox.uid);
        let sizes = match cpu_and_memory {
            true => Sizes::default(),
            false => Sizes::of(agent, pod, own.map(AsRef::as_ref)).await,
        };
        let mut tree = summary.pod(pod, &disk, &sizes);
        if cpu_and_memory {
            strip(&mut tree);
        }
        list.push(tree);
    }
    let mut node = summary.node(agent, &disk, images.as_ref());
    if let Some(pods) = all_pods(&summary, agent).await {
        node.set_at(&["systemContainers"], vec![pods]);
    }
    if cpu_and_memory {
        strip(&mut node);
    }
    paces.forget_others(summary.now);
    let mut tree = Value::object();
    tree.set_at(&["node"], node);
    tree.set_at(&["pods"], list);
    tree
}

/// Leaves CPU and memory only.
fn strip(tree: &mut Value) {
    if let Some(Value::Array(containers)) = tree.get_mut("containers") {
        containers.iter_mut().for_each(strip);
    }
    for name in ["network", "fs", "runtime", "rlimit", "rootfs", "logs", "volume", "ephemeral-storage", "process_stats"]
    {
        tree.remove_at(&[name]);
    }
}
