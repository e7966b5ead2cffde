//! A socket that only root can open, for this program under another name: one JSON line each way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use client::{Shutdown, stopped};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Requests are small.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// Answers requests at `path` until shutdown. An answer is what `act` gives, or the text of its error.
pub async fn serve<Q, A, F>(path: &Path, stop: Shutdown, act: impl Fn(Q) -> F + Clone + Send + 'static) -> Result<()>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
    F: Future<Output = runtime::Result<A>> + Send + 'static,
{
    let cannot = || format!("cannot listen on {}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).with_context(cannot)?;
    // The data directory's lock says that no other server is alive: what is there is left over.
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).with_context(cannot)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(cannot)?;
    let accepting = async {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                let act = act.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, act).await {
                        tracing::debug!("a local request was not answered: {error:#}");
                    }
                });
            }
        }
    };
    tokio::select! {
        () = stopped(stop) => {}
        () = accepting => {}
    }
    let _ = std::fs::remove_file(path);
    Ok(())
}

async fn answer<Q, A, F>(stream: UnixStream, act: impl Fn(Q) -> F) -> Result<()>
where
    Q: DeserializeOwned,
    A: Serialize,
    F: Future<Output = runtime::Result<A>>,
{
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => act(request).await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("the request is not understood: {error}")),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    write.write_all(&bytes).await?;
    Ok(())
}
