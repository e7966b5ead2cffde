//! The kernel's system calls by name, for this machine's architecture and its 32-bit companion.

/// Name, native number, 32-bit companion's number, class in the default profile.
pub struct Syscall {
    /// Name as in the kernel's headers.
    pub name: &'static str,
    /// Number on this architecture.
    pub native: Option<u32>,
    /// Number on i386, on x86_64 only.
    pub compat: Option<u32>,
    /// `allow`, `deny`, `args`, or capabilities.
    pub class: &'static str,
}

const TABLE: &str = include_str!("syscalls.txt");

/// `AUDIT_ARCH_…` of this architecture.
#[cfg(target_arch = "x86_64")]
pub const NATIVE: u32 = 0xc000_003e;
/// `AUDIT_ARCH_…` of this architecture.
#[cfg(target_arch = "aarch64")]
pub const NATIVE: u32 = 0xc000_00b7;

/// `AUDIT_ARCH_I386`, the companion of x86_64. 32-bit ARM programs on aarch64 have no table here: their calls fail.
pub const COMPAT: Option<u32> = if cfg!(target_arch = "x86_64") { Some(0x4000_0003) } else { None };

/// All system calls.
pub fn all() -> impl Iterator<Item = Syscall> {
    TABLE.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split(' ');
        let name = fields.next()?;
        let [x86_64, i386, aarch64] = [fields.next()?, fields.next()?, fields.next()?].map(|text| text.parse().ok());
        let x86 = cfg!(target_arch = "x86_64");
        let (native, compat) = if x86 { (x86_64, i386) } else { (aarch64, None) };
        Some(Syscall { name, native, compat, class: fields.next()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert!(all().count() > 450);
        let read = all().find(|call| call.name == "read").expect("read is there");
        assert_eq!(read.native, Some(libc::SYS_read as u32));
        assert!(all().all(|call| call.native.is_none_or(|number| number < 1024)));
    }
}
