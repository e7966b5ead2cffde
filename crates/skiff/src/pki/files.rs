//! Keys and certificates on disk: written whole or not at all, keys readable by their owner only.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::Identity;

/// Makes a directory (and its parents) that only its owner can enter.
pub fn make_private_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make the directory {}", path.display()))
}

/// Writes a file that only its owner can read, through a temporary one, so that it is never half there.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let temporary = path.with_extension("tmp");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a file; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Reads a file, or makes it first.
pub fn open_or_make(path: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    if let Some(parent) = path.parent() {
        make_private_directory(parent)?;
    }
    let text = make()?;
    write_private(path, &text)?;
    Ok(text)
}

/// Reads `<path>.crt` and `<path>.key`; `None` unless both are there.
pub fn read_identity(path: &Path) -> Result<Option<Identity>> {
    let (certificate, key) = (read(&path.with_extension("crt"))?, read(&path.with_extension("key"))?);
    Ok(certificate.zip(key).map(|(certificate, key)| Identity { certificate, key }))
}

/// Writes `<path>.key`, then `<path>.crt`.
pub fn write_identity(path: &Path, identity: &Identity) -> Result<()> {
    write_private(&path.with_extension("key"), &identity.key)?;
    write_private(&path.with_extension("crt"), &identity.certificate)
}

/// Reads 32 bytes written as hexadecimal digits.
pub fn parse_hex(text: &str) -> Result<[u8; 32]> {
    let text = text.trim();
    if text.len() != 64 || !text.is_ascii() {
        bail!("it must hold 64 hexadecimal digits");
    }
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16)?;
    }
    Ok(bytes)
}
