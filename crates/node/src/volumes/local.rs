//! local: a directory or a disk of this machine, behind a claim.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use client::events::EventType;
use k8s_openapi::api::core::v1::LocalVolumeSource;
use nix::errno::Errno;
use nix::mount::MsFlags;

use super::claim::Found;
use super::mount_options::MountOptions;
use super::ownership::{self, Ownership};
use super::{Context, kernel};

/// What a disk holds that says nothing else.
const FS_TYPE: &str = "ext4";
/// Where file systems that are known here have said by then that they are there.
const HEAD_BYTES: usize = 128 * 1024;

/// What is mounted, and how.
struct Plan {
    path: PathBuf,
    target: PathBuf,
    pods: PathBuf,
    fs_type: String,
    options: MountOptions,
    read_only: bool,
    ownership: Option<Ownership>,
    name: String,
}

/// The device at a path, whatever links lead to it.
pub fn device(path: &str) -> Result<PathBuf, String> {
    let real = fs::canonicalize(path).map_err(|e| missing(Path::new(path), &e))?;
    match fs::metadata(&real) {
        Ok(data) if data.file_type().is_block_device() => Ok(real),
        Ok(_) => Err(format!("path {path:?} is not a block device")),
        Err(e) => Err(missing(&real, &e)),
    }
}

fn missing(path: &Path, error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => format!("path {:?} does not exist", path.display().to_string()),
        _ => format!("{}: {error}", path.display()),
    }
}

/// Mounts a local volume into a pod's directory. The error is the whole message.
pub async fn mount(
    context: &Context<'_>,
    found: &Found,
    source: &LocalVolumeSource,
    options: &MountOptions,
) -> Result<PathBuf, String> {
    let target = context.directory("local-volume");
    let security = context.wanted.spec().security_context.as_ref();
    let plan = Plan {
        path: PathBuf::from(&source.path),
        target: target.clone(),
        pods: context.agent.options.data_dir.join("pods"),
        fs_type: source.fs_type.clone().filter(|t| !t.is_empty()).unwrap_or_else(|| FS_TYPE.to_owned()),
        options: options.clone(),
        read_only: found.read_only,
        ownership: Ownership::of(security),
        name: found.name.clone(),
    };
    let warning = kernel::apart("mount-local", &target, move || mount_plan(&plan)).await?;
    if let Some(warning) = warning {
        let about = context.wanted.reference();
        context.agent.event(&about, EventType::Warning, "AlreadyMountedVolume", warning);
    }
    Ok(target)
}

/// A volume is mounted for one pod after the other: the first one gives it its owner. Others do not wait for that.
fn turn(path: &Path) -> Arc<Mutex<()>> {
    static TURNS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
    TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry(path.to_owned()).or_default().clone()
}

fn mount_plan(plan: &Plan) -> Result<Option<String>, String> {
    let failed = |step: &str, why: String| format!("MountVolume.{step} failed for volume {:?} : {why}", plan.name);
    let data = fs::metadata(&plan.path).map_err(|e| failed("NewMounter initialization", missing(&plan.path, &e)))?;
    let kind = data.file_type();
    if !kind.is_dir() && !kind.is_block_device() {
        let why = "only directory and block device are supported".to_owned();
        return Err(failed("NewMounter initialization", why));
    }
    let first = {
        let turn = turn(&plan.path);
        let _one = turn.lock().unwrap_or_else(PoisonError::into_inner);
        fs::create_dir_all(&plan.target).map_err(|e| failed("SetUp", format!("{}: {e}", plan.target.display())))?;
        match kind.is_dir() {
            true => bind(plan).map_err(|why| failed("SetUp", why))?,
            false => mount_device(plan).map_err(|why| failed("MountDevice", why))?,
        }
        !kernel::is_mounted_elsewhere(&plan.target, &plan.pods)
    };
    let Some(ownership) = plan.ownership.as_ref().filter(|_| !plan.read_only) else { return Ok(None) };
    if first {
        ownership::apply(&plan.target, ownership).map_err(|e| failed("SetUp", e.to_string()))?;
        return Ok(None);
    }
    let owner = fs::metadata(&plan.target).map_err(|e| failed("SetUp", e.to_string()))?.gid();
    Ok((owner != ownership.group).then(|| {
        format!(
            "The requested fsGroup is {}, but the volume {} has GID {owner}. The volume may not be shareable.",
            ownership.group, plan.name
        )
    }))
}

fn bind(plan: &Plan) -> Result<(), String> {
    let mut flags = plan.options.flags;
    flags.set(MsFlags::MS_RDONLY, plan.read_only || flags.contains(MsFlags::MS_RDONLY));
    if let Some(word) = plan.options.words.first() {
        return Err(format!("mount option {word:?} means nothing to a directory"));
    }
    kernel::bind(&plan.path, &plan.target, flags)
}

/// Mounts the disk itself: the kernel has one file system of it, however many pods mount it. That is writable as far as the
/// disk is; who may only read gets a read-only view of it.
fn mount_device(plan: &Plan) -> Result<(), String> {
    let read_only = plan.read_only || plan.options.flags.contains(MsFlags::MS_RDONLY);
    let flags = plan.options.flags - MsFlags::MS_RDONLY;
    let words = plan.options.words.join(",");
    let mount = |flags| kernel::mount_device(&plan.path, &plan.target, &plan.fs_type, flags, &words);
    let mounted = match mount(flags) {
        Err(Errno::EROFS | Errno::EACCES) => mount(flags | MsFlags::MS_RDONLY),
        other => other,
    };
    if let Err(error) = mounted {
        return Err(format!(
            "local: failed to mount device {} at {} (fstype: {}), error {}",
            plan.path.display(),
            plan.target.display(),
            plan.fs_type,
            why_not(&plan.path, error)
        ));
    }
    if read_only { kernel::change(&plan.target, flags | MsFlags::MS_RDONLY) } else { Ok(()) }
}

fn why_not(path: &Path, error: Errno) -> String {
    use std::io::Read;
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|f| f.take(HEAD_BYTES as u64).read_to_end(&mut head));
    match (error, read) {
        // DIVERGES: upstream would make one with mkfs; no other program is started here.
        (Errno::EINVAL, Ok(_)) if head.iter().all(|byte| *byte == 0) => {
            "the disk has no file system, and this node makes none: make it first".to_owned()
        }
        (Errno::ENODEV, _) => "the kernel of this node does not know this file system".to_owned(),
        (error, _) => error.desc().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;
    use crate::volumes::sub_path::tests::private;

    fn plan(place: &Path, path: &Path, pod: &str) -> Plan {
        Plan {
            path: path.to_owned(),
            target: place.join("pods").join(pod).join("volumes/kubernetes.io~local-volume/v"),
            pods: place.join("pods"),
            fs_type: FS_TYPE.to_owned(),
            options: MountOptions::default(),
            read_only: false,
            ownership: None,
            name: "v".to_owned(),
        }
    }

    #[test]
    fn directories_are_mounted_as_asked_and_given_to_the_first_group() {
        if !private() {
            return;
        }
        let place = tempfile::Builder::new().prefix("skiff-node-").tempdir().unwrap();
        let disk = place.path().join("disk");
        fs::create_dir(&disk).unwrap();
        fs::write(disk.join("file"), "1").unwrap();
        fs::set_permissions(&disk, fs::Permissions::from_mode(0o755)).unwrap();
        let group = |group| Some(Ownership { group, only_on_mismatch: false, read_only: false });
        let first = Plan { ownership: group(7), ..plan(place.path(), &disk, "a") };
        assert_eq!(mount_plan(&first), Ok(None));
        let data = fs::metadata(first.target.join("file")).unwrap();
        assert_eq!((data.gid(), data.mode() & 0o777), (7, 0o664));
        assert_eq!(fs::metadata(&disk).unwrap().mode() & 0o7777, 0o2775);
        let second = Plan { ownership: group(8), ..plan(place.path(), &disk, "b") };
        let warning = mount_plan(&second).unwrap().unwrap();
        assert_eq!(warning, "The requested fsGroup is 8, but the volume v has GID 7. The volume may not be shareable.");
        let reader = Plan { read_only: true, ownership: group(9), ..plan(place.path(), &disk, "c") };
        assert_eq!(mount_plan(&reader), Ok(None));
        assert!(fs::write(reader.target.join("new"), "").is_err());
        fs::write(first.target.join("new"), "").unwrap();
        let options = MountOptions::parse(&["ro,noexec".to_owned()]);
        let by_option = Plan { options, ..plan(place.path(), &disk, "d") };
        assert_eq!(mount_plan(&by_option), Ok(None));
        assert!(fs::write(by_option.target.join("x"), "").is_err());
        let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let line = table.lines().find(|l| l.contains(&by_option.target.display().to_string())).unwrap();
        assert!(line.contains("noexec"), "{line}");
        // What is left of others stays.
        chown(disk.join("file"), None, Some(3)).unwrap();
        kernel::remove_pod_dir(&place.path().join("pods"));
        assert!(!place.path().join("pods").exists());
        assert_eq!(fs::metadata(disk.join("file")).unwrap().gid(), 3);
    }

    #[test]
    fn what_is_no_directory_and_no_disk_is_told() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, "").unwrap();
        let start = "MountVolume.NewMounter initialization failed for volume \"v\" : ";
        let none = plan(place.path(), Path::new("/none/x"), "p");
        assert_eq!(mount_plan(&none), Err(format!("{start}path \"/none/x\" does not exist")));
        let why = Err(format!("{start}only directory and block device are supported"));
        assert_eq!(mount_plan(&plan(place.path(), &file, "p")), why);
        let path = file.display().to_string();
        assert_eq!(device(&path), Err(format!("path {path:?} is not a block device")));
        assert_eq!(device("/none/x"), Err("path \"/none/x\" does not exist".to_owned()));
    }
}
