//! fsGroup: the group owns a volume and may use it (upstream's SetVolumeOwnership).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

/// Gives a volume to `group`, when there is one.
pub fn give(path: &Path, group: Option<i64>, read_only: bool) -> io::Result<()> {
    let Some(group) = group.and_then(|g| u32::try_from(g).ok()) else { return Ok(()) };
    give_one(path, group, read_only)
}

fn give_one(path: &Path, group: u32, read_only: bool) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    lchown(path, None, Some(group))?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mut bits = if read_only { 0o440 } else { 0o660 };
    if metadata.is_dir() {
        bits |= 0o2110;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(metadata.permissions().mode() | bits))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            give_one(&entry?.path(), group, read_only)?;
        }
    }
    Ok(())
}
