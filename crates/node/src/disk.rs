//! Space on file systems, and what trees of files take of it.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A file system's space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// All bytes.
    pub bytes: u64,
    /// Bytes that can still be written.
    pub bytes_free: u64,
    /// All inodes; 0 where the file system does not count them.
    pub inodes: u64,
    /// Inodes that can still be made.
    pub inodes_free: u64,
}

impl Space {
    /// The space of a path's file system; nothing at all when it cannot be asked.
    pub fn of(path: &Path) -> Self {
        nix::sys::statvfs::statvfs(path).map_or_else(
            |_| Self::default(),
            |s| Self {
                bytes: s.blocks() * s.fragment_size(),
                bytes_free: s.blocks_available() * s.fragment_size(),
                inodes: s.files(),
                inodes_free: s.files_available(),
            },
        )
    }
}

/// How long a file system may take that may be on another machine.
const REMOTE_WAIT: Duration = Duration::from_secs(1);

impl Space {
    /// The space of a file system that may not answer: then there is nothing, and it is not asked again until it did.
    pub fn of_remote(path: &Path) -> Self {
        static ASKED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
        let asked = || ASKED.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked().insert(path.to_owned()) {
            return Self::default();
        }
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let place = path.to_owned();
        let work = move || {
            let space = Self::of(&place);
            ASKED.lock().unwrap_or_else(PoisonError::into_inner).remove(&place);
            // Nobody waits any more when it took too long.
            let _ = tell.send(space);
        };
        match std::thread::Builder::new().name("disk-space".to_owned()).spawn(work) {
            Ok(_) => told.recv_timeout(REMOTE_WAIT).unwrap_or_default(),
            Err(_) => {
                asked().remove(path);
                Self::default()
            }
        }
    }
}

/// Bytes that a tree takes on disk, not looking into other file systems. Reads every directory: not for async threads.
pub fn used_by(path: &Path) -> u64 {
    fn walk(path: &Path, device: u64) -> u64 {
        let Ok(data) = std::fs::symlink_metadata(path) else { return 0 };
        if data.dev() != device {
            return 0;
        }
        let own = data.blocks() * 512;
        if !data.is_dir() {
            return own;
        }
        own + std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| walk(&e.path(), device)).sum::<u64>()
    }
    std::fs::symlink_metadata(path).map_or(0, |data| walk(path, data.dev()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_summed_up() {
        let place = tempfile::tempdir().unwrap();
        let empty = used_by(place.path());
        std::fs::create_dir(place.path().join("sub")).unwrap();
        std::fs::write(place.path().join("sub/file"), vec![1; 100_000]).unwrap();
        assert!((100_000..200_000).contains(&(used_by(place.path()) - empty)));
        assert_eq!(used_by(&place.path().join("missing")), 0);
        assert!(Space::of(place.path()).bytes > 0);
        assert_eq!(Space::of_remote(place.path()).bytes, Space::of(place.path()).bytes);
    }
}
