//! What the controllers of endpoint slices decide on, and how it is done.

use std::sync::Arc;

use client::{Api, Client, DeleteOptions};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use machinery::ApiError;

/// What to do so that the slices of a service, or the mirrors of endpoints, are right.
#[derive(Default, Debug)]
pub struct Plan {
    /// Slices to make.
    pub create: Vec<EndpointSlice>,
    /// Slices to change, as they should be.
    pub update: Vec<EndpointSlice>,
    /// Slices to remove.
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Plan {
    /// Does it. A namespace that is ending gets no slices; one that is gone already needs no removal.
    pub async fn apply(self, client: &Client, namespace: &str) -> Result<(), ApiError> {
        let api = Api::<EndpointSlice>::namespaced(client, namespace);
        for slice in &self.create {
            match api.create(slice).await {
                Err(error) if error.has_cause("NamespaceTerminating") => return Ok(()),
                made => drop(made?),
            }
        }
        for slice in &self.update {
            api.replace(slice.metadata.name.as_deref().unwrap_or_default(), slice).await?;
        }
        for slice in &self.delete {
            let exactly = DeleteOptions { uid: slice.metadata.uid.clone(), ..DeleteOptions::default() };
            let deleted = api.delete(slice.metadata.name.as_deref().unwrap_or_default(), exactly).await;
            deleted.or_else(|e| if e.is_not_found() { Ok(()) } else { Err(e) })?;
        }
        Ok(())
    }
}
