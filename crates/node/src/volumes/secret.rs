//! secret: a Secret's keys as files in memory.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{KeyToPath, SecretVolumeSource};

use super::{Context, Files, Kind, Mounted, project, write_contents};

pub struct SecretVolume(pub SecretVolumeSource);

impl Kind for SecretVolume {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let source = &self.0;
            let name = source.secret_name.as_deref().unwrap_or_default();
            let (items, mode) = (source.items.as_ref(), source.default_mode);
            let files = files(context, name, items, mode, source.optional == Some(true)).await?;
            write_contents(context, "secret", files, true).await
        })
    }
}

/// The files that a Secret's keys become.
pub async fn files(
    context: &Context<'_>,
    name: &str,
    items: Option<&Vec<KeyToPath>>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Files, String> {
    let wanted = context.wanted;
    let found = context.agent.sources.secret(wanted.namespace(), name, wanted.uid()).await;
    let secret = match found.map_err(|e| e.to_string())? {
        Some(secret) => secret,
        None if optional => return Ok(Files::new()),
        None => return Err(format!("secret {name:?} not found")),
    };
    let data: BTreeMap<String, Vec<u8>> = secret.data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone())).collect();
    project(&data, items, mode, optional, "secret")
}
