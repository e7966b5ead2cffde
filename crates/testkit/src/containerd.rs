//! A containerd of a cluster's own: Debian's, unpacked beside, with all its directories in the test's.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{Cluster, REGISTRY, images, programs, said, tool};

const ENDPOINT: &str = "--container-runtime-endpoint";

impl Cluster {
    /// The namespaces, directories and registry of a cluster whose pods are containerd's; neither it nor the server runs.
    pub fn prepare_containerd() -> Self {
        let mut cluster = Self::prepare(&[]);
        cluster.use_containerd();
        cluster.start_registry();
        cluster
    }

    /// A cluster whose pods are containerd's.
    pub fn on_containerd() -> Self {
        let mut cluster = Self::prepare_containerd();
        cluster.start_containerd();
        cluster.start_server();
        cluster.wait_ready();
        cluster
    }

    /// Has the server use containerd.
    fn use_containerd(&mut self) {
        if !self.arguments.iter().any(|a| a == ENDPOINT) {
            let endpoint = format!("unix://{}", self.containerd_socket().display());
            self.arguments.extend([ENDPOINT.to_owned(), endpoint]);
        }
    }

    /// Makes any cluster one on containerd when the environment wants it so: `SKIFF_TEST_RUNTIME=containerd cargo nextest run
    /// -p testkit` runs all tests there.
    pub(crate) fn obey_environment(&mut self) {
        // A cluster that is on containerd anyway says itself when that starts.
        let open = !self.without_node() && !self.arguments.iter().any(|a| a == ENDPOINT);
        if open && crate::on_containerd() {
            self.use_containerd();
            self.start_registry();
            self.start_containerd();
            self.import_hello();
        }
    }

    fn import_hello(&self) {
        let archive = self.path("containerd/hello.tar");
        images::write_hello(&programs::skiff(), &archive);
        let mut command = self.command(&tool("containerd", "usr/bin/ctr"));
        command.arg("--address").arg(self.containerd_socket()).args(["--namespace", "k8s.io", "images", "import"]);
        said(command.arg(&archive).output().unwrap()).unwrap();
    }

    fn containerd_socket(&self) -> PathBuf {
        self.path("containerd/socket")
    }

    /// Starts containerd and waits until it listens.
    pub fn start_containerd(&mut self) {
        let place = self.path("containerd");
        std::fs::create_dir_all(&place).unwrap();
        let config = place.join("config.toml");
        std::fs::write(&config, containerd_configuration(&place, &self.containerd_socket())).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(place.join("log")).unwrap();
        let mut command = self.command(&tool("containerd", "usr/bin/containerd"));
        command.arg("--config").arg(&config).env("PATH", containerd_path()).stdout(Stdio::null()).stderr(log);
        let _ = std::fs::remove_file(self.containerd_socket());
        self.containerd = Some(command.spawn().expect("containerd can be started"));
        let socket = self.containerd_socket();
        self.wait("containerd", || socket.exists().then_some(()));
    }

    /// Kills containerd; its containers go on.
    pub fn kill_containerd(&mut self) {
        let mut child = self.containerd.take().expect("containerd runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What containerd logged.
    pub fn containerd_log(&self) -> String {
        std::fs::read_to_string(self.path("containerd/log")).unwrap_or_default()
    }
}

/// A search path with containerd's programs and runc.
pub fn containerd_path() -> std::ffi::OsString {
    let programs = [tool("containerd", "usr/bin"), tool("runc", "usr/sbin")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(programs.into_iter().chain(std::env::split_paths(&path))).expect("they came from one")
}

/// A configuration of containerd with all its directories below `place`; no CNI plugin but what skiff puts there.
pub fn containerd_configuration(place: &Path, socket: &Path) -> String {
    let place = place.display();
    format!(
        r#"version = 2
root = "{place}/root"
state = "{place}/state"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{place}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{REGISTRY}/pause:1"
  # Machines on which tests run may not allow a process to protect itself from the OOM killer.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{place}/cni/bin"
    conf_dir = "{place}/cni/net.d"
"#,
        socket = socket.display()
    )
}
