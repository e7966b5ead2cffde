//! `/metrics/cadvisor`: containers and pods under the names that cAdvisor gave them, for the dashboards that know these.

use runtime::{InterfaceUsage, Usage};

use super::super::used::{self, Pod};
use super::text::{Sample, Text};
use super::{from_nanos, seconds};
use crate::agent::Agent;
use crate::quantity;
use crate::wanted::Wanted;

/// A figure of a container or a pod: its name, kind, meaning, and how it is read.
type Figure = (&'static str, &'static str, &'static str, fn(&Usage) -> f64);

const FIGURES: &[Figure] = &[
    ("container_cpu_usage_seconds_total", "counter", "Cumulative CPU time in seconds.", |u| {
        from_nanos(u.cpu_nanoseconds)
    }),
    ("container_cpu_cfs_periods_total", "counter", "Periods of the CPU limit that ran.", |u| u.cpu_periods as f64),
    ("container_cpu_cfs_throttled_periods_total", "counter", "Periods in which the CPU limit was reached.", |u| {
        u.cpu_periods_throttled as f64
    }),
    ("container_cpu_cfs_throttled_seconds_total", "counter", "Time spent waiting for CPU.", |u| {
        from_nanos(u.cpu_throttled_nanoseconds)
    }),
    ("container_memory_usage_bytes", "gauge", "All memory in use.", |u| u.memory_usage as f64),
    ("container_memory_working_set_bytes", "gauge", "Memory without inactive file cache.", |u| {
        u.memory_working_set as f64
    }),
    ("container_memory_rss", "gauge", "Anonymous memory.", |u| u.memory_rss as f64),
    ("container_memory_cache", "gauge", "File cache.", |u| u.memory_cache as f64),
    ("container_threads", "gauge", "Processes and threads.", |u| u.pids as f64),
];

type Read = fn(&InterfaceUsage) -> u64;

const NETWORK: &[(&str, &str, Read)] = &[
    ("container_network_receive_bytes_total", "Bytes received.", |i| i.rx_bytes),
    ("container_network_receive_packets_total", "Packets received.", |i| i.rx_packets),
    ("container_network_receive_errors_total", "Errors on receiving.", |i| i.rx_errors),
    ("container_network_receive_packets_dropped_total", "Packets dropped on receiving.", |i| i.rx_dropped),
    ("container_network_transmit_bytes_total", "Bytes sent.", |i| i.tx_bytes),
    ("container_network_transmit_packets_total", "Packets sent.", |i| i.tx_packets),
    ("container_network_transmit_errors_total", "Errors on sending.", |i| i.tx_errors),
    ("container_network_transmit_packets_dropped_total", "Packets dropped on sending.", |i| i.tx_dropped),
];

fn labels(pod: &Pod, container: &str, id: &str, image: &str) -> Vec<(&'static str, String)> {
    vec![
        ("container", container.to_owned()),
        ("id", id.to_owned()),
        ("image", image.to_owned()),
        ("name", id.to_owned()),
        ("namespace", pod.sandbox.namespace.clone()),
        ("pod", pod.sandbox.name.clone()),
    ]
}

/// One sample per container and, without a container's name, per pod.
fn all(pods: &[Pod], read: fn(&Usage) -> f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for pod in pods {
        samples.push((labels(pod, "", &pod.sandbox.id, ""), read(&pod.usage)));
        let own = |c: &used::Container| (labels(pod, &c.name, &c.id, &c.image), read(&c.usage));
        samples.extend(pod.containers.iter().map(own));
    }
    samples
}

/// One sample per container, where there is something to tell.
fn each(pods: &[Pod], read: impl Fn(&Pod, &used::Container) -> Option<f64>) -> Vec<Sample> {
    let containers = pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
    containers.filter_map(|(pod, c)| Some((labels(pod, &c.name, &c.id, &c.image), read(pod, c)?))).collect()
}

/// The text.
pub async fn cadvisor(agent: &Agent) -> String {
    let pods = used::pods(agent).await;
    let mut text = Text::default();
    for (name, kind, help, read) in FIGURES {
        text.family(name, kind, help, all(&pods, *read));
    }
    let faults: Vec<Sample> =
        [("pgfault", (|u| u.page_faults as f64) as fn(&Usage) -> f64), ("pgmajfault", |u| u.major_page_faults as f64)]
            .into_iter()
            .flat_map(|(kind, read)| {
                all(&pods, read).into_iter().map(move |(mut labels, value)| {
                    labels.push(("failure_type", kind.to_owned()));
                    labels.push(("scope", "container".to_owned()));
                    (labels, value)
                })
            })
            .collect();
    text.family("container_memory_failures_total", "counter", "Page faults.", faults);
    for (name, help, read) in NETWORK {
        let samples = pods.iter().flat_map(|pod| pod.network.iter().map(move |interface| (pod, interface)));
        let samples = samples.map(|(pod, interface)| {
            let mut labels = labels(pod, "", &pod.sandbox.id, "");
            labels.push(("interface", interface.name.clone()));
            (labels, read(interface) as f64)
        });
        text.family(name, "counter", help, samples);
    }
    let help = "Start of the container in seconds since 1970.";
    text.family("container_start_time_seconds", "gauge", help, each(&pods, |_, c| Some(seconds(c.started))));
    let now = seconds(Some(seams::clock::now()));
    text.family("container_last_seen", "gauge", "When the container was seen last.", each(&pods, |_, _| Some(now)));
    limits(agent, &pods, &mut text);
    machine(agent, &mut text);
    text.finish()
}

/// What the pods' specs allow.
fn limits(agent: &Agent, pods: &[Pod], text: &mut Text) {
    let wanted = agent.pods();
    let limit = |pod: &Pod, container: &used::Container, resource: &str| {
        let own: &Wanted = wanted.iter().find(|w| w.uid() == pod.sandbox.uid)?;
        own.member(&container.name)?.spec.resources.as_ref()?.limits.as_ref()?.get(resource).cloned()
    };
    let memory = each(pods, |pod, c| limit(pod, c, "memory").map(|q| quantity::value(&q) as f64));
    text.family("container_spec_memory_limit_bytes", "gauge", "Memory limit.", memory);
    let quota = each(pods, |pod, c| limit(pod, c, "cpu").map(|q| quantity::milli(&q) as f64 * 100.0));
    text.family("container_spec_cpu_quota", "gauge", "CPU limit, in microseconds of each period.", quota);
    let period = each(pods, |pod, c| limit(pod, c, "cpu").map(|_| 100_000.0));
    text.family("container_spec_cpu_period", "gauge", "The period of the CPU limit, in microseconds.", period);
}

fn machine(agent: &Agent, text: &mut Text) {
    let one = |value: f64| [(Vec::new(), value)];
    text.family("machine_cpu_cores", "gauge", "CPUs that may be used.", one(agent.machine.milli_cpu as f64 / 1e3));
    text.family("machine_memory_bytes", "gauge", "Memory of the machine.", one(agent.machine.memory_bytes as f64));
}
