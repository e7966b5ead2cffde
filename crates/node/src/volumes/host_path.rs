//! hostPath, with its type's check.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{Context, Kind, Mounted};

pub struct HostPath(pub HostPathVolumeSource);

impl Kind for HostPath {
    fn mount<'a>(&'a self, _: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let (path, kind) = (PathBuf::from(&self.0.path), self.0.type_.clone().unwrap_or_default());
            let host_path = path.clone();
            // A network file system below may never answer: only this pod waits for it.
            let checked = tokio::task::spawn_blocking(move || check(&path, &kind)).await;
            checked.map_err(|e| e.to_string())??;
            Ok(Mounted::new(host_path, false))
        })
    }
}

fn check(path: &Path, kind: &str) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    match kind {
        // A path without a type that is missing is made by the runtime elsewhere; here it is made at once.
        "" if !path.exists() => return fs::create_dir_all(path).map_err(failed),
        "DirectoryOrCreate" if !path.exists() => {
            fs::create_dir_all(path).map_err(failed)?;
            return fs::set_permissions(path, fs::Permissions::from_mode(0o755)).map_err(failed);
        }
        "FileOrCreate" if !path.exists() => {
            fs::File::create(path).map_err(failed)?;
            return fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(failed);
        }
        _ => {}
    }
    let found = fs::metadata(path).map(|m| m.file_type());
    let (fits, noun) = match kind {
        "" => (true, ""),
        "Directory" | "DirectoryOrCreate" => (found.is_ok_and(|t| t.is_dir()), "directory"),
        "File" | "FileOrCreate" => (found.is_ok_and(|t| t.is_file()), "file"),
        "Socket" => (found.is_ok_and(|t| t.is_socket()), "socket file"),
        "CharDevice" => (found.is_ok_and(|t| t.is_char_device()), "character device"),
        "BlockDevice" => (found.is_ok_and(|t| t.is_block_device()), "block device"),
        other => return Err(format!("hostPath type {other:?} is not known")),
    };
    if fits { Ok(()) } else { Err(format!("hostPath type check failed: {} is not a {noun}", path.display())) }
}
