//! What an idle cluster costs: memory and CPU time of all skiff processes after a minute.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, condition};

const SETTLE: Duration = Duration::from_secs(60);
/// How many more pods run for the memory of each.
const PODS: usize = 50;
const MEASURE: Duration = Duration::from_secs(60);

pub async fn run() -> Result<()> {
    let cluster = Cluster::start(&[])?;
    let api = cluster.connect().await?;
    cluster.node(&api).await?;
    measure("empty cluster", &cluster).await?;
    api.post("/api/v1/namespaces/default/pods", crate::pods::pod("idle")).await?;
    cluster.until(&api, "/api/v1/namespaces/default/pods/idle", |pod| condition(pod, "Ready")).await?;
    measure("with one pod", &cluster).await?;
    let program = program(&cluster)?;
    let (_, one, count) = memory(&program)?;
    for number in 0..PODS {
        api.post("/api/v1/namespaces/default/pods", crate::pods::pod(&format!("more-{number}"))).await?;
    }
    let all_ready = |list: &serde_json::Value| {
        let pods = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
        pods.len() == PODS + 1 && pods.iter().all(|pod| condition(pod, "Ready"))
    };
    cluster.until(&api, "/api/v1/namespaces/default/pods", all_ready).await?;
    tokio::time::sleep(SETTLE / 6).await;
    let shims = shims(&program)?;
    let (_, all, more) = memory(&program)?;
    let added = (all - one) as f64 / 1024.0 / (more - count).max(1) as f64;
    println!("each of {PODS} more pods      PSS {added:.2} MiB, the server's share included");
    println!(
        "a shim (median of {})      RSS {:.2} MiB, PSS {:.2} MiB",
        shims.len(),
        median(&shims, 0),
        median(&shims, 1)
    );
    Ok(())
}

fn program(cluster: &Cluster) -> Result<std::path::PathBuf> {
    Ok(std::fs::read_link(format!("/proc/{}/exe", cluster.pid()))?)
}

/// In MiB.
fn median(processes: &[[u64; 2]], field: usize) -> f64 {
    let mut values: Vec<u64> = processes.iter().map(|process| process[field]).collect();
    values.sort_unstable();
    values.get(values.len() / 2).map_or(f64::NAN, |kib| *kib as f64 / 1024.0)
}

async fn measure(what: &str, cluster: &Cluster) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    let ticks = cpu_ticks(cluster.pid())?;
    tokio::time::sleep(MEASURE).await;
    let used = (cpu_ticks(cluster.pid())? - ticks) as f64 / 100.0;
    let (rss, pss, count) = memory(&program(cluster)?)?;
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

/// RSS and PSS in KiB, and the number, of the server and its shims.
fn memory(program: &Path) -> Result<(u64, u64, usize)> {
    let all = processes(program, &[b"server", b"shim"])?;
    Ok((all.iter().map(|p| p[0]).sum(), all.iter().map(|p| p[1]).sum(), all.len()))
}

/// RSS and PSS in KiB of each shim.
fn shims(program: &Path) -> Result<Vec<[u64; 2]>> {
    processes(program, &[b"shim"])
}

/// RSS and PSS in KiB of skiff's processes of certain verbs; servers only of this network namespace.
fn processes(program: &Path, verbs: &[&[u8]]) -> Result<Vec<[u64; 2]>> {
    let own = std::fs::read_link("/proc/self/ns/net")?;
    let mut found = Vec::new();
    for process in std::fs::read_dir("/proc")?.flatten().map(|e| e.path()) {
        let command = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let mut words = command.split(|b| *b == 0);
        let (name, verb) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_skiff = name.ends_with(b"skiff") || std::fs::read_link(process.join("exe")).is_ok_and(|e| e == program);
        let is_ours = verb == b"shim" || std::fs::read_link(process.join("ns/net")).is_ok_and(|n| n == own);
        if !is_skiff || !is_ours || !verbs.contains(&verb) {
            continue;
        }
        let rollup = std::fs::read_to_string(process.join("smaps_rollup")).unwrap_or_default();
        let field = |name: &str| -> u64 {
            let line = rollup.lines().find(|l| l.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        found.push([field("Rss:"), field("Pss:")]);
    }
    Ok(found)
}
