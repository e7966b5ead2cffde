//! Files that are whole at any time.

use std::io::Write;
use std::path::Path;

/// Replaces a file by one with these contents, in one step that outlives a crash.
pub fn replace_file(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}.new"));
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(contents)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}
