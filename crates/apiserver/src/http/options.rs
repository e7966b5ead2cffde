//! What the HTTPS server is told when it starts.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use machinery::ApiError;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme};

use crate::authentication::StaticToken;
use crate::authentication::tokens::Issuer;

/// Options of [`super::serve`].
pub struct ServeOptions {
    /// The serving certificate. Keep a clone, and call [`ServingCertificate::replace`] when it is renewed.
    pub certificate: Arc<ServingCertificate>,
    /// Who signs client certificates ([`authorities`] reads them from PEM). Empty: nobody is known by a certificate.
    pub client_authorities: RootCertStore,
    /// Knows service-account tokens: the same issuer that the pipeline makes them with.
    pub issuer: Option<Arc<Issuer>>,
    /// Tokens handed out beforehand (bootstrap).
    pub static_tokens: Vec<StaticToken>,
    /// How node agents are called (`logs`, `exec`, `nodes/proxy` …): their authority, and the API server's own client
    /// certificate. Without it these requests answer 503. [`node_client`] makes one from PEM.
    pub node_client: Option<Arc<rustls::ClientConfig>>,
    /// Where clients reach this server, `address:port`; told by `/api` and `/.well-known/openid-configuration`.
    pub advertise: String,
    /// What `/readyz` and `/livez` check, besides `ping`.
    pub checks: Vec<HealthCheck>,
    /// Bounds.
    pub limits: Limits,
}

/// One named check of `/readyz`, `/healthz` and (when `live`) `/livez`.
#[derive(Clone)]
pub struct HealthCheck {
    /// As in `/readyz/NAME`.
    pub name: &'static str,
    /// Whether failing it means that the process should be started anew.
    pub live: bool,
    /// Fails with the reason, for the log; clients are told `reason withheld`, as upstream does.
    pub check: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// Bounds of the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; more wait in the listener's queue.
    pub connections_max: usize,
    /// Streams at a time in one HTTP/2 connection.
    pub streams_max: u32,
    /// Size of a request's headers, in bytes.
    pub header_bytes_max: usize,
    /// Size of a request's body, in bytes (upstream: 3 MiB).
    pub body_bytes_max: usize,
    /// How long a request that is not long-running may take.
    pub request_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// How long a client may take to send the headers of its next request over HTTP/1.1.
    pub idle_timeout: Duration,
    /// How long open requests may take to end after the signal to stop.
    pub shutdown_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            streams_max: 1_000,
            header_bytes_max: 1024 * 1024,
            body_bytes_max: 3 * 1024 * 1024,
            request_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            shutdown_timeout: Duration::from_millis(700),
        }
    }
}

/// A certificate to serve or to be known by, which can be replaced while the server runs: new connections get the new one.
pub struct ServingCertificate {
    current: ArcSwap<CertifiedKey>,
}

impl ServingCertificate {
    /// Reads a certificate (with its chain) and its key from PEM.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Arc<Self>, ApiError> {
        Ok(Arc::new(Self { current: ArcSwap::from_pointee(certified_key(certificate, key)?) }))
    }

    /// Serves another certificate from now on.
    pub fn replace(&self, certificate: &str, key: &str) -> Result<(), ApiError> {
        self.current.store(Arc::new(certified_key(certificate, key)?));
        Ok(())
    }
}

impl std::fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServingCertificate")
    }
}

impl ResolvesClientCert for ServingCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for ServingCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn certified_key(certificate: &str, key: &str) -> Result<CertifiedKey, ApiError> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| unusable(&e))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(|e| unusable(&e))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| unusable(&e))
}

fn unusable(error: &dyn std::fmt::Display) -> ApiError {
    ApiError::Internal(format!("a certificate or its key is not usable: {error}"))
}

/// Authorities from PEM.
pub fn authorities(pem: &str) -> Result<RootCertStore, ApiError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|e| unusable(&e))?;
    }
    Ok(store)
}

/// A client of node agents: their authority in PEM, and the API server's client certificate, which can be renewed.
pub fn node_client(authority: &str, own: Arc<ServingCertificate>) -> Result<Arc<rustls::ClientConfig>, ApiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| unusable(&e))?
        .with_root_certificates(authorities(authority)?)
        .with_client_cert_resolver(own);
    Ok(Arc::new(config))
}
