//! `/metrics`, `/metrics/resource`, `/metrics/cadvisor` and `/metrics/probes`, with upstream's names of families and labels.

mod cadvisor;
mod text;

use std::collections::BTreeMap;

use jiff::Timestamp;
use text::{Sample, Text};

use super::used::{self, Container, Pod};
use crate::agent::Agent;
use crate::disk::Space;
use crate::meter;
use crate::probes::Counts;

pub use cadvisor::cadvisor;

/// A moment as seconds since 1970.
fn seconds(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, |at| at.as_millisecond() as f64 / 1e3)
}

/// Nanoseconds as seconds.
fn from_nanos(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// `/metrics/resource`: what metrics-server reads.
pub async fn resource(agent: &Agent) -> String {
    let pods = used::pods(agent).await;
    let containers = |read: &dyn Fn(&Container) -> f64| -> Vec<Sample> {
        let all = pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
        all.map(|(pod, container)| {
            let (namespace, name) = (pod.sandbox.namespace.clone(), pod.sandbox.name.clone());
            (vec![("container", container.name.clone()), ("namespace", namespace), ("pod", name)], read(container))
        })
        .collect()
    };
    let of_pods = |read: &dyn Fn(&Pod) -> f64| -> Vec<Sample> {
        let labels = |p: &Pod| vec![("namespace", p.sandbox.namespace.clone()), ("pod", p.sandbox.name.clone())];
        pods.iter().map(|pod| (labels(pod), read(pod))).collect()
    };
    let mut text = Text::default();
    text.family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative CPU time of the container in core-seconds.",
        containers(&|c| from_nanos(c.usage.cpu_nanoseconds)),
    );
    text.family(
        "container_memory_working_set_bytes",
        "gauge",
        "Working set of the container in bytes.",
        containers(&|c| c.usage.memory_working_set as f64),
    );
    text.family(
        "container_start_time_seconds",
        "gauge",
        "Start of the container in seconds since 1970.",
        containers(&|c| seconds(c.started)),
    );
    text.family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative CPU time of the node in core-seconds.",
        [(Vec::new(), from_nanos(used::machine_cpu()))],
    );
    text.family(
        "node_memory_working_set_bytes",
        "gauge",
        "Working set of the node in bytes.",
        [(Vec::new(), used::machine_memory() as f64)],
    );
    text.family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative CPU time of the pod in core-seconds.",
        of_pods(&|p| from_nanos(p.usage.cpu_nanoseconds)),
    );
    text.family(
        "pod_memory_working_set_bytes",
        "gauge",
        "Working set of the pod in bytes.",
        of_pods(&|p| p.usage.memory_working_set as f64),
    );
    text.family("resource_scrape_error", "gauge", "1 if the figures could not be read.", [(Vec::new(), 0.0)]);
    text.finish()
}

/// `/metrics`: the node agent about itself.
pub async fn own(agent: &Agent) -> String {
    let pods = used::pods(agent).await;
    let mut text = Text::default();
    let name = vec![("node", agent.options.node_name.clone())];
    text.family("kubelet_node_name", "gauge", "The node's name; always 1.", [(name, 1.0)]);
    text.family(
        "kubelet_desired_pods",
        "gauge",
        "Pods that are to run here.",
        [(Vec::new(), agent.pods().len() as f64)],
    );
    text.family("kubelet_running_pods", "gauge", "Pods that have a sandbox.", [(Vec::new(), pods.len() as f64)]);
    let running: usize = pods.iter().map(|pod| pod.containers.len()).sum();
    let state = vec![("container_state", "running".to_owned())];
    text.family("kubelet_running_containers", "gauge", "Containers that run.", [(state, running as f64)]);
    for family in meter::ALL {
        text.counted(family, &agent.meter.of(family));
    }
    let (pulled, pulling) = agent.images.count();
    let help = "Number of ImagePulledRecords stored on disk.";
    text.family("kubelet_imagemanager_ondisk_pulledrecords", "gauge", help, [(Vec::new(), pulled as f64)]);
    let help = "Number of ImagePullIntents stored on disk.";
    text.family("kubelet_imagemanager_ondisk_pullintents", "gauge", help, [(Vec::new(), pulling as f64)]);
    volumes(agent, &mut text).await;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The program's name may hold blanks; what follows it does not.
    let fields: Vec<f64> = stat
        .rsplit(") ")
        .next()
        .into_iter()
        .flat_map(str::split_whitespace)
        .map(|word| word.parse().unwrap_or(0.0))
        .collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0.0);
    let one = |value: f64| [(Vec::new(), value)];
    text.family("process_cpu_seconds_total", "counter", "CPU time in seconds.", one((at(11) + at(12)) / 100.0));
    text.family("process_resident_memory_bytes", "gauge", "Resident memory in bytes.", one(at(21) * page_size()));
    text.family("process_virtual_memory_bytes", "gauge", "Virtual memory in bytes.", one(at(20)));
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    text.family("process_open_fds", "gauge", "Open file descriptors.", one(open as f64));
    text.family(
        "process_start_time_seconds",
        "gauge",
        "Start of the process in seconds since 1970.",
        one(seconds(used::boot()) + at(19) / 100.0),
    );
    text.finish()
}

/// The volumes of claims.
async fn volumes(agent: &Agent, text: &mut Text) {
    let pods: Vec<_> = agent.pods().iter().map(|p| (p.namespace().to_owned(), agent.pod_dir(p.uid()))).collect();
    let read = move || -> BTreeMap<(String, String), Space> {
        let records = pods.into_iter().flat_map(|(namespace, place)| {
            let all = crate::volumes::records(&place).into_iter().filter(|(_, record)| !record.device);
            all.map(move |(_, record)| ((namespace.clone(), record.claim), Space::of_remote(&record.path)))
        });
        records.collect()
    };
    let spaces = tokio::task::spawn_blocking(read).await.unwrap_or_default();
    type Figure = (&'static str, &'static str, fn(&Space) -> u64);
    let figures: [Figure; 6] = [
        ("kubelet_volume_stats_available_bytes", "Number of available bytes in the volume.", |s| s.bytes_free),
        ("kubelet_volume_stats_capacity_bytes", "Capacity in bytes of the volume.", |s| s.bytes),
        ("kubelet_volume_stats_inodes", "Maximum number of inodes in the volume.", |s| s.inodes),
        ("kubelet_volume_stats_inodes_free", "Number of free inodes in the volume.", |s| s.inodes_free),
        ("kubelet_volume_stats_inodes_used", "Number of used inodes in the volume.", |s| {
            s.inodes.saturating_sub(s.inodes_free)
        }),
        ("kubelet_volume_stats_used_bytes", "Number of used bytes in the volume.", |s| {
            s.bytes.saturating_sub(s.bytes_free)
        }),
    ];
    for (name, help, read) in figures {
        let samples = spaces.iter().map(|((namespace, claim), space)| {
            (vec![("namespace", namespace.clone()), ("persistentvolumeclaim", claim.clone())], read(space) as f64)
        });
        text.family(name, "gauge", help, samples);
    }
}

fn page_size() -> f64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4096) as f64
}

/// `/metrics/probes`: how often probes were made, and with what result.
pub fn probes(counts: &Counts) -> String {
    let samples = counts.all().into_iter().map(|(key, count)| {
        let labels = vec![
            ("container", key.container),
            ("namespace", key.namespace),
            ("pod", key.pod),
            ("pod_uid", key.uid),
            ("probe_type", key.kind.as_str().to_owned()),
            ("result", if key.passed { "successful" } else { "failed" }.to_owned()),
        ];
        (labels, count as f64)
    });
    let mut text = Text::default();
    let help = "Cumulative number of a liveness, readiness or startup probe for a container by result.";
    text.family("prober_probe_total", "counter", help, samples);
    text.finish()
}
