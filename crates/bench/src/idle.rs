//! What an idle cluster costs: memory and CPU time of all skiff processes after a minute.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, condition};

const SETTLE: Duration = Duration::from_secs(60);
const MEASURE: Duration = Duration::from_secs(60);

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&[])?;
    let api = cluster.connect().await?;
    cluster.node(&api).await?;
    measure("empty cluster", &cluster).await?;
    api.post("/api/v1/namespaces/default/pods", crate::pods::pod("idle")).await?;
    cluster.until(&api, "/api/v1/namespaces/default/pods/idle", |pod| condition(pod, "Ready")).await?;
    measure("with one pod", &cluster).await
}

async fn measure(what: &str, cluster: &Cluster) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    let ticks = cpu_ticks(cluster.pid())?;
    tokio::time::sleep(MEASURE).await;
    let used = (cpu_ticks(cluster.pid())? - ticks) as f64 / 100.0;
    let (rss, pss, count) = memory(&std::fs::read_link(format!("/proc/{}/exe", cluster.pid()))?)?;
    println!(
        "{what:24} RSS {:.1} MiB, PSS {:.1} MiB in {count} processes; CPU {:.2}% of a core",
        rss as f64 / 1024.0,
        pss as f64 / 1024.0,
        used / MEASURE.as_secs_f64() * 100.0
    );
    Ok(())
}

/// User and system time in hundredths of a second.
fn cpu_ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").context("no stat")?.1.split(' ').collect();
    Ok(fields[11].parse::<u64>()? + fields[12].parse::<u64>()?)
}

/// RSS and PSS in KiB, and the number, of the server and its shims in this network namespace.
fn memory(program: &Path) -> Result<(u64, u64, usize)> {
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let mut sum = (0, 0, 0);
    for process in std::fs::read_dir("/proc")?.flatten().map(|e| e.path()) {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let mut words = command.split(|b| *b == 0);
        let (name, verb) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_skiff = name.ends_with(b"skiff") || std::fs::read_link(process.join("exe")).is_ok_and(|e| e == program);
        let is_ours = verb == b"shim" || std::fs::read_link(process.join("ns/net")).is_ok_and(|n| n == own);
        let is_part = matches!(verb, b"server" | b"shim");
        if !is_skiff || !is_ours || !is_part {
            continue;
        }
        let rollup = std::fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = rollup.lines().find(|l| l.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        sum = (sum.0 + field("Rss:"), sum.1 + field("Pss:"), sum.2 + 1);
    }
    Ok(sum)
}
