//! Private clusters for tests: each in network, mount, host name and IPC namespaces of its own, with loopback and whatever
//! skiff makes there, so that many run side by side and nothing leaves the machine.
//!
//! Everything here panics with a clear text when it does not work: its callers are tests.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "for tests of other processes, in real time")]

mod containerd;
pub mod images;
mod namespaces;
mod programs;
pub mod vm;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

pub use containerd::{containerd_configuration, containerd_path};
pub use namespaces::{Namespaces, kill_by_argument, remove_cgroups, unmount_below};
pub use programs::{kubectls, python_packages, skiff, tool};

/// The longest that a test waits for anything, on a machine of usual speed.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The longest that it watches one object at a time, likewise.
const WATCH_MAX: Duration = Duration::from_secs(2);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);
/// The longest that a page may take, on a machine of usual speed.
const PAGE_MAX: Duration = Duration::from_secs(3);
/// Where the registry of a cluster listens.
pub const REGISTRY: &str = "127.0.0.1:5000";
/// Where one listens that asks for credentials.
pub const PRIVATE_REGISTRY: &str = "127.0.0.1:5001";

/// How many times slower than usual this machine is: `SKIFF_TEST_PATIENCE`, or one.
pub fn slowness() -> u32 {
    std::env::var("SKIFF_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// The longest that a test waits for anything: a minute, times the machine's [`slowness`].
pub fn patience() -> Duration {
    WAIT_MAX * slowness()
}

/// Whether clusters of tests are on containerd if they do not say otherwise: `SKIFF_TEST_RUNTIME=containerd`.
pub fn on_containerd() -> bool {
    std::env::var("SKIFF_TEST_RUNTIME").is_ok_and(|runtime| runtime == "containerd")
}

/// A skiff server in namespaces of its own. Dropping it removes everything that it made.
pub struct Cluster {
    directory: tempfile::TempDir,
    namespaces: Namespaces,
    server: Option<Child>,
    registry: Option<Child>,
    private_registry: Option<Child>,
    containerd: Option<Child>,
    arguments: Vec<String>,
}

impl Cluster {
    /// Starts a server, and waits until its node is ready and the default service account is there.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same with further flags.
    pub fn with(arguments: &[&str]) -> Self {
        let mut cluster = Self::prepare(arguments);
        cluster.start_server();
        cluster.wait_ready();
        cluster
    }

    /// The namespaces and directories, without a server yet.
    pub fn prepare(arguments: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("skiff-test-").tempdir().unwrap();
        let arguments = arguments.iter().map(|a| (*a).to_owned()).collect();
        Self {
            directory,
            namespaces: Namespaces::new(),
            server: None,
            registry: None,
            private_registry: None,
            containerd: None,
            arguments,
        }
    }

    /// Where the test may keep files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn cgroup(&self) -> String {
        format!("/{}", self.directory.path().file_name().unwrap().to_string_lossy())
    }

    /// The command that starts the server.
    pub fn server_command(&self) -> Command {
        let mut command = self.namespaces.command(&programs::skiff());
        command.arg("server").arg("--data-dir").arg(self.path("data")).arg("--state-dir").arg(self.path("state"));
        // How full the machine's disk is must not decide a test.
        command.args(["--node-name", "node", "--cgroup-root", &self.cgroup(), "--eviction-hard="]);
        command.args(&self.arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Starts the server, without waiting for anything.
    pub fn start_server(&mut self) {
        self.obey_environment();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.server_command();
        self.server = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("skiff can be started"));
    }

    fn without_node(&self) -> bool {
        self.arguments.windows(2).any(|pair| pair[0] == "--disable" && pair[1].contains("node"))
    }

    /// Waits until the API answers, the node is ready and the default service account is there.
    pub fn wait_ready(&self) {
        if self.without_node() {
            self.wait("the API", || self.try_kubectl(&["get", "--raw", "/readyz"]).ok());
            return drop(
                self.wait("the service account", || self.try_kubectl(&["get", "serviceaccount", "default"]).ok()),
            );
        }
        self.wait("the node to be ready", || {
            let status = "{.status.conditions[?(@.type==\"Ready\")].status}";
            let ready = self.try_kubectl(&["get", "node", "node", "-o", &format!("jsonpath={status}")]).ok()?;
            (ready == "True").then_some(())
        });
        self.wait("the service account", || self.try_kubectl(&["get", "serviceaccount", "default"]).ok());
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// The server's process.
    pub fn server_pid(&self) -> Option<Pid> {
        self.server.as_ref().map(|s| Pid::from_raw(s.id().cast_signed()))
    }

    /// Sends the server a signal and waits for its end; says how long that took.
    pub fn stop_server(&mut self, signal: Signal) -> Duration {
        let Some(mut server) = self.server.take() else { return Duration::ZERO };
        let begun = Instant::now();
        kill(Pid::from_raw(server.id().cast_signed()), signal).unwrap();
        server.wait().unwrap();
        begun.elapsed()
    }

    /// A command inside the cluster's namespaces, in the test's directory.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = self.namespaces.command(program);
        command.current_dir(self.directory.path()).env("HOME", self.directory.path());
        command.env("KUBECONFIG", self.path("data/kubeconfig")).stdin(Stdio::null());
        command
    }

    /// Runs something on a thread of its own that has the cluster's network.
    pub fn inside<T: Send>(&self, run: impl FnOnce() -> T + Send) -> T {
        let entered = || {
            self.namespaces.enter_network();
            run()
        };
        std::thread::scope(|scope| match scope.spawn(entered).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// kubectl's output; panics when it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        self.try_kubectl(arguments).unwrap_or_else(|error| panic!("kubectl {}: {error}", arguments.join(" ")))
    }

    /// kubectl's output, or what it said was wrong.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let kubectl = kubectls().pop().expect("a kubectl is there");
        said(self.command(&kubectl).args(arguments).output().unwrap())
    }

    /// Gives a manifest to `kubectl apply`.
    pub fn apply(&self, manifest: &str) -> String {
        self.try_apply(manifest).unwrap_or_else(|error| panic!("kubectl apply: {error}\n{manifest}"))
    }

    /// The same, or what was wrong.
    pub fn try_apply(&self, manifest: &str) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new_in(self.directory.path()).unwrap();
        std::fs::write(file.path(), manifest).unwrap();
        self.try_kubectl(&["apply", "-f", &file.path().to_string_lossy()])
    }

    /// One field of an object, by JSONPath without braces (`.status.phase`); empty when it is not there.
    pub fn field(&self, object: &str, path: &str) -> String {
        self.try_kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")]).unwrap_or_default()
    }

    /// Waits until a field of an object is as wanted.
    pub fn wait_field(&self, object: &str, path: &str, wanted: &str) {
        let begun = Instant::now();
        let mut last = String::new();
        while begun.elapsed() < patience() {
            // kubectl's watch of one object may lose what changes while it begins: it is asked anew.
            match self.watch_field(object, path, wanted, WATCH_MAX * slowness()) {
                Ok(()) => return,
                Err(other) => last = other,
            }
            std::thread::sleep(LOOK);
        }
        let described = self.try_kubectl(&["describe", object]).unwrap_or_default();
        panic!("{object} {path} is {last:?}, not {wanted:?}\n{described}\n{}", self.log());
    }

    /// Waits until a field of an object has a value; gives it.
    pub fn wait_until_set(&self, object: &str, path: &str) -> String {
        self.wait(&format!("{object} {path}"), || Some(self.field(object, path)).filter(|value| !value.is_empty()))
    }

    /// Watches an object with one kubectl until a field is as wanted, beginning with what it is. Otherwise, what it was last:
    /// the object is not there, is gone, or `limit` is over.
    fn watch_field(&self, object: &str, path: &str, wanted: &str, limit: Duration) -> Result<(), String> {
        let kubectl = kubectls().pop().expect("a kubectl is there");
        let mut command = self.command(&kubectl);
        command.args(["get", object, "--watch", "-o", &format!("jsonpath={{{path}}}{{\"\\n\"}}")]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("kubectl starts");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let (tell, told) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let deadline = Instant::now() + limit;
        let next = || told.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok();
        let mut last = String::new();
        let found = std::iter::from_fn(next).any(|line| {
            last = line;
            last == wanted
        });
        let _ = child.kill();
        let _ = child.wait();
        drop(told);
        let _ = reader.join();
        if found { Ok(()) } else { Err(last) }
    }

    /// Waits until `look` finds something.
    pub fn wait<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let begun = Instant::now();
        while begun.elapsed() < patience() {
            if let Some(found) = look() {
                return found;
            }
            // Looking costs a slow machine more than it has.
            std::thread::sleep(LOOK * slowness().pow(2));
        }
        panic!("waited {:?} for {what}\n{}", patience(), self.log());
    }

    /// The page at a URL, fetched from inside.
    pub fn fetch(&self, url: &str) -> Result<String, String> {
        let limit = (PAGE_MAX * slowness()).as_secs().to_string();
        said(self.command(Path::new("curl")).args(["-sS", "--max-time", &limit, url]).output().unwrap())
    }

    /// The page at an address's port 80, over a connection of its own. Quick, for loops; the calling thread is in the cluster's
    /// network for good.
    pub fn fetch_from_here(&self, address: &str) -> Result<String, String> {
        self.namespaces.enter_network();
        fetch(address).map_err(|error| error.to_string())
    }

    /// A registry with the test images, at [`REGISTRY`].
    pub fn start_registry(&mut self) {
        if self.registry.is_some() {
            return;
        }
        images::write_all(&self.path("registry"));
        self.registry = Some(self.run_registry(REGISTRY, ""));
        self.wait("the registry", || self.fetch(&format!("http://{REGISTRY}/v2/")).ok());
    }

    /// The same images at [`PRIVATE_REGISTRY`], for `me` with the password `secret`.
    pub fn start_private_registry(&mut self) {
        images::write_all(&self.path("registry"));
        let users = self.path("users");
        std::fs::write(&users, "me:$2b$04$IOdi5DQFSn7ufrXYhEe1qeKfyG.XLJ6tyQJDqwpT.okw6KSIgHvI6\n").unwrap();
        let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}\n", users.display());
        self.private_registry = Some(self.run_registry(PRIVATE_REGISTRY, &auth));
        self.wait("the private registry", || self.fetch(&format!("http://me:secret@{PRIVATE_REGISTRY}/v2/")).ok());
    }

    /// Ends it again.
    pub fn stop_private_registry(&mut self) {
        let mut child = self.private_registry.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn run_registry(&self, address: &str, auth: &str) -> Child {
        let config = self.path(&format!("{address}.yml"));
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n{auth}",
            self.path("registry").display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = self.namespaces.command(Path::new("docker-registry"));
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("docker-registry is installed")
    }
}

/// The output of a command that succeeded, or what it said was wrong.
fn said(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{}{}", text(&output.stdout), text(&output.stderr))),
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let registries = [self.registry.take(), self.private_registry.take()];
        for mut child in [self.server.take(), self.containerd.take()].into_iter().chain(registries).flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        // Shims are in no cgroup of the pods; they are known by their directory. They go first, or they would make cgroups anew.
        namespaces::kill_by_argument(&self.directory.path().to_string_lossy());
        namespaces::remove_cgroups(&self.cgroup());
    }
}

fn fetch(address: &str) -> std::io::Result<String> {
    let address: std::net::SocketAddr = format!("{address}:80").parse().map_err(std::io::Error::other)?;
    let mut stream = std::net::TcpStream::connect_timeout(&address, PAGE_MAX * slowness())?;
    stream.set_read_timeout(Some(PAGE_MAX * slowness()))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    if head.starts_with("HTTP/1.1 200 ") { Ok(body.to_owned()) } else { Err(std::io::Error::other(head.to_owned())) }
}
