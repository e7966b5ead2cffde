//! configMap: a ConfigMap's keys as files.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, KeyToPath};

use super::{Context, Files, Kind, Mounted, project, write_contents};

pub struct ConfigMapVolume(pub ConfigMapVolumeSource);

impl Kind for ConfigMapVolume {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let source = &self.0;
            let (items, mode) = (source.items.as_ref(), source.default_mode);
            let files = files(context, &source.name, items, mode, source.optional == Some(true)).await?;
            write_contents(context, "configmap", files, false).await
        })
    }
}

/// The files that a ConfigMap's keys become.
pub async fn files(
    context: &Context<'_>,
    name: &str,
    items: Option<&Vec<KeyToPath>>,
    mode: Option<i32>,
    optional: bool,
) -> Result<Files, String> {
    let wanted = context.wanted;
    let found = context.agent.sources.config_map(wanted.namespace(), name, wanted.uid()).await;
    let map = match found.map_err(|e| e.to_string())? {
        Some(map) => map,
        None if optional => return Ok(Files::new()),
        None => return Err(format!("configmap {name:?} not found")),
    };
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    let data: BTreeMap<String, Vec<u8>> = text.chain(binary).collect();
    project(&data, items, mode, optional, "config")
}
