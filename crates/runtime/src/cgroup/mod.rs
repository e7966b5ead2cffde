//! Control groups, version 1 (each controller its own hierarchy) and version 2 (one hierarchy), behind one type.
//!
//! A group is named by one path that is the same below every hierarchy's mount point. Making a group twice changes
//! nothing; removing one that is gone succeeds.

mod devices;
mod v1;
mod v2;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::api::{Resources, Usage};

pub use devices::{DeviceRule, container_devices};

/// Signals that a kill may take to be seen everywhere before it is called failed.
const KILL_ROUNDS_MAX: usize = 50;

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where.
    pub mount: PathBuf,
    /// Its controllers as the kernel names them (`cpu`, `memory`); of v2, those that can be enabled.
    pub controllers: Vec<String>,
}

/// The machine's control groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1: only hierarchies with a controller that we use.
    V1(Vec<Hierarchy>),
    /// Version 2.
    V2(Hierarchy),
}

/// The v1 controllers that containers join; others change nothing that the API can say. Only those join `cpuset` that are bound
/// to some CPUs or NUMA nodes.
const V1_CONTROLLERS: [&str; 7] = ["cpu", "cpuacct", "memory", "pids", "devices", "hugetlb", CPUSET];
const CPUSET: &str = "cpuset";

impl Cgroups {
    /// Finds what is mounted. Version 2 is used when it holds the memory controller, as on all current distributions.
    pub fn detect() -> io::Result<Self> {
        Self::from_mounts(&std::fs::read_to_string("/proc/self/mountinfo")?, |mount| {
            std::fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default()
        })
    }

    fn from_mounts(mount_info: &str, v2_controllers: impl Fn(&Path) -> String) -> io::Result<Self> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        for line in mount_info.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match right.next() {
                Some("cgroup2") => {
                    let controllers: Vec<String> =
                        v2_controllers(&mount).split_whitespace().map(str::to_owned).collect();
                    if controllers.iter().any(|name| name == "memory") {
                        return Ok(Self::V2(Hierarchy { mount, controllers }));
                    }
                }
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    let controllers: Vec<String> =
                        options.split(',').filter(|name| V1_CONTROLLERS.contains(name)).map(str::to_owned).collect();
                    let known = v1.iter().any(|other| other.controllers == controllers);
                    if !controllers.is_empty() && !known {
                        v1.push(Hierarchy { mount, controllers });
                    }
                }
                _ => {}
            }
        }
        // Not all groups are in this one: it stands behind those that tell of all.
        v1.sort_by_key(|h| is_cpuset(&h.controllers));
        let has = |name: &str| v1.iter().any(|h| h.controllers.iter().any(|c| c == name));
        match ["cpu", "memory", "pids"].iter().find(|name| !has(name)) {
            None => Ok(Self::V1(v1)),
            Some(missing) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("cgroup controller {missing} is not mounted (neither cgroup v2 nor v1)"),
            )),
        }
    }

    /// Whether this is version 2.
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }

    fn hierarchies(&self) -> &[Hierarchy] {
        match self {
            Self::V1(hierarchies) => hierarchies,
            Self::V2(hierarchy) => std::slice::from_ref(hierarchy),
        }
    }

    /// The directories of the group, with their controllers.
    pub fn directories<'a>(&'a self, group: &str) -> impl Iterator<Item = (PathBuf, &'a [String])> {
        let group = group.trim_start_matches('/').to_owned();
        self.hierarchies().iter().map(move |h| (h.mount.join(&group), h.controllers.as_slice()))
    }

    /// Makes the group and its parents, and sets its limits.
    pub fn create(&self, group: &str, resources: &Resources) -> io::Result<()> {
        if let Self::V2(hierarchy) = self {
            v2::make(hierarchy, group)?;
        } else {
            for (directory, _) in self.directories(group).filter(|(_, controllers)| !is_cpuset(controllers)) {
                std::fs::create_dir_all(directory)?;
            }
        }
        self.update(group, resources)
    }

    /// Changes limits; what is `None` stays.
    pub fn update(&self, group: &str, resources: &Resources) -> io::Result<()> {
        if resources.cpuset_cpus.is_some() || resources.cpuset_mems.is_some() {
            self.join_cpuset(group)?;
        }
        for (directory, controllers) in self.directories(group) {
            match self {
                Self::V1(_) => v1::apply(&directory, controllers, resources)?,
                Self::V2(_) => v2::apply(&directory, resources)?,
            }
        }
        Ok(())
    }

    /// Sets what else holds for a container's group: no swap, the OOM killer takes all, only `devices` may be used.
    pub fn confine(&self, group: &str, devices: Option<&[DeviceRule]>) -> io::Result<()> {
        for (directory, controllers) in self.directories(group) {
            match self {
                Self::V1(_) => {
                    if let Some(rules) = devices
                        && controllers.iter().any(|name| name == "devices")
                    {
                        v1::limit_devices(&directory, rules)?;
                    }
                }
                Self::V2(_) => {
                    v2::confine(&directory)?;
                    if let Some(rules) = devices {
                        devices::attach(&directory, rules)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// For v2, a descriptor of the group's directory, in which a process can be born.
    pub fn birth_place(&self, group: &str) -> io::Result<Option<OwnedFd>> {
        match self {
            Self::V1(_) => Ok(None),
            Self::V2(hierarchy) => {
                let directory = hierarchy.mount.join(group.trim_start_matches('/'));
                Ok(Some(std::fs::File::open(directory)?.into()))
            }
        }
    }

    /// Moves a process into the group.
    pub fn attach(&self, group: &str, pid: i32) -> io::Result<()> {
        for (directory, controllers) in self.directories(group) {
            if !is_cpuset(controllers) || directory.exists() {
                write_file(&directory, "cgroup.procs", &pid.to_string())?;
            }
        }
        Ok(())
    }

    /// Of version 1: makes the group in the hierarchy of CPU sets, where it and its parents begin with what their parents have, and
    /// moves its processes there.
    fn join_cpuset(&self, group: &str) -> io::Result<()> {
        let Self::V1(hierarchies) = self else { return Ok(()) };
        let Some(hierarchy) = hierarchies.iter().find(|h| is_cpuset(&h.controllers)) else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "cgroup controller cpuset is not mounted"));
        };
        v1::make_cpuset(&hierarchy.mount, group)?;
        let directory = hierarchy.mount.join(group.trim_start_matches('/'));
        let mut joined = std::collections::BTreeSet::new();
        // Whoever is born meanwhile is seen by the next look.
        for _ in 0..KILL_ROUNDS_MAX {
            let fresh: Vec<i32> = self.processes(group).into_iter().filter(|pid| joined.insert(*pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in fresh {
                // Who ended meanwhile needs no place.
                if let Err(error) = write_file(&directory, "cgroup.procs", &pid.to_string())
                    && crate::sys::process_start(pid).is_some()
                {
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// All processes of the group and of those below it.
    pub fn processes(&self, group: &str) -> Vec<i32> {
        // Every hierarchy holds the same processes: one is enough.
        let Some((directory, _)) = self.directories(group).next() else { return Vec::new() };
        let mut found = Vec::new();
        collect_processes(&directory, &mut found);
        found
    }

    /// Kills all processes of the group, those that are being born included. They are gone once their parents reaped them.
    pub fn kill(&self, group: &str) {
        if let Self::V2(hierarchy) = self {
            let directory = hierarchy.mount.join(group.trim_start_matches('/'));
            if write_file(&directory, "cgroup.kill", "1").is_ok() {
                return;
            }
        }
        for _ in 0..KILL_ROUNDS_MAX {
            let alive: Vec<i32> =
                self.processes(group).into_iter().filter(|pid| crate::sys::process_start(*pid).is_some()).collect();
            if alive.is_empty() {
                return;
            }
            for pid in alive {
                let _ = crate::sys::kill(pid, libc::SIGKILL);
            }
        }
    }

    /// Removes the group and those below it; false while a process is left in it.
    pub fn remove(&self, group: &str) -> bool {
        self.directories(group).filter(|(directory, _)| !remove_tree(directory)).count() == 0
    }

    /// How often the kernel killed a process of the group for want of memory.
    pub fn oom_kills(&self, group: &str) -> u64 {
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        self.directory_of(group, "memory")
            .and_then(|directory| std::fs::read_to_string(directory.join(file)).ok())
            .and_then(|text| keyed(&text, "oom_kill"))
            .unwrap_or(0)
    }

    /// What the group uses now.
    pub fn usage(&self, group: &str) -> io::Result<Usage> {
        match self {
            Self::V1(_) => v1::usage(|controller| self.directory_of(group, controller)),
            Self::V2(hierarchy) => v2::usage(&hierarchy.mount.join(group.trim_start_matches('/'))),
        }
    }

    fn directory_of(&self, group: &str, controller: &str) -> Option<PathBuf> {
        let all = self.is_v2();
        self.directories(group)
            .find(|(_, controllers)| all || controllers.iter().any(|name| name == controller))
            .map(|(directory, _)| directory)
    }
}

fn is_cpuset(controllers: &[String]) -> bool {
    controllers.iter().any(|name| name == CPUSET)
}

/// Writes one control file, naming it in the error.
fn write_file(directory: &Path, file: &str, value: &str) -> io::Result<()> {
    let path = directory.join(file);
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut opened| io::Write::write_all(&mut opened, value.as_bytes()))
        .map_err(|error| io::Error::new(error.kind(), format!("write {value} to {}: {error}", path.display())))
}

/// Reads one number; `max` is `u64::MAX`.
fn read_number(directory: &Path, file: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(directory.join(file))?;
    let text = text.trim();
    if text == "max" { Ok(u64::MAX) } else { text.parse().map_err(io::Error::other) }
}

/// The number after `key` in a file of `key value` lines.
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn collect_processes(directory: &Path, found: &mut Vec<i32>) {
    let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    for child in children(directory) {
        collect_processes(&child, found);
    }
}

fn remove_tree(directory: &Path) -> bool {
    match std::fs::remove_dir(directory) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(_) => {
            for child in children(directory) {
                remove_tree(&child);
            }
            std::fs::remove_dir(directory).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
37 30 0:33 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
35 30 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
36 30 0:32 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
";

    #[test]
    fn a_hybrid_machine_is_version_1() {
        let found = Cgroups::from_mounts(HYBRID, |_| String::new()).expect("all needed controllers are there");
        let Cgroups::V1(hierarchies) = found else { panic!("not v1") };
        let mounts: Vec<_> = hierarchies.iter().map(|h| h.mount.display().to_string()).collect();
        assert_eq!(
            mounts,
            ["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpuset"]
        );
        assert_eq!(hierarchies[0].controllers, ["cpu", "cpuacct"]);
    }

    #[test]
    fn a_unified_machine_is_version_2() {
        let text = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Cgroups::from_mounts(text, |_| "cpuset cpu io memory pids\n".to_owned()).expect("v2");
        assert!(found.is_v2());
        let directories: Vec<_> = found.directories("/kubepods/pod1").map(|(path, _)| path).collect();
        assert_eq!(directories, [PathBuf::from("/sys/fs/cgroup/kubepods/pod1")]);
    }

    #[test]
    fn a_missing_controller_is_named() {
        let error = Cgroups::from_mounts("", |_| String::new()).expect_err("nothing is mounted");
        assert!(error.to_string().contains("controller cpu is not mounted"), "{error}");
    }

    #[test]
    fn keyed_lines_match_whole_keys() {
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(keyed("oom 1\n", "oom_kill"), None);
    }
}
