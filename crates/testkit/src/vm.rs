//! A virtual machine for what the machine of the tests cannot show, such as cgroup version 2 on its own: qemu, a kernel of
//! Debian's (`scripts/packages` unpacks one), and a file system in memory.
//!
//! SKIFF_TEST_KERNEL names the directory with the unpacked kernel package (`boot`, `lib/modules`), as `make test` sets it;
//! without it the machine's own kernel is taken, if it has one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// What the last line says, with the script's exit code.
const END: &str = "machine ends with";

/// What the pod network and the service proxy use of the kernel.
pub const POD_NETWORK: &[&str] = &[
    "veth",
    "bridge",
    "br_netfilter",
    "nf_tables",
    "nf_conntrack",
    "nft_chain_nat",
    "nft_ct",
    "nft_fib_ipv4",
    "nft_fib_inet",
    "nft_hash",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_redir",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nf_conntrack_netlink",
    "vxlan",
];

/// From the kernel's file system in memory to one that can be left by pivot_root, as containers do.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
for module in $MODULES; do insmod /modules/$module || echo no $module; done
mkdir /new
$ROOT
mount -t proc proc /new/proc
mount -t sysfs sysfs /new/sys
mount -t devtmpfs devtmpfs /new/dev
mkdir -p /new/dev/pts /new/dev/shm /new/dev/mqueue
mount -t devpts devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
ln -s /proc/self/fd /new/dev/fd
hostname machine
ifconfig lo up
mv /files /script /new/
exec switch_root /new $SHELL /script
";

/// A root of its own, with nothing but busybox.
const BARE_ROOT: &str = "mount -t tmpfs -o mode=755,size=90% tmpfs /new
for name in bin proc sys dev tmp etc root run var; do mkdir -p /new/$name; done
cp /bin/busybox /new/bin/
chroot /new /bin/busybox --install -s /bin";

/// The files of the machine that it runs on, as if they were its own; what is changed stays in memory.
const SHARED_ROOT: &str = "mkdir /host /changes
mount -t virtiofs -o ro files /host
mount -t tmpfs -o size=90% tmpfs /changes
mkdir /changes/upper /changes/work
mount -t overlay -o lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work overlay /new
for name in tmp run; do mount -t tmpfs -o mode=1777 tmpfs /new/$name; done";

/// What serves the files, in Debian 12 and later.
const FILE_SERVERS: [&str; 2] = ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"];

/// A machine that is not switched on yet.
pub struct Vm {
    kernel: PathBuf,
    /// All modules that the kernel has, by name.
    modules: BTreeMap<String, PathBuf>,
    /// Those that are loaded, in order.
    loaded: Vec<String>,
    archive: Vec<u8>,
    /// Whether it sees the files of this machine.
    shared: bool,
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
        let mut vm = Self { kernel, modules, loaded: Vec::new(), archive: Vec::new(), shared: false };
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

    /// Lets it see all files of this machine at their places. What it changes is gone when it ends.
    pub fn share_files(&mut self) {
        for module in ["virtio_pci", "virtiofs"] {
            self.module(module);
        }
        self.shared = true;
    }

    /// Runs a shell script in it, and returns what the console said. Panics when the script fails or takes longer.
    pub fn run(self, memory_mib: u32, script: &str, limit: Duration) -> String {
        let directory = tempfile::Builder::new().prefix("skiff-vm-").tempdir().expect("directories can be made");
        let console = directory.path().join("console");
        let ended = self.run_with_console(memory_mib, script, limit, &console);
        let text = String::from_utf8_lossy(&std::fs::read(&console).unwrap_or_default()).into_owned();
        assert!(ended, "the machine did not end within {limit:?}:\n{text}");
        assert!(succeeded(&text), "{text}");
        text
    }

    /// The same, with the console in a file that can be read meanwhile. Says whether the machine ended in time.
    pub fn run_with_console(mut self, memory_mib: u32, script: &str, limit: Duration, console: &Path) -> bool {
        let (root, shell) = if self.shared { (SHARED_ROOT, "/bin/sh") } else { (BARE_ROOT, "/bin/busybox sh") };
        let init = INIT.replace("$MODULES", &self.loaded.join(" ")).replace("$ROOT", root).replace("$SHELL", shell);
        self.entry("init", 0o100755, init.as_bytes());
        let script = format!("(\n{script}\n)\necho \"{END} $?\"\n/bin/busybox poweroff -f\n");
        self.entry("script", 0o100755, script.as_bytes());
        self.entry("TRAILER!!!", 0, b"");
        let directory = tempfile::Builder::new().prefix("skiff-vm-").tempdir().expect("directories can be made");
        let initrd = directory.path().join("initrd");
        std::fs::write(&initrd, &self.archive).expect("files can be written");
        let mut files = self.shared.then(|| serve_files(&directory.path().join("files")));
        let mut command = emulator(memory_mib, console);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&initrd);
        if self.shared {
            command.arg("-object").arg(format!("memory-backend-memfd,id=memory,size={memory_mib}M,share=on"));
            command.args(["-machine", "memory-backend=memory", "-chardev"]);
            command.arg(format!("socket,id=files,path={}", directory.path().join("files").display()));
            command.args(["-device", "vhost-user-fs-pci,chardev=files,tag=files"]);
        }
        let ended = ends_within(command.spawn().expect("qemu starts"), limit);
        if let Some(server) = &mut files {
            let _ = server.kill();
            let _ = server.wait();
        }
        ended
    }
}

/// Whether the console of a machine that ended says that its script succeeded.
pub fn succeeded(console: &str) -> bool {
    console.contains(&format!("{END} 0"))
}

fn emulator(memory_mib: u32, console: &Path) -> Command {
    let mut command = Command::new(QEMU);
    command
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial"])
        .arg(format!("file:{}", console.display()))
        // Emulated: KVM inside of a virtual machine is there but does not work everywhere. One processor: of two
        // emulated ones each has been seen to wait for the other in the kernel for ever.
        .args(["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "1", "-m", &memory_mib.to_string()])
        // Whether the timer ticks is not tried: where the machine beneath is busy the kernel finds that it does not, and panics.
        .args(["-append", "console=ttyS0 loglevel=6 panic=-1 random.trust_cpu=on no_timer_check"])
        .stdin(Stdio::null());
    command
}

/// Waits for the machine's end, and ends it when that takes longer.
fn ends_within(mut machine: Child, limit: Duration) -> bool {
    let begun = Instant::now();
    loop {
        match machine.try_wait().expect("it is our child") {
            Some(_) => return true,
            None if begun.elapsed() > limit => break,
            None => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    let _ = machine.kill();
    let _ = machine.wait();
    false
}

/// Serves this machine's files at a socket.
fn serve_files(socket: &Path) -> Child {
    let program = FILE_SERVERS.iter().find(|path| Path::new(path).exists()).expect("virtiofsd is installed");
    let mut command = Command::new(program);
    command.arg(format!("--socket-path={}", socket.display())).args([
        "-o",
        "source=/",
        "-o",
        "sandbox=chroot",
        "-o",
        "cache=always",
    ]);
    let server = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let server = server.expect("the file server starts");
    let begun = Instant::now();
    while !socket.exists() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the file server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    server
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
