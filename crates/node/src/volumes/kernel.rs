//! The few mounts that volumes need, and their end.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Mounts a tmpfs at `path`, unless one is there.
pub fn tmpfs(path: &Path, size: Option<i64>) -> Result<(), String> {
    if is_mount(path) {
        return Ok(());
    }
    let options = size.map_or_else(|| "mode=0777".to_owned(), |bytes| format!("mode=0777,size={bytes}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options.as_str()))
        .map_err(|e| format!("tmpfs at {}: {e}", path.display()))
}

/// Whether something is mounted at `path`.
pub fn is_mount(path: &Path) -> bool {
    mounts_below(path).iter().any(|m| m == path)
}

/// Binds what an open file descriptor stands for at `target`.
pub fn bind_fd(fd: i32, target: &Path) -> Result<(), String> {
    let source = format!("/proc/self/fd/{fd}");
    mount(Some(source.as_str()), target, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .map_err(|e| format!("bind at {}: {e}", target.display()))
}

/// All mount points at and below `path`, the deepest first.
fn mounts_below(path: &Path) -> Vec<std::path::PathBuf> {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape);
    let mut points: Vec<_> = points.map(std::path::PathBuf::from).filter(|p| p.starts_with(path)).collect();
    points.reverse();
    points
}

/// mountinfo writes spaces and the like as `\040`.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()) {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Unmounts whatever is mounted for a pod.
pub fn unmount_pod(directory: &Path) {
    for point in mounts_below(directory) {
        if let Err(error) = umount2(&point, MntFlags::MNT_DETACH) {
            tracing::warn!(path = %point.display(), %error, "volume not unmounted");
        }
    }
}

/// Unmounts and removes all of a pod's files. Nothing is removed below what cannot be unmounted.
pub fn remove_pod_dir(directory: &Path) {
    unmount_pod(directory);
    if !mounts_below(directory).is_empty() {
        return;
    }
    match std::fs::remove_dir_all(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %directory.display(), error = %e, "a pod's directory was not removed");
        }
        _ => {}
    }
}
