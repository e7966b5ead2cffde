//! Images on disk: an index (`images.json`, replaced whole) and unpacked layers, one directory per chain of layers.
//!
//! A layer is unpacked beside its place and renamed into it, so that a directory with a final name is always whole; what
//! a killed process left behind is removed at the next start.

mod archive;
mod hello;
mod pull;
mod reference;
mod registry;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::api::{ImageStatus, Result, RuntimeError};
use crate::record::{ImageDefaults, read_json, write_json};

pub use hello::HELLO_PREFIX;
pub use pull::pull;
pub use reference::normalize;

/// One image of the index.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Image {
    /// Digest of its configuration.
    pub id: String,
    /// Normalized names with tags.
    pub tags: BTreeSet<String>,
    /// Names with digests.
    pub digests: BTreeSet<String>,
    /// Layer directories, lowest first.
    pub layers: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
    /// How it runs.
    pub defaults: ImageDefaults,
}

impl Image {
    /// As the runtime's API shows it.
    pub fn status(&self) -> ImageStatus {
        let user = self.defaults.user.split(':').next().unwrap_or_default();
        let uid = if user.is_empty() { Some(0) } else { user.parse().ok() };
        ImageStatus {
            id: self.id.clone(),
            repo_tags: self.tags.iter().cloned().collect(),
            repo_digests: self.digests.iter().cloned().collect(),
            size: self.size,
            uid,
            username: if uid.is_none() { user.to_owned() } else { String::new() },
        }
    }
}

/// The images of one data directory.
pub struct ImageStore {
    directory: PathBuf,
    images: Mutex<BTreeMap<String, Image>>,
}

/// Lower-case hexadecimal SHA-256.
fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn failed(what: &str, error: &io::Error) -> RuntimeError {
    RuntimeError::Failed(format!("{what}: {error}"))
}

impl ImageStore {
    /// Opens the store below `data_dir` and removes what a killed process left half done.
    pub fn open(data_dir: &Path) -> io::Result<Self> {
        let directory = data_dir.to_owned();
        std::fs::create_dir_all(directory.join("layers"))?;
        let index = directory.join("images.json");
        let images: BTreeMap<String, Image> = if index.exists() { read_json(&index)? } else { BTreeMap::new() };
        for entry in std::fs::read_dir(directory.join("layers"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { directory, images: Mutex::new(images) })
    }

    /// Where layers lie.
    pub fn layers_dir(&self) -> PathBuf {
        self.directory.join("layers")
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Image>> {
        self.images.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks an image up by id or reference.
    pub fn find(&self, reference: &str) -> Option<Image> {
        let images = self.locked();
        if let Some(image) = images.get(reference) {
            return Some(image.clone());
        }
        let name = normalize(reference).ok()?;
        images.values().find(|image| image.tags.contains(&name) || image.digests.contains(&name)).cloned()
    }

    /// All images.
    pub fn list(&self) -> Vec<Image> {
        self.locked().values().cloned().collect()
    }

    /// Puts an image into the index; its tags leave other images.
    fn insert(&self, mut image: Image) -> Result<Image> {
        let mut images = self.locked();
        for other in images.values_mut() {
            other.tags.retain(|tag| !image.tags.contains(tag));
        }
        if let Some(known) = images.get(&image.id) {
            image.tags.extend(known.tags.iter().cloned());
            image.digests.extend(known.digests.iter().cloned());
        }
        images.insert(image.id.clone(), image.clone());
        self.save(&images)?;
        Ok(image)
    }

    fn save(&self, images: &BTreeMap<String, Image>) -> Result<()> {
        write_json(&self.directory.join("images.json"), images).map_err(|error| failed("write image index", &error))
    }

    /// Removes an image, and the layers that neither another image nor `in_use` names.
    pub fn remove(&self, reference: &str, in_use: &BTreeSet<String>) -> Result<()> {
        let Some(image) = self.find(reference) else { return Ok(()) };
        let mut images = self.locked();
        images.remove(&image.id);
        self.save(&images)?;
        let used = |layer: &String| in_use.contains(layer) || images.values().any(|other| other.layers.contains(layer));
        for layer in image.layers.iter().filter(|layer| !used(layer)) {
            let doomed = self.layers_dir().join(format!("new-{layer}-{}", seams::random::name_suffix(6)));
            if std::fs::rename(self.layers_dir().join(layer), &doomed).is_ok() {
                let _ = std::fs::remove_dir_all(&doomed);
            }
        }
        Ok(())
    }

    /// Imports all images of a `docker save` or OCI archive; their names come back.
    pub fn import(&self, path: &Path) -> Result<Vec<ImageStatus>> {
        archive::import(self, path)
    }

    /// Makes a hello image from the program at `program` when `reference` names one.
    pub fn hello(&self, reference: &str, program: &Path) -> Result<Option<Image>> {
        hello::provide(self, reference, program)
    }

    /// A layer directory made by `fill`, unless it is there already; its size in bytes.
    fn layer(&self, name: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<u64> {
        let place = self.layers_dir().join(name);
        if !place.exists() {
            let temporary = self.layers_dir().join(format!("new-{name}-{}", seams::random::name_suffix(6)));
            std::fs::create_dir(&temporary).map_err(|error| failed("make layer", &error))?;
            let made = fill(&temporary).and_then(|()| match std::fs::rename(&temporary, &place) {
                Err(_) if place.exists() => Ok(()),
                other => other.map_err(|error| failed("finish layer", &error)),
            });
            if made.is_err() || temporary.exists() {
                let _ = std::fs::remove_dir_all(&temporary);
            }
            made?;
        }
        Ok(disk_use(&place))
    }
}

fn disk_use(path: &Path) -> u64 {
    let Ok(data) = std::fs::symlink_metadata(path) else { return 0 };
    if !data.is_dir() {
        return data.len();
    }
    std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| disk_use(&entry.path())).sum()
}
