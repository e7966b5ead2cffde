//! Clients that are not kubectl.

use std::path::Path;

use testkit::{Cluster, python_packages};

#[test]
fn the_python_client_has_its_session() {
    let c = Cluster::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/clients.py");
    let output = c
        .command(Path::new("python3"))
        .env("PYTHONPATH", python_packages())
        .arg(script)
        .arg(c.path("data/kubeconfig"))
        .output()
        .unwrap();
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.trim_end() == "done", "{out}{error}\n{}", c.log());
}
