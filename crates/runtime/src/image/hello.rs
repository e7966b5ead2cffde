//! Images made of skiff's own program: `localhost/skiff/hello:v1` and `:v2`.

use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::{Image, ImageStore, failed, sha256};
use crate::api::{Result, RuntimeError};
use crate::record::ImageDefaults;

/// References with this prefix are made here and never pulled.
pub const HELLO_PREFIX: &str = "localhost/skiff/";

/// Makes the image `reference` names; `None` when it has another prefix.
pub fn provide(store: &ImageStore, reference: &str, program: &Path) -> Result<Option<Image>> {
    let name = super::normalize(reference)?;
    let Some(own) = name.strip_prefix(HELLO_PREFIX) else { return Ok(None) };
    let version = match own {
        "hello:v1" => "v1",
        "hello:v2" => "v2",
        _ => {
            return Err(RuntimeError::Pull {
                reason: "ErrImagePull",
                message: format!("{name}: not found: skiff provides only {HELLO_PREFIX}hello:v1 and :v2"),
            });
        }
    };
    let data = std::fs::metadata(program).map_err(|error| failed("look at skiff's program", &error))?;
    let key = format!("{}:{}:{}:{}:{}", data.dev(), data.ino(), data.len(), data.mtime(), data.mtime_nsec());
    let layer = sha256(key.as_bytes())[..24].to_owned();
    let size = store.layer(&layer, |place| fill(place, program).map_err(|error| failed("make hello image", &error)))?;
    let defaults = ImageDefaults {
        entrypoint: ["/skiff", "hello", "--version", version].map(str::to_owned).to_vec(),
        environment: vec!["PATH=/".to_owned()],
        working_dir: "/".to_owned(),
        ..ImageDefaults::default()
    };
    let id = format!("sha256:{}", sha256(format!("{key}:{version}").as_bytes()));
    if let Some(known) = store.find(&id).filter(|known| known.tags.contains(&name)) {
        return Ok(Some(known));
    }
    let image = Image { id, tags: [name].into(), layers: vec![layer], size, defaults, ..Image::default() };
    store.insert(image).map(Some)
}

fn fill(place: &Path, program: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(place, PermissionsExt::from_mode(0o755))?;
    let to = place.join("skiff");
    let from = std::fs::File::open(program)?;
    let copy = std::fs::File::create(&to)?;
    // Shared blocks where the file system can, else a second name of the same file, else a copy.
    if crate::sys::reflink(from.as_fd(), copy.as_fd()).is_err() {
        std::fs::remove_file(&to)?;
        if std::fs::hard_link(std::fs::canonicalize(program)?, &to).is_err() {
            std::fs::copy(program, &to)?;
        }
    }
    std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755))?;
    std::fs::create_dir(place.join("etc"))?;
    std::fs::write(place.join("etc/passwd"), "root:x:0:0:root:/:/skiff\nnobody:x:65534:65534:nobody:/:/skiff\n")?;
    std::fs::write(place.join("etc/group"), "root:x:0:\nnobody:x:65534:\n")?;
    std::fs::create_dir(place.join("tmp"))?;
    std::fs::set_permissions(place.join("tmp"), PermissionsExt::from_mode(0o1777))
}
