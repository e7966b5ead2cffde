//! Who the server's parts are: their certificates, renewed while they run, and their users inside the process.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use apiserver::http::ServingCertificate;
use client::{Shutdown, User, stopped};

use super::config::ServerOptions;
use super::kubeconfig;
use crate::pki::{Pki, ServingNames};

/// How often certificates are looked at; they are made anew long before they end.
const RENEWAL_PERIOD: Duration = Duration::from_secs(12 * 3_600);

/// The upstream names of components inside the process.
pub mod users {
    use super::User;

    /// All controllers read as this; each writes as its own service account.
    pub fn controllers() -> User {
        User::component("system:kube-controller-manager", &[])
    }

    pub fn scheduler() -> User {
        User::component("system:kube-scheduler", &[])
    }

    pub fn proxy() -> User {
        User::component("system:kube-proxy", &[])
    }

    pub fn node(name: &str) -> User {
        User::component(&format!("system:node:{name}"), &["system:nodes"])
    }
}

/// What certificates are made for.
pub struct Names {
    /// Names and addresses of the API server.
    pub apiserver: ServingNames,
    /// The Node's name.
    pub node: String,
    /// Its address.
    pub node_ip: IpAddr,
}

/// The certificates in use.
pub struct Identities {
    pki: Arc<Pki>,
    names: Names,
    options: ServerOptions,
    /// Of the API server.
    pub apiserver: Arc<ServingCertificate>,
    /// By which node agents know the API server.
    pub kubelet_client: Arc<ServingCertificate>,
    /// Of the node agent.
    pub node: Arc<ServingCertificate>,
}

impl Identities {
    /// Opens or makes all of them.
    pub fn open(pki: Arc<Pki>, names: Names, options: &ServerOptions) -> Result<Arc<Self>> {
        let serving = |i: crate::pki::Identity| ServingCertificate::from_pem(&i.certificate, &i.key);
        Ok(Arc::new(Self {
            apiserver: serving(pki.apiserver(&names.apiserver)?)?,
            kubelet_client: serving(kubelet_client(&pki)?)?,
            node: serving(pki.node_serving(&names.node, names.node_ip)?)?,
            options: options.clone(),
            names,
            pki,
        }))
    }

    /// Writes the administrator's kubeconfig with a certificate that lasts.
    pub fn write_kubeconfig(&self) -> Result<()> {
        let admin = self.pki.client("client-admin", "system:admin", &["system:masters"])?;
        let address = match self.options.bind_address {
            address if address.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            address => address,
        };
        let server = format!("https://{}", std::net::SocketAddr::new(address, self.options.https_listen_port));
        let (path, mode) = (self.options.kubeconfig(), self.options.write_kubeconfig_mode);
        kubeconfig::write(&path, mode, &server, self.pki.server_ca(), &admin)
    }

    /// Renews what ends soon, until shutdown.
    pub async fn keep(self: Arc<Self>, shutdown: Shutdown) {
        let renewing = async {
            loop {
                tokio::time::sleep(RENEWAL_PERIOD).await;
                if let Err(error) = self.renew() {
                    tracing::error!("certificates could not be renewed: {error:#}");
                }
            }
        };
        tokio::select! {
            () = stopped(shutdown) => {}
            () = renewing => {}
        }
    }

    fn renew(&self) -> Result<()> {
        let apiserver = self.pki.apiserver(&self.names.apiserver)?;
        self.apiserver.replace(&apiserver.certificate, &apiserver.key)?;
        let kubelet_client = kubelet_client(&self.pki)?;
        self.kubelet_client.replace(&kubelet_client.certificate, &kubelet_client.key)?;
        let node = self.pki.node_serving(&self.names.node, self.names.node_ip)?;
        self.node.replace(&node.certificate, &node.key)?;
        self.write_kubeconfig()
    }
}

fn kubelet_client(pki: &Pki) -> Result<crate::pki::Identity> {
    pki.client("client-kube-apiserver", "kube-apiserver-kubelet-client", &["system:masters"])
}
