//! Which devices a container may use: the list, its v1 form, and the small BPF program that v2 wants.

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::api::Device;

/// One allowed kind of access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRule {
    /// A block device, else a character device.
    pub block: bool,
    /// Major number; `None` is all.
    pub major: Option<u32>,
    /// Minor number; `None` is all.
    pub minor: Option<u32>,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let kind = if self.block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} {}", number(self.major), number(self.minor), self.access)
    }
}

/// What each container may use (all may be made, few opened), plus its own devices.
pub fn container_devices(extra: &[Device]) -> io::Result<Vec<DeviceRule>> {
    let rule = |block, major, minor, access: &str| DeviceRule { block, major, minor, access: access.to_owned() };
    let mut rules = vec![rule(false, None, None, "m"), rule(true, None, None, "m")];
    // null, zero, full, random, urandom, tty, ptmx, and all pseudo terminals.
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
        rules.push(rule(false, Some(major), Some(minor), "rwm"));
    }
    rules.push(rule(false, Some(136), None, "rwm"));
    for device in extra {
        let data = std::fs::metadata(&device.host_path)
            .map_err(|error| io::Error::new(error.kind(), format!("device {}: {error}", device.host_path.display())))?;
        if !data.file_type().is_block_device() && !data.file_type().is_char_device() {
            let text = format!("{} is not a device node", device.host_path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let (major, minor) = (libc::major(data.rdev()), libc::minor(data.rdev()));
        let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
        rules.push(rule(data.file_type().is_block_device(), Some(major), Some(minor), access));
    }
    Ok(rules)
}

/// Numbers of the kernel's BPF interface (`linux/bpf.h`).
mod bpf {
    pub const PROG_LOAD: i32 = 5;
    pub const PROG_ATTACH: i32 = 8;
    pub const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    pub const CGROUP_DEVICE: u32 = 6;
    pub const F_ALLOW_MULTI: u32 = 2;
    pub const DEVICE_BLOCK: i32 = 1;
    pub const DEVICE_CHAR: i32 = 2;
}

/// One BPF instruction: code, registers (source high, destination low), offset, constant.
fn instruction(code: u8, destination: u8, source: u8, offset: i16, constant: i32) -> [u8; 8] {
    let [o0, o1] = offset.to_ne_bytes();
    let [c0, c1, c2, c3] = constant.to_ne_bytes();
    [code, source << 4 | destination, o0, o1, c0, c1, c2, c3]
}

/// Bits of the access that a rule grants (mknod 1, read 2, write 4).
fn access_bits(access: &str) -> i32 {
    [('m', 1), ('r', 2), ('w', 4)].iter().filter(|(letter, _)| access.contains(*letter)).map(|(_, bit)| bit).sum()
}

/// The program: r2 = kind, r3 = access, r4 = major, r5 = minor; the first rule that covers the access allows it.
fn program(rules: &[DeviceRule]) -> Vec<u8> {
    const LOAD_WORD: u8 = 0x61;
    const AND: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const MOVE: u8 = 0xb4;
    const MOVE_REGISTER: u8 = 0xbc;
    const JUMP_UNEQUAL: u8 = 0x56;
    const EXIT: u8 = 0x95;
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE_REGISTER, 3, 2, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let kind = if rule.block { bpf::DEVICE_BLOCK } else { bpf::DEVICE_CHAR };
        let mut tests = vec![(2_u8, kind)];
        tests.extend(rule.major.map(|major| (4, major as i32)));
        tests.extend(rule.minor.map(|minor| (5, minor as i32)));
        // Each test jumps over the rest of the rule: tests left, three for the access, two for the answer.
        for (index, (register, value)) in tests.iter().enumerate() {
            let over = (tests.len() - index - 1 + 5) as i16;
            code.push(instruction(JUMP_UNEQUAL, *register, 0, over, *value));
        }
        code.push(instruction(MOVE_REGISTER, 0, 3, 0, 0));
        code.push(instruction(AND, 0, 0, 0, !access_bits(&rule.access) & 7));
        code.push(instruction(JUMP_UNEQUAL, 0, 0, 2, 0));
        code.push(instruction(MOVE, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOVE, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code.concat()
}

/// Loads the program for `rules` and attaches it to a v2 group, for as long as the group lives.
pub fn attach(directory: &Path, rules: &[DeviceRule]) -> io::Result<()> {
    let fail = |what: &str, error: &io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    let code = program(rules);
    let license = c"Apache-2.0";
    let mut load = [0_u8; 48];
    load[0..4].copy_from_slice(&bpf::PROG_TYPE_CGROUP_DEVICE.to_ne_bytes());
    load[4..8].copy_from_slice(&((code.len() / 8) as u32).to_ne_bytes());
    load[8..16].copy_from_slice(&(code.as_ptr() as u64).to_ne_bytes());
    load[16..24].copy_from_slice(&(license.as_ptr() as u64).to_ne_bytes());
    let loaded = crate::sys::bpf(bpf::PROG_LOAD, &mut load).map_err(|error| fail("load device program", &error))?;
    let loaded = crate::sys::owned_descriptor(loaded);
    let group = std::fs::File::open(directory)?;
    let mut attach = [0_u8; 16];
    attach[0..4].copy_from_slice(&group.as_raw_fd().to_ne_bytes());
    attach[4..8].copy_from_slice(&loaded.as_raw_fd().to_ne_bytes());
    attach[8..12].copy_from_slice(&bpf::CGROUP_DEVICE.to_ne_bytes());
    attach[12..16].copy_from_slice(&bpf::F_ALLOW_MULTI.to_ne_bytes());
    crate::sys::bpf(bpf::PROG_ATTACH, &mut attach).map_err(|error| fail("attach device program", &error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_version_1_wants_them() {
        let rules = container_devices(&[]).expect("no extra devices");
        assert_eq!(rules[0].to_string(), "c *:* m");
        assert_eq!(rules[2].to_string(), "c 1:3 rwm");
        assert_eq!(rules.last().map(ToString::to_string).as_deref(), Some("c 136:* rwm"));
    }

    #[test]
    fn a_plain_file_is_no_device() {
        let device = Device { host_path: "/etc/passwd".into(), ..Device::default() };
        assert!(container_devices(&[device]).is_err());
    }
}
