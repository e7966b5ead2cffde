//! What the kernel must offer, asked once at start: a lack is told in one line there, and not by the first pod.

use std::path::Path;

use crate::api::{Result, RuntimeError};
use crate::sys;

/// File systems that containers see, and the kernel's options for them.
const FILE_SYSTEMS: &[(&str, &str)] = &[
    ("overlay", "CONFIG_OVERLAY_FS"),
    ("proc", "CONFIG_PROC_FS"),
    ("sysfs", "CONFIG_SYSFS"),
    ("tmpfs", "CONFIG_TMPFS"),
    ("devpts", "CONFIG_UNIX98_PTYS"),
    ("mqueue", "CONFIG_POSIX_MQUEUE"),
];

/// Files that stand where the kernel has a feature, what it is called, and its option.
const FEATURES: &[(&str, &str, &str)] = &[
    ("/proc/self/ns/mnt", "mount namespaces", "CONFIG_NAMESPACES"),
    ("/proc/self/ns/pid", "PID namespaces", "CONFIG_PID_NS"),
    ("/proc/self/ns/ipc", "IPC namespaces", "CONFIG_IPC_NS"),
    ("/proc/self/ns/uts", "UTS namespaces", "CONFIG_UTS_NS"),
    ("/proc/self/ns/net", "network namespaces", "CONFIG_NET_NS"),
    ("/proc/sys/kernel/seccomp/actions_avail", "seccomp filters", "CONFIG_SECCOMP_FILTER"),
];

/// Fails with the first thing that is missing.
pub fn check() -> Result<()> {
    for (path, name, option) in FEATURES {
        if !Path::new(path).exists() {
            return Err(lacks(name, option));
        }
    }
    FILE_SYSTEMS.iter().try_for_each(|(name, option)| file_system(name, option))
}

fn file_system(name: &str, option: &str) -> Result<()> {
    // Opening a file system's context loads its module and changes nothing else.
    match sys::open_file_system(name) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENODEV) => lacks(&format!("file system {name:?}"), option),
            Some(libc::ENOSYS) => {
                RuntimeError::Failed("the kernel is too old: Linux 5.12 or newer is needed".to_owned())
            }
            Some(libc::EPERM) => RuntimeError::Failed("mounting is not permitted: CAP_SYS_ADMIN is needed".to_owned()),
            _ => RuntimeError::Failed(format!("file system {name:?}: {error}")),
        }),
    }
}

fn lacks(what: &str, option: &str) -> RuntimeError {
    RuntimeError::Failed(format!("the kernel has no {what} ({option})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_told_in_one_line() {
        check().unwrap();
        let told = file_system("nonesuch", "CONFIG_NONESUCH").unwrap_err().to_string();
        assert_eq!(told, "the kernel has no file system \"nonesuch\" (CONFIG_NONESUCH)");
    }
}
