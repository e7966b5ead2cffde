//! Which credentials pulled which image, in the files of upstream's kubelet (KEP-2535): one below `pulled` for each image, one
//! below `pulling` for each pull that is under way or was broken off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::files::replace_file;
use crate::lock;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const PULLED_KIND: &str = "ImagePulledRecord";
const PULLING_KIND: &str = "ImagePullIntent";

/// A secret that pulled an image, and what was in it then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullSecret {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// SHA-256 of the credentials, in hexadecimal digits.
    pub credential_hash: String,
}

impl PullSecret {
    /// Whether both are the same object, whatever is in it.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name, &self.uid) == (&other.namespace, &other.name, &other.uid)
    }
}

/// Who may use an image under one of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pullers {
    /// Pods with one of these secrets; the object or what is in it must be the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<PullSecret>,
    /// All pods: it was pulled without credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
    /// It was there before anything was pulled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub preloaded: bool,
}

impl Pullers {
    /// All pods of the node.
    pub fn everybody() -> Self {
        Self { node_pods_accessible: true, ..Self::default() }
    }

    /// Pods with one secret.
    pub fn one(secret: PullSecret) -> Self {
        Self { kubernetes_secrets: vec![secret], ..Self::default() }
    }

    /// Takes others in; whether that changed anything.
    fn merge(&mut self, more: &Self) -> bool {
        let before = self.clone();
        if self.node_pods_accessible || more.node_pods_accessible {
            *self = Self::everybody();
            return *self != before;
        }
        for secret in &more.kubernetes_secrets {
            self.kubernetes_secrets.retain(|known| !known.is_same_object(secret));
            self.kubernetes_secrets.push(secret.clone());
        }
        self.kubernetes_secrets.sort();
        self.preloaded &= more.preloaded;
        *self != before
    }
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When this changed last; in whole seconds on disk.
    #[serde(serialize_with = "whole_seconds")]
    pub last_updated_time: Timestamp,
    /// The image's id.
    pub image_ref: String,
    /// By the name under which it was asked for, without tag and digest.
    #[serde(default)]
    pub credential_mapping: BTreeMap<String, Pullers>,
}

fn whole_seconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    Timestamp::from_second(at.as_second()).unwrap_or(*at).serialize(serializer)
}

#[derive(Serialize, Deserialize)]
struct File<T> {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    #[serde(flatten)]
    contents: T,
}

#[derive(Serialize, Deserialize)]
struct Intent {
    image: String,
}

/// A record of which at least the image's id is known.
#[derive(Debug, Clone)]
pub enum Known {
    /// It was read.
    Record(Record),
    /// Its file cannot be read. Nobody may use the image on its account.
    Damaged,
}

#[derive(Default)]
struct State {
    /// By file name.
    pulled: BTreeMap<String, Known>,
    /// Images that are being pulled, and by how many; by none, when that was in an earlier life.
    pulling: BTreeMap<String, usize>,
}

/// All records: in memory, where they are looked up, and on disk.
pub struct Records {
    directory: PathBuf,
    state: Mutex<State>,
    /// Held while files are written: what is on disk is what was in memory when it was written last.
    files: Mutex<()>,
}

/// `sha256-…`: names of images may hold what names of files may not.
fn file_name(text: &str) -> String {
    format!("sha256-{}", sha256(text.as_bytes()))
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a directory that hold records, by name.
fn read_all(directory: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    std::fs::create_dir_all(directory)?;
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("sha256-") {
            all.push((name, std::fs::read(entry.path())?));
        }
    }
    Ok(all)
}

fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], kind: &str) -> Option<T> {
    let file: File<T> = serde_json::from_slice(bytes).ok()?;
    (file.kind == kind && file.api_version.starts_with("kubelet.config.k8s.io/")).then_some(file.contents)
}

fn write<T: Serialize>(path: &Path, kind: &str, contents: T) -> io::Result<()> {
    let file = File { kind: kind.to_owned(), api_version: API_VERSION.to_owned(), contents };
    replace_file(path, &serde_json::to_vec(&file)?)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Records {
    /// Reads what a directory holds (upstream: /var/lib/kubelet/image_manager); it is made when it is missing.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let mut state = State::default();
        for (name, bytes) in read_all(&directory.join("pulled"))? {
            let record: Option<Record> = parse(&bytes, PULLED_KIND);
            let record = record.filter(|record| file_name(&record.image_ref) == name);
            if record.is_none() {
                tracing::warn!(
                    file = name,
                    "the record of an image's pulls cannot be read: pods have to ask the registry"
                );
            }
            state.pulled.insert(name, record.map_or(Known::Damaged, Known::Record));
        }
        for (_, bytes) in read_all(&directory.join("pulling"))? {
            state.pulling.extend(parse::<Intent>(&bytes, PULLING_KIND).map(|intent| (intent.image, 0)));
        }
        Ok(Self { directory: directory.to_owned(), state: Mutex::new(state), files: Mutex::default() })
    }

    /// What is known of an image by its id.
    pub fn find(&self, id: &str) -> Option<Known> {
        lock(&self.state).pulled.get(&file_name(id)).cloned()
    }

    /// Whether an image of this name is being pulled, or was when skiff ended.
    pub fn is_pulling(&self, image: &str) -> bool {
        lock(&self.state).pulling.contains_key(image)
    }

    /// The images whose pull was broken off in an earlier life.
    pub fn broken_off(&self) -> Vec<String> {
        let state = lock(&self.state);
        state.pulling.iter().filter(|(_, pulls)| **pulls == 0).map(|(image, _)| image.clone()).collect()
    }

    /// How many images were pulled, and how many are being pulled.
    pub fn count(&self) -> (usize, usize) {
        let state = lock(&self.state);
        (state.pulled.len(), state.pulling.len())
    }

    /// Takes in who may use an image; with nobody, that it was pulled.
    pub fn add(&self, id: &str, repository: &str, pullers: Option<&Pullers>) -> io::Result<()> {
        let name = file_name(id);
        {
            let mut state = lock(&self.state);
            let fresh = || Record {
                last_updated_time: seams::clock::now(),
                image_ref: id.to_owned(),
                credential_mapping: BTreeMap::new(),
            };
            let known = match state.pulled.remove(&name) {
                Some(Known::Record(record)) => Some(record),
                _ => None,
            };
            let is_new = known.is_none();
            let mut record = known.unwrap_or_else(fresh);
            let changed = pullers.is_some_and(|pullers| match record.credential_mapping.get_mut(repository) {
                Some(old) => old.merge(pullers),
                None => record.credential_mapping.insert(repository.to_owned(), pullers.clone()).is_none(),
            });
            if changed {
                record.last_updated_time = seams::clock::now();
            }
            state.pulled.insert(name.clone(), Known::Record(record));
            if !(changed || is_new) {
                return Ok(());
            }
        }
        self.keep_record(&name)
    }

    /// Somebody begins to pull an image.
    pub fn begin(&self, image: &str) -> io::Result<()> {
        *lock(&self.state).pulling.entry(image.to_owned()).or_default() += 1;
        let kept = self.keep_intent(image);
        if kept.is_err() {
            let _ = self.end(image);
        }
        kept
    }

    /// It is done with.
    pub fn end(&self, image: &str) -> io::Result<()> {
        {
            let mut state = lock(&self.state);
            match state.pulling.get_mut(image) {
                Some(pulls) if *pulls > 1 => *pulls -= 1,
                _ => drop(state.pulling.remove(image)),
            }
        }
        self.keep_intent(image)
    }

    /// Forgets images that were gone at a moment.
    pub fn prune(&self, there: &BTreeSet<String>, at: Timestamp) -> io::Result<()> {
        let gone: Vec<String> = {
            let mut state = lock(&self.state);
            let there: BTreeSet<String> = there.iter().map(|id| file_name(id)).collect();
            let is_gone = |name: &String, known: &Known| {
                let old =
                    matches!(known, Known::Damaged) || matches!(known, Known::Record(r) if r.last_updated_time < at);
                old && !there.contains(name)
            };
            state.pulled.extract_if(.., |name, known| is_gone(name, known)).map(|(name, _)| name).collect()
        };
        gone.iter().try_for_each(|name| self.keep_record(name))
    }

    fn keep_record(&self, name: &str) -> io::Result<()> {
        let _files = lock(&self.files);
        let known = lock(&self.state).pulled.get(name).cloned();
        let path = self.directory.join("pulled").join(name);
        match known {
            Some(Known::Record(record)) => write(&path, PULLED_KIND, record),
            Some(Known::Damaged) => Ok(()),
            None => remove(&path),
        }
    }

    fn keep_intent(&self, image: &str) -> io::Result<()> {
        let _files = lock(&self.files);
        let path = self.directory.join("pulling").join(file_name(image));
        match self.is_pulling(image) {
            true if path.exists() => Ok(()),
            true => write(&path, PULLING_KIND, Intent { image: image.to_owned() }),
            false => remove(&path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, hash: &str) -> PullSecret {
        let text = str::to_owned;
        PullSecret { namespace: text("n"), name: text(name), uid: text("u"), credential_hash: text(hash) }
    }

    fn pullers(records: &Records, id: &str, repository: &str) -> Option<Pullers> {
        match records.find(id)? {
            Known::Record(record) => record.credential_mapping.get(repository).cloned(),
            Known::Damaged => None,
        }
    }

    #[test]
    fn files_are_those_of_upstreams_kubelet() {
        let place = tempfile::tempdir().unwrap();
        seams::clock::simulate("2026-01-01T00:00:00Z".parse().unwrap());
        let records = Records::open(place.path()).unwrap();
        records.begin("testimage:1").unwrap();
        records.add("testimageref", "docker.io/testing/test", Some(&Pullers::one(secret("s", "h")))).unwrap();
        let file = |directory: &str, text: &str| place.path().join(directory).join(file_name(text));
        let read = |path: PathBuf| serde_json::from_slice::<serde_json::Value>(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(
            read(file("pulled", "testimageref")),
            serde_json::json!({
                "kind": "ImagePulledRecord", "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "lastUpdatedTime": "2026-01-01T00:00:00Z", "imageRef": "testimageref",
                "credentialMapping": {"docker.io/testing/test": {"kubernetesSecrets": [
                    {"namespace": "n", "name": "s", "uid": "u", "credentialHash": "h"}]}}
            })
        );
        assert_eq!(
            read(file("pulling", "testimage:1")),
            serde_json::json!({
                "kind": "ImagePullIntent", "apiVersion": "kubelet.config.k8s.io/v1beta1", "image": "testimage:1"
            })
        );
        // The next life reads what this one wrote, and knows that a pull was broken off.
        let again = Records::open(place.path()).unwrap();
        assert_eq!(pullers(&again, "testimageref", "docker.io/testing/test"), Some(Pullers::one(secret("s", "h"))));
        assert!(again.is_pulling("testimage:1") && again.broken_off() == ["testimage:1"]);
        again.begin("testimage:1").unwrap();
        assert!(again.broken_off().is_empty());
        again.end("testimage:1").unwrap();
        assert!(!again.is_pulling("testimage:1") && !file("pulling", "testimage:1").exists());
    }

    #[test]
    fn two_pulls_of_an_image_end_one_by_one() {
        let place = tempfile::tempdir().unwrap();
        let records = Records::open(place.path()).unwrap();
        records.begin("a").unwrap();
        records.begin("a").unwrap();
        records.end("a").unwrap();
        assert!(records.is_pulling("a"));
        records.end("a").unwrap();
        assert!(!records.is_pulling("a"));
        // Where nothing can be written, nothing is begun.
        std::fs::remove_dir_all(place.path().join("pulling")).unwrap();
        assert!(records.begin("b").is_err() && !records.is_pulling("b"));
    }

    #[test]
    fn records_that_cannot_be_read_are_not_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pulled").join(file_name("id"));
        for bytes in [&b"{"[..], b"{}", br#"{"kind":"ImagePulledRecord","apiVersion":"v1"}"#] {
            drop(Records::open(place.path()).unwrap());
            std::fs::write(&path, bytes).unwrap();
            let records = Records::open(place.path()).unwrap();
            assert!(matches!(records.find("id"), Some(Known::Damaged)));
            records.add("id", "r", Some(&Pullers::everybody())).unwrap();
            assert_eq!(pullers(&records, "id", "r"), Some(Pullers::everybody()));
        }
        let v1alpha1 = br#"{"kind":"ImagePulledRecord","apiVersion":"kubelet.config.k8s.io/v1alpha1",
            "lastUpdatedTime":"2025-05-01T00:00:00Z","imageRef":"id","credentialMapping":{"r":{"nodePodsAccessible":true}}}"#;
        std::fs::write(&path, v1alpha1).unwrap();
        assert_eq!(pullers(&Records::open(place.path()).unwrap(), "id", "r"), Some(Pullers::everybody()));
    }

    #[test]
    fn pullers_add_up() {
        let place = tempfile::tempdir().unwrap();
        let records = Records::open(place.path()).unwrap();
        let add = |more: Pullers| {
            records.add("id", "r", Some(&more)).unwrap();
            pullers(&records, "id", "r").unwrap()
        };
        let preloaded = Pullers { preloaded: true, ..Pullers::default() };
        assert_eq!(add(preloaded.clone()), preloaded);
        assert_eq!(add(Pullers::one(secret("b", "1"))), Pullers::one(secret("b", "1")));
        assert_eq!(add(Pullers::one(secret("a", "1"))).kubernetes_secrets, [secret("a", "1"), secret("b", "1")]);
        assert_eq!(add(Pullers::one(secret("b", "2"))).kubernetes_secrets, [secret("a", "1"), secret("b", "2")]);
        assert_eq!(add(preloaded).kubernetes_secrets.len(), 2, "what was pulled stays so");
        assert_eq!(add(Pullers::everybody()), Pullers::everybody());
        assert_eq!(add(Pullers::one(secret("c", "3"))), Pullers::everybody());
    }

    #[test]
    fn images_that_are_gone_are_forgotten() {
        let place = tempfile::tempdir().unwrap();
        let records = Records::open(place.path()).unwrap();
        for id in ["there", "gone", "new"] {
            let second = if id == "new" { 20 } else { 0 };
            seams::clock::simulate(Timestamp::from_second(second).unwrap());
            records.add(id, "r", None).unwrap();
        }
        records.prune(&["there".to_owned()].into(), Timestamp::from_second(10).unwrap()).unwrap();
        for records in [&records, &Records::open(place.path()).unwrap()] {
            let known = ["there", "gone", "new"].map(|id| records.find(id).is_some());
            assert_eq!(known, [true, false, true]);
        }
    }
}
