//! Too much of everything: processes, output, bytes, files; and a shim that does not answer.

use super::isolation::output;
use super::*;

fn shim_pid(world: &World, sandbox: &str) -> i64 {
    let path = world.directory.path().join("state/sandboxes").join(sandbox).join("shim.json");
    let shim: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    shim["pid"].as_i64().unwrap()
}

fn run(program: &str, arguments: &[&str]) {
    assert!(std::process::Command::new(program).args(arguments).status().unwrap().success(), "{program} {arguments:?}");
}

pub async fn hung_shim() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "trap '' TERM; while true; do sleep 1; done", |_| ()).await;
    let other = world.sandbox_with(|config| config.cgroup_parent = "/kubepods/podother".to_owned()).await;
    let pid = shim_pid(&world, &sandbox).to_string();
    run("/bin/kill", &["-STOP", &pid]);
    let command = vec!["/bin/true".to_owned()];
    let begin = tokio::time::Instant::now();
    let asked = world.runtime.exec_sync(&id, command, Some(Duration::from_millis(300))).await;
    assert!(matches!(asked, Err(RuntimeError::Timeout(_))));
    // Other pods go on meanwhile.
    let removed = world.runtime.remove_pod_sandbox(&sandbox);
    let beside = async {
        let id = world.start(&other, "exit 4", |_| ()).await;
        assert_eq!(world.ended(&id).await.exit_code, Some(4));
        begin.elapsed()
    };
    let (removed, beside) = tokio::join!(removed, beside);
    removed.unwrap();
    assert!(beside < begin.elapsed(), "{beside:?} of {:?}", begin.elapsed());
    assert!(world.runtime.container_status(&id).await.is_err());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    world.finish(&other).await;
}

pub async fn fork_bomb() {
    let world = World::new().await;
    let sandbox = world.sandbox_with(|config| config.resources.pids_limit = Some(60)).await;
    // Whoever could fork stays: one whose processes end when they cannot may be over before it is looked at.
    let bomb = "mkfifo /held; exec 3<>/held; bomb() { bomb & read -r line <&3; }; bomb & read -r line <&3";
    let id = world.start(&sandbox, bomb, |_| ()).await;
    let mut before = 0;
    loop {
        let used = world.runtime.sandbox_usage(&sandbox).await.unwrap().pids;
        assert!(used <= 60, "{used}");
        if used > 40 && used == before {
            break;
        }
        before = used;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(world.runtime.container_status(&id).await.unwrap().state, ContainerState::Running);
    world.finish(&sandbox).await;
}

pub async fn flood() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let script = "busybox yes 0123456789 & busybox yes err >&2 & head -c 30000000 /dev/zero; wait";
    let id = world.start(&sandbox, script, |_| ()).await;
    let logs = world.directory.path().join("logs");
    let files = || std::fs::read_dir(&logs).into_iter().flatten().flatten();
    // Until it has turned over twice.
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 10 {
        seen.extend(files().map(|entry| entry.file_name()));
        let bytes: u64 = files().filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum();
        assert!(bytes < 75 << 20, "{bytes} bytes of logs");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim_pid(&world, &sandbox))).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 40_000, "the shim took {peak}");
    // It still does what it is asked.
    assert_eq!(output(&world, &id, "echo fine").await, "fine\n");
    world.finish(&sandbox).await;
}

/// A file system of its own for the data of a runtime.
struct Small(PathBuf);

impl Small {
    fn new(place: &Path, options: &str) -> Self {
        std::fs::create_dir_all(place).unwrap();
        run("/bin/mount", &["-t", "tmpfs", "-o", options, "tmpfs", &place.display().to_string()]);
        Self(place.to_owned())
    }

    fn resize(&self, options: &str) {
        run("/bin/mount", &["-o", &format!("remount,{options}"), &self.0.display().to_string()]);
    }

    /// Bytes and files in use.
    fn used(&self) -> (u64, u64) {
        let place = self.0.display().to_string();
        let column = |name: &str| {
            let output = std::process::Command::new("/bin/df").args(["--block-size=1", name, &place]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().lines().nth(1).unwrap().trim().parse::<u64>().unwrap()
        };
        (column("--output=used"), column("--output=iused"))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("/bin/umount").arg("-l").arg(&self.0).status();
    }
}

/// A layer of `files` files of `bytes` bytes each.
fn bulk(files: usize, bytes: usize) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let contents = vec![7; bytes];
    for number in 0..files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes as u64);
        owned(&mut header);
        tar.append_data(&mut header, format!("bulk/{number}"), contents.as_slice()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub async fn disk() {
    let outer = tempfile::Builder::new().prefix("skiff-runtime-").tempdir().unwrap();
    let data = outer.path().join("data");
    let small = Small::new(&data, "size=8m,nr_inodes=600");
    let runtime = open(outer.path()).await;
    let world = World { directory: outer, runtime };
    let archives = world.directory.path();
    busybox_archive(&archives.join("busybox.tar"));
    world.runtime.import_images(&archives.join("busybox.tar")).await.unwrap();
    let before = small.used();
    archive(&archives.join("large.tar"), "large:1", "", &[bulk(20, 1 << 20)]);
    archive(&archives.join("many.tar"), "many:1", "", &[bulk(1000, 1)]);
    for name in ["large.tar", "many.tar"] {
        let said = world.runtime.import_images(&archives.join(name)).await.unwrap_err().to_string();
        assert!(said.to_lowercase().contains("no space left on device"), "{said}");
        assert_eq!(small.used(), before, "what was unpacked of {name} is gone");
    }
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "while [ ! -e /go ]; do sleep 0.1; done; exit 3", |_| ()).await;
    let command = |script: &str| ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let filled =
        world.runtime.exec_sync(&id, command("dd if=/dev/zero of=/fill bs=64k count=400"), None).await.unwrap();
    assert!(String::from_utf8_lossy(&filled.stderr).contains("No space left"), "{filled:?}");
    // A container that is made now says why it is not, and those that run go on and end as they should.
    let config = ContainerConfig {
        name: "late".to_owned(),
        image: "busybox:test".to_owned(),
        command: command("echo 1 > /x"),
        ..ContainerConfig::default()
    };
    let late = world.runtime.create_container(&sandbox, config).await;
    if let Ok(late) = late {
        match world.runtime.start_container(&late).await {
            Ok(()) => assert_ne!(world.ended(&late).await.exit_code, Some(0)),
            Err(error) => assert!(error.to_string().contains("space"), "{error}"),
        }
        world.runtime.remove_container(&late).await.unwrap();
    }
    small.resize("size=64m,nr_inodes=6000");
    world.runtime.exec_sync(&id, command("touch /go"), None).await.unwrap();
    assert_eq!(world.ended(&id).await.exit_code, Some(3));
    for name in ["large.tar", "many.tar"] {
        world.runtime.import_images(&archives.join(name)).await.unwrap();
    }
    world.runtime.remove_pod_sandbox(&sandbox).await.unwrap();
    remove_cgroups(world.directory.path());
    // Before the directory that it is mounted in.
    drop(small);
}

/// A file system whose server never answers; it goes with this.
struct DeadMount {
    place: PathBuf,
    server: std::process::Child,
}

const DEAD_MOUNT: &str = "
import ctypes, os, sys, time
fd = os.open('/dev/fuse', os.O_RDWR)
options = f'fd={fd},rootmode=40000,user_id=0,group_id=0'.encode()
if ctypes.CDLL(None, use_errno=True).mount(b'dead', sys.argv[1].encode(), b'fuse', 0, options) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
print('mounted', flush=True)
time.sleep(1000)
";

impl DeadMount {
    fn new(place: PathBuf) -> Self {
        std::fs::create_dir_all(&place).unwrap();
        let mut command = std::process::Command::new("python3");
        command.args(["-c", DEAD_MOUNT]).arg(&place).stdout(std::process::Stdio::piped());
        let mut server = command.spawn().unwrap();
        std::io::Read::read_exact(server.stdout.as_mut().unwrap(), &mut [0; 7]).expect("FUSE can be mounted");
        Self { place, server }
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

pub async fn hanging_start() {
    const GRACE: Duration = Duration::from_secs(200);
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let beside = world.start(&sandbox, "exec sleep 1000", |_| ()).await;
    let volume = world.directory.path().join("volume");
    let dead = DeadMount::new(volume.join("dead"));
    let config = |name: &str| ContainerConfig {
        name: name.to_owned(),
        image: "busybox:test".to_owned(),
        command: vec!["/volume/dead/program".to_owned()],
        log_path: PathBuf::from(format!("{name}.log")),
        mounts: vec![Mount { container_path: "/volume".to_owned(), host_path: volume.clone(), ..Mount::default() }],
        ..ContainerConfig::default()
    };
    let begin = tokio::time::Instant::now();
    let given_up = world.runtime.create_container(&sandbox, config("given-up")).await.unwrap();
    let stopped = world.runtime.create_container(&sandbox, config("stopped")).await.unwrap();
    // Nobody waits any more, as when the agent dies: it ends all the same when it is told to.
    let start = tokio::time::timeout(Duration::from_secs(1), world.runtime.start_container(&given_up));
    assert!(start.await.is_err(), "it cannot have started");
    world.runtime.stop_container(&given_up, GRACE).await.unwrap();
    // The others of the pod go on meanwhile, and stopping it is no matter of waiting either.
    let start = world.runtime.start_container(&stopped);
    let others = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = output(&world, &beside, "echo here").await;
        assert_eq!(seen, "here\n");
        world.runtime.stop_container(&stopped, GRACE).await.unwrap();
    };
    let (start, ()) = tokio::join!(start, others);
    let why = start.unwrap_err().to_string();
    assert!(why.contains("the container was stopped before its program started"), "{why}");
    for id in [given_up, stopped] {
        assert_eq!(world.ended(&id).await.reason, "StartError");
    }
    assert!(begin.elapsed() < GRACE, "{:?}", begin.elapsed());
    drop(dead);
    world.finish(&sandbox).await;
}
