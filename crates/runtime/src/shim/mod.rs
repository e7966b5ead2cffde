//! The shim: one small single-threaded process per pod. It holds the pod's namespaces, starts and reaps its containers,
//! keeps their logs, and writes how they ended to disk. It outlives the agent, which finds it by its socket.

mod births;
pub mod capabilities;
mod logs;
mod process;
mod rootfs;
mod server;
mod user;
mod users;

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::api::NamespaceMode;
use crate::cgroup::Cgroups;
use crate::record::{SandboxRecord, ShimIdentity, read_json, write_json};
use crate::sys;
use rootfs::context;
pub use rootfs::{MASKED, READ_ONLY};

/// The body of `skiff shim DIRECTORY`: never returns. Call it before any thread is started.
///
/// Standard output is told the shim's identity as a line of JSON, or the reason of a failure.
pub fn shim_main(arguments: impl IntoIterator<Item = OsString>) -> ! {
    let Some(directory) = arguments.into_iter().next().map(PathBuf::from) else { sys::exit_now(2) };
    let _ = sys::new_session();
    // The first process ends at once, so that the shim belongs to nobody who waits for it.
    match sys::fork(0, None) {
        Ok(sys::Fork::Parent(_)) => sys::exit_now(0),
        Ok(sys::Fork::Child) => {}
        Err(_) => sys::exit_now(1),
    }
    match prepare(&directory) {
        Ok((mut server, identity)) => {
            let told = sys::write(sys::standard(1), &serde_json::to_vec(&identity).unwrap_or_default());
            if told.is_err() {
                // Who asked for the pod died meanwhile, and may be back and have found no trace of this process.
                abandon(&directory);
                sys::exit_now(1)
            }
            silence();
            server.run();
            sys::exit_now(0)
        }
        Err(message) => {
            let _ = sys::write(sys::standard(1), message.as_bytes());
            sys::exit_now(1)
        }
    }
}

/// Removes what a shim made that nobody knows of.
fn abandon(directory: &Path) {
    let record: Option<SandboxRecord> = read_json(&directory.join("sandbox.json")).ok();
    let _ = sys::unmount(&directory.join("shm"), libc::MNT_DETACH);
    let _ = std::fs::remove_dir_all(directory);
    if let (Some(record), Ok(cgroups)) = (record, Cgroups::detect()) {
        cgroups.remove(&record.cgroup);
    }
}

fn silence() {
    if let Ok(null) = std::fs::File::options().read(true).write(true).open("/dev/null") {
        for number in 0..3 {
            let _ = sys::duplicate_to(null.as_fd(), number);
        }
    }
}

fn prepare(directory: &Path) -> Result<(server::Server, ShimIdentity), String> {
    sys::set_process_name(c"skiff-shim");
    // Not dumpable: no process of a container can open this one's memory or program through /proc.
    let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    let _ = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0);
    let sandbox: SandboxRecord = context(read_json(&directory.join("sandbox.json")), || "read sandbox".to_owned())?;
    let cgroups = context(Cgroups::detect(), || "cgroups".to_owned())?;
    context(cgroups.create(&sandbox.cgroup, &sandbox.config.resources), || "make pod cgroup".to_owned())?;
    let mut flags = libc::CLONE_NEWUTS;
    if sandbox.config.network != NamespaceMode::Node {
        flags |= libc::CLONE_NEWNET;
    }
    if sandbox.config.ipc != NamespaceMode::Node {
        flags |= libc::CLONE_NEWIPC;
        let shm = directory.join("shm");
        let _ = std::fs::create_dir(&shm);
        let options = format!("mode=1777,size={}", rootfs::SHM_BYTES);
        let strict = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        let owner = sandbox.config.users.map_or(0, |range| range.first);
        let options = format!("{options},uid={owner},gid={owner}");
        context(sys::mount("shm", &shm, "tmpfs", strict, &options), || "mount shm".to_owned())?;
    }
    let users = match sandbox.config.users {
        Some(range) => Some(users::Users::make(range, flags)?),
        None => {
            context(sys::unshare(flags), || "make namespaces".to_owned())?;
            None
        }
    };
    context(sys::set_hostname(&sandbox.config.hostname), || "set hostname".to_owned())?;
    for (name, value) in &sandbox.config.sysctls {
        if name.contains("..") {
            return Err(format!("invalid sysctl {name:?}"));
        }
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        context(std::fs::write(&path, value), || format!("set sysctl {name}"))?;
    }
    let pause = if sandbox.config.pid == NamespaceMode::Pod { Some(start_pause()?) } else { None };
    let signals = context(sys::signal_descriptor(&[libc::SIGCHLD]), || "signals".to_owned())?;
    context(std::env::set_current_dir(directory), || "enter directory".to_owned())?;
    // Bound by a short relative name: a socket's path must fit 107 bytes.
    let listener = context(UnixListener::bind("shim.sock"), || "listen".to_owned())?;
    context(std::env::set_current_dir("/"), || "enter root".to_owned())?;
    context(listener.set_nonblocking(true), || "listen".to_owned())?;
    let pid = std::process::id() as i32;
    let identity = ShimIdentity { pid, start: sys::process_start(pid).unwrap_or(0) };
    context(write_json(&directory.join("shim.json"), &identity), || "write identity".to_owned())?;
    let held = server::Held { sandbox, cgroups, listener, signals, pause, users };
    Ok((server::Server::new(directory.to_owned(), held), identity))
}

/// The first process of a PID namespace that the pod's containers share: it reaps what they leave.
fn start_pause() -> Result<i32, String> {
    match context(sys::fork(libc::CLONE_NEWPID, None), || "start the pod's init".to_owned())? {
        sys::Fork::Parent(pid) => Ok(pid),
        sys::Fork::Child => {
            silence();
            // The pod's containers see this process: neither its name nor its arguments tell of the host.
            sys::set_process_name(c"pause");
            let _ = sys::set_command_line(c"/pause");
            let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64, 0);
            let Ok(signals) = sys::signal_descriptor(&[libc::SIGCHLD]) else { sys::exit_now(1) };
            let fd = signals.as_raw_fd();
            loop {
                let mut entries = [libc::pollfd { fd, events: libc::POLLIN, revents: 0 }];
                let _ = sys::poll(&mut entries, -1);
                let _ = sys::read(signals.as_fd(), &mut [0; 1024]);
                while sys::reap().is_some() {}
            }
        }
    }
}
