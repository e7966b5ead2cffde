//! The few mounts that volumes need, and their end.

use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
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

/// Binds a directory at `target`, with these flags over it.
pub fn bind(path: &Path, target: &Path, flags: MsFlags) -> Result<(), String> {
    if is_mount(target) {
        return Ok(());
    }
    mount(Some(path), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| format!("bind of {} at {}: {e}", path.display(), target.display()))?;
    if flags.is_empty() {
        return Ok(());
    }
    change(target, flags)
}

/// Gives a mount other flags, or takes it away; what the file system itself is stays.
pub fn change(target: &Path, flags: MsFlags) -> Result<(), String> {
    let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>).map_err(|e| {
        let _ = umount2(target, MntFlags::MNT_DETACH);
        format!("flags of the mount at {}: {e}", target.display())
    })
}

/// Mounts a disk.
pub fn mount_device(path: &Path, target: &Path, fs_type: &str, flags: MsFlags, words: &str) -> Result<(), Errno> {
    if is_mount(target) {
        return Ok(());
    }
    mount(Some(path), target, Some(fs_type), flags, Some(words))
}

/// Does what may hang in a thread of its own, and takes the mount away again when nobody waits for it any more: the pod ended
/// meanwhile.
pub async fn apart<T: Send + 'static>(
    name: &str,
    target: &Path,
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let (tell, told) = tokio::sync::oneshot::channel();
    let target = target.to_owned();
    let work = move || {
        let result = work();
        let mounted = result.is_ok();
        if tell.send(result).is_err() && mounted {
            let _ = umount2(&target, MntFlags::MNT_DETACH);
        }
    };
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|e| e.to_string())?;
    told.await.map_err(|e| e.to_string())?
}

/// Whether what is mounted at `target` is mounted at another place below `directory` too.
pub fn is_mounted_elsewhere(target: &Path, directory: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    // 36 35 98:0 /root /place rw …: the device and what of it is mounted.
    let lines = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').take(5).collect();
        Some(((*fields.get(2)?, *fields.get(3)?), std::path::PathBuf::from(unescape(fields.get(4)?))))
    });
    let all: Vec<_> = lines.collect();
    let Some((what, _)) = all.iter().rev().find(|(_, place)| place == target) else { return false };
    all.iter().any(|(own, place)| own == what && place != target && place.starts_with(directory))
}

/// All mount points at and below `path`, the deepest first.
pub fn mounts_below(path: &Path) -> Vec<std::path::PathBuf> {
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

/// How long the end of a pod's mounts is waited for.
const REMOVE_WAIT: Duration = Duration::from_secs(10);

/// Has `work` done on a pod's directory in a thread of its own: a server that went can keep the kernel busy with the end of its
/// mount for minutes, and only this pod waits for that, for a while.
pub async fn in_time(directory: &Path, work: fn(&Path)) {
    let place = directory.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&place));
    if tokio::time::timeout(REMOVE_WAIT, done).await.is_err() {
        tracing::warn!(path = %directory.display(), "a pod's volumes take long to end; that goes on");
    }
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
