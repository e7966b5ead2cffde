//! Unpacks one layer into its directory, for overlayfs. No entry can reach outside: parents are opened without following
//! symbolic links that leave the directory, and `..` is refused.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::sys;

fn refuse(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("archive entry {}: {why}", path.display()))
}

/// Cleans an archive's path: relative, without `.`; `..` is refused.
fn clean(path: &Path) -> io::Result<PathBuf> {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(refuse(path, "path leads out")),
        }
    }
    Ok(clean)
}

/// Opens a directory of the layer, making what is missing.
fn directory(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    if path.as_os_str().is_empty() {
        return sys::duplicate(root);
    }
    let resolve = sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS;
    let open = || sys::openat2(root.as_fd(), path, libc::O_RDONLY | libc::O_DIRECTORY, 0, resolve);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = directory(root, path.parent().unwrap_or(Path::new("")))?;
            sys::mkdirat(parent.as_fd(), path.file_name().unwrap_or_default(), 0o755)?;
            open()
        }
        other => other,
    }
}

/// Removes what stands at a name, whatever it is.
fn clear(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match sys::unlinkat(parent.as_fd(), name, false) {
        Err(error) if error.raw_os_error() == Some(libc::EISDIR) => {
            let fd = std::os::fd::AsRawFd::as_raw_fd(parent);
            std::fs::remove_dir_all(Path::new(&format!("/proc/self/fd/{fd}")).join(name))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Unpacks a tar stream into `place`.
pub fn unpack(stream: impl Read, place: &Path) -> io::Result<()> {
    let root: OwnedFd = std::fs::File::open(place)?.into();
    let mut archive = tar::Archive::new(stream);
    let mut directory_times = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = clean(&entry.path()?)?;
        let Some(name) = path.file_name().map(OsString::from) else { continue };
        let parent = directory(&root, path.parent().unwrap_or(Path::new("")))?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            whiteout(&parent, OsStr::from_bytes(hidden))?;
            continue;
        }
        unpack_entry(&root, &parent, &name, &path, &mut entry)?;
        if entry.header().entry_type().is_dir() {
            directory_times.push((path, entry.header().mtime().unwrap_or(0) as i64));
        }
    }
    for (path, time) in directory_times.into_iter().rev() {
        let parent = directory(&root, path.parent().unwrap_or(Path::new("")))?;
        sys::set_modified(parent.as_fd(), path.file_name().unwrap_or_default(), time, 0)?;
    }
    Ok(())
}

/// Turns an OCI whiteout into overlayfs's: a 0:0 device for a name, an attribute for all of a directory.
fn whiteout(parent: &OwnedFd, hidden: &OsStr) -> io::Result<()> {
    let opaque = |name: &OsStr| sys::set_xattr(parent.as_fd(), name, OsStr::new("trusted.overlay.opaque"), b"y");
    if hidden == ".wh..opq" {
        return opaque(OsStr::new(""));
    }
    if hidden.as_bytes().starts_with(b".wh.") || hidden.is_empty() || hidden == "." || hidden == ".." {
        return Ok(());
    }
    match sys::fstatat(parent.as_fd(), hidden) {
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => opaque(hidden),
        Ok(_) => Ok(()),
        Err(_) => sys::mknodat(parent.as_fd(), hidden, libc::S_IFCHR, 0),
    }
}

fn unpack_entry<R: Read>(
    root: &OwnedFd,
    parent: &OwnedFd,
    name: &OsStr,
    path: &Path,
    entry: &mut tar::Entry<'_, R>,
) -> io::Result<()> {
    let header = entry.header().clone();
    let kind = header.entry_type();
    let mode = header.mode()? & 0o7777;
    let device = || -> io::Result<u64> {
        let number = sys::device_number(header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0));
        // 0:0 would be a whiteout.
        if number == 0 { Err(refuse(path, "device 0:0")) } else { Ok(number) }
    };
    let at = parent.as_fd();
    let exists = sys::fstatat(at, name).ok().map(|stat| stat.st_mode & libc::S_IFMT);
    if !(kind.is_dir() && exists == Some(libc::S_IFDIR)) {
        clear(parent, name)?;
    }
    match kind {
        tar::EntryType::Directory => {
            if exists != Some(libc::S_IFDIR) {
                sys::mkdirat(at, name, 0o755)?;
                if exists == Some(libc::S_IFCHR) {
                    sys::set_xattr(at, name, OsStr::new("trusted.overlay.opaque"), b"y")?;
                }
            }
        }
        tar::EntryType::Symlink => {
            let target = entry.link_name()?.ok_or_else(|| refuse(path, "link without target"))?;
            sys::symlinkat(target.as_os_str(), at, name)?;
        }
        tar::EntryType::Link => {
            let target = clean(&entry.link_name()?.ok_or_else(|| refuse(path, "link without target"))?)?;
            let from = directory(root, target.parent().unwrap_or(Path::new("")))?;
            let target_name = target.file_name().ok_or_else(|| refuse(path, "link to the root"))?;
            return sys::linkat(from.as_fd(), target_name, at, name);
        }
        tar::EntryType::Char => sys::mknodat(at, name, libc::S_IFCHR | mode, device()?)?,
        tar::EntryType::Block => sys::mknodat(at, name, libc::S_IFBLK | mode, device()?)?,
        tar::EntryType::Fifo => sys::mknodat(at, name, libc::S_IFIFO | mode, 0)?,
        kind if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() => {
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let file = sys::openat2(at, Path::new(name), flags, 0o600, sys::RESOLVE_NO_SYMLINKS)?;
            io::copy(entry, &mut std::fs::File::from(file))?;
        }
        _ => return Ok(()),
    }
    let id = |number: u64| u32::try_from(number).map_err(|_| refuse(path, "owner out of range"));
    sys::fchownat(at, name, id(header.uid()?)?, id(header.gid()?)?)?;
    attributes(parent, name, entry)?;
    if !kind.is_symlink() {
        sys::fchmodat(at, name, mode)?;
    }
    sys::set_modified(at, name, header.mtime()? as i64, 0)
}

/// Sets the extended attributes that images may bring: not those that overlayfs itself obeys.
fn attributes<R: Read>(parent: &OwnedFd, name: &OsStr, entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions.flatten() {
        let Some(key) = extension.key_bytes().strip_prefix(b"SCHILY.xattr.") else { continue };
        if !(key.starts_with(b"user.") || key == b"security.capability") || key.starts_with(b"user.overlay.") {
            continue;
        }
        match sys::set_xattr(parent.as_fd(), name, OsStr::from_bytes(key), extension.value_bytes()) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTSUP | libc::EPERM)) => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One entry: kind, path, link target, contents. Paths go into the header raw, as no honest tool would write them.
    fn archive(entries: &[(tar::EntryType, &str, &str, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (kind, path, link, text) in entries {
            let mut header = tar::Header::new_ustar();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1);
            header.set_size(text.len() as u64);
            header.set_cksum();
            tar.append(&header, text.as_bytes()).expect("writes to memory");
        }
        tar.into_inner().expect("writes to memory")
    }

    fn is_root() -> bool {
        std::fs::read_to_string("/proc/self/status").is_ok_and(|text| text.contains("\nUid:\t0\t"))
    }

    #[test]
    fn hostile_entries_stay_inside() {
        use tar::EntryType::{Link, Regular, Symlink};
        if !is_root() {
            return;
        }
        let outside = tempfile::tempdir().expect("a temporary directory");
        let victim = outside.path().join("victim");
        let place = outside.path().join("layer");
        let target = outside.path().display().to_string();
        let cases: Vec<Vec<u8>> = vec![
            archive(&[(Regular, "../victim", "", "x")]),
            archive(&[(Regular, "a/../../victim", "", "x")]),
            archive(&[(Symlink, "out", &target, ""), (Regular, "out/victim", "", "x")]),
            archive(&[(Symlink, "up", "..", ""), (Regular, "up/victim", "", "x")]),
            archive(&[(Symlink, "f", &victim.display().to_string(), ""), (Regular, "f", "", "x")]),
            archive(&[(Link, "hard", "../layer.json", "")]),
        ];
        for (index, case) in cases.iter().enumerate() {
            let _ = std::fs::remove_dir_all(&place);
            std::fs::create_dir(&place).expect("makes");
            let _ = unpack(case.as_slice(), &place);
            assert!(!victim.exists(), "case {index}");
        }
    }

    #[test]
    fn whiteouts_become_those_of_overlayfs() {
        use tar::EntryType::{Directory, Regular};
        if !is_root() {
            return;
        }
        let place = tempfile::tempdir().expect("a temporary directory");
        let entries = [(Directory, "d/", "", ""), (Regular, "d/.wh..wh..opq", "", ""), (Regular, ".wh.gone", "", "")];
        unpack(archive(&entries).as_slice(), place.path()).expect("unpacks");
        let gone = std::fs::symlink_metadata(place.path().join("gone")).expect("there");
        assert!(std::os::unix::fs::FileTypeExt::is_char_device(&gone.file_type()));
        assert_eq!(std::os::unix::fs::MetadataExt::rdev(&gone), 0);
        assert!(!place.path().join(".wh.gone").exists() && !place.path().join("d/.wh..wh..opq").exists());
    }
}
