//! `skiff image`: the images of a running server.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::say;
use crate::server::images::{Answer, Image, Request, socket};

/// The command.
#[derive(Subcommand)]
pub enum ImageCommand {
    /// List images
    #[command(visible_alias = "list")]
    Ls(Place),
    /// Take in images from an OCI or docker archive (docker save, skopeo copy)
    Import {
        /// The archive
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Fetch an image from its registry
    Pull {
        /// The image, for example docker.io/library/nginx:1.29
        image: String,
        #[command(flatten)]
        place: Place,
    },
    /// Remove an image by name or id
    Rm {
        /// The image
        image: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which server.
#[derive(Args)]
pub struct Place {
    /// The state directory of the server
    #[arg(long, value_name = "DIR", default_value = "/run/skiff")]
    state_dir: PathBuf,
}

/// Runs the command.
pub fn main(command: &ImageCommand) -> Result<()> {
    match command {
        ImageCommand::Ls(place) => list(&ask(&place.state_dir, &Request::List)?),
        ImageCommand::Import { file, place } => {
            let path = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
            done("imported", &ask(&place.state_dir, &Request::Import(path))?);
        }
        ImageCommand::Pull { image, place } => done("pulled", &ask(&place.state_dir, &Request::Pull(image.clone()))?),
        ImageCommand::Rm { image, place } => done("removed", &ask(&place.state_dir, &Request::Remove(image.clone()))?),
    }
    Ok(())
}

fn ask(state_dir: &Path, request: &Request) -> Result<Vec<Image>> {
    let path = socket(state_dir);
    let mut stream = UnixStream::connect(&path)
        .with_context(|| format!("no server with a node answers at {} (is skiff server running?)", path.display()))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match serde_json::from_str::<Answer>(&answer).context("the server gave no answer")? {
        Ok(images) => Ok(images),
        Err(reason) => bail!(reason),
    }
}

fn list(images: &[Image]) {
    say!("{:<56} {:<14} {:>10}", "IMAGE", "ID", "SIZE");
    for image in images {
        let unnamed = ["<none>".to_owned()];
        for tag in if image.tags.is_empty() { &unnamed[..] } else { &image.tags[..] } {
            say!("{tag:<56} {:<14} {:>10}", short(&image.id), size(image.size));
        }
    }
}

fn done(what: &str, images: &[Image]) {
    for image in images {
        say!("{what} {}", image.tags.first().unwrap_or(&image.id));
    }
}

fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

/// In decimal units, as registries and docker count.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{}kB", bytes.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{}.{}MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
        _ => format!("{}.{}GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ids_are_short() {
        assert_eq!(size(1), "1kB");
        assert_eq!(size(12_340_000), "12.3MB");
        assert_eq!(size(2_500_000_000), "2.5GB");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short("é"), "é");
    }
}
