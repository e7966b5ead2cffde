//! The peers, where they are installed: etcd for durable writes, runc and crun for starting containers.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::figures::Times;
use tokio::time::Instant;

const SPAN: Duration = Duration::from_secs(4);
const ROUNDS: usize = 50;
const ETCD: &str = "127.0.0.1:12379";

pub async fn run() -> Result<()> {
    match installed("etcd") {
        true => etcd().await?,
        false => println!("etcd is not installed"),
    }
    for runtime in ["runc", "crun"] {
        match installed(runtime) {
            true => containers(runtime)?,
            false => println!("{runtime} is not installed"),
        }
    }
    Ok(())
}

fn installed(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// Ends with the server.
struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn etcd() -> Result<()> {
    let directory = tempfile::Builder::new().prefix("skiff-bench-").tempdir()?;
    let (client, peer) = (format!("http://{ETCD}"), "http://127.0.0.1:12380");
    let mut command = Command::new("etcd");
    command.arg("--data-dir").arg(directory.path()).args(["--listen-client-urls", &client]);
    command.args(["--advertise-client-urls", &client, "--listen-peer-urls", peer]);
    command.args(["--initial-advertise-peer-urls", peer, "--initial-cluster", &format!("default={peer}")]);
    let server = Etcd(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
    let deadline = Instant::now() + Duration::from_secs(30);
    while put(&mut open().await, "ready", 1).await.is_err() {
        if Instant::now() > deadline {
            bail!("etcd does not answer");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for flight in [1, 16, 64] {
        let (times, elapsed) = load(flight).await?;
        let rate = times.len() as f64 / elapsed.as_secs_f64();
        println!("etcd put of 2 KiB (JSON gateway) {flight:3} in flight  {rate:8.0}/s   {}", times.tell());
    }
    drop(server);
    Ok(())
}

type Sender = Option<SendRequest<Full<Bytes>>>;

async fn open() -> Sender {
    let stream = TcpStream::connect(ETCD).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    tokio::spawn(connection);
    Some(sender)
}

async fn put(sender: &mut Sender, key: &str, size: usize) -> Result<()> {
    let sender = sender.as_mut().context("no connection")?;
    let body = json!({"key": STANDARD.encode(key), "value": STANDARD.encode("x".repeat(size))}).to_string();
    let request = http::Request::post("/v3/kv/put").header("host", ETCD).body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await?;
    let success = answer.status().is_success();
    answer.into_body().collect().await?;
    if success { Ok(()) } else { bail!("etcd refused") }
}

async fn load(flight: usize) -> Result<(Times, Duration)> {
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..flight {
        workers.spawn(async move {
            let (mut sender, mut times, mut number) = (open().await, Times::default(), 0);
            while begun.elapsed() < SPAN {
                let sent = Instant::now();
                put(&mut sender, &format!("/registry/things/{flight}-{worker}-{number}"), 2048).await?;
                times.add(sent.elapsed());
                number += 1;
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Times::default();
    while let Some(times) = workers.join_next().await {
        all.join(times??);
    }
    Ok((all, begun.elapsed()))
}

/// Runs `true` of busybox in a container: made, started, waited for, removed.
fn containers(runtime: &str) -> Result<()> {
    let busybox = Path::new("/bin/busybox");
    if !busybox.exists() {
        println!("{runtime} has nothing to run: busybox is not installed");
        return Ok(());
    }
    let bundle = tempfile::Builder::new().prefix("skiff-bench-").tempdir()?;
    let root = bundle.path().join("rootfs/bin");
    std::fs::create_dir_all(&root)?;
    std::fs::copy(busybox, root.join("true"))?;
    let made = Command::new(runtime).arg("spec").current_dir(bundle.path()).status()?;
    if !made.success() {
        bail!("{runtime} spec failed");
    }
    let path = bundle.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/true"]);
    std::fs::write(&path, config.to_string())?;
    let [one_by_one, in_pairs] = [1, 2].map(|abreast| runs(runtime, bundle.path(), abreast));
    match (one_by_one, in_pairs) {
        (Ok(one_by_one), Ok(in_pairs)) => {
            println!("{runtime} run of one container     {}", one_by_one.tell());
            println!("{runtime} run, two in parallel     {}", in_pairs.tell());
            exec(runtime, bundle.path(), &path, config)?;
        }
        (Err(error), _) | (_, Err(error)) => println!("{runtime} does not run here: {error}"),
    }
    Ok(())
}

/// Runs containers, some side by side; the time of each.
fn runs(runtime: &str, bundle: &Path, abreast: usize) -> Result<Times> {
    let mut times = Times::default();
    for round in 0..ROUNDS / abreast {
        let begun = Instant::now();
        let start = |number: usize| {
            let id = format!("skiff-bench-{}-{abreast}-{round}-{number}", std::process::id());
            let mut command = Command::new(runtime);
            command.args(["run", &id]).current_dir(bundle).stdin(Stdio::null());
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        };
        let started: Vec<Child> = (0..abreast).map(start).collect::<Result<_, _>>()?;
        for child in started {
            let output = child.wait_with_output()?;
            if !output.status.success() {
                bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
            }
            times.add(begun.elapsed());
        }
    }
    Ok(times)
}

/// A command in a running container.
fn exec(runtime: &str, bundle: &Path, path: &Path, mut config: Value) -> Result<()> {
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/sleep"))?;
    config["process"]["args"] = json!(["/bin/sleep", "1000"]);
    std::fs::write(path, config.to_string())?;
    let id = format!("skiff-bench-{}-exec", std::process::id());
    let call = |arguments: &[&str]| {
        let mut command = Command::new(runtime);
        command.args(arguments).current_dir(bundle).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status()
    };
    call(&["run", "--detach", &id])?;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        if call(&["exec", &id, "/bin/true"])?.success() {
            times.add(begun.elapsed());
        }
    }
    call(&["delete", "--force", &id])?;
    println!("{runtime} exec of one command      {}", times.tell());
    Ok(())
}
