//! downwardAPI: facts about the pod as files.

use futures_util::future::BoxFuture;
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, DownwardAPIVolumeSource};

use super::{Context, File, Files, Kind, Mounted, write_contents};
use crate::config::fields;

pub struct Downward(pub DownwardAPIVolumeSource);

impl Kind for Downward {
    fn mount<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Result<Mounted, String>> {
        Box::pin(async move {
            let files = files(context, self.0.items.as_ref(), self.0.default_mode)?;
            write_contents(context, "downward-api", files, true).await
        })
    }
}

/// The files that the items become.
pub fn files(
    context: &Context<'_>,
    items: Option<&Vec<DownwardAPIVolumeFile>>,
    mode: Option<i32>,
) -> Result<Files, String> {
    let facts = context.agent.node_facts(&[]);
    let mut files = Files::new();
    for item in items.into_iter().flatten() {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => fields::field(context.wanted, &facts, &field.field_path)?,
            (None, Some(resource)) => fields::resource(context.wanted, &facts, "", resource)?,
            (None, None) => return Err(format!("{}: neither a field nor a resource is named", item.path)),
        };
        let mode = item.mode.or(mode).and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644) & 0o777;
        files.insert(item.path.clone(), File { bytes: text.into_bytes(), mode, uid: None });
    }
    Ok(files)
}
