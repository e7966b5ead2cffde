//! The pod network for a runtime that calls CNI plugins: skiff offers itself as the plugin `skiff`.
//!
//! The plugin (`crate::cni`) is this program under another name. It asks the running server through a socket, so that there is one pod
//! network, with host ports and all, whichever runtime makes the pods.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use client::Shutdown;
use runtime::{CniDirectories, CriRuntime, PodNetwork, PortMapping, Runtime, SandboxConfig};
use serde::{Deserialize, Serialize};

use super::local;
use super::pod_network::Plug;

/// How often the runtime is asked where its networks are, and the files there are looked after.
const FILES_WAIT: Duration = Duration::from_millis(200);
const FILES_PERIOD: Duration = Duration::from_secs(30);
/// The plugin's name, and the one that containerd wants beside any.
pub const PLUGIN: &str = "skiff";
pub const LOOPBACK: &str = "loopback";
const CONFIGURATION: &str = "10-skiff.conflist";

/// What the plugin asks.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// Connect a pod.
    Add {
        /// The sandbox.
        sandbox_id: String,
        /// Its network namespace.
        netns: PathBuf,
        /// The pod's namespace.
        namespace: String,
        /// The pod's name.
        name: String,
        /// Its host ports.
        host_ports: Vec<PortMapping>,
    },
    /// Take a pod's network down.
    Delete {
        /// The sandbox.
        sandbox_id: String,
    },
    /// Whether a pod is connected.
    Check {
        /// The sandbox.
        sandbox_id: String,
    },
}

/// A pod's network.
#[derive(Serialize, Deserialize, Default)]
pub struct Connected {
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Where it sends what is not its own.
    pub gateway: Option<IpAddr>,
}

/// The answer, or why not.
pub type Answer = std::result::Result<Connected, String>;

/// Serves the plugin until shutdown, if the runtime needs one.
pub async fn serve(state_dir: &Path, plug: Arc<Plug>, runtime: Option<CriRuntime>, stop: Shutdown) -> Result<()> {
    let Some(runtime) = runtime else { return Ok(()) };
    let path = state_dir.join("cni.sock");
    let files = plug.clone();
    tokio::select! {
        served = local::serve(&path, stop, move |request| act(request, plug.clone())) => served,
        () = keep_files(&files, &runtime, &path) => Ok(()),
    }
}

async fn act(request: Request, plug: Arc<Plug>) -> runtime::Result<Connected> {
    match request {
        Request::Add { sandbox_id, netns, namespace, name, host_ports } => {
            let config = SandboxConfig { namespace, name, host_ports, ..SandboxConfig::default() };
            let ips = plug.setup(&sandbox_id, &netns, &config).await?;
            Ok(Connected { ips, gateway: Some(plug.ready().await.gateway()) })
        }
        Request::Delete { sandbox_id } => plug.teardown(&sandbox_id).await.map(|()| Connected::default()),
        Request::Check { sandbox_id } => {
            let ips = plug.ready().await.addresses(&sandbox_id);
            match ips.is_empty() {
                false => Ok(Connected { ips, gateway: None }),
                true => Err(runtime::RuntimeError::NotFound(format!("network of sandbox {sandbox_id}"))),
            }
        }
    }
}

/// Puts the plugin and its configuration where the runtime looks for them, once there is a network, and again whenever
/// somebody took them away.
async fn keep_files(plug: &Plug, runtime: &CriRuntime, socket: &Path) {
    let pod_cidr = plug.ready().await.pod_cidr().to_string();
    let mut told = String::new();
    loop {
        // The runtime answers this before it has a network.
        let _ = runtime.status().await;
        let Some(places) = runtime.cni_directories() else {
            tokio::time::sleep(FILES_WAIT).await;
            continue;
        };
        if let Err(error) = runtime.set_pod_cidr(&pod_cidr).await {
            tracing::debug!(%error, "the container runtime was not told the pod addresses");
        }
        let state = match install(&places, socket) {
            Ok(None) => String::new(),
            Ok(Some(other)) => format!(
                "{other} comes before {CONFIGURATION} in {}: pods are on that network, not on skiff's",
                places.configurations.display()
            ),
            Err(error) => format!("the pod network is not known to the container runtime: {error:#}"),
        };
        if state != told && !state.is_empty() {
            tracing::warn!("{state}");
        }
        told = state;
        tokio::time::sleep(FILES_PERIOD).await;
    }
}

/// Writes what is missing. The name of a configuration that the runtime prefers to ours, if there is one.
fn install(places: &CniDirectories, socket: &Path) -> Result<Option<String>> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    std::fs::create_dir_all(&places.plugins).with_context(|| places.plugins.display().to_string())?;
    std::fs::create_dir_all(&places.configurations).with_context(|| places.configurations.display().to_string())?;
    let plugin = places.plugins.join(PLUGIN);
    if std::fs::read_link(&plugin).ok().as_ref() != Some(&program) {
        replace(&plugin, |path| std::os::unix::fs::symlink(&program, path))?;
    }
    // Any other one does as well, if it is there.
    let loopback = places.plugins.join(LOOPBACK);
    if !loopback.exists() {
        replace(&loopback, |path| std::os::unix::fs::symlink(&program, path))?;
    }
    let file = places.configurations.join(CONFIGURATION);
    let text = configuration(socket);
    if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
        replace(&file, |path| std::fs::write(path, &text))?;
    }
    first_before(&places.configurations)
}

fn configuration(socket: &Path) -> String {
    let plugin = serde_json::json!({"type": PLUGIN, "socket": socket, "capabilities": {"portMappings": true}});
    format!("{:#}\n", serde_json::json!({"cniVersion": "0.4.0", "name": "skiff", "plugins": [plugin]}))
}

/// Makes a file under another name first, so that nobody sees half of it.
fn replace(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = std::fs::remove_file(&new);
    make(&new).and_then(|()| std::fs::rename(&new, path)).with_context(|| format!("cannot write {}", path.display()))
}

fn first_before(directory: &Path) -> Result<Option<String>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let counts = |name: &String| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
    Ok(names.filter(counts).min().filter(|name| name.as_str() < CONFIGURATION))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_where_the_runtime_looks() {
        let place = tempfile::tempdir().unwrap();
        let places =
            CniDirectories { configurations: place.path().join("net.d"), plugins: place.path().join("cni/bin") };
        assert_eq!(install(&places, Path::new("/run/x/cni.sock")).unwrap(), None);
        assert!(places.plugins.join(PLUGIN).exists() && places.plugins.join(LOOPBACK).exists());
        let text = std::fs::read_to_string(places.configurations.join(CONFIGURATION)).unwrap();
        assert!(text.contains("/run/x/cni.sock") && text.contains("portMappings"), "{text}");
        // Another loopback stays, and another network that comes first is told.
        let other = places.plugins.join(LOOPBACK);
        std::fs::remove_file(&other).unwrap();
        std::fs::write(&other, "other").unwrap();
        std::fs::write(places.configurations.join("05-other.conf"), "{}").unwrap();
        std::fs::write(places.configurations.join("00-readme"), "").unwrap();
        assert_eq!(install(&places, Path::new("/run/y/cni.sock")).unwrap(), Some("05-other.conf".to_owned()));
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
        let text = std::fs::read_to_string(places.configurations.join(CONFIGURATION)).unwrap();
        assert!(text.contains("/run/y/cni.sock"), "{text}");
    }
}
