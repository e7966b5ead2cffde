//! A virtual machine for what the machine of the tests cannot show, such as cgroup version 2 on its own: qemu, a kernel of
//! Debian's (`scripts/packages` unpacks one), and a file system in memory.
//!
//! SKIFF_TEST_KERNEL names the directory with the unpacked kernel package (`boot`, `lib/modules`), as `make test` sets it;
//! without it the machine's own kernel is taken, if it has one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// What the last line says, with the script's exit code.
const END: &str = "machine ends with";

/// From the kernel's file system in memory to one that can be left by pivot_root, as containers do.
const INIT: &str = "#!/bin/busybox sh
for module in $MODULES; do /bin/busybox insmod /modules/$module || /bin/busybox echo no $module; done
/bin/busybox mkdir /new
/bin/busybox mount -t tmpfs -o mode=755,size=90% tmpfs /new
for name in bin proc sys dev tmp etc root run var; do /bin/busybox mkdir -p /new/$name; done
/bin/busybox cp /bin/busybox /new/bin/
/bin/busybox mv /files /script /new/
exec /bin/busybox switch_root /new /bin/busybox sh /script
";

/// What comes before a test's own script.
const HEAD: &str = "export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
hostname machine
ifconfig lo up
(
";

/// A machine that is not switched on yet.
pub struct Vm {
    kernel: PathBuf,
    /// All modules that the kernel has, by name.
    modules: BTreeMap<String, PathBuf>,
    /// Those that are loaded, in order.
    loaded: Vec<String>,
    archive: Vec<u8>,
}

impl Vm {
    /// Nothing where there is no emulator or no kernel; panics when SKIFF_TEST_KERNEL promises one.
    pub fn new() -> Option<Self> {
        let named = std::env::var_os("SKIFF_TEST_KERNEL").map(PathBuf::from);
        let root = named.clone().unwrap_or_else(|| PathBuf::from("/"));
        let found = kernel(&root).filter(|_| Path::new(QEMU).exists());
        if found.is_none() {
            let why = "a virtual machine needs qemu-system-x86 and a kernel (SKIFF_TEST_KERNEL)";
            assert!(named.is_none(), "{why}");
            let _ = writeln!(std::io::stderr(), "nothing tested: {why}");
        }
        let (kernel, directory) = found?;
        let mut modules = BTreeMap::new();
        collect(&directory.join("kernel"), &mut modules);
        let mut vm = Self { kernel, modules, loaded: Vec::new(), archive: Vec::new() };
        for name in ["bin", "dev", "files", "modules"] {
            vm.entry(name, 0o40755, b"");
        }
        vm.entry("bin/busybox", 0o100755, &std::fs::read("/bin/busybox").expect("busybox-static is installed"));
        vm.module("overlay");
        Some(vm)
    }

    /// Has a module of the kernel loaded, after those that it depends on. One that the kernel has built in is there anyhow.
    pub fn module(&mut self, name: &str) {
        let Some(path) = self.modules.get(name).cloned() else { return };
        if self.loaded.iter().any(|known| known == name) {
            return;
        }
        let bytes = std::fs::read(path).expect("the module can be read");
        for dependency in dependencies(&bytes) {
            self.module(&dependency);
        }
        self.entry(&format!("modules/{name}"), 0o100644, &bytes);
        self.loaded.push(name.to_owned());
    }

    /// Puts a file into `/files`.
    pub fn file(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entry(&format!("files/{name}"), 0o100000 | mode, contents);
    }

    /// Puts a program into `/files`, without what only debuggers read.
    pub fn program(&mut self, name: &str, path: &Path) {
        let place = tempfile::NamedTempFile::new().expect("temporary files can be made");
        let stripped = Command::new("strip").arg("-o").arg(place.path()).arg(path).status();
        let small = stripped.is_ok_and(|status| status.success());
        let bytes = std::fs::read(if small { place.path() } else { path }).expect("the program can be read");
        self.file(name, 0o755, &bytes);
    }

    /// A file of a cpio archive in the form that the kernel unpacks.
    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        let archive = &mut self.archive;
        let (size, name_size) = (contents.len(), name.len() + 1);
        let head = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}",
            archive.len(),
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            0
        );
        archive.write_all(head.as_bytes()).expect("memory does not fail");
        archive.extend_from_slice(name.as_bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend_from_slice(contents);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }

    /// Runs a shell script in it, and returns what the console said. Panics when the script fails or takes longer.
    pub fn run(mut self, memory_mib: u32, script: &str, limit: Duration) -> String {
        let init = INIT.replace("$MODULES", &self.loaded.join(" "));
        self.entry("init", 0o100755, init.as_bytes());
        let script = format!("{HEAD}{script}\n)\necho \"{END} $?\"\npoweroff -f\n");
        self.entry("script", 0o100755, script.as_bytes());
        self.entry("TRAILER!!!", 0, b"");
        let directory = tempfile::Builder::new().prefix("skiff-vm-").tempdir().expect("directories can be made");
        let (initrd, console) = (directory.path().join("initrd"), directory.path().join("console"));
        std::fs::write(&initrd, &self.archive).expect("files can be written");
        let mut machine = Command::new(QEMU)
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial"])
            .arg(format!("file:{}", console.display()))
            // Emulated: KVM inside of a virtual machine is there but does not work everywhere. One processor: of two
            // emulated ones each has been seen to wait for the other in the kernel for ever.
            .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", &memory_mib.to_string(), "-kernel"])
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&initrd)
            .args(["-append", "console=ttyS0 loglevel=6 panic=-1 random.trust_cpu=on"])
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu starts");
        let begun = Instant::now();
        let ended = loop {
            match machine.try_wait().expect("it is our child") {
                Some(_) => break true,
                None if begun.elapsed() > limit => break false,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        if !ended {
            let _ = machine.kill();
            let _ = machine.wait();
        }
        let text = String::from_utf8_lossy(&std::fs::read(&console).unwrap_or_default()).into_owned();
        assert!(ended, "the machine did not end within {limit:?}:\n{text}");
        assert!(text.contains(&format!("{END} 0")), "{text}");
        text
    }
}

/// A kernel and the directory of its modules.
fn kernel(root: &Path) -> Option<(PathBuf, PathBuf)> {
    let versions = std::fs::read_dir(root.join("lib/modules")).ok()?.flatten();
    versions.map(|version| version.file_name().to_string_lossy().into_owned()).find_map(|version| {
        let (kernel, modules) = (root.join(format!("boot/vmlinuz-{version}")), root.join("lib/modules").join(version));
        let usable = kernel.exists() && modules.join("kernel/fs/overlayfs/overlay.ko").exists();
        usable.then_some((kernel, modules))
    })
}

fn collect(directory: &Path, modules: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, modules);
        } else if let Some(name) = entry.file_name().to_str().and_then(|name| name.strip_suffix(".ko")) {
            modules.insert(name.replace('-', "_"), path);
        }
    }
}

/// The names in a module's `depends` line.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else { return Vec::new() };
    let rest = &module[at + key.len()..];
    let line = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(line).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}
