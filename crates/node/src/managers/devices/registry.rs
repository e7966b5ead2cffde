//! Plugins that do not register by themselves: they put a socket into `ROOT/plugins_registry`, are asked who they are
//! (`pluginregistration.v1`), and told whether they are taken. Their socket's end is theirs.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use grpc::Channel;
use tokio::time::Instant;

use super::Devices;
use super::proto::{Empty, InfoRequest, PluginInfo, RegistrationStatus};
use super::server::{VERSION, check_name};

/// How often the directory is looked at (upstream's reconciler does so too).
const PERIOD: Duration = Duration::from_secs(1);
/// How long a plugin may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Waits between attempts with a plugin that could not be asked, doubling.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(122);
/// How deep sockets are looked for, and how many there may be.
const DEPTH_MAX: usize = 4;
const SOCKETS_MAX: usize = 256;

/// One socket.
struct Socket {
    /// Tells it from one that came later under its name.
    identity: (u64, i64, i64),
    /// Its resource, with its plugin's number, once it is taken.
    taken: Option<(String, u64)>,
    tries: u32,
    next: Option<Instant>,
}

/// Why a plugin is not taken.
enum Refusal {
    /// It was told so: it must come again with another socket.
    Final(String),
    /// It could not be asked.
    Later(String),
}

/// Follows the directory, for ever.
pub async fn keep(devices: Arc<Devices>, directory: PathBuf) {
    let mut known: BTreeMap<PathBuf, Socket> = BTreeMap::new();
    loop {
        look(&devices, &directory, &mut known).await;
        tokio::time::sleep(PERIOD).await;
    }
}

async fn look(devices: &Arc<Devices>, directory: &Path, known: &mut BTreeMap<PathBuf, Socket>) {
    let mut there = BTreeMap::new();
    sockets(directory, DEPTH_MAX, &mut there);
    known.retain(|path, socket| {
        let same = there.get(path) == Some(&socket.identity);
        if let (false, Some((resource, number))) = (same, &socket.taken) {
            devices.leave(resource, *number);
        }
        same
    });
    for (path, identity) in there {
        let socket = known.entry(path.clone()).or_insert_with(|| Socket {
            identity,
            taken: None,
            tries: 0,
            next: Some(Instant::now()),
        });
        if socket.next.is_none_or(|next| next > Instant::now()) {
            continue;
        }
        socket.next = None;
        match take(devices, &path).await {
            Ok(taken) => socket.taken = Some(taken),
            Err(Refusal::Final(why)) => tracing::info!(socket = %path.display(), why, "a plugin was refused"),
            Err(Refusal::Later(why)) => {
                tracing::debug!(socket = %path.display(), why, "a plugin could not be asked");
                let wait = RETRY_MIN * 2_u32.pow(socket.tries.min(10));
                socket.next = Some(Instant::now() + wait.min(RETRY_MAX));
                socket.tries += 1;
            }
        }
    }
}

/// All sockets at and below a directory. Names that begin with a dot are somebody's unfinished work.
fn sockets(directory: &Path, depth: usize, found: &mut BTreeMap<PathBuf, (u64, i64, i64)>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let Ok(data) = entry.metadata() else { continue };
        if hidden || found.len() >= SOCKETS_MAX {
            continue;
        }
        if data.file_type().is_socket() {
            found.insert(entry.path(), (data.ino(), data.ctime(), data.ctime_nsec()));
        } else if data.is_dir() && depth > 1 {
            sockets(&entry.path(), depth - 1, found);
        }
    }
}

/// Asks a plugin who it is and follows its devices.
async fn take(devices: &Arc<Devices>, path: &Path) -> Result<(String, u64), Refusal> {
    let channel = Channel::new(path);
    let asked =
        channel.call::<PluginInfo>("pluginregistration.Registration/GetInfo", &InfoRequest {}, Some(ANSWER_MAX));
    let info = asked.await.map_err(|status| {
        let why = status.as_go_prints_it();
        let place = path.display();
        Refusal::Later(format!(
            "RegisterPlugin error -- failed to get plugin info using RPC GetInfo at socket {place}, err: {why}"
        ))
    })?;
    let result = match check(&info, path) {
        Ok(()) => {
            let endpoint = if info.endpoint.is_empty() { path.to_owned() } else { PathBuf::from(&info.endpoint) };
            let connected = devices.connect(&info.name, &endpoint).await;
            connected.map_err(|why| format!("RegisterPlugin error -- plugin registration failed with err: {why}"))
        }
        Err(why) => Err(why),
    };
    let error = result.as_ref().err().cloned().unwrap_or_default();
    let status = RegistrationStatus { plugin_registered: result.is_ok(), error };
    let method = "pluginregistration.Registration/NotifyRegistrationStatus";
    if let Err(status) = channel.call::<Empty>(method, &status, Some(ANSWER_MAX)).await {
        tracing::debug!(socket = %path.display(), error = status.as_go_prints_it(), "a plugin was not told");
    }
    result.map(|number| (info.name, number)).map_err(Refusal::Final)
}

fn check(info: &PluginInfo, path: &Path) -> Result<(), String> {
    if info.r#type != "DevicePlugin" {
        // CSI drivers and those of dynamic resources: pods that ask for them are told so.
        let (kind, place) = (&info.r#type, path.display());
        return Err(format!("RegisterPlugin error -- no handler registered for plugin type: {kind} at socket {place}"));
    }
    let failed = |why: String| Err(format!("RegisterPlugin error -- plugin validation failed with err: {why}"));
    if !info.supported_versions.iter().any(|version| version == VERSION) {
        let versions = info.supported_versions.join(" ");
        return failed(format!("manager version, {VERSION}, is not among plugin supported versions [{versions}]"));
    }
    match check_name(&info.name) {
        Err(why) => failed(format!("invalid name of device plugin socket: {why}")),
        Ok(()) => Ok(()),
    }
}
