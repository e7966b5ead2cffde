//! Capabilities by name, and the sets that containers get.

use crate::api::Security;

/// All capabilities, at the kernel's numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container gets by default: containerd's and Docker's list.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// How many capabilities there are.
pub const COUNT: usize = NAMES.len();

/// The bit of a capability, named with or without `CAP_`, in any case.
pub fn bit(name: &str) -> Option<u64> {
    let name = name.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    NAMES.iter().position(|known| *known == name).map(|index| 1 << index)
}

/// The set for a container. `ALL` is taken first, so that `drop: [ALL], add: [X]` is X alone.
pub fn for_container(security: &Security) -> Result<u64, String> {
    const ALL: u64 = (1 << COUNT) - 1;
    if security.privileged {
        return Ok(ALL);
    }
    let is_all = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case("ALL"));
    let bits = |list: &[String]| -> Result<u64, String> {
        list.iter()
            .filter(|name| !name.eq_ignore_ascii_case("ALL"))
            .map(|name| bit(name).ok_or_else(|| format!("unknown capability {name:?}")))
            .try_fold(0, |set, bit| Ok(set | bit?))
    };
    let mut set = DEFAULT.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit);
    if is_all(&security.add_capabilities) {
        set = ALL;
    }
    if is_all(&security.drop_capabilities) {
        set = 0;
    }
    set |= bits(&security.add_capabilities)?;
    Ok(set & !bits(&security.drop_capabilities)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_add_up() {
        let set = |add: &[&str], drop: &[&str]| {
            let words = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
            for_container(&Security {
                add_capabilities: words(add),
                drop_capabilities: words(drop),
                ..Security::default()
            })
        };
        assert_eq!(set(&[], &[]), Ok(0x0000_0000_a804_25fb));
        assert_eq!(set(&["NET_BIND_SERVICE"], &["ALL"]), Ok(1 << 10));
        assert_eq!(set(&["ALL"], &["CAP_SYS_ADMIN"]), Ok(((1 << 41) - 1) & !(1 << 21)));
        assert!(set(&["FLY"], &[]).is_err());
    }
}
