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
use std::sync::{Arc, Mutex, Weak};

use serde::{Deserialize, Serialize};

use crate::api::{ImageStatus, Result, RuntimeError};
use crate::record::{ImageDefaults, read_json, write_json};

pub use hello::HELLO_PREFIX;
pub use pull::Pulls;
pub use reference::{normalize, repository};

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

impl Image {
    /// The name with digest that fits a reference best, else any of them, else the id: CRI's `image_ref`.
    pub fn reference_for(&self, reference: &str) -> String {
        let name = normalize(reference).unwrap_or_default();
        let repository = match name.split_once('@') {
            Some((repository, _)) => repository,
            None => name.rsplit_once(':').map_or(name.as_str(), |(repository, _)| repository),
        };
        let own = |digest: &&String| digest.split('@').next() == Some(repository);
        let found = self.digests.get(&name).or_else(|| self.digests.iter().find(own));
        found.or_else(|| self.digests.first()).unwrap_or(&self.id).clone()
    }
}

/// Layers that stay as long as this lives: of an image that is being pulled, or of a container that is being made.
pub type Pin = Arc<Vec<String>>;

#[derive(Default)]
struct Index {
    images: BTreeMap<String, Image>,
    pins: Vec<Weak<Vec<String>>>,
}

/// The images of one data directory.
pub struct ImageStore {
    directory: PathBuf,
    index: Mutex<Index>,
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
        let file = directory.join("images.json");
        let images: BTreeMap<String, Image> = match read_json(&file) {
            Ok(images) => images,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => {
                // Images can be had again; a node that does not start helps nobody.
                tracing::error!(file = %file.display(), %error, "the image index is damaged; starting without images");
                std::fs::rename(&file, directory.join("images.json.damaged"))?;
                BTreeMap::new()
            }
        };
        for entry in std::fs::read_dir(directory.join("layers"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("new-") {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        Ok(Self { directory, index: Mutex::new(Index { images, pins: Vec::new() }) })
    }

    /// Removes layers that no image and none of `in_use` names. Only before anything is pulled.
    pub fn sweep(&self, in_use: &BTreeSet<String>) {
        let index = self.locked();
        let known: BTreeSet<&String> = index.images.values().flat_map(|image| &image.layers).chain(in_use).collect();
        for entry in std::fs::read_dir(self.layers_dir()).into_iter().flatten().flatten() {
            if !known.contains(&entry.file_name().to_string_lossy().into_owned()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Writes all layers to the disk.
    fn sync(&self) -> Result<()> {
        let open = std::fs::File::open(&self.directory);
        let synced = open.and_then(|file| crate::sys::sync_file_system(std::os::fd::AsFd::as_fd(&file)));
        synced.map_err(|error| failed("write layers to disk", &error))
    }

    fn pin(&self, layers: Vec<String>) -> Pin {
        let pin = Arc::new(layers);
        let mut index = self.locked();
        index.pins.retain(|known| known.strong_count() > 0);
        index.pins.push(Arc::downgrade(&pin));
        pin
    }

    /// Where layers lie.
    pub fn layers_dir(&self) -> PathBuf {
        self.directory.join("layers")
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Looks an image up by id or reference.
    pub fn find(&self, reference: &str) -> Option<Image> {
        self.locked().find(reference)
    }

    /// Looks an image up and keeps its layers for a container that is being made of it.
    pub fn find_for_use(&self, reference: &str) -> Option<(Image, Pin)> {
        let mut index = self.locked();
        let image = index.find(reference)?;
        let pin = Arc::new(image.layers.clone());
        index.pins.push(Arc::downgrade(&pin));
        Some((image, pin))
    }

    /// All images.
    pub fn list(&self) -> Vec<Image> {
        self.locked().images.values().cloned().collect()
    }

    /// Puts an image into the index; its tags leave other images.
    fn insert(&self, mut image: Image) -> Result<Image> {
        let mut index = self.locked();
        for other in index.images.values_mut() {
            other.tags.retain(|tag| !image.tags.contains(tag));
        }
        if let Some(known) = index.images.get(&image.id) {
            image.tags.extend(known.tags.iter().cloned());
            image.digests.extend(known.digests.iter().cloned());
        }
        index.images.insert(image.id.clone(), image.clone());
        self.save(&index.images)?;
        Ok(image)
    }

    fn save(&self, images: &BTreeMap<String, Image>) -> Result<()> {
        write_json(&self.directory.join("images.json"), images).map_err(|error| failed("write image index", &error))
    }

    /// Removes an image, and the layers that neither another image, a pin nor `in_use` names. What is in use is asked
    /// for while nothing can be pinned, so that a container on its way from a pin to the list is never missed.
    pub fn remove(&self, reference: &str, in_use: impl FnOnce() -> BTreeSet<String>) -> Result<()> {
        let mut doomed = Vec::new();
        {
            let mut index = self.locked();
            let Some(image) = index.find(reference) else { return Ok(()) };
            index.images.remove(&image.id);
            self.save(&index.images)?;
            index.pins.retain(|pin| pin.strong_count() > 0);
            let pins: Vec<Pin> = index.pins.iter().filter_map(Weak::upgrade).collect();
            let in_use = in_use();
            let others = index.images.values().flat_map(|other| &other.layers);
            let used: BTreeSet<&String> = others.chain(&in_use).chain(pins.iter().flat_map(|pin| pin.iter())).collect();
            for layer in image.layers.iter().filter(|layer| !used.contains(layer)) {
                let aside = self.layers_dir().join(format!("new-{layer}-{}", seams::random::name_suffix(6)));
                if std::fs::rename(self.layers_dir().join(layer), &aside).is_ok() {
                    doomed.push(aside);
                }
            }
        }
        for directory in doomed {
            let _ = std::fs::remove_dir_all(&directory);
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

impl Index {
    fn find(&self, reference: &str) -> Option<Image> {
        if let Some(image) = self.images.get(reference) {
            return Some(image.clone());
        }
        let name = normalize(reference).ok()?;
        self.images.values().find(|image| image.tags.contains(&name) || image.digests.contains(&name)).cloned()
    }
}

/// Bytes that a tree takes on disk; a file of several names counts once.
pub fn disk_use(path: &Path) -> u64 {
    disk_use_but(path, &mut BTreeSet::new())
}

fn disk_use_but(path: &Path, counted: &mut BTreeSet<(u64, u64)>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(data) = std::fs::symlink_metadata(path) else { return 0 };
    let own = data.blocks() * 512;
    if !data.is_dir() {
        return if data.nlink() > 1 && !counted.insert((data.dev(), data.ino())) { 0 } else { own };
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    own + entries.map(|entry| disk_use_but(&entry.path(), counted)).sum::<u64>()
}
