//! The built-in runtime on real containers, as root. The test program is its own shim, so it has its own `main`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and reports to the console")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

mod exhaustion;
mod hostile;
mod isolation;
mod registry;
mod streams;
mod vm;
mod volumes;

/// How long one test may take.
const TEST_MAX: Duration = Duration::from_secs(420);

type Test = (&'static str, fn() -> BoxFuture<'static, ()>);

const TESTS: &[Test] = &[
    ("a_container_runs_logs_and_ends", || runs().boxed()),
    ("a_missing_program_is_a_start_error", || start_error().boxed()),
    ("a_command_runs_inside", || exec().boxed()),
    ("a_restarted_agent_finds_the_same_process", || restart().boxed()),
    ("a_killed_shim_takes_its_containers_along", || killed_shim().boxed()),
    ("security_settings_hold", || security().boxed()),
    ("memory_limits_kill", || oom().boxed()),
    ("the_hello_image_is_made_here", || hello().boxed()),
    ("images_are_pulled_from_a_registry", || pull().boxed()),
    ("a_client_attaches_and_its_input_ends", || streams::attach().boxed()),
    ("a_terminal_is_attached_and_resized", || streams::terminal().boxed()),
    ("a_slow_process_gets_all_of_its_input", || streams::slow_input().boxed()),
    ("a_port_inside_is_reached", || streams::connect().boxed()),
    ("containers_of_a_pod_share_processes", || isolation::shared_processes().boxed()),
    ("a_debugger_sees_its_target", || isolation::pid_target().boxed()),
    ("processes_are_limited", || isolation::process_limit().boxed()),
    ("limits_hold_and_change", || isolation::limits().boxed()),
    ("everything_holds_on_cgroup_v2", || vm::cgroup_v2().boxed()),
    ("images_are_mounted_as_volumes", || volumes::images().boxed()),
    ("root_inside_is_nobody_outside", || volumes::user_namespace().boxed()),
    ("kernel_files_are_masked", || isolation::masks().boxed()),
    ("layers_are_packed_with_zstd_too", || registry::zstd().boxed()),
    ("a_registry_asks_for_a_token", || registry::token().boxed()),
    ("pulls_of_one_image_share_one", || registry::shared().boxed()),
    ("a_registry_that_stumbles_is_asked_again", || registry::retries().boxed()),
    ("layers_in_use_outlive_their_image", || registry::layers_in_use().boxed()),
    ("hostile_images_are_contained", || hostile::images().boxed()),
    ("a_device_in_an_image_is_no_device", || hostile::devices().boxed()),
    ("no_path_leads_through_a_descriptor", || hostile::descriptors().boxed()),
    ("the_runtimes_program_cannot_be_overwritten", || hostile::program().boxed()),
    ("mounts_do_not_follow_links_into_proc", || hostile::links().boxed()),
    ("a_terminal_is_no_link", || hostile::terminal().boxed()),
    ("a_shim_that_hangs_does_not_keep_its_pod", || exhaustion::hung_shim().boxed()),
    ("a_start_that_hangs_ends_when_it_is_told_to", || exhaustion::hanging_start().boxed()),
    ("a_fork_bomb_is_contained", || exhaustion::fork_bomb().boxed()),
    ("a_flood_of_output_stays_small", || exhaustion::flood().boxed()),
    ("a_full_disk_is_told_and_recovered_from", || exhaustion::disk().boxed()),
    ("the_network_decides_on_readiness", || readiness().boxed()),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|word| word == "shim") {
        shim_main(arguments.into_iter().skip(2));
    }
    if arguments.get(1).is_some_and(|word| word == "linger") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await });
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let busybox = Path::new("/bin/busybox");
    let root = std::fs::read_to_string("/proc/self/status").unwrap().contains("\nUid:\t0\t");
    if !root || !busybox.exists() {
        println!("skipped: needs root and Debian's busybox-static");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            runtime.block_on(async { tokio::time::timeout(TEST_MAX, test()).await.expect("in time") });
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

struct NoNetwork;

impl PodNetwork for NoNetwork {
    fn setup<'a>(
        &'a self,
        _: &'a str,
        _: &'a Path,
        _: &'a SandboxConfig,
    ) -> BoxFuture<'a, Result<Vec<std::net::IpAddr>>> {
        async { Ok(vec!["10.1.2.3".parse().unwrap()]) }.boxed()
    }

    fn teardown<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

async fn readiness() {
    struct Unplugged;
    impl PodNetwork for Unplugged {
        fn setup<'a>(
            &'a self,
            _: &'a str,
            _: &'a Path,
            _: &'a SandboxConfig,
        ) -> BoxFuture<'a, Result<Vec<std::net::IpAddr>>> {
            async { Err(RuntimeError::Failed("no network".to_owned())) }.boxed()
        }
        fn status(&self) -> Result<()> {
            Err(RuntimeError::Failed("the cable is out".to_owned()))
        }
        fn teardown<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
            async { Ok(()) }.boxed()
        }
    }
    let directory = tempfile::Builder::new().prefix("skiff-runtime-").tempdir().unwrap();
    assert!(open(directory.path()).await.status().await.is_ok());
    let runtime = open_with(directory.path(), Arc::new(Unplugged)).await;
    let said = runtime.status().await.unwrap_err().to_string();
    assert_eq!(said, "container runtime network not ready: the cable is out");
    let config =
        SandboxConfig { hostname: "p".to_owned(), cgroup_parent: "/pod".to_owned(), ..SandboxConfig::default() };
    assert_eq!(runtime.run_pod_sandbox(config).await.unwrap_err().to_string(), "no network");
    assert!(runtime.list_pod_sandboxes().await.unwrap().is_empty());
    remove_cgroups(directory.path());
}

struct World {
    directory: tempfile::TempDir,
    runtime: BuiltinRuntime,
}

impl World {
    async fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("skiff-runtime-").tempdir().unwrap();
        let runtime = open(directory.path()).await;
        let archive = directory.path().join("busybox.tar");
        busybox_archive(&archive);
        let images = runtime.import_images(&archive).await.unwrap();
        assert_eq!(images[0].repo_tags, ["docker.io/library/busybox:test"]);
        Self { directory, runtime }
    }

    async fn sandbox(&self) -> String {
        self.sandbox_with(|_| ()).await
    }

    async fn sandbox_with(&self, change: impl FnOnce(&mut SandboxConfig)) -> String {
        let mut config = SandboxConfig {
            name: "pod".to_owned(),
            uid: "uid".to_owned(),
            hostname: "pod-host".to_owned(),
            cgroup_parent: "/kubepods/poduid".to_owned(),
            log_directory: self.directory.path().join("logs"),
            pid: NamespaceMode::Container,
            ..SandboxConfig::default()
        };
        change(&mut config);
        self.runtime.run_pod_sandbox(config).await.unwrap().id
    }

    async fn start(&self, sandbox: &str, script: &str, change: impl FnOnce(&mut ContainerConfig)) -> String {
        let mut config = ContainerConfig {
            name: "main".to_owned(),
            image: "busybox:test".to_owned(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            log_path: PathBuf::from("main.log"),
            ..ContainerConfig::default()
        };
        change(&mut config);
        let id = self.runtime.create_container(sandbox, config).await.unwrap();
        self.runtime.start_container(&id).await.unwrap();
        id
    }

    async fn ended(&self, id: &str) -> ContainerStatus {
        loop {
            let status = self.runtime.container_status(id).await.unwrap();
            if status.state == ContainerState::Exited {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("logs/main.log")).unwrap();
        text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
    }

    async fn finish(self, sandbox: &str) {
        self.runtime.remove_pod_sandbox(sandbox).await.unwrap();
        assert!(self.runtime.list_containers().await.unwrap().is_empty());
        remove_cgroups(self.directory.path());
    }
}

fn remove_cgroups(directory: &Path) {
    let root = cgroup_root(directory);
    let mut places = vec![PathBuf::from("/sys/fs/cgroup")];
    places.extend(std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path()));
    for place in places {
        let _ = std::fs::remove_dir(place.join(&root).join("kubepods"));
        let _ = std::fs::remove_dir(place.join(&root));
    }
}

fn cgroup_root(directory: &Path) -> String {
    directory.file_name().unwrap().to_string_lossy().into_owned()
}

async fn open(directory: &Path) -> BuiltinRuntime {
    open_with(directory, Arc::new(NoNetwork)).await
}

async fn open_with(directory: &Path, network: Arc<dyn PodNetwork>) -> BuiltinRuntime {
    let options = BuiltinOptions {
        data_dir: directory.join("data"),
        state_dir: directory.join("state"),
        shim_exe: std::env::current_exe().unwrap(),
        network,
        cgroup_root: format!("/{}", cgroup_root(directory)),
    };
    BuiltinRuntime::open(options).await.unwrap()
}

fn owned(header: &mut tar::Header) {
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
}

/// A `docker save` archive with Debian's static busybox.
fn busybox_archive(path: &Path) {
    archive(path, "busybox:test", r#""Env":["FROM_IMAGE=yes"]"#, &[busybox_layer()]);
}

fn busybox_layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_path_with_name("/bin/busybox", "bin/busybox").unwrap();
    for name in [
        "sh", "cat", "echo", "sleep", "id", "grep", "touch", "hostname", "ls", "true", "tail", "dd", "head", "ps",
        "stty", "wc", "nc", "mount",
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        owned(&mut header);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    let mut file = |name: &str, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        owned(&mut header);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    };
    file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n");
    file("etc/group", "app:x:1001:\nextra:x:44:app\n");
    tar.into_inner().unwrap()
}

/// A `docker save` archive of one image: `config` is the inside of its configuration, in JSON.
fn archive(path: &Path, tag: &str, config: &str, layers: &[Vec<u8>]) {
    let hex = |bytes: &[u8]| -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let diffs: Vec<String> = layers.iter().map(|layer| format!("\"sha256:{}\"", hex(layer))).collect();
    let names: Vec<String> = (0..layers.len()).map(|number| format!("\"{number}.tar\"")).collect();
    let config = format!(r#"{{"config":{{{config}}},"rootfs":{{"diff_ids":[{}]}}}}"#, diffs.join(","));
    let manifest = format!(r#"[{{"Config":"config.json","RepoTags":["{tag}"],"Layers":[{}]}}]"#, names.join(","));
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        owned(&mut header);
        tar.append_data(&mut header, name, bytes).unwrap();
    };
    put("config.json", config.as_bytes());
    put("manifest.json", manifest.as_bytes());
    layers.iter().enumerate().for_each(|(number, layer)| put(&format!("{number}.tar"), layer));
    tar.finish().unwrap();
}

async fn runs() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let script = "echo out; echo err >&2; hostname; echo $FROM_IMAGE $A; exit 7";
    let id = world.start(&sandbox, script, |config| config.env = vec![("A".to_owned(), "b".to_owned())]).await;
    let status = world.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (Some(7), "Error"));
    let log = world.log();
    for line in ["out\n", "err\n", "pod-host\n", "yes b\n"] {
        assert!(log.contains(line), "{log}");
    }
    let id = world.start(&sandbox, "exec sleep 100", |_| ()).await;
    world.runtime.stop_container(&id, Duration::from_millis(200)).await.unwrap();
    assert_eq!(world.ended(&id).await.exit_code, Some(137));
    world.finish(&sandbox).await;
}

async fn start_error() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let config = ContainerConfig {
        image: "busybox:test".to_owned(),
        command: vec!["foo".to_owned()],
        ..ContainerConfig::default()
    };
    let id = world.runtime.create_container(&sandbox, config).await.unwrap();
    let error = world.runtime.start_container(&id).await.unwrap_err().to_string();
    assert_eq!(error, "exec: \"foo\": executable file not found in $PATH");
    let status = world.runtime.container_status(&id).await.unwrap();
    assert_eq!((status.exit_code, status.reason.as_str()), (Some(128), "StartError"));
    world.finish(&sandbox).await;
}

async fn exec() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "touch /mark; exec sleep 1000", |_| ()).await;
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let output = loop {
        let output = world.runtime.exec_sync(&id, words("ls /mark /nothing"), None).await.unwrap();
        if !output.stdout.is_empty() {
            break output;
        }
        // The container's own process makes it when its turn comes.
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((String::from_utf8_lossy(&output.stdout).trim(), output.exit_code), ("/mark", 1));
    assert!(!output.stderr.is_empty());
    let late = world.runtime.exec_sync(&id, words("sleep 100"), Some(Duration::from_millis(100))).await;
    assert!(matches!(late, Err(RuntimeError::Timeout(_))));
    let request = ExecRequest { command: words("cat"), tty: false, stdin: true };
    let mut streams = world.runtime.exec(&id, request).await.unwrap();
    streams.stdin.as_mut().unwrap().write_all(b"echoed").await.unwrap();
    streams.stdin = None;
    let mut text = String::new();
    streams.stdout.unwrap().read_to_string(&mut text).await.unwrap();
    assert_eq!((text.as_str(), streams.exit.await.unwrap()), ("echoed", 0));
    let request = ExecRequest { command: words("/bin/sh -c tty;exit"), tty: true, stdin: true };
    let mut streams = world.runtime.exec(&id, request).await.unwrap();
    let mut text = String::new();
    streams.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    streams.exit.await.unwrap();
    world.finish(&sandbox).await;
}

async fn restart() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "exec sleep 1000", |_| ()).await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid;
    let again = World { runtime: open(world.directory.path()).await, directory: world.directory };
    let status = again.runtime.container_status(&id).await.unwrap();
    assert_eq!((status.state, status.pid), (ContainerState::Running, pid));
    assert_eq!(again.runtime.list_pod_sandboxes().await.unwrap()[0].state, SandboxState::Ready);
    again.finish(&sandbox).await;
}

async fn killed_shim() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let id = world.start(&sandbox, "exec sleep 1000", |_| ()).await;
    let pid = world.runtime.container_status(&id).await.unwrap().pid.unwrap();
    let path = world.directory.path().join("state/sandboxes").join(&sandbox).join("shim.json");
    let shim: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let killed = std::process::Command::new("/bin/kill").arg("-9").arg(shim["pid"].to_string()).status().unwrap();
    assert!(killed.success());
    assert_eq!(world.ended(&id).await.reason, "Unknown");
    assert_eq!(world.runtime.list_pod_sandboxes().await.unwrap()[0].state, SandboxState::NotReady);
    // Dead: gone, or waiting for the machine's init to reap it.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    world.finish(&sandbox).await;
}

async fn security() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let script = "id; grep -E 'CapBnd|CapEff|NoNewPrivs|^Seccomp:' /proc/self/status; touch /x || echo readonly; \
                  head -c 1 /proc/keys | cat; echo y > /proc/sys/kernel/hostname || echo denied";
    let id = world
        .start(&sandbox, script, |config| {
            config.security = Security {
                run_as_user: Some(1000),
                supplemental_groups: vec![2000],
                read_only_rootfs: true,
                no_new_privileges: true,
                drop_capabilities: vec!["ALL".to_owned()],
                ..Security::default()
            };
        })
        .await;
    world.ended(&id).await;
    let log = world.log();
    for part in [
        "uid=1000(app) gid=1001(app)",
        "44(extra)",
        "2000",
        "CapEff:\t0000000000000000",
        "CapBnd:\t0000000000000000",
        "NoNewPrivs:\t1",
        "Seccomp:\t2",
        "readonly",
        "denied",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    world.finish(&sandbox).await;
}

async fn oom() {
    let world = World::new().await;
    let sandbox = world.sandbox().await;
    let limit = |config: &mut ContainerConfig| config.resources.memory_limit = Some(16 << 20);
    let id = world.start(&sandbox, "exec tail /dev/zero", limit).await;
    let status = world.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (Some(137), "OOMKilled"));
    world.finish(&sandbox).await;
}

async fn hello() {
    let world = World::new().await;
    let image = world.runtime.pull_image("localhost/skiff/hello:v1", Vec::new()).await.unwrap().image;
    assert_eq!(image.repo_tags, ["localhost/skiff/hello:v1"]);
    let second = world.runtime.image_status("localhost/skiff/hello:v2").await.unwrap().unwrap();
    assert_ne!(image.id, second.id);
    assert!(world.runtime.pull_image("localhost/skiff/other:v1", Vec::new()).await.is_err());
    world.runtime.remove_image(&image.id).await.unwrap();
    assert!(world.runtime.list_images().await.unwrap().iter().all(|other| other.id != image.id));
}

/// Lays an image out as docker-registry stores it: a gzipped layer, a configuration, a manifest with a tag.
fn registry_storage(root: &Path, wrong: bool) {
    let root = root.join("docker/registry/v2");
    let digest = |bytes: &[u8]| -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let write = |path: PathBuf, bytes: &[u8]| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let repository = root.join("repositories/team/web");
    let blob = |bytes: &[u8]| {
        let hex = digest(bytes);
        write(root.join("blobs/sha256").join(&hex[..2]).join(&hex).join("data"), bytes);
        write(repository.join("_layers/sha256").join(&hex).join("link"), format!("sha256:{hex}").as_bytes());
        hex
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(5);
    owned(&mut header);
    tar.append_data(&mut header, "page", &b"hello"[..]).unwrap();
    let plain = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &plain).unwrap();
    let layer = gzip.finish().unwrap();
    let diff_id = if wrong { "0".repeat(64) } else { digest(&plain) };
    let config = format!(r#"{{"config":{{"User":"app"}},"rootfs":{{"diff_ids":["sha256:{diff_id}"]}}}}"#);
    let kind = "application/vnd.docker";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}.distribution.manifest.v2+json",
        "config":{{"mediaType":"{kind}.container.image.v1+json","size":{},"digest":"sha256:{}"}},
        "layers":[{{"mediaType":"{kind}.image.rootfs.diff.tar.gzip","size":{},"digest":"sha256:{}"}}]}}"#,
        config.len(),
        blob(config.as_bytes()),
        layer.len(),
        blob(&layer)
    );
    let hex = digest(manifest.as_bytes());
    let link = format!("sha256:{hex}");
    write(root.join("blobs/sha256").join(&hex[..2]).join(&hex).join("data"), manifest.as_bytes());
    let tag = if wrong { "wrong" } else { "v1" };
    write(repository.join("_manifests/revisions/sha256").join(&hex).join("link"), link.as_bytes());
    write(repository.join(format!("_manifests/tags/{tag}/current/link")), link.as_bytes());
    write(repository.join(format!("_manifests/tags/{tag}/index/sha256/{hex}/link")), link.as_bytes());
}

async fn pull() {
    if !Path::new("/usr/bin/docker-registry").exists() {
        return println!("skipped: needs Debian's docker-registry");
    }
    let world = World::new().await;
    let root = world.directory.path().join("registry");
    registry_storage(&root, false);
    registry_storage(&root, true);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = world.directory.path().join("registry.yml");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
        root.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut registry = tokio::process::Command::new("/usr/bin/docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let name = format!("127.0.0.1:{port}/team/web");
    let image = world.runtime.pull_image(&format!("{name}:v1"), Vec::new()).await.unwrap().image;
    assert_eq!((image.repo_tags[0].as_str(), image.username.as_str()), (format!("{name}:v1").as_str(), "app"));
    let by_digest = world.runtime.pull_image(&image.repo_digests[0], Vec::new()).await.unwrap().image;
    assert_eq!(by_digest.id, image.id);
    let error = world.runtime.pull_image(&format!("{name}:none"), Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("not found"), "{error}");
    let error = world.runtime.pull_image(&format!("{name}:wrong"), Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains("failed to extract layer") && error.contains("digest is"), "{error}");
    registry.kill().await.unwrap();
    let error = world.runtime.pull_image(&format!("{name}:v1"), Vec::new()).await.unwrap_err();
    assert!(error.to_string().ends_with("connect: connection refused"), "{error}");
}
