//! The cluster's certificates: authorities, serving and client certificates, service-account keys, the key that encrypts
//! secrets. All stand under `<data-dir>/server`, made on first start and renewed before they end.

mod authority;
mod files;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use authority::{Authority, Leaf, Usage};

/// Days before its end at which a certificate is made anew.
const RENEW_BEFORE_DAYS: i64 = 90;

/// A certificate with its key, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS#8.
    pub key: String,
}

/// What the API server's serving certificate must be valid for.
#[derive(Clone, Debug, Default)]
pub struct ServingNames {
    /// Host names.
    pub dns: Vec<String>,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

/// All that the server needs to be known and to know others.
pub struct Pki {
    directory: PathBuf,
    server_ca: Authority,
    client_ca: Authority,
    /// The key that signs service-account tokens, PKCS#8 PEM (P-256).
    pub service_account_key: String,
    /// The key that encrypts secrets in the store (AES-256).
    pub encryption_key: [u8; 32],
}

impl Pki {
    /// Opens what stands under `<data_dir>/server`, and makes what is missing.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let directory = data_dir.join("server");
        let tls = directory.join("tls");
        files::make_private_directory(&tls)?;
        let authority = |name: &str, subject: &str| Authority::open(&tls, name, subject);
        let encryption_key = files::open_or_make(&directory.join("cred/encryption.key"), || {
            let mut key = [0u8; 32];
            seams::random::fill(&mut key);
            Ok(key.iter().map(|b| format!("{b:02x}")).collect())
        })?;
        Ok(Self {
            server_ca: authority("server-ca", "skiff-server-ca")?,
            client_ca: authority("client-ca", "skiff-client-ca")?,
            service_account_key: files::open_or_make(&tls.join("service.key"), authority::new_key)?,
            encryption_key: files::parse_hex(&encryption_key).context("cred/encryption.key is damaged")?,
            directory,
        })
    }

    /// The authority of all serving certificates, as clients hold it.
    pub fn server_ca(&self) -> &str {
        self.server_ca.certificate()
    }

    /// The authority of client certificates.
    pub fn client_ca(&self) -> &str {
        self.client_ca.certificate()
    }

    /// The API server's serving certificate.
    pub fn apiserver(&self, names: &ServingNames) -> Result<Identity> {
        let leaf =
            Leaf { dns: names.dns.clone(), ips: names.ips.clone(), ..Leaf::new("kube-apiserver", Usage::Server) };
        self.leaf(&self.server_ca, "serving-kube-apiserver", &leaf)
    }

    /// A node agent's serving certificate.
    pub fn node_serving(&self, node: &str, address: IpAddr) -> Result<Identity> {
        let leaf = Leaf {
            organizations: vec!["system:nodes".to_owned()],
            dns: vec![node.to_owned(), "localhost".to_owned()],
            ips: vec![address, IpAddr::from([127, 0, 0, 1])],
            ..Leaf::new(&format!("system:node:{node}"), Usage::Server)
        };
        self.leaf(&self.server_ca, "serving-kubelet", &leaf)
    }

    /// A client certificate: `organizations` are the user's groups.
    pub fn client(&self, file: &str, user: &str, organizations: &[&str]) -> Result<Identity> {
        let organizations = organizations.iter().map(|o| (*o).to_owned()).collect();
        let leaf = Leaf { organizations, ..Leaf::new(user, Usage::Client) };
        self.leaf(&self.client_ca, file, &leaf)
    }

    /// What stands in the file, unless it ends soon, is of another authority, or lacks a name.
    fn leaf(&self, authority: &Authority, file: &str, leaf: &Leaf) -> Result<Identity> {
        let path = self.directory.join("tls").join(file);
        if let Some(known) = files::read_identity(&path)?
            && authority.still_good(&known, leaf, RENEW_BEFORE_DAYS)
        {
            return Ok(known);
        }
        let made = authority.issue(leaf)?;
        files::write_identity(&path, &made)?;
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_start_finds_the_same_identities() {
        let directory = tempfile::tempdir().unwrap();
        let names = ServingNames { dns: vec!["localhost".into()], ips: vec![IpAddr::from([127, 0, 0, 1])] };
        let first = Pki::open(directory.path()).unwrap();
        let (serving, admin) =
            (first.apiserver(&names).unwrap(), first.client("client-admin", "admin", &["a"]).unwrap());
        let second = Pki::open(directory.path()).unwrap();
        assert_eq!(second.server_ca(), first.server_ca());
        assert_eq!(second.encryption_key, first.encryption_key);
        assert_eq!(second.apiserver(&names).unwrap(), serving);
        assert_eq!(second.client("client-admin", "admin", &["a"]).unwrap(), admin);
    }

    #[test]
    fn a_new_name_makes_a_new_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let pki = Pki::open(directory.path()).unwrap();
        let mut names = ServingNames::default();
        let first = pki.apiserver(&names).unwrap();
        names.dns.push("cluster.example".into());
        let second = pki.apiserver(&names).unwrap();
        assert_ne!(first, second);
        names.dns.clear();
        assert_eq!(pki.apiserver(&names).unwrap(), second, "more names than asked for are fine");
    }

    #[test]
    fn keys_are_readable_by_their_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        Pki::open(directory.path()).unwrap();
        for key in ["tls/server-ca.key", "tls/service.key", "cred/encryption.key"] {
            let mode = std::fs::metadata(directory.path().join("server").join(key)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}
