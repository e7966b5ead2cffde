//! Archives of images: what `docker save` writes, and OCI layouts in a tar file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Deserialize;

use super::{Image, ImageStore, Pin, failed, hex, normalize, sha256, unpack};
use crate::api::{ImageStatus, Result, RuntimeError};
use crate::record::ImageDefaults;
use crate::sys::plain;

/// The most bytes of a JSON document in an archive.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize, Default)]
struct Configuration {
    #[serde(default)]
    config: RunConfiguration,
    rootfs: RootFs,
}

#[derive(Deserialize, Default)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RunConfiguration {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
    stop_signal: Option<String>,
}

/// A tar file, with the offset and length of each file in it.
struct Contents {
    file: File,
    places: BTreeMap<String, (u64, u64)>,
}

fn invalid(text: impl Into<String>) -> RuntimeError {
    RuntimeError::Invalid(text.into())
}

impl Contents {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let mut archive = tar::Archive::new(file.try_clone()?);
        let mut places = BTreeMap::new();
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            places.insert(name, (entry.raw_file_position(), entry.size()));
        }
        Ok(Self { file, places })
    }

    fn stream(&self, name: &str) -> Result<Box<dyn Read>> {
        let fail = |error: io::Error| failed("read archive", &error);
        let (offset, length) = self.places.get(name).ok_or_else(|| invalid(format!("archive lacks {name}")))?;
        let mut file = self.file.try_clone().map_err(fail)?;
        file.seek(SeekFrom::Start(*offset)).map_err(fail)?;
        Ok(Box::new(file.take(*length)))
    }

    fn has(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.stream(name)?.take(DOCUMENT_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| failed("read archive", &error))?;
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(&self.document(name)?).map_err(|error| invalid(format!("{name}: {error}")))
    }
}

/// Imports all images of an archive.
pub fn import(store: &ImageStore, path: &Path) -> Result<Vec<ImageStatus>> {
    let contents = Contents::open(path).map_err(|error| failed(&format!("open {}", path.display()), &error))?;
    if contents.has("manifest.json") {
        let images: Vec<DockerImage> = contents.json("manifest.json")?;
        let import = |image: &DockerImage| {
            add(store, &contents, &image.config, &image.layers, image.repo_tags.as_deref().unwrap_or_default())
        };
        return images.iter().map(import).collect();
    }
    let index: OciIndex = contents.json("index.json")?;
    let import = |entry: &Descriptor| {
        let manifest: OciManifest = contents.json(&blob(&entry.digest))?;
        let layers: Vec<String> = manifest.layers.iter().map(|layer| blob(&layer.digest)).collect();
        let annotations = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];
        let names: Vec<String> =
            annotations.iter().filter_map(|key| entry.annotations.get(*key)).take(1).cloned().collect();
        add(store, &contents, &blob(&manifest.config.digest), &layers, &names)
    };
    index.manifests.iter().map(import).collect()
}

fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replacen(':', "/", 1))
}

/// One layer of an image to be.
pub struct LayerPlan {
    /// The directory that holds it unpacked.
    pub name: String,
    /// The digest of its tar file, uncompressed.
    pub diff_id: String,
}

/// What an image's configuration says.
pub struct Plan {
    id: String,
    defaults: ImageDefaults,
    /// Lowest first.
    pub layers: Vec<LayerPlan>,
}

impl Plan {
    /// Reads a configuration, whose manifest names `layer_count` layers.
    pub fn new(configuration: &[u8], layer_count: usize) -> Result<Self> {
        let parsed: Configuration =
            serde_json::from_slice(configuration).map_err(|error| invalid(format!("image configuration: {error}")))?;
        if parsed.rootfs.diff_ids.len() != layer_count {
            return Err(invalid("image configuration and manifest name different numbers of layers"));
        }
        let mut chain = String::new();
        let mut layers = Vec::new();
        for diff_id in parsed.rootfs.diff_ids {
            chain = if chain.is_empty() {
                diff_id.clone()
            } else {
                format!("sha256:{}", sha256(format!("{chain} {diff_id}").as_bytes()))
            };
            layers.push(LayerPlan { name: sha256(chain.as_bytes())[..24].to_owned(), diff_id });
        }
        let run = parsed.config;
        let defaults = ImageDefaults {
            entrypoint: run.entrypoint.unwrap_or_default(),
            command: run.cmd.unwrap_or_default(),
            environment: run.env.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            user: run.user.unwrap_or_default(),
            stop_signal: run.stop_signal.unwrap_or_default(),
        };
        Ok(Self { id: format!("sha256:{}", sha256(configuration)), defaults, layers })
    }

    /// Keeps the layers from being removed as long as the pin lives.
    pub fn pin(&self, store: &ImageStore) -> Pin {
        store.pin(self.layers.iter().map(|layer| layer.name.clone()).collect())
    }

    /// Puts the image into the index, once all its layers are there, of `size` bytes together.
    pub fn register(
        self,
        store: &ImageStore,
        size: u64,
        tags: &[String],
        digest: Option<String>,
    ) -> Result<ImageStatus> {
        let tags = tags.iter().map(|tag| normalize(tag)).collect::<Result<_>>()?;
        let layers = self.layers.into_iter().map(|layer| layer.name).collect();
        let digests = digest.into_iter().collect();
        let image = Image { id: self.id, tags, digests, layers, size, defaults: self.defaults };
        // An index must never name a layer that a power failure empties.
        store.sync()?;
        Ok(store.insert(image)?.status())
    }
}

impl LayerPlan {
    /// Unpacks the layer from what `open` gives, unless it is there; its size in bytes.
    pub fn place(&self, store: &ImageStore, open: impl FnOnce() -> Result<Box<dyn Read>>) -> Result<u64> {
        store.layer(&self.name, |place| {
            let unpacked = unpack_verified(open()?, place, &self.diff_id);
            unpacked.map_err(|error| invalid(format!("failed to extract layer {}: {}", self.diff_id, plain(&error))))
        })
    }
}

/// Unpacks an image's layers and puts it into the index.
fn add(
    store: &ImageStore,
    contents: &Contents,
    config: &str,
    layers: &[String],
    tags: &[String],
) -> Result<ImageStatus> {
    let plan = Plan::new(&contents.document(config)?, layers.len())?;
    let _pin = plan.pin(store);
    let mut size = 0;
    for (layer, source) in plan.layers.iter().zip(layers) {
        size += layer.place(store, || contents.stream(source))?;
    }
    plan.register(store, size, tags, None)
}

/// Hashes what passes through.
struct Hashing<R> {
    inner: R,
    hash: ring::digest::Context,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// Unpacks a layer in any of the three encodings and checks its digest, uncompressed.
fn unpack_verified(stream: impl Read, place: &Path, diff_id: &str) -> io::Result<()> {
    let mut stream = io::BufReader::with_capacity(256 << 10, stream);
    let head = io::BufRead::fill_buf(&mut stream)?;
    let plain: Box<dyn Read> = if head.starts_with(&[0x1f, 0x8b]) {
        Box::new(flate2::bufread::MultiGzDecoder::new(stream))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Box::new(zstd::Decoder::with_buffer(stream)?)
    } else {
        Box::new(stream)
    };
    let mut hashing = Hashing { inner: plain, hash: ring::digest::Context::new(&ring::digest::SHA256) };
    unpack::unpack(&mut hashing, place)?;
    // The digest covers the padding after the last entry too.
    io::copy(&mut hashing, &mut io::sink())?;
    let got = format!("sha256:{}", hex(hashing.hash.finish().as_ref()));
    if got != diff_id {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("digest is {got}")));
    }
    Ok(())
}
