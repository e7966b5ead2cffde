//! Updates of a directory that readers see all at once: files live in `..<time>`, `..data` points there, names point
//! through `..data` (upstream's atomic writer, so programs that watch `..data` work).

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use super::Files;

const DATA: &str = "..data";

/// Makes the directory hold exactly `files`. `true` when something changed.
pub fn write(directory: &Path, files: &Files) -> io::Result<bool> {
    if let Some(bad) = files.keys().find(|path| !is_inside(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the path {bad:?} leaves the volume")));
    }
    let old = fs::read_link(directory.join(DATA)).ok().map(|name| directory.join(name));
    if old.as_ref().is_some_and(|old| is_same(old, files)) {
        return Ok(false);
    }
    let stamp = seams::clock::now().strftime("%Y_%m_%d_%H_%M_%S").to_string();
    let name = format!("..{stamp}.{}", seams::random::below(1 << 32));
    let fresh = directory.join(&name);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let place = fresh.join(path);
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&place, &file.bytes)?;
        fs::set_permissions(&place, fs::Permissions::from_mode(file.mode))?;
        if file.uid.is_some() {
            chown(&place, file.uid, None)?;
        }
    }
    let temporary = directory.join("..data_tmp");
    let _ = fs::remove_file(&temporary);
    symlink(&name, &temporary)?;
    fs::rename(&temporary, directory.join(DATA))?;
    link_names(directory, files)?;
    if let Some(old) = old {
        fs::remove_dir_all(old)?;
    }
    Ok(true)
}

fn is_inside(path: &str) -> bool {
    let mut components = Path::new(path).components();
    !path.is_empty() && !path.starts_with("..") && components.all(|c| matches!(c, Component::Normal(_)))
}

fn is_same(directory: &Path, files: &Files) -> bool {
    let same = |(path, file): (&String, &super::File)| {
        let place = directory.join(path);
        fs::read(&place).is_ok_and(|bytes| bytes == file.bytes)
    };
    count(directory) == Some(files.len()) && files.iter().all(same)
}

fn count(directory: &Path) -> Option<usize> {
    let mut sum = 0;
    for entry in fs::read_dir(directory).ok()? {
        let entry = entry.ok()?;
        sum += if entry.file_type().ok()?.is_dir() { count(&entry.path())? } else { 1 };
    }
    Some(sum)
}

/// Links every first path component through `..data`, and removes links of names that are gone.
fn link_names(directory: &Path, files: &Files) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
    let names: std::collections::BTreeSet<String> = files.keys().map(|p| first(p)).collect();
    for name in &names {
        let link = directory.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(PathBuf::from(DATA).join(name), &link)?;
        }
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volumes::File;

    fn files(list: &[(&str, &str)]) -> Files {
        let file = |text: &str| File { bytes: text.into(), mode: 0o640, uid: None };
        list.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[test]
    fn readers_see_all_of_an_update_at_once() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path();
        assert!(write(directory, &files(&[("a", "1"), ("sub/b", "2")])).unwrap());
        assert_eq!(fs::read_to_string(directory.join("sub/b")).unwrap(), "2");
        let mode = fs::metadata(directory.join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let before = fs::read_link(directory.join(DATA)).unwrap();
        assert!(!write(directory, &files(&[("a", "1"), ("sub/b", "2")])).unwrap());
        assert!(write(directory, &files(&[("a", "3")])).unwrap());
        assert_ne!(fs::read_link(directory.join(DATA)).unwrap(), before);
        assert_eq!(fs::read_to_string(directory.join("a")).unwrap(), "3");
        assert!(fs::symlink_metadata(directory.join("sub")).is_err());
        assert!(!directory.join(before).exists());
    }

    #[test]
    fn names_that_leave_the_volume_are_refused() {
        let place = tempfile::tempdir().unwrap();
        for path in ["../x", "/x", "a/../../x", "", "..data"] {
            assert!(write(place.path(), &files(&[(path, "")])).is_err(), "{path}");
        }
    }
}
