//! Pulls images: the manifest of this platform, its configuration, and the layers that are not there yet, some at a time.
//! Pulls of the same image at the same time share one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use super::archive::{LayerPlan, Plan};
use super::registry::{Failure, Repository};
use super::{ImageStore, failed, normalize, sha256};
use crate::api::{Credentials, ImageStatus, Pulled, Result, RuntimeError};

/// Layers of one image that are fetched and unpacked at the same time.
const LAYERS_AT_ONCE_MAX: usize = 3;
/// Images that are pulled at the same time.
const PULLS_AT_ONCE_MAX: usize = 4;

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

/// The text of a failure without its kind.
fn text(error: RuntimeError) -> String {
    error.to_string()
}

/// What a pull is for: image and credentials.
type Key = (String, Vec<Credentials>);
type Outcome = watch::Receiver<Option<Result<Pulled>>>;

/// The pulls under way.
pub struct Pulls {
    running: Mutex<HashMap<Key, Outcome>>,
    permits: Semaphore,
}

impl Default for Pulls {
    fn default() -> Self {
        Self { running: Mutex::default(), permits: Semaphore::new(PULLS_AT_ONCE_MAX) }
    }
}

impl Pulls {
    /// Fetches `reference` with the first credentials that work, then with none. Goes on when the caller is gone.
    pub async fn pull(
        self: &Arc<Self>,
        store: Arc<ImageStore>,
        reference: &str,
        credentials: Vec<Credentials>,
    ) -> Result<Pulled> {
        let name = normalize(reference)?;
        let mut outcome = self.join(store, (name, credentials));
        match outcome.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or_else(|| Err(broken("the pull has no result"))),
            Err(_) => Err(broken("the pull was broken off")),
        }
    }

    fn join(self: &Arc<Self>, store: Arc<ImageStore>, key: Key) -> Outcome {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = running.get(&key).filter(|outcome| outcome.has_changed().is_ok()) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        running.insert(key.clone(), outcome.clone());
        let pulls = self.clone();
        tokio::spawn(async move {
            let result = match pulls.permits.acquire().await {
                Ok(_permit) => try_all(&store, &key.0, &key.1).await,
                Err(error) => Err(broken(error.to_string())),
            };
            pulls.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            tell.send_replace(Some(result));
        });
        outcome
    }
}

/// Tries all credentials, then none. The first failure is told: it is that of the best credentials.
async fn try_all(store: &Arc<ImageStore>, name: &str, all: &[Credentials]) -> Result<Pulled> {
    let mut first = None;
    for (index, credentials) in all.iter().cloned().map(Some).chain([None]).enumerate() {
        let used = credentials.is_some().then_some(index);
        let directory = store.layers_dir().join(format!("new-pull-{}", seams::random::name_suffix(8)));
        std::fs::create_dir(&directory).map_err(|error| failed("make pull directory", &error))?;
        let result = fetch(store, name, credentials, &directory).await;
        let _ = std::fs::remove_dir_all(&directory);
        match result {
            Ok(image) => return Ok(Pulled { image, credentials: used }),
            Err(error) => first = first.or(Some(text(error))),
        }
    }
    let why = first.unwrap_or_default();
    Err(broken(format!("failed to pull and unpack image {name:?}: {why}")))
}

async fn fetch(
    store: &Arc<ImageStore>,
    name: &str,
    credentials: Option<Credentials>,
    directory: &Path,
) -> Result<ImageStatus> {
    let (host, rest) = name.split_once('/').ok_or_else(|| broken("no registry"))?;
    let (path, what) = rest.split_once('@').or_else(|| rest.rsplit_once(':')).ok_or_else(|| broken("no tag"))?;
    let repository = Repository::new(host, path, credentials);
    let unresolved = |failure: Failure| {
        let why = if failure.not_found { format!("{name}: not found") } else { failure.message };
        broken(format!("failed to resolve reference {name:?}: {why}"))
    };
    let bytes = repository.manifest(what).await.map_err(unresolved)?;
    let digest = format!("{host}/{path}@sha256:{}", sha256(&bytes));
    let manifest = platform_manifest(&repository, bytes).await?;
    let config = manifest.config.ok_or_else(|| broken("manifest has no configuration"))?;
    let copy = |failure: Failure| broken(format!("failed to copy: {}", failure.message));
    let plan = Plan::new(&repository.document(&config.digest).await.map_err(copy)?, manifest.layers.len())?;
    let _pin = plan.pin(store);
    let mut each: Vec<BoxFuture<'_, Result<u64>>> = Vec::new();
    for (layer, blob) in plan.layers.iter().zip(&manifest.layers) {
        each.push(fetch_layer(&repository, store.clone(), layer, &blob.digest, directory).boxed());
    }
    let sizes: Vec<u64> = futures_util::stream::iter(each).buffer_unordered(LAYERS_AT_ONCE_MAX).try_collect().await?;
    let tags = if name.contains('@') { Vec::new() } else { vec![name.to_owned()] };
    let store = store.clone();
    let register = move || plan.register(&store, sizes.iter().sum(), &tags, Some(digest));
    tokio::task::spawn_blocking(register).await.map_err(|error| broken(error.to_string()))?
}

/// The manifest for this platform, out of a list of them when it is one.
async fn platform_manifest(repository: &Repository, bytes: Vec<u8>) -> Result<Manifest> {
    let parse = |bytes: &[u8]| serde_json::from_slice::<Manifest>(bytes).map_err(|error| broken(error.to_string()));
    let manifest = parse(&bytes)?;
    if manifest.manifests.is_empty() {
        return Ok(manifest);
    }
    let wanted = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let fits = |entry: &&Entry| {
        entry.platform.as_ref().is_some_and(|platform| platform.os == "linux" && platform.architecture == wanted)
    };
    let entry = manifest.manifests.iter().find(fits);
    let entry = entry.ok_or_else(|| broken(format!("no match for platform in manifest: linux/{wanted}: not found")))?;
    let bytes = repository.manifest(&entry.digest).await;
    parse(&bytes.map_err(|failure| broken(format!("failed to copy: {}", failure.message)))?)
}

/// Fetches and unpacks one layer, unless it is there; its size.
async fn fetch_layer(
    repository: &Repository,
    store: Arc<ImageStore>,
    layer: &LayerPlan,
    digest: &str,
    directory: &Path,
) -> Result<u64> {
    let file: PathBuf = directory.join(&layer.name);
    if !store.layers_dir().join(&layer.name).exists() {
        let fetched = repository.blob(digest, &file).await;
        fetched.map_err(|failure| broken(format!("failed to copy: {}", failure.message)))?;
    }
    let layer = LayerPlan { name: layer.name.clone(), diff_id: layer.diff_id.clone() };
    let unpack = move || {
        let open = || -> Result<Box<dyn std::io::Read>> {
            Ok(Box::new(std::fs::File::open(&file).map_err(|error| failed("read layer", &error))?))
        };
        let size = layer.place(&store, open);
        let _ = std::fs::remove_file(&file);
        size
    };
    tokio::task::spawn_blocking(unpack).await.map_err(|error| broken(error.to_string()))?
}
