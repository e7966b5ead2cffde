//! A pod's volumes: one file per kind behind one trait.

mod atomic;
mod claim;
mod config_map;
mod downward;
mod empty_dir;
mod host_path;
mod kernel;
mod local;
mod mount_options;
mod nfs;
mod ownership;
mod pod_certificate;
mod projected;
mod secret;
mod sub_path;
mod trust_bundle;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{KeyToPath, Volume, VolumeMount};
use runtime::{Device, Mount, Propagation};

pub use claim::records;
pub use kernel::{in_time, mounts_below, remove_pod_dir, unmount_pod};
use mount_options::MountOptions;
pub use sub_path::read_file;

use crate::agent::Agent;
use crate::config::expand;
use crate::wanted::{Member, Wanted};

/// A volume that can be mounted into containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is on the host.
    pub host_path: PathBuf,
    /// Whoever mounts it may not write.
    pub read_only: bool,
    /// When its contents should be made anew: a token's time comes.
    pub refresh_at: Option<Timestamp>,
    /// It is a device, for `volumeDevices`.
    pub device: bool,
    /// The group that processes need to use it.
    pub group: Option<i64>,
}

impl Mounted {
    fn new(host_path: PathBuf, read_only: bool) -> Self {
        Self { host_path, read_only, refresh_at: None, device: false, group: None }
    }
}

/// An image that is a volume.
pub struct VolumeImage {
    /// The runtime's id.
    pub id: String,
    /// As the status tells it: a name with a digest, or the id.
    pub reference: String,
}

/// What a container's mounts are made of.
pub struct Ready<'a> {
    /// Volumes by name.
    pub mounted: &'a BTreeMap<String, Mounted>,
    /// The images that are volumes, by the volume's name.
    pub images: &'a BTreeMap<String, VolumeImage>,
}

/// What the kinds work with.
pub struct Context<'a> {
    pub(crate) agent: &'a Agent,
    pub wanted: &'a Wanted,
    /// The volume's name.
    pub name: &'a str,
}

impl Context<'_> {
    /// The volume's own directory, by its plugin's upstream name.
    fn directory(&self, plugin: &str) -> PathBuf {
        let volumes = self.agent.pod_dir(self.wanted.uid()).join("volumes");
        volumes.join(format!("kubernetes.io~{plugin}")).join(self.name)
    }
}

/// One kind of volume. Mounting again brings its contents up to date and changes nothing else.
trait Kind: Send + Sync {
    /// Makes it ready for containers.
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>>;
}

/// One file of a volume made of contents.
#[derive(Debug, Clone, PartialEq, Eq)]
struct File {
    bytes: Vec<u8>,
    mode: u32,
    /// Who owns it, when not the volume's owner.
    uid: Option<u32>,
}

/// Files by relative path.
type Files = BTreeMap<String, File>;

/// The kind of a volume, or which source is not supported.
fn kind(volume: &Volume) -> Result<Box<dyn Kind>, String> {
    if let Some(source) = &volume.empty_dir {
        return Ok(Box::new(empty_dir::EmptyDir(source.clone())));
    }
    if let Some(source) = &volume.host_path {
        return Ok(Box::new(host_path::HostPath(source.clone())));
    }
    if let Some(source) = &volume.nfs {
        return Ok(Box::new(nfs::Nfs { source: source.clone(), options: MountOptions::default() }));
    }
    if let Some(source) = &volume.config_map {
        return Ok(Box::new(config_map::ConfigMapVolume(source.clone())));
    }
    if let Some(source) = &volume.secret {
        return Ok(Box::new(secret::SecretVolume(source.clone())));
    }
    if let Some(source) = &volume.downward_api {
        return Ok(Box::new(downward::Downward(source.clone())));
    }
    if let Some(source) = &volume.projected {
        return Ok(Box::new(projected::Projected(source.clone())));
    }
    if let Some(source) = &volume.csi {
        let driver = &source.driver;
        return Err(format!(
            "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {driver} not found in the list of \
             registered CSI drivers"
        ));
    }
    Err(format!("volumes of the kind {} are not supported by this node", kind_name(volume)))
}

/// The field that says what a volume is.
fn kind_name(volume: &Volume) -> String {
    let tree = machinery::json::to_value(volume).unwrap_or_default();
    let keys = tree.as_object().map(|o| o.keys().filter(|k| *k != "name").map(str::to_owned).collect::<Vec<_>>());
    keys.unwrap_or_default().join(", ")
}

/// Whether a volume shows facts of the pod itself, which change with it.
pub fn shows_the_pod(wanted: &Wanted) -> bool {
    wanted.spec().volumes.iter().flatten().any(|volume| {
        let projected = volume.projected.as_ref().and_then(|p| p.sources.as_ref());
        volume.downward_api.is_some() || projected.is_some_and(|list| list.iter().any(|s| s.downward_api.is_some()))
    })
}

/// Mounts all volumes of a pod, or brings them up to date. The error is the message of the FailedMount event.
pub(crate) async fn mount_all(agent: &Agent, wanted: &Wanted) -> Result<BTreeMap<String, Mounted>, String> {
    let mut mounted = BTreeMap::new();
    std::fs::create_dir_all(agent.pod_dir(wanted.uid())).map_err(|e| format!("the pod's directory: {e}"))?;
    // Images are pulled when a container that mounts one starts, and the runtime mounts them.
    for volume in wanted.spec().volumes.iter().flatten().filter(|v| v.image.is_none()) {
        let context = Context { agent, wanted, name: &volume.name };
        if let Some(name) = client::claims::claim_name(&wanted.pod, volume) {
            if let Some(done) = claim::mount(&context, volume, &name).await? {
                mounted.insert(volume.name.clone(), done);
            }
            continue;
        }
        let result = match kind(volume) {
            Ok(kind) => kind.mount(&context).await,
            Err(error) => Err(error),
        };
        let done = result.map_err(|e| format!("MountVolume.SetUp failed for volume {:?} : {e}", volume.name))?;
        mounted.insert(volume.name.clone(), done);
    }
    Ok(mounted)
}

/// A container's mounts of the pod's volumes. The error is the message of `CreateContainerConfigError`.
pub(crate) async fn mounts(
    agent: &Agent,
    wanted: &Wanted,
    member: &Member,
    volumes: &Ready<'_>,
    of: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Vec<Mount>, String> {
    let mut list = Vec::new();
    for (index, mount) in member.spec.volume_mounts.iter().flatten().enumerate() {
        if let Some(image) = volumes.images.get(&mount.name) {
            list.push(of_image(mount, &image.id, of)?);
            continue;
        }
        let volume =
            volumes.mounted.get(&mount.name).ok_or_else(|| format!("volume {:?} is not mounted", mount.name))?;
        let sub_path = sub_path_of(mount, of);
        let host_path = match sub_path {
            Some(path) => {
                let place = agent.pod_dir(wanted.uid()).join("volume-subpaths").join(&mount.name);
                let target = place.join(member.name()).join(index.to_string());
                let (place, own) = (volume.host_path.clone(), target.clone());
                // The volume's file system may not answer.
                let bound = kernel::apart("sub-path", &target, move || sub_path::bind(&place, &path, &own)).await;
                bound.map_err(|e| {
                    format!(
                        "failed to prepare subPath for volumeMount {:?} of container {:?}: {e}",
                        mount.name,
                        member.name()
                    )
                })?
            }
            None => volume.host_path.clone(),
        };
        list.push(Mount {
            container_path: container_path(mount),
            host_path,
            read_only: mount.read_only == Some(true) || volume.read_only,
            recursive_read_only: matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
            propagation: match mount.mount_propagation.as_deref() {
                Some("Bidirectional") => Propagation::Bidirectional,
                Some("HostToContainer") => Propagation::HostToContainer,
                _ => Propagation::Private,
            },
            ..Mount::default()
        });
    }
    Ok(list)
}

/// A container's devices that are volumes. The error is the message of `CreateContainerConfigError`.
pub(crate) fn devices(member: &Member, volumes: &BTreeMap<String, Mounted>) -> Result<Vec<Device>, String> {
    let devices = member.spec.volume_devices.iter().flatten().map(|device| {
        let volume = volumes.get(&device.name).filter(|volume| volume.device);
        let volume = volume.ok_or_else(|| {
            format!("cannot find volume {:?} to pass into container {:?}", device.name, member.name())
        })?;
        Ok(Device {
            container_path: device.device_path.clone(),
            host_path: volume.host_path.clone(),
            permissions: if volume.read_only { "r" } else { "mrw" }.to_owned(),
        })
    });
    devices.collect()
}

fn sub_path_of(mount: &VolumeMount, of: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let expression = mount.sub_path_expr.as_deref().filter(|p| !p.is_empty()).map(|p| expand(p, of));
    expression.or_else(|| mount.sub_path.clone()).filter(|p| !p.is_empty())
}

fn container_path(mount: &VolumeMount) -> String {
    let path = &mount.mount_path;
    if path.starts_with('/') { path.clone() } else { format!("/{path}") }
}

/// The mount of an image (KEP-4639).
fn of_image(mount: &VolumeMount, image: &str, of: &dyn Fn(&str) -> Option<String>) -> Result<Mount, String> {
    let sub_path = sub_path_of(mount, of).unwrap_or_default();
    if Path::new(&sub_path).components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(format!("{sub_path:?} must stay in the volume"));
    }
    Ok(Mount {
        container_path: container_path(mount),
        image: Some(image.to_owned()),
        image_sub_path: sub_path,
        read_only: true,
        ..Mount::default()
    })
}

/// The files that keys become: all of them, or those of `items`, renamed. Names that leave the volume are refused.
fn project(
    data: &BTreeMap<String, Vec<u8>>,
    items: Option<&Vec<KeyToPath>>,
    default_mode: Option<i32>,
    optional: bool,
    what: &str,
) -> Result<Files, String> {
    let mode = |own: Option<i32>| own.or(default_mode).and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644) & 0o777;
    let file = |bytes: &Vec<u8>, own| File { bytes: bytes.clone(), mode: mode(own), uid: None };
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        return Ok(data.iter().map(|(key, bytes)| (key.clone(), file(bytes, None))).collect());
    };
    let mut files = Files::new();
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                files.insert(item.path.clone(), file(bytes, item.mode));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {what} key: {}", item.key)),
        }
    }
    Ok(files)
}

/// Writes a volume of contents: a directory on disk, or on tmpfs for what is secret.
async fn write_contents(context: &Context<'_>, plugin: &str, files: Files, in_memory: bool) -> Result<Mounted, String> {
    let directory = context.directory(plugin);
    let group = context.wanted.spec().security_context.as_ref().and_then(|s| s.fs_group);
    let target = directory.clone();
    let write = move || -> Result<(), String> {
        std::fs::create_dir_all(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        if in_memory {
            kernel::tmpfs(&target, None)?;
        }
        if atomic::write(&target, &files).map_err(|e| format!("{}: {e}", target.display()))? {
            ownership::give(&target, group, true).map_err(|e| format!("{}: {e}", target.display()))?;
        }
        Ok(())
    };
    tokio::task::spawn_blocking(write).await.map_err(|e| e.to_string())??;
    Ok(Mounted::new(directory, true))
}
