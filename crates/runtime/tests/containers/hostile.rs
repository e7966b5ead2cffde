//! Images and containers that want out.

use super::isolation::output;
use super::*;

/// One entry of a layer: kind, path, target of a link. The path goes into the header raw, as no honest tool would write it.
fn layer(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (kind, path, link) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(*kind);
        owned(&mut header);
        header.set_mode(0o666);
        header.set_size(0);
        if *kind == tar::EntryType::Block {
            let device = std::os::unix::fs::MetadataExt::rdev(&std::fs::metadata(link).unwrap());
            header.set_device_major(((device >> 8) & 0xfff) as u32).unwrap();
            header.set_device_minor((device & 0xff) as u32).unwrap();
            header.as_old_mut().linkname.fill(0);
        }
        header.set_cksum();
        tar.append(&header, std::io::empty()).unwrap();
    }
    tar.into_inner().unwrap()
}

impl World {
    /// Imports an image of busybox and one more layer.
    async fn hostile(&self, tag: &str, entries: &[(tar::EntryType, &str, &str)]) -> Result<()> {
        let path = self.directory.path().join("hostile.tar");
        archive(&path, tag, "", &[busybox_layer(), layer(entries)]);
        self.runtime.import_images(&path).await.map(drop)
    }

    /// What a container says whose start must fail.
    async fn refused(&self, sandbox: &str, change: impl FnOnce(&mut ContainerConfig)) -> String {
        let mut config = ContainerConfig {
            name: "refused".to_owned(),
            image: "busybox:test".to_owned(),
            command: vec!["/bin/true".to_owned()],
            ..ContainerConfig::default()
        };
        change(&mut config);
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        let said = self.runtime.start_container(&id).await.expect_err("it must not start").to_string();
        let status = self.runtime.container_status(&id).await.unwrap();
        assert_eq!((status.exit_code, status.reason.as_str()), (Some(128), "StartError"), "{said}");
        said
    }
}

pub async fn images() {
    use tar::EntryType::{Fifo, Link, Regular, Symlink};
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let outside = world.directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let target = outside.display().to_string();
    let secret = outside.join("secret");
    std::fs::write(&secret, "secret").unwrap();
    let paths: [&[(tar::EntryType, &str, &str)]; 6] = [
        &[(Regular, "../../../victim", "")],
        &[(Symlink, "out", &target), (Regular, "out/victim", "")],
        &[(Symlink, "out", "../../.."), (Regular, "out/victim", "")],
        &[(Link, "hard", &format!("../../../../../..{}", secret.display()))],
        &[(Regular, "bin/.wh...", ""), (Regular, ".wh..", ""), (Regular, "a/../.wh.etc", "")],
        &[(Symlink, "out", &target), (Regular, "out/.wh.secret", ""), (Regular, "out/.wh..wh..opq", "")],
    ];
    for (index, entries) in paths.iter().enumerate() {
        // Refused or kept inside: both will do.
        let _ = world.hostile(&format!("paths:{index}"), entries).await;
        let left: Vec<_> = std::fs::read_dir(&outside).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["secret"], "case {index}");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret", "case {index}");
        assert!(!world.directory.path().join("victim").exists(), "case {index}");
    }
    for (index, place) in ["dev", "proc", "sys"].iter().enumerate() {
        for to in ["/etc", "../../../../tmp", "/proc/1/root"] {
            let tag = format!("link{index}:{}", to.len());
            world.hostile(&tag, &[(Symlink, place, to)]).await.unwrap();
            let said = world.refused(&sandbox, |config| config.image = tag).await;
            assert!(said.contains("must be mounted on ordinary directory"), "{place} to {to}: {said}");
        }
    }
    // A pipe where users are looked up, and a link to where reading never ends, hold nobody up.
    world.hostile("users:1", &[(Fifo, "etc/passwd", ""), (Symlink, "etc/group", "/dev/zero")]).await.unwrap();
    let id = world.start(&sandbox, "exit 3", |config| config.image = "users:1".to_owned()).await;
    assert_eq!(world.ended(&id).await.exit_code, Some(3));
    world.finish(&sandbox).await;
}

pub async fn devices() {
    let Some(disk) = ["/dev/vda", "/dev/sda", "/dev/loop0"].into_iter().find(|path| Path::new(path).exists()) else {
        return println!("skipped: this machine has no disk");
    };
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    world.hostile("disk:1", &[(tar::EntryType::Block, "disk", disk)]).await.unwrap();
    let id = world.start(&sandbox, "exec sleep 1000", |config| config.image = "disk:1".to_owned()).await;
    let seen = output(&world, &id, "ls -l /disk; head -c 1 /disk").await;
    assert!(seen.starts_with("brw") && seen.contains("not permitted"), "{seen}");
    world.finish(&sandbox).await;
}

/// CVE-2024-21626 and its kin: neither working directory nor program may be reached through a descriptor of the shim's.
pub async fn descriptors() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let marker = world.directory.path().join("marker");
    std::fs::copy("/bin/busybox", &marker).unwrap();
    let up = format!("{}{}", "/..".repeat(12), marker.display());
    let id = world.start(&sandbox, "exec sleep 1000", |config| config.working_dir = Some("/work".to_owned())).await;
    for number in 3..24 {
        let place = format!("/proc/self/fd/{number}");
        for path in [place.clone(), format!("{place}/.."), format!("/proc/thread-self/fd/{number}")] {
            world.refused(&sandbox, |config| config.working_dir = Some(path)).await;
        }
        world.refused(&sandbox, |config| config.command = vec![format!("{place}{up}"), "true".to_owned()]).await;
        let command = vec![format!("{place}{up}"), "true".to_owned()];
        let ran = world.runtime.exec_sync(&id, command, None).await;
        assert!(ran.is_err(), "{ran:?}");
    }
    let left = "ls -l /proc/self/fd /proc/1/fd 2> /dev/null | grep -e '->' | grep -v -e pipe: -e /fd -e /dev/null";
    assert_eq!(output(&world, &id, left).await, "");
    let swap = ["/bin/sh", "-c", "cd /; busybox rmdir /work; busybox ln -s /proc/self/fd/$0 /work"];
    for number in 3..20 {
        let id = world.start(&sandbox, "exec sleep 1000", |config| config.working_dir = Some("/work".to_owned())).await;
        let mut command = swap.map(str::to_owned).to_vec();
        command.push(number.to_string());
        world.runtime.exec_sync(&id, command, None).await.unwrap();
        let ran = world.runtime.exec_sync(&id, vec!["/bin/ls".to_owned()], None).await;
        assert!(ran.is_err(), "{number}: {ran:?}");
        world.runtime.remove_container(&id).await.unwrap();
    }
    world.finish(&sandbox).await;
}

/// CVE-2019-5736: what runs as /proc/self/exe is the runtime's own program, and nobody inside may write to it.
pub async fn program() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let before = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
    // The program's libraries, so that it runs inside.
    let libraries = ["/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"].into_iter();
    let mounts = libraries.filter(|path| Path::new(path).exists()).map(|path| Mount {
        container_path: path.to_owned(),
        host_path: path.into(),
        read_only: true,
        ..Mount::default()
    });
    let mounts: Vec<Mount> = mounts.collect();
    let script = "while true; do for p in /proc/[0-9]*; do case $(busybox readlink $p/exe) in \
        *busybox|'') ;; *) echo found; (echo x > $p/exe) ;; esac; done; done";
    let attacker = world.start(&sandbox, script, |config| config.mounts = mounts).await;
    for _ in 0..3 {
        let command = ["/proc/self/exe", "linger"].map(str::to_owned).to_vec();
        let ran = world.runtime.exec_sync(&attacker, command, Some(Duration::from_secs(20))).await.unwrap();
        assert_eq!(ran.exit_code, 0, "{}", String::from_utf8_lossy(&ran.stderr));
    }
    let log = world.log();
    assert!(log.contains("found") && log.contains("Read-only file system"), "{log}");
    assert!(!log.contains("busy"), "{log}");
    let after = std::fs::metadata(std::env::current_exe().unwrap()).unwrap();
    assert_eq!((before.len(), before.modified().unwrap()), (after.len(), after.modified().unwrap()));
    world.finish(&sandbox).await;
}

/// CVE-2019-16884, CVE-2021-30465, CVE-2025-52881: a volume's links lead no mount into /proc or out, also when they change.
pub async fn links() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let shared = world.directory.path().join("shared");
    std::fs::create_dir_all(shared.join("place/sys/kernel")).unwrap();
    std::os::unix::fs::symlink("/proc", shared.join("link")).unwrap();
    std::os::unix::fs::symlink("/proc/self/root/../../..", shared.join("up")).unwrap();
    let empty = world.directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mount = |path: &str, from: &Path| Mount {
        container_path: path.to_owned(),
        host_path: from.to_owned(),
        ..Mount::default()
    };
    let mounts = |path: &str| vec![mount("/shared", &shared), mount(path, &empty)];
    for path in ["/shared/link/sys/kernel", "/shared/link/self/attr", "/shared/link", "/shared/up/etc"] {
        let said = world.refused(&sandbox, |config| config.mounts = mounts(path)).await;
        assert!(said.contains("leads into /proc") || said.contains("too many levels"), "{path}: {said}");
    }
    // Both names are exchanged all the time.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (place, other, link) = (shared.join("place"), shared.join("other"), shared.join("link"));
    let stopped = stop.clone();
    let racer = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            for (from, to) in [(&place, &other), (&link, &place), (&place, &link), (&other, &place)] {
                let _ = std::fs::rename(from, to);
            }
        }
    });
    let mut started = 0;
    for round in 0..40 {
        let config = ContainerConfig {
            name: format!("racer-{round}"),
            image: "busybox:test".to_owned(),
            command: [
                "/bin/sh",
                "-c",
                "grep -c ' /proc/sys/kernel ' /proc/self/mountinfo; echo 1 > /proc/sys/kernel/panic",
            ]
            .map(str::to_owned)
            .to_vec(),
            mounts: mounts("/shared/place/sys/kernel"),
            log_path: PathBuf::from("main.log"),
            ..ContainerConfig::default()
        };
        let id = world.runtime.create_container(&sandbox, config).await.unwrap();
        if world.runtime.start_container(&id).await.is_ok() {
            started += 1;
            assert_ne!(world.ended(&id).await.exit_code, Some(0));
        }
        world.runtime.remove_container(&id).await.unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    racer.join().unwrap();
    let log = std::fs::read_to_string(world.directory.path().join("logs/main.log")).unwrap_or_default();
    assert_eq!(log.matches(" F 0").count(), started, "{log}");
    assert_eq!(log.matches("Read-only file system").count(), started, "{log}");
    world.finish(&sandbox).await;
}

/// CVE-2025-52565: what a volume has for a terminal is not taken for one.
pub async fn terminal() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let dev = world.directory.path().join("dev");
    let mounts = || vec![Mount { container_path: "/dev".to_owned(), host_path: dev.clone(), ..Mount::default() }];
    std::fs::create_dir(&dev).unwrap();
    std::os::unix::fs::symlink("/proc", dev.join("pts")).unwrap();
    let change = |config: &mut ContainerConfig| (config.tty, config.mounts) = (true, mounts());
    let said = world.refused(&sandbox, change).await;
    assert!(said.contains("allocate a terminal"), "{said}");
    std::fs::remove_file(dev.join("pts")).unwrap();
    std::fs::create_dir(dev.join("pts")).unwrap();
    for to in ["/proc/self/fd/0", "/proc/sysrq-trigger", "/etc/passwd"] {
        std::os::unix::fs::symlink(to, dev.join("pts/ptmx")).unwrap();
        let change = |config: &mut ContainerConfig| (config.tty, config.mounts) = (true, mounts());
        let said = world.refused(&sandbox, change).await;
        assert!(said.contains("allocate a terminal"), "{said}");
        std::fs::remove_file(dev.join("pts/ptmx")).unwrap();
    }
    std::fs::write(dev.join("pts/ptmx"), "").unwrap();
    let change = |config: &mut ContainerConfig| (config.tty, config.mounts) = (true, mounts());
    assert!(world.refused(&sandbox, change).await.contains("not a file system of terminals"));
    // A null device that is a link to something else is not opened for the standard streams.
    std::os::unix::fs::symlink("/written", dev.join("null")).unwrap();
    let id = world.start(&sandbox, "ls /written; exec sleep 1000", |config| config.mounts = mounts()).await;
    assert!(output(&world, &id, "ls /written").await.contains("No such file"));
    world.finish(&sandbox).await;
}
