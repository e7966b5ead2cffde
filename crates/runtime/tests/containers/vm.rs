//! The same tests on cgroup version 2, in a virtual machine: qemu, a kernel of Debian's, and this program on a file system
//! in memory. SKIFF_TEST_KERNEL names a directory with an unpacked kernel package (`boot`, `lib/modules`), as `make test`
//! gets one; without it the machine's own kernel is taken, and nothing is tested where there is none.

use std::io::Write;

use super::*;

/// What runs in the machine.
const TESTS: &str = "runs_logs_and_ends start_error command_runs_inside restarted_agent killed_shim security_settings \
    memory_limits share_processes processes_are_limited limits_hold kernel_files";

const FIRST: &str = "#!/bin/busybox sh
export PATH=/bin
busybox mkdir -p /new
busybox mount -t tmpfs -o mode=755 tmpfs /new
for name in bin proc sys dev tmp etc root; do busybox mkdir -p /new/$name; done
busybox insmod /overlay.ko || busybox echo no overlay
busybox cp /bin/busybox /new/bin/
for name in sh ls kill unshare; do busybox ln -s busybox /new/bin/$name; done
busybox cp /test /second /new/
exec busybox switch_root /new /second
";

const SECOND: &str = "#!/bin/busybox sh
export PATH=/bin
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
busybox mkdir -p /dev/pts /dev/shm /dev/mqueue
busybox mount -t tmpfs tmpfs /dev/shm
busybox mount -t cgroup2 cgroup2 /sys/fs/cgroup
busybox hostname machine
/test $TESTS
busybox echo \"machine ends with $?\"
busybox poweroff -f
";

/// A file of a cpio archive in the form that the kernel unpacks.
fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, contents: &[u8]) {
    let (size, name_size) = (contents.len(), name.len() + 1);
    write!(archive, "070701{:08x}{mode:08x}", archive.len()).unwrap();
    write!(archive, "{:08x}{:08x}{:08x}{:08x}{size:08x}", 0, 0, 1, 0).unwrap();
    write!(archive, "{:08x}{:08x}{:08x}{:08x}{name_size:08x}{:08x}", 0, 0, 0, 0, 0).unwrap();
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(contents);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

fn named() -> Option<PathBuf> {
    std::env::var_os("SKIFF_TEST_KERNEL").map(PathBuf::from)
}

/// A kernel and its overlayfs.
fn kernel() -> Option<(PathBuf, PathBuf)> {
    let root = named().unwrap_or_else(|| PathBuf::from("/"));
    let versions = std::fs::read_dir(root.join("lib/modules")).ok()?.flatten();
    versions.map(|version| version.file_name().to_string_lossy().into_owned()).find_map(|version| {
        let kernel = root.join(format!("boot/vmlinuz-{version}"));
        let overlay = root.join(format!("lib/modules/{version}/kernel/fs/overlayfs/overlay.ko"));
        (kernel.exists() && overlay.exists()).then_some((kernel, overlay))
    })
}

pub async fn cgroup_v2() {
    let qemu = Path::new("/usr/bin/qemu-system-x86_64");
    let Some((kernel, overlay)) = kernel().filter(|_| qemu.exists()) else {
        let why = "needs qemu-system-x86 and a kernel with overlay.ko (SKIFF_TEST_KERNEL)";
        assert!(named().is_none(), "{why}");
        return println!("nothing tested: {why}");
    };
    let directory = tempfile::Builder::new().prefix("skiff-runtime-").tempdir().unwrap();
    let mut archive = Vec::new();
    for name in ["bin", "dev"] {
        entry(&mut archive, name, 0o40755, b"");
    }
    entry(&mut archive, "bin/busybox", 0o100755, &std::fs::read("/bin/busybox").unwrap());
    entry(&mut archive, "test", 0o100755, &std::fs::read(std::env::current_exe().unwrap()).unwrap());
    entry(&mut archive, "overlay.ko", 0o100644, &std::fs::read(overlay).unwrap());
    entry(&mut archive, "init", 0o100755, FIRST.as_bytes());
    entry(&mut archive, "second", 0o100755, SECOND.replace("$TESTS", TESTS).as_bytes());
    entry(&mut archive, "TRAILER!!!", 0, b"");
    let initrd = directory.path().join("initrd");
    std::fs::write(&initrd, archive).unwrap();
    let output = tokio::process::Command::new(qemu)
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot"])
        // Emulated: KVM inside of a virtual machine is there but does not work everywhere.
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768", "-kernel"])
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on"])
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(170), output).await.expect("the machine ends").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("machine ends with 0"), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for test in TESTS.split_whitespace() {
        assert!(text.lines().any(|line| line.contains(test) && line.trim_end().ends_with("ok")), "{test} in {text}");
    }
}
