//! How `skiff image` talks to a running server: one JSON line each way through a socket that only root can open.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use client::{Shutdown, stopped};
use runtime::{Credentials, ImageStatus, Runtime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Requests are small.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

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
    let cannot = || format!("cannot listen on {}", path.display());
    std::fs::create_dir_all(&state_dir).with_context(cannot)?;
    // The data directory's lock says that no other server is alive: what is there is left over.
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).with_context(cannot)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
    let accepting = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let runtime = runtime.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &*runtime).await {
                        tracing::debug!("a request about images was not answered: {error:#}");
                    }
                });
            }
        }
    };
    tokio::select! {
        () = stopped(stop) => {}
        () = accepting => {}
    }
    let _ = std::fs::remove_file(&path);
    Ok(())
}

async fn answer(stream: UnixStream, runtime: &dyn Runtime) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => act(request, runtime).await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the request is not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    Ok(())
}

async fn act(request: Request, runtime: &dyn Runtime) -> runtime::Result<Vec<Image>> {
    let images = match request {
        Request::List => runtime.list_images().await?,
        Request::Import(path) => runtime.import_images(&path).await?,
        Request::Pull(reference) => vec![runtime.pull_image(&reference, Vec::<Credentials>::new()).await?],
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
