//! How `skiff image` talks to a running server, through a socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use client::Shutdown;
use runtime::{Credentials, ImageStatus, Runtime};
use serde::{Deserialize, Serialize};

use super::local;

/// What can be asked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// All images.
    List,
    /// Take in an OCI or docker archive; a path on the server's machine.
    Import(PathBuf),
    /// Fetch from a registry.
    Pull(String),
    /// Remove by name or id.
    Remove(String),
}

/// An image, as told to users.
#[derive(Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…`
    pub id: String,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Bytes on disk.
    pub size: u64,
}

/// The answer: images, or why not.
pub type Answer = std::result::Result<Vec<Image>, String>;

/// Where the socket is.
pub fn socket(state_dir: &Path) -> PathBuf {
    state_dir.join("images.sock")
}

/// Answers until shutdown.
pub async fn serve(state_dir: PathBuf, runtime: Arc<dyn Runtime>, stop: Shutdown) -> Result<()> {
    let path = socket(&state_dir);
    local::serve(&path, stop, move |request| act(request, runtime.clone())).await
}

async fn act(request: Request, runtime: Arc<dyn Runtime>) -> runtime::Result<Vec<Image>> {
    let images = match request {
        Request::List => runtime.list_images().await?,
        Request::Import(path) => runtime.import_images(&path).await?,
        Request::Pull(reference) => vec![runtime.pull_image(&reference, Vec::<Credentials>::new()).await?.image],
        Request::Remove(reference) => match runtime.image_status(&reference).await? {
            None => return Err(runtime::RuntimeError::NotFound(format!("image {reference}"))),
            Some(image) => {
                runtime.remove_image(&reference).await?;
                vec![image]
            }
        },
    };
    Ok(images.into_iter().map(describe).collect())
}

fn describe(image: ImageStatus) -> Image {
    let tags = if image.repo_tags.is_empty() { image.repo_digests } else { image.repo_tags };
    Image { id: image.id, tags, size: image.size }
}
