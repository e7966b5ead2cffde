//! The administrator's kubeconfig.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::pki::Identity;

/// Writes a kubeconfig whose one context is `skiff`. The file is replaced as a whole.
pub fn write(path: &Path, mode: u32, server: &str, authority: &str, user: &Identity) -> Result<()> {
    let cannot = || format!("cannot write the kubeconfig {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(cannot)?;
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let _ = std::fs::remove_file(&temporary);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).with_context(cannot)?;
    file.write_all(text(server, authority, user).as_bytes()).with_context(cannot)?;
    std::fs::rename(&temporary, path).with_context(cannot)
}

fn text(server: &str, authority: &str, user: &Identity) -> String {
    let (authority, certificate, key) =
        (STANDARD.encode(authority), STANDARD.encode(&user.certificate), STANDARD.encode(&user.key));
    format!(
        "\
apiVersion: v1
kind: Config
clusters:
- name: skiff
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: skiff-admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: skiff
  context:
    cluster: skiff
    user: skiff-admin
current-context: skiff
"
    )
}
