//! The pipeline: every request, from the network or from this process, takes the way that [`Pipeline::serve`] spells out.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use client::Watch;
use machinery::ApiError;
use resources::Resource;
use store::Store;

pub use crate::request::{
    Attributes, Audit, Authorizer, Body, ConnectTarget, Decision, Incoming, Named, Served, ServiceCidr,
    TokenAuthenticator, TokenIssuer, TokenWanted, UserRules,
};

/// What a pipeline is made of.
pub struct PipelineConfig {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// What is served.
    pub rows: Vec<Arc<Resource>>,
    /// Who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// Makes service-account tokens; without one, `serviceaccounts/token` is not found.
    pub token_issuer: Option<Arc<dyn TokenIssuer>>,
    /// Sees all requests.
    pub audit: Option<Arc<dyn Audit>>,
    /// Secrets are sealed with this (AES-256-GCM); without one they are kept plain.
    pub encryption_key: Option<[u8; 32]>,
    /// Addresses of services.
    pub service_cidr: ServiceCidr,
    /// Ports of NodePort services.
    pub node_port_range: RangeInclusive<u16>,
    /// Where clients outside find this API server.
    pub advertise_address: Ipv4Addr,
    /// The port there.
    pub advertise_port: u16,
}

/// Every request's way to the store and back.
pub struct Pipeline {
    config: PipelineConfig,
}

impl Pipeline {
    /// Builds a pipeline: reads what is stored, and follows it from then on.
    pub async fn new(config: PipelineConfig) -> Result<Arc<Self>, ApiError> {
        Ok(Arc::new(Self { config }))
    }

    /// The row of a resource.
    pub fn row(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Resource>> {
        self.config.rows.iter().find(|r| r.plural == plural && r.group == group && r.version == version)
    }

    /// All rows.
    pub fn rows(&self) -> &[Arc<Resource>] {
        &self.config.rows
    }

    /// Answers one request.
    pub async fn serve(&self, _incoming: Incoming) -> Result<Served, ApiError> {
        Err(ApiError::UnknownPath)
    }

    /// Starts a watch.
    pub async fn watch(&self, _incoming: Incoming) -> Result<Watch, ApiError> {
        Err(ApiError::UnknownPath)
    }

    /// Authorizes a streaming request (`log`, `exec`, `attach`, `portforward`, `proxy`) and says where it goes.
    pub async fn connect(&self, _incoming: Incoming) -> Result<ConnectTarget, ApiError> {
        Err(ApiError::UnknownPath)
    }

    /// Authorizes a request for a path that names no resource (`/version`, `/openapi/v3`).
    pub fn authorize_path(&self, _incoming: &Incoming) -> Result<(), ApiError> {
        Err(ApiError::UnknownPath)
    }

    /// Tells the pipeline who knows bearer tokens: made after the pipeline, since it reads objects through it.
    pub fn set_token_authenticator(&self, _authenticator: Arc<dyn TokenAuthenticator>) {}
}
