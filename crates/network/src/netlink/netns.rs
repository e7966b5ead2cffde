//! Work inside another network namespace.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::sched::{CloneFlags, setns};

use crate::error::{NetworkError, Result};

/// Opens a network namespace by its path: `/proc/PID/ns/net` or a bind mount of it.
pub fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|source| NetworkError::io(format!("open network namespace {}", path.display()), source))
}

/// Runs `work` on a thread of its own inside the namespace and waits for it. The thread ends with the work, so that no
/// other code ever finds itself in the wrong namespace.
pub fn run_inside<T: Send>(namespace: impl AsFd + Sync, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let inside = std::thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)
                .map_err(|errno| NetworkError::kernel("enter a pod's network namespace", errno.into()))?;
            work()
        });
        let thread = inside.map_err(|source| NetworkError::io("start a thread for a network namespace", source))?;
        thread.join().map_err(|_| NetworkError::Interrupted("work in a pod's network namespace"))?
    })
}
