//! subPath: a part of a volume, confined to it whatever links it holds.

use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, fstat, mkdirat};

use super::kernel;

/// Binds `volume/path` at `target` and returns `target`. What is missing is made as a directory with the volume's own
/// permissions. Links are followed as long as they stay in the volume; the kernel checks that, so nobody can swap one in
/// between.
pub fn bind(volume: &Path, path: &str, target: &Path) -> Result<PathBuf, String> {
    let relative = Path::new(path);
    if relative.is_absolute() || relative.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(format!("{path:?} must stay in the volume"));
    }
    let root = nix::fcntl::open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| format!("{}: {e}", volume.display()))?;
    let found = match open_inside(&root, relative) {
        Err(Errno::ENOENT) => {
            make(&root, relative).map_err(|e| format!("{path:?}: {e}"))?;
            open_inside(&root, relative)
        }
        other => other,
    };
    let found = found.map_err(|e| match e {
        Errno::EXDEV => format!("{path:?} leaves the volume"),
        e => format!("{path:?}: {e}"),
    })?;
    let kind = nix::sys::stat::fstat(found.as_fd()).map_err(|e| format!("{path:?}: {e}"))?;
    let is_dir = kind.st_mode & nix::libc::S_IFMT == nix::libc::S_IFDIR;
    prepare(target, is_dir).map_err(|e| format!("{}: {e}", target.display()))?;
    kernel::bind_fd(found.as_raw_fd(), target)?;
    Ok(target.to_owned())
}

/// Reads a text file of a volume whole; `None` when it does not exist. Links are followed as long as they stay in the
/// volume.
pub fn read_file(volume: &Path, path: &str, bytes_max: u64) -> Result<Option<String>, String> {
    let root = nix::fcntl::open(volume, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| format!("{}: {e}", volume.display()))?;
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(root.as_fd(), path, how) {
        Ok(file) => fs::File::from(file),
        Err(Errno::ENOENT) => return Ok(None),
        Err(e) => return Err(e.to_string()),
    };
    if !file.metadata().is_ok_and(|m| m.is_file()) {
        return Err("not a file".to_owned());
    }
    let mut text = String::new();
    file.take(bytes_max + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > bytes_max {
        return Err(format!("longer than {bytes_max} bytes"));
    }
    Ok(Some(text))
}

fn open_inside(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(root.as_fd(), path, how)
}

fn make(root: &OwnedFd, path: &Path) -> Result<(), Errno> {
    // Whoever may use the volume may use the directory, whatever the umask: setgid and sticky are handed down too.
    let mode = fstat(root.as_fd())?.st_mode & 0o3777;
    let mut place = PathBuf::new();
    let mut parent = root.try_clone().map_err(|_| Errno::EMFILE)?;
    for component in path.components() {
        place.push(component);
        let name = Path::new(component.as_os_str());
        let made = match mkdirat(parent.as_fd(), name, Mode::from_bits_truncate(mode & 0o777)) {
            Ok(()) => true,
            Err(Errno::EEXIST) => false,
            Err(e) => return Err(e),
        };
        parent = open_inside(root, &place)?;
        if made {
            let opened = format!("/proc/self/fd/{}", parent.as_raw_fd());
            fs::set_permissions(opened, fs::Permissions::from_mode(mode)).map_err(|_| Errno::EPERM)?;
        }
    }
    Ok(())
}

fn prepare(target: &Path, is_dir: bool) -> std::io::Result<()> {
    kernel::unmount_pod(target);
    if is_dir {
        return std::fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::OpenOptions::new().create(true).append(true).open(target).map(|_| ())
}

#[cfg(test)]
pub mod tests {
    use std::os::unix::fs::symlink;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// A mount namespace of this thread's own; `false` without the right to have one.
    pub fn private() -> bool {
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        unshare(CloneFlags::CLONE_NEWNS).is_ok() && mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).is_ok()
    }

    #[test]
    fn sub_paths_stay_in_their_volume() {
        if !private() {
            return;
        }
        let place = tempfile::Builder::new().prefix("skiff-node-").tempdir().unwrap();
        let pod = place.path().join("pod");
        let volume = pod.join("volume");
        std::fs::create_dir_all(volume.join("..data")).unwrap();
        kernel::tmpfs(&volume, Some(1 << 20)).unwrap();
        std::fs::create_dir(volume.join("..data")).unwrap();
        std::fs::write(volume.join("..data/key"), "value").unwrap();
        symlink("..data/key", volume.join("key")).unwrap();
        symlink("/etc", volume.join("out")).unwrap();
        symlink("../..", volume.join("up")).unwrap();
        let target = |name: &str| pod.join("subpaths").join(name);
        let key = bind(&volume, "key", &target("key")).unwrap();
        assert_eq!(std::fs::read_to_string(key).unwrap(), "value");
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o3777)).unwrap();
        let made = bind(&volume, "made/deep", &target("made")).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().permissions().mode() & 0o7777, 0o3777);
        std::fs::write(made.join("f"), "1").unwrap();
        assert_eq!(std::fs::read_to_string(volume.join("made/deep/f")).unwrap(), "1");
        assert_eq!(read_file(&volume, "key", 5), Ok(Some("value".to_owned())));
        assert_eq!(read_file(&volume, "none", 5), Ok(None));
        for path in ["out/passwd", "up", "made"] {
            assert!(read_file(&volume, path, 1 << 20).is_err(), "{path}");
        }
        assert_eq!(read_file(&volume, "key", 4), Err("longer than 4 bytes".to_owned()));
        for path in ["out", "out/passwd", "up", "../x", "/etc", "up/new"] {
            assert!(bind(&volume, path, &target("bad")).is_err(), "{path}");
        }
        kernel::remove_pod_dir(&pod);
        assert!(!pod.exists());
    }
}
