//! configMap: a ConfigMap's keys as files.

use std::collections::BTreeMap;

use client::Api;
use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, ConfigMapVolumeSource, KeyToPath};

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
    let api = Api::<ConfigMap>::namespaced(&context.agent.options.client, context.wanted.namespace());
    let map = match api.get(name).await {
        Ok(map) => map,
        Err(e) if e.is_not_found() && optional => return Ok(Files::new()),
        Err(e) => return Err(e.to_string()),
    };
    let text = map.data.iter().flatten().map(|(k, v)| (k.clone(), v.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.clone(), v.0.clone()));
    let data: BTreeMap<String, Vec<u8>> = text.chain(binary).collect();
    project(&data, items, mode, optional, "config")
}
