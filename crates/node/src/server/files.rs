//! `/logs/`: the machine's log files, as upstream serves them from /var/log.

use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use http::StatusCode;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;

use super::respond::{Body, plain, streamed, typed};

const ROOT: &str = "/var/log";
/// How much is read at once, in bytes.
const BLOCK: usize = 64 << 10;

/// A file's bytes, or a directory's names as links.
pub async fn serve(path: &[&str]) -> http::Response<Body> {
    let below: PathBuf = path.iter().collect();
    let opened = tokio::task::spawn_blocking(move || look(Path::new(ROOT), &below)).await;
    match opened {
        Ok(Ok(Found::Directory(page))) => typed(StatusCode::OK, "text/html; charset=utf-8", page),
        Ok(Ok(Found::File(file))) => streamed(read(file)),
        Ok(Err(nix::Error::EACCES)) => plain(StatusCode::FORBIDDEN, "403 Forbidden\n"),
        // A way that leads out of the directory is none.
        Ok(Err(_)) | Err(_) => plain(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

enum Found {
    File(std::fs::File),
    Directory(String),
}

fn look(root: &Path, below: &Path) -> Result<Found, nix::Error> {
    let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
    // Containers may have /var/log as a volume: a link of theirs must not lead to other files of the machine.
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).resolve(resolve);
    let file = std::fs::File::from(openat2(root.as_fd(), below, how)?);
    let about = file.metadata().map_err(|_| nix::Error::EIO)?;
    if about.is_file() {
        return Ok(Found::File(file));
    }
    if !about.is_dir() {
        return Err(nix::Error::EACCES);
    }
    let entries = std::fs::read_dir(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(|_| nix::Error::EIO)?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    names.sort();
    let quoted =
        |name: &str| name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
    let links = names.iter().map(|name| quoted(name)).map(|name| format!("<a href=\"{name}\">{name}</a>\n"));
    Ok(Found::Directory(format!("<!doctype html>\n<pre>\n{}</pre>\n", links.collect::<String>())))
}

fn read(mut file: std::fs::File) -> tokio::sync::mpsc::Receiver<bytes::Bytes> {
    let (out, blocks) = tokio::sync::mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        let mut block = vec![0; BLOCK];
        while let Ok(count @ 1..) = std::io::Read::read(&mut file, &mut block) {
            if out.blocking_send(bytes::Bytes::copy_from_slice(&block[..count])).is_err() {
                return;
            }
        }
    });
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_else() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("log");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(root.join("sub/a<b"), "text").unwrap();
        std::fs::write(place.path().join("secret"), "no").unwrap();
        std::os::unix::fs::symlink("../secret", root.join("out")).unwrap();
        std::os::unix::fs::symlink("sub/a<b", root.join("in")).unwrap();
        let found = |path: &str| look(&root, Path::new(path));
        assert!(matches!(found("in"), Ok(Found::File(_))));
        assert!(matches!(found("sub/a<b"), Ok(Found::File(_))));
        for bad in ["out", "../secret", "missing"] {
            assert!(found(bad).is_err(), "{bad}");
        }
        let Ok(Found::Directory(page)) = found("") else { panic!("no listing") };
        assert!(page.contains("<a href=\"sub/\">sub/</a>"), "{page}");
        let Ok(Found::Directory(page)) = found("sub") else { panic!("no listing") };
        assert!(page.contains("a&lt;b"), "{page}");
    }
}
