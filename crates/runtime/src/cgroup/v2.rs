//! The files of cgroup version 2.

use std::io;
use std::path::Path;

use super::{Hierarchy, keyed, read_number, write_file};
use crate::api::{Resources, Usage};

/// Controllers that groups of pods get, where the kernel has them.
const WANTED: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// Makes the group, with our controllers enabled in every group above it.
pub fn make(hierarchy: &Hierarchy, group: &str) -> io::Result<()> {
    let mut directory = hierarchy.mount.clone();
    for name in group.split('/').filter(|name| !name.is_empty()) {
        enable(&directory, &hierarchy.controllers)?;
        directory.push(name);
        match std::fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let text = format!("make cgroup {}: {error}", directory.display());
                return Err(io::Error::new(error.kind(), text));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Enables our controllers for the groups below `directory`. One by one: a kernel may refuse one and allow the rest.
fn enable(directory: &Path, available: &[String]) -> io::Result<()> {
    let enabled = std::fs::read_to_string(directory.join("cgroup.subtree_control"))?;
    for name in WANTED {
        if !available.iter().any(|have| have == name) || enabled.split_whitespace().any(|have| have == name) {
            continue;
        }
        let result = write_file(directory, "cgroup.subtree_control", &format!("+{name}"));
        if matches!(name, "cpu" | "memory" | "pids") {
            result?;
        }
    }
    Ok(())
}

/// Converts v1 shares to a v2 weight, so that 2, 1024 and 262144 become 1, 100 and 10000 (KEP-2254's curve as changed in
/// 2025, which keeps the default at the default).
pub fn cpu_weight(shares: u64) -> u64 {
    match shares {
        0 => 0,
        1 | 2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            10_f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

/// Writes the limits.
pub fn apply(directory: &Path, resources: &Resources) -> io::Result<()> {
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        write_file(directory, "cpu.weight", &cpu_weight(shares).to_string())?;
    }
    if resources.cpu_quota.is_some() || resources.cpu_period.is_some() {
        let quota = match resources.cpu_quota {
            Some(quota) if quota > 0 => quota.to_string(),
            _ => "max".to_owned(),
        };
        write_file(directory, "cpu.max", &format!("{quota} {}", resources.cpu_period.unwrap_or(100_000)))?;
    }
    let bound = |limit: i64| if limit > 0 { limit.to_string() } else { "max".to_owned() };
    if let Some(request) = resources.memory_request {
        write_file(directory, "memory.min", &request.max(0).to_string())?;
    }
    if let Some(high) = resources.memory_high {
        write_file(directory, "memory.high", &bound(high))?;
    }
    if let Some(limit) = resources.memory_limit {
        write_file(directory, "memory.max", &bound(limit))?;
    }
    if let Some(limit) = resources.pids_limit {
        write_file(directory, "pids.max", &bound(limit))?;
    }
    for (file, value) in [("cpuset.cpus", &resources.cpuset_cpus), ("cpuset.mems", &resources.cpuset_mems)] {
        if let Some(value) = value {
            write_file(directory, file, value)?;
        }
    }
    for (size, limit) in &resources.hugepage_limits {
        write_file(directory, &format!("hugetlb.{size}.max"), &limit.to_string())?;
        let reserved = format!("hugetlb.{size}.rsvd.max");
        if directory.join(&reserved).exists() {
            write_file(directory, &reserved, &limit.to_string())?;
        }
    }
    Ok(())
}

/// No swap (Kubernetes' `NoSwap`), and the OOM killer takes the whole container.
pub fn confine(directory: &Path) -> io::Result<()> {
    for (file, value) in [("memory.swap.max", "0"), ("memory.oom.group", "1")] {
        if directory.join(file).exists() {
            write_file(directory, file, value)?;
        }
    }
    Ok(())
}

/// Reads the use of a group.
pub fn usage(directory: &Path) -> io::Result<Usage> {
    let cpu = std::fs::read_to_string(directory.join("cpu.stat"))?;
    let memory_usage = read_number(directory, "memory.current")?;
    let stat = std::fs::read_to_string(directory.join("memory.stat"))?;
    let of = |name: &str| keyed(&stat, name).unwrap_or(0);
    let cpu = |name: &str| keyed(&cpu, name).unwrap_or(0);
    let inactive = of("inactive_file");
    Ok(Usage {
        cpu_nanoseconds: cpu("usage_usec").saturating_mul(1000),
        memory_working_set: memory_usage.saturating_sub(inactive),
        memory_usage,
        memory_rss: of("anon"),
        memory_cache: of("file"),
        page_faults: of("pgfault"),
        major_page_faults: of("pgmajfault"),
        cpu_periods: cpu("nr_periods"),
        cpu_periods_throttled: cpu("nr_throttled"),
        cpu_throttled_nanoseconds: cpu("throttled_usec").saturating_mul(1000),
        pids: read_number(directory, "pids.current")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_keep_the_ends_and_the_default() {
        for (shares, weight) in [(0, 0), (2, 1), (102, 17), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
    }

    /// The kernel's own files take what we write: run on a plain directory of the same file names.
    #[test]
    fn limits_land_in_their_files() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        const FILES: [&str; 9] = [
            "cpu.weight",
            "cpu.max",
            "memory.min",
            "memory.high",
            "memory.max",
            "pids.max",
            "hugetlb.2MB.max",
            "cpuset.cpus",
            "cpuset.mems",
        ];
        for file in FILES {
            std::fs::write(directory.path().join(file), "").expect("an empty file");
        }
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(1 << 20),
            memory_request: Some(4096),
            memory_high: Some(8192),
            pids_limit: Some(-1),
            cpuset_cpus: Some("0-2,4".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            hugepage_limits: [("2MB".to_owned(), 0)].into(),
            oom_score_adj: None,
        };
        apply(directory.path(), &resources).expect("all files are there");
        let read = |file: &str| std::fs::read_to_string(directory.path().join(file)).expect("written");
        assert_eq!(FILES.map(read), ["100", "50000 100000", "4096", "8192", "1048576", "max", "0", "0-2,4", "0"]);
    }
}
