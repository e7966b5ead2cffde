//! What is kept on disk: one small file for each sandbox that has a network.
//!
//! A file is written beside its place and renamed, so it is there whole or not at all. It is not synced: when the machine
//! loses power, the pods that it tells of are gone too.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::HostPort;
use crate::error::{NetworkError, Result};

const SUFFIX: &str = ".json";
const SANDBOX_ID_BYTES_MAX: usize = 128;

/// A sandbox with its network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The sandbox.
    pub sandbox_id: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The node's end of its veth pair.
    pub link: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its host ports.
    pub host_ports: Vec<HostPort>,
}

/// The directory of the records.
#[derive(Debug)]
pub struct StateDirectory {
    path: PathBuf,
}

impl StateDirectory {
    /// Makes the directory if it is not there.
    pub fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(|e| NetworkError::io(format!("make directory {}", path.display()), e))?;
        Ok(Self { path: path.to_owned() })
    }

    /// All records. A file that cannot be read as one is removed: only a loss of power leaves such, and no pod with it.
    pub fn load(&self) -> Result<Vec<Record>> {
        let failed = |e| NetworkError::io(format!("read directory {}", self.path.display()), e);
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let bytes = fs::read(&path).map_err(|e| NetworkError::io(format!("read {}", path.display()), e))?;
            let whole = path.to_string_lossy().ends_with(SUFFIX);
            match serde_json::from_slice::<Record>(&bytes) {
                Ok(record)
                    if whole && check_id(&record.sandbox_id).is_ok() && self.file(&record.sandbox_id) == path =>
                {
                    records.push(record);
                }
                _ => {
                    tracing::warn!(path = %path.display(), "removed a damaged record of a pod's network");
                    remove(&path)?;
                }
            }
        }
        Ok(records)
    }

    /// Writes a record.
    pub fn save(&self, record: &Record) -> Result<()> {
        let path = self.file(&record.sandbox_id);
        let beside = self.path.join(format!("{}.new", record.sandbox_id));
        let bytes = serde_json::to_vec(record).map_err(|e| NetworkError::io("encode a record", e.into()))?;
        fs::write(&beside, bytes)
            .and_then(|()| fs::rename(&beside, &path))
            .map_err(|e| NetworkError::io(format!("write {}", path.display()), e))
    }

    /// Removes a record. No error when there is none.
    pub fn delete(&self, sandbox_id: &str) -> Result<()> {
        remove(&self.file(sandbox_id))
    }

    /// Removes the directory, which has no records any more.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_dir(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(NetworkError::io(format!("remove directory {}", self.path.display()), e))
            }
            _ => Ok(()),
        }
    }

    fn file(&self, sandbox_id: &str) -> PathBuf {
        self.path.join(format!("{sandbox_id}{SUFFIX}"))
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(NetworkError::io(format!("remove {}", path.display()), e)),
        _ => Ok(()),
    }
}

/// A sandbox's id names a file: it must be one plain name.
pub fn check_id(sandbox_id: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fine = (1..=SANDBOX_ID_BYTES_MAX).contains(&sandbox_id.len())
        && !sandbox_id.starts_with('.')
        && sandbox_id.bytes().all(plain);
    fine.then_some(()).ok_or_else(|| NetworkError::Config(format!("{sandbox_id:?} cannot be the id of a sandbox")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_and_damaged_ones_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let state = StateDirectory::open(&directory.path().join("pods")).expect("opens");
        let record = Record {
            sandbox_id: "abc".into(),
            namespace: "default".into(),
            name: "web".into(),
            link: "vethabc".into(),
            addresses: vec!["10.42.0.2".parse().expect("an address")],
            host_ports: vec![],
        };
        state.save(&record).expect("saves");
        fs::write(state.path.join("bad.json"), "{").expect("writes");
        fs::write(state.path.join("half.new"), "").expect("writes");
        assert_eq!(state.load().expect("loads"), [record]);
        assert_eq!(fs::read_dir(&state.path).expect("lists").count(), 1);
        state.delete("abc").expect("deletes");
        state.delete("abc").expect("deletes again");
        state.remove().expect("removes");
        for id in ["", ".", "../x", "a/b", "a b", &"x".repeat(129)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }
}
