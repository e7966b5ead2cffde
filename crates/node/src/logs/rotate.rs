//! Keeps logs in bounds: 10 MiB a file, five files a container (upstream's defaults).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use runtime::{ContainerState, Runtime};

/// A log larger than this is rotated.
const LOG_BYTES_MAX: u64 = 10 << 20;
/// Files kept of one container's log, the current one included.
const LOG_FILES_MAX: usize = 5;
/// How often sizes are looked at.
const PERIOD: Duration = Duration::from_secs(10);

/// Rotates logs for ever.
pub async fn keep(runtime: Arc<dyn Runtime>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let Ok(containers) = runtime.list_containers().await else { continue };
        for container in containers.iter().filter(|c| c.state == ContainerState::Running) {
            let size = std::fs::metadata(&container.log_path).map_or(0, |m| m.len());
            if size <= LOG_BYTES_MAX {
                continue;
            }
            let done = match rotate(&container.log_path) {
                Ok(()) => runtime.reopen_log(&container.id).await.map_err(|e| e.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = done {
                tracing::warn!(container = container.name, error, "log not rotated");
            }
        }
    }
}

/// Moves the current file aside and removes the oldest.
fn rotate(path: &Path) -> std::io::Result<()> {
    let stamp = seams::clock::now().strftime("%Y%m%d-%H%M%S").to_string();
    std::fs::rename(path, format!("{}.{stamp}", path.display()))?;
    let mut old = rotated(path)?;
    old.sort();
    let surplus = old.len().saturating_sub(LOG_FILES_MAX - 1);
    old.iter().take(surplus).try_for_each(std::fs::remove_file)
}

/// Former files of a log.
fn rotated(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(Vec::new()) };
    let prefix = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(directory)?.flatten();
    Ok(entries.filter(|e| e.file_name().to_string_lossy().starts_with(&prefix)).map(|e| e.path()).collect())
}
