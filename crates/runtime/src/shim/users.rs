//! A pod's user namespace (KEP-127): root inside is nobody outside. The shim itself stays the host's root.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use super::rootfs::context;
use crate::api::IdRange;
use crate::sys;

/// How long the process may take to end that held the namespaces.
const HOLDER_WAIT_MILLIS: i32 = 1000;

/// A user namespace that containers join.
pub struct Users {
    namespace: OwnedFd,
    range: IdRange,
}

impl Users {
    /// Makes the namespace, with the pod's other namespaces (`flags`) as its own, and joins those.
    pub fn make(range: IdRange, flags: i32) -> Result<Self, String> {
        let (wait, go_on) = context(sys::pipe(), || "pipe".to_owned())?;
        let what = || "make user namespace".to_owned();
        // Namespaces made in one call with a user namespace belong to it. A process holds them until they are joined.
        let pid = match context(sys::fork(flags | libc::CLONE_NEWUSER, None), what)? {
            sys::Fork::Parent(pid) => pid,
            sys::Fork::Child => {
                drop(go_on);
                let _ = sys::read(wait.as_fd(), &mut [0]);
                sys::exit_now(0)
            }
        };
        let process = Path::new("/proc").join(pid.to_string());
        let map = format!("0 {} {}", range.first, range.length);
        for file in ["uid_map", "gid_map"] {
            context(std::fs::write(process.join(file), &map), || format!("write {file}"))?;
        }
        let namespace = context(std::fs::File::open(process.join("ns/user")), what)?.into();
        let holder = context(sys::pidfd_open(pid), what)?;
        if flags != 0 {
            context(sys::setns(holder.as_fd(), flags), || "join the pod's namespaces".to_owned())?;
        }
        drop(go_on);
        let mut ended = [libc::pollfd { fd: holder.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        let _ = sys::poll(&mut ended, HOLDER_WAIT_MILLIS);
        let _ = sys::reap();
        Ok(Self { namespace, range })
    }

    /// The host's number of an id inside.
    pub fn outside(&self, id: u32) -> u32 {
        self.range.first.saturating_add(id)
    }

    /// Shows the files of a detached mount with the ids that they have on disk.
    pub fn map(&self, tree: &OwnedFd, what: impl FnOnce() -> String) -> Result<(), String> {
        sys::map_mount(tree.as_fd(), self.namespace.as_fd()).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL) => format!("{}: its file system cannot be shown in a user namespace", what()),
            _ => format!("{}: map ids: {}", what(), sys::plain(&error)),
        })
    }

    /// Makes this process one of the namespace's, with all capabilities there.
    pub fn join(&self) -> Result<(), String> {
        context(sys::setns(self.namespace.as_fd(), libc::CLONE_NEWUSER), || "join the user namespace".to_owned())
    }
}

/// The host's number of an id in a container.
pub fn outside(users: Option<&Users>, id: u32) -> u32 {
    users.map_or(id, |users| users.outside(id))
}
