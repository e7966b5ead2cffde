//! fsGroup: the group owns a volume and may use it (upstream's SetVolumeOwnership).
//!
//! The files may be changed meanwhile by whoever has the volume too: nothing is named by more than one step from a directory
//! that is held open, so no link leads out.

use std::ffi::CStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use k8s_openapi::api::core::v1::PodSecurityContext;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Gid, fchownat};

/// Whose a volume becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The group.
    pub group: u32,
    /// `fsGroupChangePolicy: OnRootMismatch`: what looks right at its root is left as it is.
    pub only_on_mismatch: bool,
    /// The group may only read.
    pub read_only: bool,
}

impl Ownership {
    /// What a pod asks for.
    pub fn of(security: Option<&PodSecurityContext>) -> Option<Self> {
        let group = u32::try_from(security?.fs_group?).ok()?;
        let policy = security?.fs_group_change_policy.as_deref();
        Some(Self { group, only_on_mismatch: policy == Some("OnRootMismatch"), read_only: false })
    }

    fn bits(&self, is_dir: bool) -> u32 {
        let own = if self.read_only { 0o440 } else { 0o660 };
        if is_dir { own | 0o2110 } else { own }
    }

    fn fits(&self, root: &fs::Metadata) -> bool {
        root.is_dir() && root.gid() == self.group && root.mode() & self.bits(true) == self.bits(true)
    }
}

/// Gives a volume to `group`, when there is one.
pub fn give(path: &Path, group: Option<i64>, read_only: bool) -> io::Result<()> {
    let Some(group) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    apply(path, &Ownership { group, only_on_mismatch: false, read_only })
}

/// Gives a volume its owner: its root last, so that what was interrupted looks unfinished.
pub fn apply(path: &Path, ownership: &Ownership) -> io::Result<()> {
    if ownership.only_on_mismatch && ownership.fits(&fs::metadata(path)?) {
        return Ok(());
    }
    let root = open(path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    give_one(&root, ownership)
}

/// Everything below what is open, then itself. What vanishes, or may not be changed, is passed over, as upstream does.
fn give_one(file: &OwnedFd, ownership: &Ownership) -> io::Result<()> {
    let stat = fstat(file.as_fd())?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFDIR {
        give_entries(file, ownership)?;
    }
    let empty = c"";
    fchownat(file.as_fd(), empty, None, Some(Gid::from_raw(ownership.group)), AtFlags::AT_EMPTY_PATH)?;
    if kind != SFlag::S_IFLNK {
        let mode = (stat.st_mode & 0o7777) | ownership.bits(kind == SFlag::S_IFDIR);
        // A path descriptor knows no other way.
        fs::set_permissions(format!("/proc/self/fd/{}", file.as_raw_fd()), fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn give_entries(directory: &OwnedFd, ownership: &Ownership) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let listing = Dir::from_fd(openat(directory.as_fd(), ".", flags, Mode::empty())?)?;
    for entry in listing {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(directory.as_fd(), name, flags, Mode::empty()) {
            Ok(file) => {
                if let Err(error) = give_one(&file, ownership) {
                    tracing::warn!(name = %name.to_string_lossy(), %error, "a file of a volume keeps its owner");
                }
            }
            Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{chown, symlink};

    use super::*;

    #[test]
    fn a_volume_is_given_to_its_group() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let place = tempfile::tempdir().unwrap();
        let (volume, outside) = (place.path().join("volume"), place.path().join("outside"));
        fs::create_dir_all(volume.join("deep")).unwrap();
        for file in [&volume.join("deep/file"), &outside] {
            fs::write(file, "").unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        symlink(&outside, volume.join("link")).unwrap();
        let seen = |path: &Path| fs::symlink_metadata(path).map(|d| (d.gid(), d.mode() & 0o7777)).unwrap();
        let wanted = Ownership { group: 5, only_on_mismatch: true, read_only: false };
        apply(&volume, &wanted).unwrap();
        assert_eq!(seen(&volume), (5, 0o2775));
        assert_eq!(seen(&volume.join("deep")), (5, 0o2775));
        assert_eq!(seen(&volume.join("deep/file")), (5, 0o660));
        assert_eq!(seen(&volume.join("link")).0, 5);
        assert_eq!(seen(&outside), (0, 0o600));
        // What looks right at its root is left as it is, when the pod asks for that.
        chown(volume.join("deep/file"), None, Some(9)).unwrap();
        apply(&volume, &wanted).unwrap();
        assert_eq!(seen(&volume.join("deep/file")).0, 9);
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o775)).unwrap();
        apply(&volume, &wanted).unwrap();
        assert_eq!(seen(&volume.join("deep/file")).0, 5);
        chown(volume.join("deep/file"), None, Some(9)).unwrap();
        apply(&volume, &Ownership { only_on_mismatch: false, ..wanted }).unwrap();
        assert_eq!(seen(&volume.join("deep/file")).0, 5);
    }
}
