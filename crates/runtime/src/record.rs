//! What agent and shim write to disk and say to each other.
//!
//! A sandbox has a directory under the state directory: `sandbox.json` (by the agent), `shim.json` and `shim.sock` (by the
//! shim), and per container `containers/ID/container.json` (by the agent, before the start) and `status.json` (by the
//! shim, replaced whole at each change). The shim reads records from there, so requests carry only names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::api::{ContainerConfig, Resources, SandboxConfig, UserIds};

/// The most bytes of one message between agent and shim.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Wall time as nanoseconds since 1970, as records keep it.
pub fn nanoseconds(time: Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

/// The time of [`nanoseconds`].
pub fn timestamp(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A sandbox as the agent made it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxRecord {
    /// The runtime's id.
    pub id: String,
    /// As asked for.
    pub config: SandboxConfig,
    /// The pod's cgroup below the controllers' mount points.
    pub cgroup: String,
    /// When, in nanoseconds since 1970.
    pub created_at: i64,
    /// The pod's addresses, once its network is set.
    pub ips: Vec<std::net::IpAddr>,
    /// Whether it was stopped on purpose.
    pub stopped: bool,
    /// The sandbox was made completely; one without this is removed at the next start.
    pub complete: bool,
}

/// A running shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimIdentity {
    /// Its process id on the host.
    pub pid: i32,
    /// Its start time in ticks after boot, which tells it from a later process of the same id.
    pub start: u64,
}

impl ShimIdentity {
    /// Whether this very process still runs.
    pub fn is_alive(&self) -> bool {
        crate::sys::process_start(self.pid) == Some(self.start)
    }
}

/// What an image says about running it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageDefaults {
    /// First words of the command line.
    pub entrypoint: Vec<String>,
    /// Default arguments.
    pub command: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
    /// Working directory.
    pub working_dir: String,
    /// `user[:group]`, names or numbers.
    pub user: String,
    /// Signal that asks it to stop.
    pub stop_signal: String,
}

/// A container as the agent made it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerRecord {
    /// The runtime's id.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// As asked for.
    pub config: ContainerConfig,
    /// From its image.
    pub image: ImageDefaults,
    /// Id of its image.
    pub image_id: String,
    /// Name and digest of its image, else its id.
    pub image_ref: String,
    /// Directory that holds the unpacked layers.
    pub layers_dir: PathBuf,
    /// Names of its layers in there, lowest first.
    pub layers: Vec<String>,
    /// Layers of the images that it mounts as volumes, lowest first, by the image's id.
    pub volume_layers: BTreeMap<String, Vec<String>>,
    /// Holds `upper`, `work` and `root` of its overlay.
    pub root_dir: PathBuf,
    /// Its cgroup below the controllers' mount points.
    pub cgroup: String,
    /// Absolute path of its log; empty for none.
    pub log_path: PathBuf,
    /// When, in nanoseconds since 1970.
    pub created_at: i64,
}

/// Where a container's process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum ProcessState {
    /// Not started.
    #[default]
    Created,
    /// Runs.
    Running,
    /// Ended, or could not start.
    Exited,
}

/// A container's process, as its shim last wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessStatus {
    /// Its state.
    pub state: ProcessState,
    /// Its id on the host while it runs.
    pub pid: Option<i32>,
    /// When it started, in nanoseconds since 1970.
    pub started_at: Option<i64>,
    /// When it ended, in nanoseconds since 1970.
    pub finished_at: Option<i64>,
    /// Exit code, 128 + signal when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whom it began as.
    pub user: Option<UserIds>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`.
    pub reason: String,
    /// More about a failure.
    pub message: String,
}

/// What the agent asks of a shim. Each connection carries one request.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Send [`Response::Changed`] for every change from now on.
    Watch,
    /// Start a container whose record is on disk.
    Start {
        /// The container.
        container: String,
    },
    /// Run a command in a container. Without a terminal the descriptors [stdin, stdout, stderr] come along.
    Exec {
        /// The container.
        container: String,
        /// Names the process in [`Request::KillExec`].
        exec: u64,
        /// The command line.
        command: Vec<String>,
        /// With a terminal, whose master comes back.
        tty: bool,
    },
    /// Join the output of a container: descriptors [stdin, stdout, stderr], all optional in this order.
    Attach {
        /// The container.
        container: String,
        /// The first descriptor is its stdin.
        stdin: bool,
    },
    /// Send a signal to a container's process.
    Signal {
        /// The container.
        container: String,
        /// The signal's number.
        signal: i32,
        /// To all processes of its cgroup.
        all: bool,
    },
    /// Kill a process of [`Request::Exec`].
    KillExec {
        /// The process.
        exec: u64,
    },
    /// Set the size of a container's terminal.
    Resize {
        /// The container.
        container: String,
        /// Columns.
        columns: u16,
        /// Rows.
        rows: u16,
    },
    /// Open the log file again.
    ReopenLog {
        /// The container.
        container: String,
    },
    /// Change limits.
    Update {
        /// The container.
        container: String,
        /// The new limits.
        resources: Resources,
    },
    /// Forget an ended container.
    Forget {
        /// The container.
        container: String,
    },
    /// Kill everything and end.
    Shutdown,
}

/// What a shim answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Response {
    /// Done.
    Done,
    /// A container or exec started. With a terminal its master comes along for an exec.
    Started {
        /// Process id on the host.
        pid: i32,
    },
    /// The process of an exec or of an attached container ended.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A container changed.
    Changed {
        /// Which.
        container: String,
        /// Its status now.
        status: ProcessStatus,
    },
    /// The request failed.
    Failed {
        /// Why, for users.
        message: String,
        /// Nothing of that name is here.
        not_found: bool,
    },
}

/// Frames a message: its length in four bytes, then JSON.
pub fn frame(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message).expect("messages have string keys only");
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Takes a whole message off the front of `buffer`, when there is one.
pub fn unframe<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "message too long"));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[4..4 + length])?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// Reads a JSON file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// Replaces a JSON file: whoever reads sees the old or the new one, whole, whatever dies when.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, serde_json::to_vec(value)?)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_in_pieces() {
        let mut bytes = frame(&Request::KillExec { exec: 7 });
        let mut tail = bytes.split_off(6);
        assert!(unframe::<Request>(&mut bytes).expect("a short buffer is no error").is_none());
        bytes.append(&mut tail);
        bytes.extend(frame(&Request::Watch));
        assert!(matches!(unframe(&mut bytes), Ok(Some(Request::KillExec { exec: 7 }))));
        assert!(matches!(unframe(&mut bytes), Ok(Some(Request::Watch))));
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_message_of_absurd_length_is_refused() {
        let mut bytes = u32::MAX.to_le_bytes().to_vec();
        assert!(unframe::<Request>(&mut bytes).is_err());
    }
}
