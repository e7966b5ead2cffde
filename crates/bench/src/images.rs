//! Pulling an image from a registry on this machine and unpacking it, beside containerd; and skopeo, which does not unpack.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::images::write_large;
use testkit::{REGISTRY, containerd_configuration, containerd_path};
use tokio::time::Instant;

use crate::cluster::{Cluster, WAIT_MAX};
use crate::figures::Times;

const BYTES: u64 = 256 << 20;
const ROUNDS: usize = 5;

pub async fn run() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("skiff-bench-").tempdir()?;
    let (files, layers) = write_large(&directory.path().join("registry"), BYTES);
    println!("image: {} MiB of files, {} MiB in four layers", files >> 20, layers >> 20);
    let _registry = registry(directory.path()).await?;
    let image = format!("{REGISTRY}/large:1");
    let cluster = Cluster::start(&[])?;
    let api = cluster.connect().await?;
    cluster.node(&api).await?;
    let containerd = containerd(&directory.path().join("containerd")).await?;
    let copy = directory.path().join("copy");
    let mut times: [Times; 3] = Default::default();
    // By turns, so that a slow moment is nobody's own.
    for _ in 0..ROUNDS {
        times[0].add(done(&mut cluster.local(&["image", "pull", &image])?)?);
        done(&mut cluster.local(&["image", "rm", &image])?)?;
        times[1].add(done(containerd.ctr().args(["images", "pull", "--plain-http", &image]))?);
        done(containerd.ctr().args(["images", "rm", "--sync", &image]))?;
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["copy", "--src-tls-verify=false", &format!("docker://{image}")]);
        times[2].add(done(skopeo.arg(format!("dir:{}", copy.display())))?);
        std::fs::remove_dir_all(&copy)?;
    }
    for (name, times) in ["skiff image pull", "ctr images pull", "skopeo copy, packed"].into_iter().zip(times) {
        let rate = layers as f64 / f64::from(1 << 20) / times.percentile(50) * 1000.0;
        println!("{name:26} {}   {rate:6.0} MiB/s of layers", times.tell());
    }
    Ok(())
}

/// How long a command takes that has to succeed.
fn done(command: &mut Command) -> Result<Duration> {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(begun.elapsed())
}

/// A process that ends with this value.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn registry(place: &Path) -> Result<Ended> {
    let config = place.join("registry.yml");
    let root = place.join("registry");
    let text = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {REGISTRY}}}\n",
        root.display()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("docker-registry");
    command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let registry = Ended(command.spawn().context("docker-registry")?);
    until("the registry", || std::net::TcpStream::connect(REGISTRY).is_ok()).await?;
    Ok(registry)
}

struct Containerd {
    _process: Ended,
    socket: std::path::PathBuf,
}

impl Containerd {
    fn ctr(&self) -> Command {
        let mut command = Command::new(testkit::tool("containerd", "usr/bin/ctr"));
        command.arg("--address").arg(&self.socket);
        command
    }
}

async fn containerd(place: &Path) -> Result<Containerd> {
    std::fs::create_dir_all(place)?;
    let (config, socket) = (place.join("config.toml"), place.join("socket"));
    std::fs::write(&config, containerd_configuration(place, &socket))?;
    let mut command = Command::new(testkit::tool("containerd", "usr/bin/containerd"));
    command.arg("--config").arg(&config).env("PATH", containerd_path()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Ended(command.spawn()?);
    until("containerd", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await?;
    Ok(Containerd { _process: process, socket })
}

async fn until(what: &str, ready: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + WAIT_MAX;
    while !ready() {
        if Instant::now() > deadline {
            bail!("{what} does not answer");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
