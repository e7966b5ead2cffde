//! A container's file system: overlay root, kernel file systems, devices, mounts of the configuration, masks.
//!
//! Order matters for safety. First everything of the host that the container shall see is opened as a detached copy of
//! its mount. Then the overlay becomes the root and the host's tree is gone from this mount namespace. Only then are
//! mount points made and mounts attached, so that no symbolic link in an image can lead out of it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::users::{Users, outside};
use crate::api::{Mount, NamespaceMode, Propagation};
use crate::cgroup::Cgroups;
use crate::record::{ContainerRecord, SandboxRecord};
use crate::sys;
pub use crate::sys::plain;

/// Hidden from containers: what tells or changes the host.
pub const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only for containers.
pub const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Files of /proc that a mount may cover (runc's list: what lxcfs gives).
const PROC_COVERABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

const PROC_MAGIC: i64 = 0x9fa0;
/// Size of the pod's /dev/shm in bytes: Docker's and containerd's default.
pub const SHM_BYTES: u64 = 64 << 20;

/// What the container sees of a place on the host.
struct Bind {
    target: PathBuf,
    tree: OwnedFd,
    is_dir: bool,
}

/// A device node to make.
struct Node {
    path: PathBuf,
    mode: u32,
    uid: u32,
    gid: u32,
    device: u64,
}

/// Adds what was being done to an error.
pub fn context<T>(result: io::Result<T>, what: impl FnOnce() -> String) -> Result<T, String> {
    result.map_err(|error| format!("{}: {}", what(), plain(&error)))
}

/// Where a container is built.
pub struct Place<'a> {
    pub sandbox: &'a SandboxRecord,
    /// Holds the pod's `shm`.
    pub sandbox_dir: &'a Path,
    pub cgroups: &'a Cgroups,
    /// The pod's user namespace.
    pub users: Option<&'a Users>,
}

/// Makes the whole file system and enters it.
pub fn build(record: &ContainerRecord, place: &Place<'_>) -> Result<(), String> {
    let Place { sandbox, sandbox_dir, cgroups, users } = *place;
    let owner = outside(users, 0);
    let security = &record.config.security;
    let mut binds = config_binds(&record.config.mounts, users)?;
    let shm =
        if sandbox.config.ipc == NamespaceMode::Node { PathBuf::from("/dev/shm") } else { sandbox_dir.join("shm") };
    let shm = open_bind(&shm, "/dev/shm", false)?;
    let cgroup_binds = cgroup_binds(record, cgroups)?;
    let nodes = device_nodes(record)?;
    context(sys::mount("", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, ""), || "private mounts".to_owned())?;
    binds.extend(image_binds(record, users)?);
    enter_overlay(record, users)?;
    kernel_mounts(record, place, cgroup_binds)?;
    make_devices(&nodes, users)?;
    attach(&shm, owner)?;
    let null = context(sys::open_path(Path::new("/dev/null")), || "open /dev/null".to_owned())?;
    // Parents before what lies below them, else in the given order.
    binds.sort_by_key(|bind| bind.target.components().count());
    binds.iter().try_for_each(|bind| attach(bind, owner))?;
    make_working_dir(record, owner)?;
    if !security.privileged && !security.unmasked_proc {
        MASKED.iter().try_for_each(|path| mask(path, &null))?;
        mask_thermal(&null)?;
        READ_ONLY.iter().try_for_each(|path| make_read_only(path))?;
    }
    if security.read_only_rootfs {
        let root = context(sys::open_path(Path::new("/")), || "open root".to_owned())?;
        context(sys::mount_setattr(root.as_fd(), false, sys::MOUNT_ATTR_RDONLY, 0), || "root read-only".to_owned())?;
    }
    Ok(())
}

fn open_bind(source: &Path, target: &str, recursive: bool) -> Result<Bind, String> {
    let what = || format!("mount {} to {target}", source.display());
    let flags = sys::OPEN_TREE_CLONE | if recursive { sys::AT_RECURSIVE } else { 0 };
    let tree = context(sys::open_tree(None, source, flags), what)?;
    let kind = context(sys::fstatat(tree.as_fd(), OsStr::new("")), what)?.st_mode & libc::S_IFMT;
    Ok(Bind { target: PathBuf::from(target), tree, is_dir: kind == libc::S_IFDIR })
}

fn config_binds(mounts: &[Mount], users: Option<&Users>) -> Result<Vec<Bind>, String> {
    let open = |mount: &Mount| {
        check_target(mount)?;
        let bind = open_bind(&mount.host_path, &mount.container_path, true)?;
        let what = || format!("set up mount {}", mount.container_path);
        let propagation = match mount.propagation {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::HostToContainer => libc::MS_SLAVE,
            Propagation::Bidirectional => libc::MS_SHARED,
        };
        context(sys::mount_setattr(bind.tree.as_fd(), true, 0, propagation), what)?;
        if mount.read_only {
            let recursive = mount.recursive_read_only;
            context(sys::mount_setattr(bind.tree.as_fd(), recursive, sys::MOUNT_ATTR_RDONLY, 0), what)?;
        }
        if let Some(users) = users {
            users.map(&bind.tree, what)?;
        }
        Ok(bind)
    };
    mounts.iter().filter(|mount| mount.image.is_none()).map(open).collect()
}

fn check_target(mount: &Mount) -> Result<(), String> {
    let path = Path::new(&mount.container_path);
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("invalid mount path {:?}: must be absolute without ..", mount.container_path));
    }
    let below_proc = path.starts_with("/proc") && !PROC_COVERABLE.contains(&mount.container_path.as_str());
    if path == Path::new("/") || below_proc {
        return Err(format!("{:?} cannot be mounted because it is inside /proc or the root", path));
    }
    Ok(())
}

/// Images as volumes (KEP-4639): their layers, read-only, without a program that could be started. Mounts must be private
/// already, so that the host sees nothing of them.
fn image_binds(record: &ContainerRecord, users: Option<&Users>) -> Result<Vec<Bind>, String> {
    let place = record.root_dir.join("volume");
    let open = |mount: &Mount| {
        check_target(mount)?;
        let what = || format!("mount an image to {}", mount.container_path);
        let layers = mount.image.as_ref().and_then(|id| record.volume_layers.get(id));
        let layers = layers.ok_or_else(|| format!("{}: its layers are not known", what()))?;
        let tree = match layers.as_slice() {
            [] => return Err(format!("{}: the image is empty", what())),
            [one] => {
                let tree = open_bind(&record.layers_dir.join(one), &mount.container_path, false)?.tree;
                users.map_or(Ok(()), |users| users.map(&tree, what))?;
                tree
            }
            all => {
                overlay(record, all, &place, "", users)?;
                let tree = open_bind(&place, &mount.container_path, false)?.tree;
                context(sys::unmount(&place, libc::MNT_DETACH), what)?;
                tree
            }
        };
        let attributes =
            sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
        context(sys::mount_setattr(tree.as_fd(), false, attributes, libc::MS_PRIVATE), what)?;
        part_of_image(tree, mount)
    };
    record.config.mounts.iter().filter(|mount| mount.image.is_some()).map(open).collect()
}

/// Mounts layers with the ids of the user namespace at places of the container's own, and names those.
fn mapped_layers(record: &ContainerRecord, layers: &[String], users: &Users) -> Result<(PathBuf, Vec<String>), String> {
    let directory = record.root_dir.join("lower");
    let mount = |(number, layer): (usize, &String)| {
        let what = || format!("layer {layer}");
        let place = directory.join(number.to_string());
        context(std::fs::create_dir_all(&place), what)?;
        let tree = open_bind(&record.layers_dir.join(layer), "/", false)?.tree;
        users.map(&tree, what)?;
        let target = context(sys::open_path(&place), what)?;
        context(sys::move_mount(tree.as_fd(), target.as_fd()), what)?;
        Ok(number.to_string())
    };
    let names = layers.iter().enumerate().map(mount).collect::<Result<_, String>>()?;
    Ok((directory, names))
}

/// The part of an image that `image_sub_path` names. It must be there.
fn part_of_image(tree: OwnedFd, mount: &Mount) -> Result<Bind, String> {
    let target = PathBuf::from(&mount.container_path);
    if mount.image_sub_path.is_empty() {
        return Ok(Bind { target, tree, is_dir: true });
    }
    let what = || format!("subPath {:?} of the image", mount.image_sub_path);
    let resolve = sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS;
    let part = sys::openat2(tree.as_fd(), Path::new(&mount.image_sub_path), libc::O_PATH, 0, resolve);
    let part = context(part, what)?;
    let kind = context(sys::fstatat(part.as_fd(), OsStr::new("")), what)?.st_mode & libc::S_IFMT;
    let copy = context(sys::open_tree(Some(part.as_fd()), Path::new(""), sys::OPEN_TREE_CLONE), what)?;
    Ok(Bind { target, tree: copy, is_dir: kind == libc::S_IFDIR })
}

/// Mounts layers at `target`, with further options that begin with a comma.
fn overlay(
    record: &ContainerRecord,
    layers: &[String],
    target: &Path,
    options: &str,
    users: Option<&Users>,
) -> Result<(), String> {
    let (directory, names) = match users {
        Some(users) => mapped_layers(record, layers, users)?,
        None => (record.layers_dir.clone(), layers.to_vec()),
    };
    // Options must fit one page: layers are named relative to the working directory, highest first.
    context(std::env::set_current_dir(&directory), || format!("enter {}", directory.display()))?;
    let lower: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    context(sys::mount("overlay", target, "overlay", 0, &format!("lowerdir={}{options}", lower.join(":"))), || {
        format!("mount overlay of {} layers on {}", lower.len(), target.display())
    })
}

/// With cgroup v1 the container's own directories of each hierarchy; v2 is mounted in its cgroup namespace instead.
fn cgroup_binds(record: &ContainerRecord, cgroups: &Cgroups) -> Result<Vec<(Bind, Vec<String>)>, String> {
    if cgroups.is_v2() {
        return Ok(Vec::new());
    }
    cgroups
        .directories(&record.cgroup)
        // It is in that of CPU sets only when it is bound to some.
        .filter(|(directory, _)| directory.exists())
        .map(|(directory, controllers)| {
            let target = format!("/sys/fs/cgroup/{}", controllers.join(","));
            let bind = open_bind(&directory, &target, false)?;
            let attributes = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
            let read_only = if record.config.security.privileged { 0 } else { sys::MOUNT_ATTR_RDONLY };
            context(sys::mount_setattr(bind.tree.as_fd(), false, attributes | read_only, libc::MS_PRIVATE), || {
                format!("set up {target}")
            })?;
            Ok((bind, controllers.to_vec()))
        })
        .collect()
}

/// The standard device nodes and the configured ones; all of the host's for the privileged.
fn device_nodes(record: &ContainerRecord) -> Result<Vec<Node>, String> {
    let standard = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    let mut nodes: Vec<Node> = standard
        .iter()
        .map(|(name, major, minor)| Node {
            path: Path::new("/dev").join(name),
            mode: libc::S_IFCHR | 0o666,
            uid: 0,
            gid: 0,
            device: sys::device_number(*major, *minor),
        })
        .collect();
    if record.config.security.privileged {
        host_devices(Path::new("/dev"), &mut nodes);
    }
    for device in &record.config.devices {
        let path = PathBuf::from(&device.container_path);
        let what = || format!("device {}", device.host_path.display());
        let data = context(std::fs::metadata(&device.host_path), what)?;
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(format!("invalid device path {:?}", device.container_path));
        }
        nodes.retain(|node| node.path != path);
        nodes.push(node_like(path, &data));
    }
    Ok(nodes)
}

fn node_like(path: PathBuf, data: &std::fs::Metadata) -> Node {
    Node { path, mode: data.mode(), uid: data.uid(), gid: data.gid(), device: data.rdev() }
}

/// Collects the host's device nodes. Terminals belong to others, and what is its own file system is not looked into.
fn host_devices(directory: &Path, nodes: &mut Vec<Node>) {
    const SKIPPED: [&str; 8] = ["pts", "shm", "fd", "mqueue", "hugepages", "console", "ptmx", ".udev"];
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let Ok(data) = entry.metadata() else { continue };
        let kind = data.file_type();
        if kind.is_dir() {
            host_devices(&entry.path(), nodes);
        } else if (kind.is_char_device() || kind.is_block_device()) && nodes.iter().all(|n| n.path != entry.path()) {
            nodes.push(node_like(entry.path(), &data));
        }
    }
}

/// Mounts the overlay of the image's layers and makes it the root; the host's tree is gone afterwards.
fn enter_overlay(record: &ContainerRecord, users: Option<&Users>) -> Result<(), String> {
    let root = record.root_dir.join("root");
    let escaped = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace(',', "\\,");
    // The upper directory lives as long as the container and is never mounted again: it need not be synced ("volatile").
    let options = format!(
        ",upperdir={},workdir={},volatile",
        escaped(&record.root_dir.join("upper")),
        escaped(&record.root_dir.join("work"))
    );
    if users.is_some() {
        let owner = Some(outside(users, 0));
        context(std::os::unix::fs::chown(record.root_dir.join("upper"), owner, owner), || "own the root".to_owned())?;
    }
    overlay(record, &record.layers, &root, &options, users)?;
    context(std::env::set_current_dir(&root), || format!("enter {}", root.display()))?;
    context(sys::pivot_to_working_directory(), || "pivot_root".to_owned())
}

fn kernel_mounts(
    record: &ContainerRecord,
    place: &Place<'_>,
    cgroup_binds: Vec<(Bind, Vec<String>)>,
) -> Result<(), String> {
    let (privileged, owner) = (record.config.security.privileged, outside(place.users, 0));
    let strict = libc::MS_NOSUID | libc::MS_NOEXEC | libc::MS_NODEV;
    let read_only = if privileged { 0 } else { libc::MS_RDONLY };
    let mount = |source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str| {
        ordinary_directory(Path::new(target))?;
        context(sys::mount(source, Path::new(target), kind, flags, data), || format!("mount {kind} to {target}"))
    };
    mount("proc", "/proc", "proc", strict, "")?;
    let options = format!("mode=755,size=65536k,uid={owner},gid={owner}");
    mount("tmpfs", "/dev", "tmpfs", libc::MS_NOSUID | libc::MS_STRICTATIME, &options)?;
    let options = format!("newinstance,ptmxmode=0666,mode=0620,gid={}", outside(place.users, 5));
    mount("devpts", "/dev/pts", "devpts", libc::MS_NOSUID | libc::MS_NOEXEC, &options)?;
    mount("mqueue", "/dev/mqueue", "mqueue", strict, "")?;
    mount("sysfs", "/sys", "sysfs", strict | read_only, "")?;
    if place.cgroups.is_v2() {
        return mount("cgroup", "/sys/fs/cgroup", "cgroup2", strict | read_only, "");
    }
    mount("tmpfs", "/sys/fs/cgroup", "tmpfs", strict, "mode=755,size=64k")?;
    for (bind, controllers) in cgroup_binds {
        attach(&bind, owner)?;
        if let [_, _, ..] = controllers.as_slice() {
            for name in &controllers {
                let link = Path::new("/sys/fs/cgroup").join(name);
                context(std::os::unix::fs::symlink(controllers.join(","), &link), || link.display().to_string())?;
            }
        }
    }
    let root = context(sys::open_path(Path::new("/sys/fs/cgroup")), || "open /sys/fs/cgroup".to_owned())?;
    let attributes = if privileged { 0 } else { sys::MOUNT_ATTR_RDONLY };
    context(sys::mount_setattr(root.as_fd(), false, attributes, 0), || "/sys/fs/cgroup read-only".to_owned())
}

/// Makes a directory for a kernel file system. An image in which the path is a symbolic link is refused: the masks on what
/// is mounted there would go elsewhere.
fn ordinary_directory(path: &Path) -> Result<(), String> {
    let _ = std::fs::create_dir_all(path);
    let root = context(sys::open_path(Path::new("/")), || "open root".to_owned())?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let opened = sys::openat2(root.as_fd(), relative, flags, 0, sys::RESOLVE_NO_SYMLINKS | sys::RESOLVE_IN_ROOT);
    opened.map(drop).map_err(|_| format!("filesystem {:?} must be mounted on ordinary directory", path))
}

/// Opens a place inside the root, whatever symbolic links of the image say, never through /proc's magic links.
pub fn open_inside(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let root = sys::open_path(Path::new("/"))?;
    let resolve = sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_MAGICLINKS;
    sys::openat2(root.as_fd(), path, flags, 0, resolve)
}

/// Opens a place inside the root when no symbolic link is on the way.
pub fn open_plain(path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let root = sys::open_path(Path::new("/"))?;
    sys::openat2(root.as_fd(), path, flags, 0, sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_SYMLINKS)
}

/// Puts a terminal at /dev/console (compare CVE-2025-52565).
pub fn attach_console(terminal: &OwnedFd) -> Result<(), String> {
    let what = || "set up /dev/console".to_owned();
    let directory = context(open_plain(Path::new("/dev"), libc::O_PATH | libc::O_DIRECTORY), what)?;
    match sys::mknodat(directory.as_fd(), OsStr::new("console"), libc::S_IFREG | 0o620, 0) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => context(other, what)?,
    }
    let tree = context(sys::open_tree(Some(terminal.as_fd()), Path::new(""), sys::OPEN_TREE_CLONE), what)?;
    let console = context(open_plain(Path::new("/dev/console"), libc::O_PATH), what)?;
    context(sys::move_mount(tree.as_fd(), console.as_fd()), what)
}

/// Opens the directory `path`, making it and its parents when missing.
fn make_directory(path: &Path, owner: u32) -> io::Result<OwnedFd> {
    match open_inside(path, libc::O_PATH | libc::O_DIRECTORY) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let parent = make_directory(parent, owner)?;
    sys::mkdirat(parent.as_fd(), name, 0o755)?;
    own(&parent, name, owner)?;
    open_inside(path, libc::O_PATH | libc::O_DIRECTORY)
}

/// Gives what was made to the container's root.
fn own(parent: &OwnedFd, name: &OsStr, owner: u32) -> io::Result<()> {
    if owner == 0 { Ok(()) } else { sys::fchownat(parent.as_fd(), name, owner, owner) }
}

/// Opens the file `path` for reference, making an empty one when missing.
fn make_file(path: &Path, owner: u32) -> io::Result<OwnedFd> {
    match open_inside(path, libc::O_PATH) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    };
    let parent = make_directory(parent, owner)?;
    sys::mknodat(parent.as_fd(), name, libc::S_IFREG | 0o644, 0)?;
    own(&parent, name, owner)?;
    open_inside(path, libc::O_PATH)
}

/// Attaches an opened mount, making its mount point when missing.
fn attach(bind: &Bind, owner: u32) -> Result<(), String> {
    let what = || format!("mount to {}", bind.target.display());
    let made = if bind.is_dir { make_directory(&bind.target, owner) } else { make_file(&bind.target, owner) };
    let target = context(made, what)?;
    // A link in a volume that another container writes may lead here (CVE-2019-16884, CVE-2021-30465).
    let in_proc = context(sys::file_system_kind(target.as_fd()), what)? == PROC_MAGIC;
    if in_proc && !PROC_COVERABLE.iter().any(|path| bind.target == Path::new(path)) {
        return Err(format!("{}: the path leads into /proc", what()));
    }
    context(sys::move_mount(bind.tree.as_fd(), target.as_fd()), what)
}

fn make_devices(nodes: &[Node], users: Option<&Users>) -> Result<(), String> {
    sys::set_umask(0);
    for node in nodes {
        let what = || format!("make device {}", node.path.display());
        let (Some(parent), Some(name)) = (node.path.parent(), node.path.file_name()) else { continue };
        let parent = context(make_directory(parent, outside(users, 0)), what)?;
        match sys::mknodat(parent.as_fd(), name, node.mode, node.device) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => context(other, what)?,
        }
        let (uid, gid) = (outside(users, node.uid), outside(users, node.gid));
        context(sys::fchownat(parent.as_fd(), name, uid, gid), what)?;
    }
    sys::set_umask(0o022);
    let links = [
        ("pts/ptmx", "/dev/ptmx"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("/proc/kcore", "/dev/core"),
    ];
    links.iter().try_for_each(|(to, at)| context(std::os::unix::fs::symlink(to, at), || format!("make {at}")))
}

fn make_working_dir(record: &ContainerRecord, owner: u32) -> Result<(), String> {
    let directory = super::process::working_dir(record);
    context(make_directory(&directory, owner).map(drop), || format!("make working directory {}", directory.display()))
}

/// Hides a file behind /dev/null, a directory behind an empty file system. Nothing to do when it is missing.
fn mask(path: &str, null: &OwnedFd) -> Result<(), String> {
    let Some((target, is_dir)) = kernel_file(path)? else { return Ok(()) };
    let what = || format!("mask {path}");
    if is_dir {
        let place = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&target)));
        let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        return context(sys::mount("tmpfs", &place, "tmpfs", flags, "size=0k,nr_inodes=2"), what);
    }
    let copy = context(sys::open_tree(Some(null.as_fd()), Path::new(""), sys::OPEN_TREE_CLONE), what)?;
    context(sys::move_mount(copy.as_fd(), target.as_fd()), what)
}

/// The throttle counters of each processor tell of other tenants.
fn mask_thermal(null: &OwnedFd) -> Result<(), String> {
    for entry in std::fs::read_dir("/sys/devices/system/cpu").into_iter().flatten().flatten() {
        let path = entry.path().join("thermal_throttle");
        if path.exists() {
            mask(&path.display().to_string(), null)?;
        }
    }
    Ok(())
}

fn make_read_only(path: &str) -> Result<(), String> {
    let Some((target, _)) = kernel_file(path)? else { return Ok(()) };
    let what = || format!("make {path} read-only");
    let copy = context(sys::open_tree(Some(target.as_fd()), Path::new(""), sys::OPEN_TREE_CLONE), what)?;
    let attributes = sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOEXEC;
    context(sys::mount_setattr(copy.as_fd(), false, attributes, 0), what)?;
    context(sys::move_mount(copy.as_fd(), target.as_fd()), what)
}

/// Opens a path of /proc or /sys, checking that it is what it claims.
fn kernel_file(path: &str) -> Result<Option<(OwnedFd, bool)>, String> {
    let root = context(sys::open_path(Path::new("/")), || "open root".to_owned())?;
    let resolve = sys::RESOLVE_IN_ROOT | sys::RESOLVE_NO_SYMLINKS;
    let opened = match sys::openat2(root.as_fd(), Path::new(path), libc::O_PATH, 0, resolve) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => context(other, || format!("open {path}"))?,
    };
    let kind = context(sys::file_system_kind(opened.as_fd()), || format!("look at {path}"))?;
    if path.starts_with("/proc") && kind != PROC_MAGIC {
        return Err(format!("{path} is not on the proc file system"));
    }
    let mode = context(sys::fstatat(opened.as_fd(), OsStr::new("")), || format!("look at {path}"))?.st_mode;
    Ok(Some((opened, mode & libc::S_IFMT == libc::S_IFDIR)))
}
