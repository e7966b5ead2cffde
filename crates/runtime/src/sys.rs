//! Thin safe wrappers over the system calls that std lacks: the mount API of file descriptors, `clone3`, `openat2`,
//! passing descriptors over sockets. Each returns the kernel's error as it is.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// `OPEN_TREE_CLONE`.
pub const OPEN_TREE_CLONE: u32 = 1;
/// `AT_RECURSIVE`.
pub const AT_RECURSIVE: u32 = 0x8000;
/// `MOUNT_ATTR_RDONLY`.
pub const MOUNT_ATTR_RDONLY: u64 = 0x1;
/// `MOUNT_ATTR_NOSUID`.
pub const MOUNT_ATTR_NOSUID: u64 = 0x2;
/// `MOUNT_ATTR_NODEV`.
pub const MOUNT_ATTR_NODEV: u64 = 0x4;
/// `MOUNT_ATTR_NOEXEC`.
pub const MOUNT_ATTR_NOEXEC: u64 = 0x8;
/// `RESOLVE_NO_MAGICLINKS`.
pub const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
/// `RESOLVE_NO_SYMLINKS`.
pub const RESOLVE_NO_SYMLINKS: u64 = 0x04;
/// `RESOLVE_IN_ROOT`.
pub const RESOLVE_IN_ROOT: u64 = 0x10;

const AT_EMPTY_PATH: u32 = 0x1000;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn check(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A C string of a path or word; fails on an embedded NUL.
pub fn c_string(text: impl AsRef<OsStr>) -> io::Result<CString> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

fn owned(fd: i64) -> OwnedFd {
    // SAFETY: the kernel just returned this descriptor; nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
}

/// `mount(2)`.
pub fn mount(source: &str, target: &Path, kind: &str, flags: libc::c_ulong, data: &str) -> io::Result<()> {
    let (source, target, kind, data) = (c_string(source)?, c_string(target)?, c_string(kind)?, c_string(data)?);
    // SAFETY: four valid C strings that outlive the call.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    check(result.into()).map(drop)
}

/// `fsopen(2)`: a context of a file system, which nothing is mounted from yet.
pub fn open_file_system(name: &str) -> io::Result<OwnedFd> {
    const FSOPEN_CLOEXEC: u32 = 1;
    let name = c_string(name)?;
    // SAFETY: a valid C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), FSOPEN_CLOEXEC) }).map(owned)
}

/// `umount2(2)`.
pub fn unmount(target: &Path, flags: i32) -> io::Result<()> {
    let target = c_string(target)?;
    // SAFETY: a valid C string.
    check(unsafe { libc::umount2(target.as_ptr(), flags) }.into()).map(drop)
}

/// Makes the working directory the root and detaches the old one, without a place to put it.
pub fn pivot_to_working_directory() -> io::Result<()> {
    // SAFETY: two constant C strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: a constant C string.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    std::env::set_current_dir("/")
}

/// `open_tree(2)` at a path (relative to `dir`); always close-on-exec.
pub fn open_tree(dir: Option<BorrowedFd<'_>>, path: &Path, flags: u32) -> io::Result<OwnedFd> {
    let text = c_string(path)?;
    let empty = if path.as_os_str().is_empty() { AT_EMPTY_PATH } else { 0 };
    let dir = dir.map_or(libc::AT_FDCWD, |fd| fd.as_raw_fd());
    // SAFETY: a valid C string and plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, dir, text.as_ptr(), flags | libc::O_CLOEXEC as u32 | empty) };
    check(fd).map(owned)
}

/// Attaches a detached mount at the place that `to` names.
pub fn move_mount(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: two open descriptors and constant C strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    check(result).map(drop)
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

/// `mount_setattr(2)` on the mount that `fd` names: attributes to set, and a propagation (`MS_PRIVATE` …) or 0.
pub fn mount_setattr(fd: BorrowedFd<'_>, recursive: bool, set: u64, propagation: u64) -> io::Result<()> {
    let attr = MountAttr { set, clear: 0, propagation, userns: 0 };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: `attr` has the layout of `struct mount_attr`, its size goes along.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

/// Maps the ids of a detached mount through a user namespace: what is 0 on disk is its root's.
pub fn map_mount(fd: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
    let attr = MountAttr { set: MOUNT_ATTR_IDMAP, clear: 0, propagation: 0, userns: namespace.as_raw_fd() as u64 };
    // SAFETY: as in `mount_setattr`; `userns` is an open descriptor.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result).map(drop)
}

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

/// `openat2(2)`; always close-on-exec.
pub fn openat2(dir: BorrowedFd<'_>, path: &Path, flags: i32, mode: u32, resolve: u64) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    let how = OpenHow { flags: (flags | libc::O_CLOEXEC) as u64, mode: mode.into(), resolve };
    loop {
        // SAFETY: `how` has the layout of `struct open_how`, its size goes along.
        let fd = unsafe {
            libc::syscall(libc::SYS_openat2, dir.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<OpenHow>())
        };
        match check(fd) {
            // The kernel saw a rename race while it resolved: ask again.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
            other => return other.map(owned),
        }
    }
}

/// `mkdirat(2)`.
pub fn mkdirat(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: an open descriptor and a valid C string.
    check(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }.into()).map(drop)
}

/// `mknodat(2)`.
pub fn mknodat(dir: BorrowedFd<'_>, name: &OsStr, mode: u32, device: u64) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: an open descriptor and a valid C string.
    check(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) }.into()).map(drop)
}

/// `symlinkat(2)`.
pub fn symlinkat(target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    let (target, name) = (c_string(target)?, c_string(name)?);
    // SAFETY: an open descriptor and two valid C strings.
    check(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) }.into()).map(drop)
}

/// `linkat(2)` without following a final symbolic link.
pub fn linkat(from: BorrowedFd<'_>, name: &OsStr, to: BorrowedFd<'_>, new_name: &OsStr) -> io::Result<()> {
    let (name, new_name) = (c_string(name)?, c_string(new_name)?);
    // SAFETY: two open descriptors and two valid C strings.
    check(unsafe { libc::linkat(from.as_raw_fd(), name.as_ptr(), to.as_raw_fd(), new_name.as_ptr(), 0) }.into())
        .map(drop)
}

/// `unlinkat(2)`.
pub fn unlinkat(dir: BorrowedFd<'_>, name: &OsStr, directory: bool) -> io::Result<()> {
    let name = c_string(name)?;
    let flags = if directory { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: an open descriptor and a valid C string.
    check(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }.into()).map(drop)
}

/// `fchownat(2)` of the name itself, never of what a symbolic link points to.
pub fn fchownat(dir: BorrowedFd<'_>, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
    let name = c_string(name)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: an open descriptor and a valid C string.
    check(unsafe { libc::fchownat(dir.as_raw_fd(), name.as_ptr(), uid, gid, flags) }.into()).map(drop)
}

/// `fchmodat(2)`; the caller knows that the name is no symbolic link.
pub fn fchmodat(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    let name = c_string(name)?;
    // SAFETY: an open descriptor and a valid C string.
    check(unsafe { libc::fchmodat(dir.as_raw_fd(), name.as_ptr(), mode, 0) }.into()).map(drop)
}

/// Sets the modification time (seconds, nanoseconds) of the name itself.
pub fn set_modified(dir: BorrowedFd<'_>, name: &OsStr, seconds: i64, nanoseconds: i64) -> io::Result<()> {
    let name = c_string(name)?;
    let time = libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = [time, time];
    let flags = libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: an open descriptor, a valid C string, an array of two times.
    check(unsafe { libc::utimensat(dir.as_raw_fd(), name.as_ptr(), times.as_ptr(), flags) }.into()).map(drop)
}

/// `fstatat(2)` of the name itself; an empty name means the descriptor.
pub fn fstatat(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<libc::stat> {
    let name = c_string(name)?;
    // SAFETY: plain numbers, zero is a valid value for each.
    let mut stat = unsafe { std::mem::zeroed::<libc::stat>() };
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: an open descriptor, a valid C string, room for the answer.
    check(unsafe { libc::fstatat(dir.as_raw_fd(), name.as_ptr(), &raw mut stat, flags) }.into())?;
    Ok(stat)
}

/// Sets an extended attribute of the file itself (`lsetxattr(2)` through the descriptor's directory in /proc).
pub fn set_xattr(dir: BorrowedFd<'_>, name: &OsStr, key: &OsStr, value: &[u8]) -> io::Result<()> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let (path, key) = (c_string(OsStr::from_bytes(&path))?, c_string(key)?);
    // SAFETY: two valid C strings, and the value with its length.
    let result = unsafe { libc::lsetxattr(path.as_ptr(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    check(result.into()).map(drop)
}

/// The magic number of the file system that holds `fd`.
pub fn file_system_kind(fd: BorrowedFd<'_>) -> io::Result<i64> {
    // SAFETY: plain numbers, zero is a valid value for each.
    let mut stat = unsafe { std::mem::zeroed::<libc::statfs>() };
    // SAFETY: an open descriptor, room for the answer.
    check(unsafe { libc::fstatfs(fd.as_raw_fd(), &raw mut stat) }.into())?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between architectures")]
    Ok(stat.f_type as i64)
}

/// Makes `to` share the blocks of `from`, where the file system can.
pub fn reflink(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    const FICLONE: u64 = 0x4004_9409;
    // SAFETY: two open descriptors.
    check(unsafe { libc::ioctl(to.as_raw_fd(), FICLONE as _, from.as_raw_fd()) }.into()).map(drop)
}

/// Which side of a [`fork`] one is on.
pub enum Fork {
    /// The parent, with the child's process id as the parent sees it.
    Parent(i32),
    /// The child.
    Child,
}

#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Forks with new namespaces (`CLONE_NEW…`), born in the cgroup v2 directory `cgroup` when there is one.
///
/// Sound only in a single-threaded process: then no lock can be held by a thread that the child lacks.
pub fn fork(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut args = CloneArgs { flags: flags as u32 as u64, exit_signal: libc::SIGCHLD as u64, ..CloneArgs::default() };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` has the layout of `struct clone_args`; no stack is given, so it acts like fork. The process has one
    // thread (the shim's main loop), so the child finds all of libc's and our state as the parent left it.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })?;
    Ok(if pid == 0 { Fork::Child } else { Fork::Parent(pid as i32) })
}

/// Ends the process at once, without running any exit handler.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// `setns(2)`.
pub fn setns(fd: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::setns(fd.as_raw_fd(), flags) }.into()).map(drop)
}

/// `unshare(2)`.
pub fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::unshare(flags) }.into()).map(drop)
}

/// `pidfd_open(2)`.
pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) }).map(owned)
}

/// Closes all descriptors but the standard ones and `kept`, which an exec closes. For a process that soon becomes a program or
/// ends: nothing may use, nor drop, what else it held.
pub fn close_all_but(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().max(3) as u32;
    for (first, last) in [(3, kept - 1), (kept + 1, u32::MAX)] {
        if first <= last {
            // SAFETY: the caller gives up whatever these descriptors belong to.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    // SAFETY: an open descriptor.
    check(unsafe { libc::fcntl(kept as RawFd, libc::F_SETFD, libc::FD_CLOEXEC) }.into()).map(drop)
}

/// Makes the directory `fd` the working one.
pub fn change_directory(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::fchdir(fd.as_raw_fd()) }.into()).map(drop)
}

/// `prctl(2)` with up to two numbers.
pub fn prctl(option: i32, first: u64, second: u64) -> io::Result<i32> {
    // SAFETY: only options with number arguments are used by this crate.
    check(unsafe { libc::prctl(option, first, second, 0, 0) }.into()).map(|value| value as i32)
}

/// Names this process for `ps`.
pub fn set_process_name(name: &CStr) {
    // SAFETY: a valid C string; the kernel cuts it at 15 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
}

/// Replaces the command line that `ps` shows of this process by a shorter one.
pub fn set_command_line(line: &CStr) -> io::Result<()> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name in parentheses; the first of them is the kernel's field 3.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or_default().split_whitespace().collect();
    let address = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let (start, end) = (address(48), address(49));
    let bytes = line.to_bytes_with_nul();
    if start == 0 || end <= start || end - start < bytes.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let place = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel says that these bytes hold this process's arguments, which it may change; nothing reads them.
    unsafe {
        std::ptr::write_bytes(place, 0, end - start);
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
    }
    Ok(())
}

/// Writes everything of a file system to its disk.
pub fn sync_file_system(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a valid descriptor.
    check(unsafe { libc::syncfs(fd.as_raw_fd()) }.into()).map(drop)
}

/// An error's text as C programs word it (without Rust's `(os error 2)`), in lower case as runc and Go write it.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => text.trim_end_matches(&format!(" (os error {code})")).to_lowercase(),
        None => text,
    }
}

/// A pipe: (read end, write end), both close-on-exec.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) }.into())?;
    Ok((owned(fds[0].into()), owned(fds[1].into())))
}

/// A connected pair of packet sockets, both close-on-exec.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }.into())?;
    Ok((owned(fds[0].into()), owned(fds[1].into())))
}

/// Turns blocking off or on for the open file behind `fd`.
pub fn set_nonblocking(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    // SAFETY: an open descriptor.
    let flags = check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) }.into())? as i32;
    let flags = if on { flags | libc::O_NONBLOCK } else { flags & !libc::O_NONBLOCK };
    // SAFETY: an open descriptor.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags) }.into()).map(drop)
}

/// Puts `fd` at the number `target` (0, 1 or 2), open across exec.
pub fn duplicate_to(fd: BorrowedFd<'_>, target: RawFd) -> io::Result<()> {
    if fd.as_raw_fd() == target {
        // SAFETY: an open descriptor.
        return check(unsafe { libc::fcntl(target, libc::F_SETFD, 0) }.into()).map(drop);
    }
    // SAFETY: the three standard descriptors are owned by nobody in this crate.
    check(unsafe { libc::dup2(fd.as_raw_fd(), target) }.into()).map(drop)
}

/// Reads; an interrupted call is repeated.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: an open descriptor and a buffer with its length.
        let count = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
        match check(count as i64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|count| count as usize),
        }
    }
}

/// Writes; an interrupted call is repeated.
pub fn write(fd: BorrowedFd<'_>, buffer: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: an open descriptor and a buffer with its length.
        let count = unsafe { libc::write(fd.as_raw_fd(), buffer.as_ptr().cast(), buffer.len()) };
        match check(count as i64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|count| count as usize),
        }
    }
}

/// The most descriptors that travel with one message.
pub const PASSED_MAX: usize = 4;

/// Room for a control message with [`PASSED_MAX`] descriptors, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends bytes with descriptors over a unix socket; returns how many bytes went.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    if raw.len() > PASSED_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: zero is a valid value for each field; pointers are set below.
    let mut message = unsafe { std::mem::zeroed::<libc::msghdr>() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !raw.is_empty() {
        let length = size_of_val(raw.as_slice());
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: the control buffer holds CMSG_SPACE of four descriptors (32 bytes), so the first header and its data
        // lie inside it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(length as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(length as u32) as _;
            std::ptr::copy_nonoverlapping(raw.as_ptr().cast(), libc::CMSG_DATA(header), length);
        }
    }
    // SAFETY: all pointers in `message` live until the call returns.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    check(sent as i64).map(|count| count as usize)
}

/// Receives bytes and whatever descriptors come along (close-on-exec); 0 bytes is the end.
pub fn receive_with_fds(socket: BorrowedFd<'_>, buffer: &mut [u8], fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut control = Control([0; 64]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: zero is a valid value for each field; pointers are set below.
    let mut message = unsafe { std::mem::zeroed::<libc::msghdr>() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: all pointers in `message` live until the call returns.
    let count = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let count = check(count as i64)? as usize;
    // SAFETY: the kernel filled `message`; the macros walk inside its control buffer. Each descriptor is new and ours.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                let bytes = (*header).cmsg_len as usize - libc::CMSG_LEN(0) as usize;
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    Ok(count)
}

/// Milliseconds on the clock that nobody sets.
pub fn monotonic_millis() -> i64 {
    // SAFETY: zero is a valid time.
    let mut time = unsafe { std::mem::zeroed::<libc::timespec>() };
    // SAFETY: the kernel writes one time; the call fails for no clock that it has.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Sends a signal.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}

/// Reaps one ended child, if there is one: its id and wait status.
pub fn reap() -> Option<(i32, i32)> {
    let mut status = 0;
    // SAFETY: room for the status.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// Blocks all signals and returns a descriptor on which those in `signals` arrive. For the single thread of a shim.
pub fn signal_descriptor(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigfillset/sigemptyset before use.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&raw mut set);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()).into())?;
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        check(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into()).map(owned)
    }
}

/// Puts all signals back to their defaults, unblocked: what a new program expects.
pub fn reset_signals() {
    // SAFETY: default actions and an empty mask are always valid; failures for SIGKILL and SIGSTOP do not matter.
    unsafe {
        for signal in 1..65 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&raw mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
    }
}

/// Waits for any of `entries`; `timeout` in milliseconds, -1 for ever.
pub fn poll(entries: &mut [libc::pollfd], timeout: i32) -> io::Result<()> {
    // SAFETY: an array with its length.
    let result = unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, timeout) };
    match check(result.into()) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map(drop),
    }
}

/// Starts a new session.
pub fn new_session() -> io::Result<()> {
    // SAFETY: no arguments.
    check(unsafe { libc::setsid() }.into()).map(drop)
}

/// Makes the terminal at `fd` this session's own.
pub fn take_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY as _, 0) }.into()).map(drop)
}

/// Sets a terminal's size.
pub fn set_terminal_size(fd: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: an open descriptor and a whole `winsize`.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ as _, &raw const size) }.into()).map(drop)
}

/// Unlocks a new pseudo terminal and opens its other end, whatever stands at a path.
pub fn open_terminal_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let zero = 0_i32;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: an open descriptor, and a pointer to a number of the size that the first call wants.
    let peer = unsafe {
        check(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK as _, &raw const zero).into())?;
        libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER as _, flags)
    };
    check(peer.into()).map(owned)
}

/// Sets the hostname of this UTS namespace.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: bytes with their length.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).map(drop)
}

/// Sets the file mode mask.
pub fn set_umask(mask: u32) {
    // SAFETY: always succeeds.
    unsafe { libc::umask(mask) };
}

/// Drops into a user: supplementary groups, group, user.
pub fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: an array with its length, plain numbers. Raw calls act on this thread only; the process has just one.
    unsafe {
        check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Sets the owner of an open file.
pub fn fchown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::fchown(fd.as_raw_fd(), uid, gid) }.into()).map(drop)
}

/// The capability sets of this thread: (effective, permitted).
pub fn capabilities() -> io::Result<(u64, u64)> {
    let mut data = [[0_u32; 3]; 2];
    let header = [0x2008_0522_u32, 0];
    // SAFETY: version 3 wants a header of two words and two data blocks of three words.
    check(unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), data.as_mut_ptr()) })?;
    let join = |index: usize| u64::from(data[0][index]) | u64::from(data[1][index]) << 32;
    Ok((join(0), join(1)))
}

/// Sets effective and permitted to `set`, inheritable to none.
pub fn set_capabilities(set: u64) -> io::Result<()> {
    let header = [0x2008_0522_u32, 0];
    let (low, high) = (set as u32, (set >> 32) as u32);
    let data = [[low, low, 0], [high, high, 0]];
    // SAFETY: version 3 wants a header of two words and two data blocks of three words.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Installs a seccomp filter program on this thread.
pub fn install_seccomp(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: a program with its length; the kernel copies it.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    check(result).map(drop)
}

/// Replaces the program. Returns only on failure.
pub fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |words: &[CString]| -> Vec<*const libc::c_char> {
        words.iter().map(|word| word.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: a valid C string and two arrays of such that end with a null pointer.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// `access(2)` with the effective user, for execution.
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: a valid C string.
    check(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) }.into()).map(drop)
}

/// `bpf(2)`; `attributes` must be what `command` wants.
pub fn bpf(command: i32, attributes: &mut [u8]) -> io::Result<i64> {
    // SAFETY: the kernel reads and writes at most the given length; pointers inside are the caller's and outlive the call.
    check(unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), attributes.len()) })
}

/// Takes ownership of a descriptor that [`bpf`] returned.
pub fn owned_descriptor(fd: i64) -> OwnedFd {
    owned(fd)
}

/// The standard descriptor `number` (0, 1 or 2).
pub fn standard(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: 0, 1 and 2 are always open in a shim and its children: they are set first thing.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// A device number.
pub fn device_number(major: u32, minor: u32) -> u64 {
    libc::makedev(major, minor)
}

/// Opens a directory or file for reference only (`O_PATH`).
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    // SAFETY: a valid C string.
    check(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }.into()).map(owned)
}

/// When a process started, in clock ticks after boot: with its id it names a process for good. `None` when it is gone or
/// a zombie.
pub fn process_start(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; the fields after the last one are numbers. State is field 3, start 22.
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Duplicates a descriptor, close-on-exec.
pub fn duplicate(fd: impl AsFd) -> io::Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned()
}
