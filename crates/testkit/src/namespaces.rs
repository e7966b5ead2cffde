//! Namespaces that live as long as a value, and the removal of what ran in them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Network, mount, host name and IPC namespaces, held by a sleeping process.
pub struct Namespaces {
    holder: Child,
}

impl Default for Namespaces {
    fn default() -> Self {
        Self::new()
    }
}

impl Namespaces {
    /// New ones: loopback is up, /run is empty.
    pub fn new() -> Self {
        // Mounts are shared as systemd has them, with nobody outside: they were private before.
        let script = "ip link set lo up && mount --make-rshared / && mount -t tmpfs tmpfs /run && mkdir /run/lock && \
                      echo ready && exec sleep infinity";
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--uts", "--ipc", "--propagation", "private", "--", "sh", "-c", script]);
        let mut holder = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("util-linux is installed");
        let mut line = [0; 6];
        let output = holder.stdout.as_mut().expect("it is piped");
        std::io::Read::read_exact(output, &mut line).expect("the namespaces can be made (the tests need root)");
        Self { holder }
    }

    /// A command that runs in them.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.holder.id().to_string();
        command.args(["--target", &target, "--net", "--mount", "--uts", "--ipc", "--wd=.", "--"]).arg(program);
        command
    }

    /// Brings the calling thread into the network namespace, for good.
    pub fn enter_network(&self) {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        let namespace = std::fs::File::open(path).expect("the holder lives");
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("the tests run as root");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Kills what is in a cgroup, and removes it, in every hierarchy.
pub fn remove_cgroups(name: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path());
    for hierarchy in hierarchies.chain([root.to_owned()]) {
        remove_cgroup(&hierarchy.join(name.trim_start_matches('/')));
    }
}

fn remove_cgroup(path: &Path) {
    for child in std::fs::read_dir(path).into_iter().flatten().flatten().filter(|e| e.path().is_dir()) {
        remove_cgroup(&child.path());
    }
    for _ in 0..200 {
        let members = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        for pid in members.lines().filter_map(|l| l.parse().ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if !path.exists() || std::fs::remove_dir(path).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Unmounts what this process sees mounted below a directory, the innermost first.
pub fn unmount_below(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut below: Vec<&Path> = places.filter(|place| place.starts_with(directory)).collect();
    below.reverse();
    for place in below {
        let _ = nix::mount::umount2(place, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Kills every process whose command line names something.
pub fn kill_by_argument(argument: &str) {
    let own = std::process::id().to_string();
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name().to_string_lossy().into_owned();
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let Ok(pid) = name.parse() else { continue };
        if name != own && String::from_utf8_lossy(&command).contains(argument) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
