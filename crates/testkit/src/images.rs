//! Test images made of Debian's programs, laid out as docker-registry keeps them: a shell, and two versions of a web page.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::programs::tool;

/// Writes all test images into a registry's directory: `shell:1`, `web:1`, `web:2`, `pause:1`, which does nothing, and
/// `broken:1`, whose layer is not what its manifest says.
pub fn write_all(registry: &Path) {
    let shell = shell_layer();
    let config = |command: &[&str], signal: &str| json!({"Cmd": command, "Env": ["PATH=/bin"], "StopSignal": signal});
    write(registry, "shell", "1", &[&shell], &config(&["sh"], "SIGTERM"));
    write(registry, "pause", "1", &[&shell], &config(&["sleep", "infinity"], "SIGTERM"));
    let nginx = nginx_layer();
    for version in ["1", "2"] {
        let page = layer(|tar| file(tar, "www/index.html", format!("page {version}\n").as_bytes(), 0o644));
        write(registry, "web", version, &[&shell, &nginx, &page], &config(&["sh", "/serve"], "SIGTERM"));
    }
    let layer =
        write(registry, "broken", "1", &[&layer(|tar| file(tar, "x", b"x", 0o644))], &config(&["x"], "SIGTERM"));
    // As long as it should be, so that only its digest tells.
    let mut bytes = std::fs::read(blob(registry, &layer[0])).expect("the layer is there");
    bytes.iter_mut().for_each(|byte| *byte = !*byte);
    std::fs::write(blob(registry, &layer[0]), bytes).expect("the layer is there");
}

/// Writes `large:1`: programs and libraries of this machine, `bytes` of them at least if it has so many, in four layers. Gives
/// the bytes of all files, and those of the layers.
pub fn write_large(registry: &Path, bytes: u64) -> (u64, u64) {
    let mut files = ["/usr/lib", "/usr/bin"].into_iter().flat_map(files_below);
    let mut sum = 0;
    let layers: Vec<Vec<u8>> = (1..=4)
        .map(|number| {
            layer(|tar| {
                while sum < bytes * number / 4 {
                    let Some(path) = files.next() else { break };
                    let Ok(contents) = std::fs::read(&path) else { continue };
                    sum += contents.len() as u64;
                    file(tar, path.to_string_lossy().trim_start_matches('/'), &contents, 0o755);
                }
            })
        })
        .collect();
    let process = json!({"Cmd": ["none"], "Env": ["PATH=/bin"]});
    write(registry, "large", "1", &layers.iter().collect::<Vec<_>>(), &process);
    (sum, layers.iter().map(|layer| layer.len() as u64).sum())
}

/// All plain files below a directory, in order of their names.
fn files_below(directory: impl AsRef<Path>) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(directory).into_iter().flatten().flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let below = entries.into_iter().flat_map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => files_below(entry.path()),
        Ok(kind) if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    });
    below.collect()
}

/// The shell's image as `docker save` writes it, for machines without a registry.
pub fn shell_archive(name: &str) -> Vec<u8> {
    let gzip = shell_layer();
    let mut plain = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(gzip.as_slice()), &mut plain).expect("it was just packed");
    let config = config(&json!({"Cmd": ["sh"], "Env": ["PATH=/bin"]}), &[digest(&plain)]);
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in
        [("layer.tar", plain.as_slice()), ("config.json", config.as_bytes()), ("manifest.json", manifest.as_bytes())]
    {
        let mut header = header();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).expect("memory does not fail");
    }
    tar.into_inner().expect("memory does not fail")
}

/// An image's configuration.
fn config(process: &Value, diffs: &[String]) -> String {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    json!({"architecture": architecture, "os": "linux", "config": process,
        "rootfs": {"type": "layers", "diff_ids": diffs}})
    .to_string()
}

type Tar = tar::Builder<flate2::write::GzEncoder<Vec<u8>>>;

fn layer(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(gzip);
    fill(&mut tar);
    tar.into_inner().and_then(flate2::write::GzEncoder::finish).expect("memory does not fail")
}

fn header() -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o755);
    header
}

fn file(tar: &mut Tar, path: &str, bytes: &[u8], mode: u32) {
    let mut header = header();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, path, bytes).expect("memory does not fail");
}

fn directory(tar: &mut Tar, path: &str, mode: u32) {
    let mut header = header();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(mode);
    tar.append_data(&mut header, path, std::io::empty()).expect("memory does not fail");
}

fn link(tar: &mut Tar, path: &str, target: &str) {
    let mut header = header();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, path, target).expect("memory does not fail");
}

/// busybox with a link for each of its commands, and users.
fn shell_layer() -> Vec<u8> {
    let busybox = PathBuf::from("/bin/busybox");
    let listed = Command::new(&busybox).arg("--list").output().expect("busybox-static is installed");
    layer(|tar| {
        directory(tar, "bin", 0o755);
        directory(tar, "tmp", 0o1777);
        file(tar, "bin/busybox", &std::fs::read(&busybox).expect("busybox can be read"), 0o755);
        for command in String::from_utf8_lossy(&listed.stdout).lines().filter(|c| *c != "busybox") {
            link(tar, &format!("bin/{command}"), "busybox");
        }
        file(tar, "etc/passwd", b"root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n", 0o644);
        file(tar, "etc/group", b"root:x:0:\nnogroup:x:65534:\n", 0o644);
    })
}

/// nginx with the libraries that it needs. It serves on for a moment after the signal to stop, as a good server does.
fn nginx_layer() -> Vec<u8> {
    let nginx = tool("nginx", "usr/sbin/nginx");
    let needs = Command::new("ldd").arg(&nginx).output().expect("ldd is there");
    let needs = String::from_utf8_lossy(&needs.stdout).into_owned();
    let libraries = needs.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    let slowness = crate::slowness();
    let serve = format!("nginx -c /etc/nginx.conf & trap 'sleep {slowness}; kill -QUIT '$! TERM; wait; wait\n");
    let config = "daemon off; user nobody nogroup; error_log stderr; pid /tmp/nginx.pid; events {}\n\
        http { access_log off; server { listen 80; root /www; } }\n";
    layer(|tar| {
        for library in libraries {
            let bytes = std::fs::read(library).expect("the library can be read");
            file(tar, library.trim_start_matches('/'), &bytes, 0o755);
        }
        file(tar, "bin/nginx", &std::fs::read(&nginx).expect("nginx can be read"), 0o755);
        file(tar, "etc/nginx.conf", config.as_bytes(), 0o644);
        file(tar, "serve", serve.as_bytes(), 0o755);
        for place in ["var/lib/nginx", "var/log/nginx", "usr/share/nginx"] {
            directory(tar, place, 0o777);
        }
    })
}

fn digest(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("sha256:{}", hash.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>())
}

fn blob(registry: &Path, digest: &str) -> PathBuf {
    let hex = digest.trim_start_matches("sha256:");
    registry.join("docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().expect("it is in a directory")).expect("directories can be made");
    std::fs::File::create(path).and_then(|mut f| f.write_all(bytes)).expect("files can be written");
}

/// Writes an image, and returns the digests of its layers.
fn write(registry: &Path, name: &str, tag: &str, layers: &[&Vec<u8>], process: &Value) -> Vec<String> {
    let repository = registry.join("docker/registry/v2/repositories").join(name);
    let stored = |bytes: &[u8]| {
        let digest = digest(bytes);
        put(&blob(registry, &digest), bytes);
        let hex = digest.trim_start_matches("sha256:");
        put(&repository.join("_layers/sha256").join(hex).join("link"), digest.as_bytes());
        digest
    };
    let unpacked = |gzip: &Vec<u8>| {
        let mut bytes = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(gzip.as_slice()), &mut bytes).expect("it was just packed");
        digest(&bytes)
    };
    let diffs: Vec<String> = layers.iter().map(|l| unpacked(l)).collect();
    let config = config(process, &diffs);
    let descriptor =
        |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "size": bytes.len(), "digest": stored(bytes)});
    let described: Vec<Value> =
        layers.iter().map(|l| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", l)).collect();
    let digests = described.iter().map(|d| d["digest"].as_str().unwrap_or_default().to_owned()).collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes()), "layers": described})
    .to_string();
    let own = digest(manifest.as_bytes());
    put(&blob(registry, &own), manifest.as_bytes());
    let manifests = repository.join("_manifests");
    let hex = own.trim_start_matches("sha256:");
    for place in [
        manifests.join("revisions/sha256").join(hex),
        manifests.join("tags").join(tag).join("current"),
        manifests.join("tags").join(tag).join("index/sha256").join(hex),
    ] {
        put(&place.join("link"), own.as_bytes());
    }
    digests
}

/// Writes an OCI archive with `localhost/skiff/hello:v1` and `:v2`, for runtimes that do not make them of skiff's program
/// themselves.
pub fn write_hello(program: &Path, archive: &Path) {
    let mut tar = tar::Builder::new(Vec::new());
    let binary = std::fs::read(program).expect("skiff can be read");
    let users = b"root:x:0:0:root:/:/skiff\nnobody:x:65534:65534:nobody:/:/skiff\n";
    for (path, bytes, mode) in [("skiff", binary.as_slice(), 0o755), ("etc/passwd", users, 0o644)] {
        let mut header = header();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        tar.append_data(&mut header, path, bytes).expect("memory does not fail");
    }
    let layer = tar.into_inner().expect("memory does not fail");
    let mut out = tar::Builder::new(std::fs::File::create(archive).expect("the archive can be written"));
    let mut put = |path: &str, bytes: &[u8]| {
        let mut header = header();
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, path, bytes).expect("the archive can be written");
    };
    let mut blob = |kind: &str, bytes: &[u8]| {
        let digest = digest(bytes);
        put(&format!("blobs/sha256/{}", digest.trim_start_matches("sha256:")), bytes);
        json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "size": bytes.len(), "digest": digest})
    };
    let described = blob("layer.v1.tar", &layer);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let manifests = ["v1", "v2"].map(|version| {
        let process = json!({"Entrypoint": ["/skiff", "hello", "--version", version], "Env": ["PATH=/"]});
        let config = json!({"architecture": architecture, "os": "linux", "config": process,
            "rootfs": {"type": "layers", "diff_ids": [described["digest"]]}});
        let config = blob("config.v1+json", config.to_string().as_bytes());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [described]});
        let mut manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
        manifest["annotations"] = json!({"io.containerd.image.name": format!("localhost/skiff/hello:{version}")});
        manifest
    });
    put("index.json", json!({"schemaVersion": 2, "manifests": manifests}).to_string().as_bytes());
    put("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    out.finish().expect("the archive can be written");
}
