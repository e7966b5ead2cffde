//! Mount options as mount(8) knows them: flags of the kernel's, and words for the file system.

use nix::mount::MsFlags;

/// Options that are flags, and whether they set or clear them.
const FLAGS: [(&str, MsFlags, bool); 24] = [
    ("ro", MsFlags::MS_RDONLY, true),
    ("rw", MsFlags::MS_RDONLY, false),
    ("nosuid", MsFlags::MS_NOSUID, true),
    ("suid", MsFlags::MS_NOSUID, false),
    ("nodev", MsFlags::MS_NODEV, true),
    ("dev", MsFlags::MS_NODEV, false),
    ("noexec", MsFlags::MS_NOEXEC, true),
    ("exec", MsFlags::MS_NOEXEC, false),
    ("sync", MsFlags::MS_SYNCHRONOUS, true),
    ("async", MsFlags::MS_SYNCHRONOUS, false),
    ("dirsync", MsFlags::MS_DIRSYNC, true),
    ("mand", MsFlags::MS_MANDLOCK, true),
    ("nomand", MsFlags::MS_MANDLOCK, false),
    ("noatime", MsFlags::MS_NOATIME, true),
    ("atime", MsFlags::MS_NOATIME, false),
    ("nodiratime", MsFlags::MS_NODIRATIME, true),
    ("diratime", MsFlags::MS_NODIRATIME, false),
    ("relatime", MsFlags::MS_RELATIME, true),
    ("norelatime", MsFlags::MS_RELATIME, false),
    ("strictatime", MsFlags::MS_STRICTATIME, true),
    ("nostrictatime", MsFlags::MS_STRICTATIME, false),
    ("silent", MsFlags::MS_SILENT, true),
    ("loud", MsFlags::MS_SILENT, false),
    ("lazytime", MsFlags::MS_LAZYTIME, true),
];
/// Words for mount(8) and the boot scripts alone.
const FOR_OTHERS: [&str; 9] = ["defaults", "auto", "noauto", "user", "nouser", "users", "nofail", "_netdev", "bg"];

/// Parsed options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOptions {
    /// The kernel's flags.
    pub flags: MsFlags,
    /// What is left for the file system.
    pub words: Vec<String>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { flags: MsFlags::empty(), words: Vec::new() }
    }
}

impl MountOptions {
    /// Reads options; each text may hold several.
    pub fn parse(texts: &[String]) -> Self {
        let mut options = Self::default();
        for word in texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty()) {
            match FLAGS.iter().find(|(name, ..)| *name == word) {
                Some((_, flag, set)) => options.flags.set(*flag, *set),
                None if FOR_OTHERS.contains(&word) || word.starts_with("x-") => {}
                None => options.words.push(word.to_owned()),
            }
        }
        options
    }

    /// The value of `NAME=value`, the last one given.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.words.iter().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_words_are_told_apart() {
        let texts = ["ro,noatime", "rw", "nfsvers=4.1", "", "hard , timeo=600,defaults,x-systemd.automount"];
        let options = MountOptions::parse(&texts.map(str::to_owned));
        assert_eq!(options.flags, MsFlags::MS_NOATIME);
        assert_eq!(options.words, ["nfsvers=4.1", "hard", "timeo=600"]);
        assert_eq!((options.value("nfsvers"), options.value("vers")), (Some("4.1"), None));
    }
}
