//! A skiff server to measure, started anew with a data directory of its own.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::connection::{Connection, Target};
use tokio::time::Instant;

/// How long anything may take.
pub const WAIT_MAX: Duration = Duration::from_secs(60);

/// A running server. Dropping it stops it and removes what it ran.
pub struct Cluster {
    directory: tempfile::TempDir,
    server: Child,
    /// When the program was started.
    pub started: Instant,
    cgroup: String,
}

impl Cluster {
    /// Starts a server; `arguments` are further flags.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("skiff-bench-").tempdir()?;
        let cgroup = format!("/{}", directory.path().file_name().unwrap_or_default().to_string_lossy());
        let log = std::fs::File::create(directory.path().join("log"))?;
        let mut command = Command::new(program()?);
        command.arg("server").arg("--data-dir").arg(directory.path().join("data"));
        command.arg("--state-dir").arg(directory.path().join("state")).args(["--node-name", "bench"]);
        command.args(["--cgroup-root", &cgroup, "--log-level", "warn", "--eviction-hard="]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = Instant::now();
        let server = command.spawn().context("skiff could not be started")?;
        Ok(Self { directory, server, started, cgroup })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    /// A command of skiff's that speaks with this server's local socket.
    pub fn local(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(program()?);
        command.args(arguments).arg("--state-dir").arg(self.directory.path().join("state"));
        Ok(command)
    }

    /// Memory of the server in MiB: now, and at most since the last call.
    pub fn memory(&self) -> Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
            let kib: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
            Ok(kib / 1024.0)
        };
        let memory = (field("VmRSS:")?, field("VmHWM:")?);
        // The kernel forgets the peak when it is told 5.
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5")?;
        Ok(memory)
    }

    /// Waits until the API answers, and connects.
    pub async fn connect(&self) -> Result<Connection> {
        let deadline = Instant::now() + WAIT_MAX;
        while Instant::now() < deadline {
            if let Ok(connection) = self.try_connect().await {
                return Ok(connection);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bail!("no answer: {}", std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default())
    }

    /// Where the API is, once it is known.
    pub fn target(&self) -> Result<Target> {
        Target::read(&self.directory.path().join("data/kubeconfig"))
    }

    async fn try_connect(&self) -> Result<Connection> {
        let connection = self.target()?.connect().await?;
        connection.get("/readyz").await?;
        Ok(connection)
    }

    /// Waits until what is read at `path` is as wanted.
    pub async fn until(&self, api: &Connection, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let deadline = Instant::now() + WAIT_MAX;
        while Instant::now() < deadline {
            match api.read(path).await {
                Ok(value) if wanted(&value) => return Ok(value),
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
        bail!("{path} did not become what was waited for")
    }

    /// Waits until the node is ready.
    pub async fn node(&self, api: &Connection) -> Result<()> {
        self.until(api, "/api/v1/nodes/bench", |node| condition(node, "Ready")).await.map(drop)
    }
}

/// Whether a condition is true.
pub fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|c| c["type"] == kind && c["status"] == "True")
}

/// What a process has had of processors, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SKIFF") {
        return Ok(path.into());
    }
    let beside = std::env::current_exe()?.with_file_name("skiff");
    if !beside.exists() {
        bail!("{} is not built", beside.display());
    }
    Ok(beside)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.server.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.server.wait();
        // Containers and their shims outlive the server.
        testkit::remove_cgroups(&self.cgroup);
        testkit::kill_by_argument(&self.directory.path().to_string_lossy());
        testkit::unmount_below(self.directory.path());
    }
}
