//! persistentVolumeClaim and ephemeral: the volume that a claim is bound to. What was found out stays beside the pod's other
//! files: a pod that runs keeps its volume, whatever becomes of the claim, also when skiff starts anew.

use std::fs;
use std::path::PathBuf;

use client::{Api, claims};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Volume};
use serde::{Deserialize, Serialize};

use super::mount_options::MountOptions;
use super::{Context, Kind, Mounted, host_path, kernel, local, nfs};
use crate::agent::Agent;
use crate::wanted::Wanted;

/// The group that owns a volume, for pods that use it.
const GROUP: &str = "pv.beta.kubernetes.io/gid";
/// Mount options of old.
const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// What is kept of a claim's volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The claim's name.
    pub claim: String,
    /// Where the volume is on the host.
    pub path: PathBuf,
    /// Whether something is mounted there.
    mount: bool,
    read_only: bool,
    /// Whether it is a device.
    pub device: bool,
    group: Option<i64>,
}

impl Record {
    fn mounted(self) -> Mounted {
        Mounted { device: self.device, group: self.group, ..Mounted::new(self.path, self.read_only) }
    }
}

/// Whom a claim's volume is for.
struct Use {
    mounts: bool,
    devices: bool,
}

impl Use {
    fn of(wanted: &Wanted, name: &str) -> Self {
        let members = || wanted.members.iter().map(|m| &m.spec);
        Self {
            mounts: members().any(|c| c.volume_mounts.iter().flatten().any(|m| m.name == name)),
            devices: members().any(|c| c.volume_devices.iter().flatten().any(|d| d.name == name)),
        }
    }
}

/// A bound claim's volume, as a pod wants it.
pub struct Found {
    pub name: String,
    pub volume: PersistentVolume,
    pub read_only: bool,
    claim: String,
    options: MountOptions,
    given_options: bool,
}

fn record_path(agent: &Agent, wanted: &Wanted, volume: &str) -> PathBuf {
    agent.pod_dir(wanted.uid()).join("claims").join(format!("{volume}.json"))
}

/// What is kept of the claims' volumes of a pod, by the volume's name in the pod.
pub fn records(pod_dir: &std::path::Path) -> Vec<(String, Record)> {
    let files = fs::read_dir(pod_dir.join("claims")).into_iter().flatten().flatten();
    let read = |file: fs::DirEntry| {
        let name = file.file_name().to_str()?.strip_suffix(".json")?.to_owned();
        Some((name, serde_json::from_slice(&fs::read(file.path()).ok()?).ok()?))
    };
    files.filter_map(read).collect()
}

/// Makes a claim's volume ready; `None` when no container uses it and it cannot be had. The error is the message of the event.
pub async fn mount(context: &Context<'_>, volume: &Volume, claim: &str) -> Result<Option<Mounted>, String> {
    let path = record_path(context.agent, context.wanted, context.name);
    let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Record>(&text).ok());
    if let Some(known) = known.filter(|known| !known.mount || kernel::is_mount(&known.path)) {
        return Ok(Some(known.mounted()));
    }
    let needed = Use::of(context.wanted, context.name);
    match find_and_mount(context, volume, claim, &needed).await {
        Ok(record) => {
            let text = serde_json::to_vec(&record).map_err(|e| e.to_string())?;
            let kept = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, text));
            kept.map_err(|e| format!("{}: {e}", path.display()))?;
            Ok(Some(record.mounted()))
        }
        Err(error) if !needed.mounts && !needed.devices => {
            tracing::debug!(pod = context.wanted.name(), volume = context.name, error, "an unused volume");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn find_and_mount(context: &Context<'_>, volume: &Volume, claim: &str, used: &Use) -> Result<Record, String> {
    let name = context.name;
    let found = find(context, volume, claim, used).await.map_err(|why| {
        format!(
            "Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], failed to process \
             volumes=[{name}]: {why}"
        )
    })?;
    let device = claims::mode_of(&found.volume) == "Block";
    check_place(context, &found, if device { "MapVolume" } else { "MountVolume" })?;
    let (path, mount) = if device { (map(&found).await?, false) } else { mount_found(context, &found).await? };
    let group = claims::annotation(&found.volume.metadata, GROUP).and_then(|text| text.parse().ok());
    Ok(Record { claim: found.claim, path, mount, read_only: found.read_only, device, group })
}

async fn find(context: &Context<'_>, volume: &Volume, name: &str, used: &Use) -> Result<Found, String> {
    let (wanted, client) = (context.wanted, &context.agent.options.client);
    let of_claim = |why: String| format!("error processing PVC {}/{name}: {why}", wanted.namespace());
    let claim = Api::<PersistentVolumeClaim>::namespaced(client, wanted.namespace()).get(name).await;
    let claim = claim.map_err(|e| of_claim(format!("failed to fetch PVC from API server: {e}")))?;
    if let Some(why) = unusable(&claim) {
        return Err(of_claim(why.to_owned()));
    }
    if volume.ephemeral.is_some() {
        claims::check_owner(&wanted.pod, &claim)?;
    }
    let bound_to = claims::volume_name(&claim).to_owned();
    let volume_read = Api::<PersistentVolume>::all(client).get(&bound_to).await;
    let bound = volume_read.map_err(|e| of_claim(format!("failed to fetch PV {bound_to} from API server: {e}")))?;
    check_bound(&claim, &bound, &bound_to).map_err(of_claim)?;
    let mode = claims::mode_of(&bound);
    for (uses, fits, field) in [(used.mounts, "Filesystem", "volumeMounts"), (used.devices, "Block", "volumeDevices")] {
        if uses && mode != fits {
            let own = context.name;
            return Err(format!("volume {own} has volumeMode {mode}, but is specified in {field}"));
        }
    }
    let source = volume.persistent_volume_claim.as_ref();
    let read_only = source.and_then(|s| s.read_only) == Some(true);
    let (options, given_options) = options(&bound);
    let volume = bound.as_ref().clone();
    Ok(Found { name: bound_to, volume, read_only, claim: name.to_owned(), options, given_options })
}

fn unusable(claim: &PersistentVolumeClaim) -> Option<&'static str> {
    if claim.metadata.deletion_timestamp.is_some() {
        return Some("PVC is being deleted");
    }
    if claim.status.as_ref().and_then(|s| s.phase.as_deref()) != Some("Bound") {
        return Some("PVC is not bound");
    }
    claims::volume_name(claim).is_empty().then_some("PVC has empty pvc.Spec.VolumeName")
}

fn check_bound(claim: &PersistentVolumeClaim, volume: &PersistentVolume, name: &str) -> Result<(), String> {
    let Some(reference) = claims::claim_of(volume) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    let (own, wanted) =
        (reference.uid.as_deref().unwrap_or_default(), claim.metadata.uid.as_deref().unwrap_or_default());
    if own == wanted {
        return Ok(());
    }
    Err(format!("found PV object {name} but its pv.Spec.ClaimRef.UID {own} does not point to claim.UID {wanted}"))
}

/// The volume's mount options, and whether it names any.
fn options(volume: &PersistentVolume) -> (MountOptions, bool) {
    let old = claims::annotation(&volume.metadata, MOUNT_OPTIONS).map(|text| vec![text.to_owned()]);
    let own = old.or_else(|| volume.spec.as_ref().and_then(|s| s.mount_options.clone())).unwrap_or_default();
    (MountOptions::parse(&own), own.iter().any(|option| !option.is_empty()))
}

/// A volume that belongs to another node is not touched.
fn check_place(context: &Context<'_>, found: &Found, operation: &str) -> Result<(), String> {
    let failed = |why: &str| format!("{operation}.NodeAffinity check failed for volume {:?} : {why}", found.name);
    let agent = context.agent;
    let node = agent.node().ok_or_else(|| failed("the node's labels are not known yet"))?;
    match claims::fits_node(&found.volume, &agent.options.node_name, node.metadata.labels.as_ref()) {
        true => Ok(()),
        false => Err(failed("no matching NodeSelectorTerms")),
    }
}

/// The device of a volume that is one.
async fn map(found: &Found) -> Result<PathBuf, String> {
    let name = &found.name;
    let spec = found.volume.spec.clone().unwrap_or_default();
    let Some(source) = spec.local else {
        return Err(format!("MapVolume.FindMapperPluginBySpec failed for volume {name:?} : no volume plugin matched"));
    };
    let device = tokio::task::spawn_blocking(move || local::device(&source.path)).await.map_err(|e| e.to_string())?;
    device.map_err(|why| format!("MapVolume.MapBlockVolume failed for volume {name:?} : {why}"))
}

/// Where the volume's files are, and whether that is a mount.
async fn mount_found(context: &Context<'_>, found: &Found) -> Result<(PathBuf, bool), String> {
    let name = &found.name;
    let failed = |step: &str, why: String| format!("MountVolume.{step} failed for volume {name:?} : {why}");
    let spec = found.volume.spec.clone().unwrap_or_default();
    // Directories are named after the volume, as upstream has it.
    let context = Context { name, ..*context };
    if let Some(source) = spec.local {
        return local::mount(&context, found, &source, &found.options).await.map(|path| (path, true));
    }
    if let Some(source) = spec.nfs {
        let read_only = found.read_only || source.read_only == Some(true);
        let source = k8s_openapi::api::core::v1::NFSVolumeSource { read_only: Some(read_only), ..source };
        let done = nfs::Nfs { source, options: found.options.clone() }.mount(&context).await;
        return done.map(|mounted| (mounted.host_path, true)).map_err(|why| failed("SetUp", why));
    }
    if let Some(source) = spec.host_path {
        if found.given_options {
            let why = "mount options are not supported for this volume type".to_owned();
            return Err(failed("MountOptionSupport check", why));
        }
        let done = host_path::HostPath(source).mount(&context).await;
        return done.map(|mounted| (mounted.host_path, false)).map_err(|why| failed("SetUp", why));
    }
    Err(match spec.csi {
        Some(source) => {
            let driver = source.driver;
            let why = "kubernetes.io/csi: attacher.MountDevice failed to create newCsiDriverClient";
            failed(
                "MountDevice",
                format!("{why}: driver name {driver} not found in the list of registered CSI drivers"),
            )
        }
        None => failed("FindPluginBySpec", "no volume plugin matched".to_owned()),
    })
}
