//! The files of cgroup version 1.

use std::io;
use std::path::{Path, PathBuf};

use super::{DeviceRule, keyed, read_number, write_file};
use crate::api::{Resources, Usage};

/// Writes the limits that belong to this hierarchy's controllers.
pub fn apply(directory: &Path, controllers: &[String], resources: &Resources) -> io::Result<()> {
    let has = |name: &str| controllers.iter().any(|controller| controller == name);
    if has("cpu") {
        if let Some(shares) = resources.cpu_shares {
            write_file(directory, "cpu.shares", &shares.to_string())?;
        }
        if let Some(period) = resources.cpu_period {
            write_file(directory, "cpu.cfs_period_us", &period.to_string())?;
        }
        if let Some(quota) = resources.cpu_quota {
            write_file(directory, "cpu.cfs_quota_us", &quota.to_string())?;
        }
    }
    if has("cpuset") {
        bind(directory, resources)?;
    }
    if has("memory")
        && let Some(limit) = resources.memory_limit
    {
        limit_memory(directory, limit)?;
    }
    if has("pids")
        && let Some(limit) = resources.pids_limit
    {
        let text = if limit > 0 { limit.to_string() } else { "max".to_owned() };
        write_file(directory, "pids.max", &text)?;
    }
    if has("hugetlb") {
        for (size, limit) in &resources.hugepage_limits {
            write_file(directory, &format!("hugetlb.{size}.limit_in_bytes"), &limit.to_string())?;
        }
    }
    Ok(())
}

/// The CPUs and NUMA nodes; the group is there when it has any.
fn bind(directory: &Path, resources: &Resources) -> io::Result<()> {
    for (file, value) in [("cpuset.cpus", &resources.cpuset_cpus), ("cpuset.mems", &resources.cpuset_mems)] {
        if let Some(value) = value {
            write_file(directory, file, value)?;
        }
    }
    Ok(())
}

/// Makes a group among the CPU sets. A new one is empty, and takes no process before it has what its parent has.
pub fn make_cpuset(mount: &Path, group: &str) -> io::Result<()> {
    let mut directory = mount.to_owned();
    for name in group.split('/').filter(|name| !name.is_empty()) {
        let parent = directory.clone();
        directory.push(name);
        std::fs::create_dir_all(&directory)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if std::fs::read_to_string(directory.join(file))?.trim().is_empty() {
                let value = std::fs::read_to_string(parent.join(file))?;
                write_file(&directory, file, value.trim())?;
            }
        }
    }
    Ok(())
}

/// Memory and memory with swap get the same limit: no swap. Of the two, the smaller is always written first.
fn limit_memory(directory: &Path, limit: i64) -> io::Result<()> {
    let limit = if limit > 0 { limit } else { -1 };
    let both = "memory.memsw.limit_in_bytes";
    if !directory.join(both).exists() {
        return write_file(directory, "memory.limit_in_bytes", &limit.to_string());
    }
    let grows = limit < 0 || read_number(directory, "memory.limit_in_bytes")? < limit as u64;
    let order = if grows { [both, "memory.limit_in_bytes"] } else { ["memory.limit_in_bytes", both] };
    order.iter().try_for_each(|file| write_file(directory, file, &limit.to_string()))
}

/// Allows the devices of the list and no other.
pub fn limit_devices(directory: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    write_file(directory, "devices.deny", "a")?;
    rules.iter().try_for_each(|rule| write_file(directory, "devices.allow", &rule.to_string()))
}

/// Reads the use of a group whose directory per controller `directory` tells.
pub fn usage(directory: impl Fn(&str) -> Option<PathBuf>) -> io::Result<Usage> {
    let of = |controller: &str| {
        directory(controller)
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("cgroup controller {controller}")))
    };
    let memory = of("memory")?;
    let memory_usage = read_number(&memory, "memory.usage_in_bytes")?;
    let stat = std::fs::read_to_string(memory.join("memory.stat"))?;
    let total = |name: &str| keyed(&stat, name).unwrap_or(0);
    let inactive = total("total_inactive_file");
    let throttled = directory("cpu").and_then(|path| std::fs::read_to_string(path.join("cpu.stat")).ok());
    let throttled = |name: &str| throttled.as_deref().and_then(|text| keyed(text, name)).unwrap_or(0);
    Ok(Usage {
        cpu_nanoseconds: of("cpuacct").and_then(|path| read_number(&path, "cpuacct.usage")).unwrap_or(0),
        memory_working_set: memory_usage.saturating_sub(inactive),
        memory_usage,
        memory_rss: total("total_rss"),
        memory_cache: total("total_cache"),
        page_faults: total("total_pgfault"),
        major_page_faults: total("total_pgmajfault"),
        cpu_periods: throttled("nr_periods"),
        cpu_periods_throttled: throttled("nr_throttled"),
        cpu_throttled_nanoseconds: throttled("throttled_time"),
        pids: read_number(&of("pids")?, "pids.current")?,
    })
}
