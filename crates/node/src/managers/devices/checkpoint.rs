//! `kubelet_internal_checkpoint`: which container has which devices, in upstream's form.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::proto::ContainerAllocateResponse;
use super::{Allocation, Held};
use crate::files::replace_file;
use crate::managers::checksum::{fnv32a, list, map};

/// The file's name in the plugins' directory.
pub const NAME: &str = "kubelet_internal_checkpoint";

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    data: Data,
    checksum: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Data {
    pod_device_entries: Option<Vec<Entry>>,
    registered_devices: Option<BTreeMap<String, Vec<String>>>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "PodUID")]
    pod_uid: String,
    #[serde(rename = "ContainerName")]
    container_name: String,
    #[serde(rename = "ResourceName")]
    resource_name: String,
    #[serde(rename = "DeviceIDs")]
    device_ids: Option<BTreeMap<i64, Vec<String>>>,
    #[serde(rename = "AllocResp")]
    alloc_resp: Option<String>,
}

impl Entry {
    fn answer(&self) -> Vec<u8> {
        STANDARD.decode(self.alloc_resp.as_deref().unwrap_or_default()).unwrap_or_default()
    }

    fn printed(&self) -> String {
        format!(
            "{{PodUID:(string){} ContainerName:(string){} ResourceName:(string){} DeviceIDs:(checkpoint.DevicesPerNUMA){} \
             AllocResp:([]uint8){}}}",
            self.pod_uid,
            self.container_name,
            self.resource_name,
            map(self.device_ids.iter().flatten().map(|(node, ids)| (node, list(ids)))),
            list(self.answer()),
        )
    }
}

impl Data {
    fn checksum(&self) -> u64 {
        let entries = list(self.pod_device_entries.iter().flatten().map(Entry::printed));
        let devices = map(self.registered_devices.iter().flatten().map(|(name, ids)| (name, list(ids))));
        let text = format!(
            "(checkpoint.checkpointData){{PodDeviceEntries:([]checkpoint.PodDevicesEntry){entries} \
             RegisteredDevices:(map[string][]string){devices}}}"
        );
        u64::from(fnv32a(&text))
    }
}

/// What the file says: who holds what, and the names of resources that had a plugin. `None` when there is none.
pub fn read(directory: &Path) -> io::Result<Option<(Held, Vec<String>)>> {
    let text = match std::fs::read(directory.join(NAME)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let file: File = serde_json::from_slice(&text)?;
    if file.checksum != file.data.checksum() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "checkpoint is corrupted"));
    }
    let mut held = Held::default();
    for entry in file.data.pod_device_entries.iter().flatten() {
        let answer = ContainerAllocateResponse::decode(entry.answer().as_slice()).map_err(io::Error::other)?;
        let allocation = Allocation { devices: entry.device_ids.clone().unwrap_or_default(), answer: Some(answer) };
        let containers = held.entry(entry.pod_uid.clone()).or_default();
        containers.entry(entry.container_name.clone()).or_default().insert(entry.resource_name.clone(), allocation);
    }
    Ok(Some((held, file.data.registered_devices.unwrap_or_default().into_keys().collect())))
}

/// Writes the file. Devices that a plugin was not told of yet are left out.
pub fn write(directory: &Path, held: &Held, healthy: BTreeMap<String, Vec<String>>) -> io::Result<()> {
    let mut entries = Vec::new();
    for (pod_uid, containers) in held {
        for (container_name, resources) in containers {
            for (resource_name, allocation) in resources {
                let Some(answer) = &allocation.answer else { continue };
                entries.push(Entry {
                    pod_uid: pod_uid.clone(),
                    container_name: container_name.clone(),
                    resource_name: resource_name.clone(),
                    device_ids: Some(allocation.devices.clone()),
                    alloc_resp: Some(STANDARD.encode(answer.encode_to_vec())),
                });
            }
        }
    }
    let data = Data { pod_device_entries: Some(entries), registered_devices: Some(healthy) };
    let checksum = data.checksum();
    replace_file(&directory.join(NAME), &serde_json::to_vec(&File { data, checksum })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The checksums are upstream's, of the same data.
    #[test]
    fn checksums_are_upstreams() {
        let ids = |pairs: &[(i64, &[&str])]| {
            Some(pairs.iter().map(|(n, ids)| (*n, ids.iter().map(|id| (*id).to_owned()).collect())).collect())
        };
        let entry = |device_ids, answer: &[u8]| Entry {
            pod_uid: "u".to_owned(),
            container_name: "c".to_owned(),
            resource_name: "r/x".to_owned(),
            device_ids,
            alloc_resp: Some(STANDARD.encode(answer)),
        };
        let entries = vec![
            entry(ids(&[(-1, &["d1", "d2"]), (10, &["x"]), (2, &["y"])]), &[0, 1, 200, 10, 65]),
            entry(ids(&[]), &[]),
        ];
        let devices = [("r/x".to_owned(), vec!["d1".to_owned(), "d2".to_owned()]), ("a/b".to_owned(), Vec::new())];
        let data = Data { pod_device_entries: Some(entries), registered_devices: Some(devices.into()) };
        assert_eq!(data.checksum(), 2_099_663_894);
        let none = Data { pod_device_entries: Some(Vec::new()), registered_devices: Some(BTreeMap::new()) };
        assert_eq!(none.checksum(), 2_932_075_448);
    }

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path()).unwrap().is_none());
        let answer = ContainerAllocateResponse {
            envs: [("A".to_owned(), "b".to_owned())].into(),
            ..ContainerAllocateResponse::default()
        };
        let allocation = Allocation { devices: [(-1, vec!["d".to_owned()])].into(), answer: Some(answer) };
        let mut held = Held::default();
        held.entry("u".to_owned()).or_default().entry("c".to_owned()).or_default().insert("r/x".to_owned(), allocation);
        write(directory.path(), &held, [("r/x".to_owned(), vec!["d".to_owned()])].into()).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Some((held, vec!["r/x".to_owned()])));
        let path = directory.path().join(NAME);
        let text = std::fs::read_to_string(&path).unwrap().replace(r#""c""#, r#""d""#);
        std::fs::write(&path, text).unwrap();
        assert_eq!(read(directory.path()).unwrap_err().to_string(), "checkpoint is corrupted");
    }
}
