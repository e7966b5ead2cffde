//! Pulls an image: manifest of this platform, configuration and layers into a temporary directory, then as an import.

use std::path::Path;

use serde::Deserialize;

use super::archive::{self, Contents};
use super::registry::Repository;
use super::{ImageStore, failed, normalize, sha256};
use crate::api::{Credentials, ImageStatus, Result, RuntimeError};

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Entry>,
    config: Option<Blob>,
    #[serde(default)]
    layers: Vec<Blob>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct Blob {
    digest: String,
}

fn broken(message: impl Into<String>) -> RuntimeError {
    RuntimeError::Pull { reason: "ErrImagePull", message: message.into() }
}

/// Fetches `reference` with the first credentials that work, then with none.
pub async fn pull(store: std::sync::Arc<ImageStore>, reference: &str, all: Vec<Credentials>) -> Result<ImageStatus> {
    let name = normalize(reference)?;
    let mut last = None;
    for credentials in all.into_iter().map(Some).chain([None]) {
        let directory = store.layers_dir().join(format!("new-pull-{}", seams::random::name_suffix(8)));
        std::fs::create_dir(&directory).map_err(|error| failed("make pull directory", &error))?;
        let result = fetch(&store, &name, credentials, &directory).await;
        let _ = std::fs::remove_dir_all(&directory);
        match result {
            Ok(image) => return Ok(image),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| broken("no attempt was made"));
    Err(match error {
        RuntimeError::Pull { reason, message } => {
            RuntimeError::Pull { reason, message: format!("failed to pull image {name:?}: {message}") }
        }
        other => broken(format!("failed to pull image {name:?}: {other}")),
    })
}

async fn fetch(
    store: &std::sync::Arc<ImageStore>,
    name: &str,
    credentials: Option<Credentials>,
    directory: &Path,
) -> Result<ImageStatus> {
    let (host, rest) = name.split_once('/').ok_or_else(|| broken("no registry"))?;
    let (path, what) = rest.split_once('@').or_else(|| rest.rsplit_once(':')).ok_or_else(|| broken("no tag"))?;
    let mut repository = Repository::new(host, path, credentials);
    let parse = |bytes: &[u8]| serde_json::from_slice::<Manifest>(bytes).map_err(|error| broken(error.to_string()));
    let bytes = repository.manifest(what).await?;
    let digest = format!("{host}/{path}@sha256:{}", sha256(&bytes));
    let mut manifest = parse(&bytes)?;
    if !manifest.manifests.is_empty() {
        let wanted = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let fits = |entry: &&Entry| {
            entry.platform.as_ref().is_some_and(|platform| platform.os == "linux" && platform.architecture == wanted)
        };
        let entry = manifest.manifests.iter().find(fits);
        let entry =
            entry.ok_or_else(|| broken(format!("no matching manifest for linux/{wanted} in the manifest list")))?;
        manifest = parse(&repository.manifest(&entry.digest.clone()).await?)?;
    }
    let config = manifest.config.ok_or_else(|| broken("manifest has no configuration"))?;
    let mut layers = Vec::new();
    for digest in [&config.digest].into_iter().chain(manifest.layers.iter().map(|layer| &layer.digest)) {
        let hex = digest.strip_prefix("sha256:").filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let hex = hex.ok_or_else(|| broken(format!("unsupported digest {digest:?}")))?;
        repository.blob(digest, &directory.join(hex)).await?;
        layers.push(hex.to_owned());
    }
    let config = layers.remove(0);
    let tags = if name.contains('@') { Vec::new() } else { vec![name.to_owned()] };
    let (store, contents) = (store.clone(), Contents::Directory(directory.to_owned()));
    let unpack = move || archive::add(&store, &contents, &config, &layers, &tags, Some(digest));
    tokio::task::spawn_blocking(unpack).await.map_err(|error| broken(error.to_string()))?
}
