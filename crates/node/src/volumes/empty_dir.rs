//! emptyDir: on disk, or in memory with a size.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{Context, Kind, Mounted, kernel, ownership};
use crate::quantity;

pub struct EmptyDir(pub EmptyDirVolumeSource);

impl Kind for EmptyDir {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let directory = context.directory("empty-dir");
            let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
            let done = Mounted::new(directory.clone(), false);
            let in_memory = self.0.medium.as_deref() == Some("Memory");
            if if in_memory { kernel::is_mount(&directory) } else { directory.exists() } {
                return Ok(done);
            }
            fs::create_dir_all(&directory).map_err(failed)?;
            match self.0.medium.as_deref().unwrap_or_default() {
                "" => {}
                "Memory" => kernel::tmpfs(&directory, self.0.size_limit.as_ref().map(quantity::value))?,
                other => return Err(format!("emptyDir medium {other:?} is not supported by this node")),
            }
            // A tmpfs is sticky as the kernel makes it, and upstream leaves it so.
            let mode = if in_memory { 0o1777 } else { 0o777 };
            fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).map_err(failed)?;
            let group = context.wanted.spec().security_context.as_ref().and_then(|s| s.fs_group);
            ownership::give(&directory, group, false).map_err(failed)?;
            Ok(done)
        })
    }
}
