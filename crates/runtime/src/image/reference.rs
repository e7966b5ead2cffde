//! Image references, normalized as Docker does.

use crate::api::{Result, RuntimeError};

/// The full form of a reference: `nginx` is `docker.io/library/nginx:latest`. A digest drops the tag.
pub fn normalize(reference: &str) -> Result<String> {
    let because = |why: &str| RuntimeError::Pull {
        reason: "InvalidImageName",
        message: format!("couldn't parse image name {reference:?}: invalid reference format{why}"),
    };
    let invalid = || because("");
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match name[slash..].split_once(':') {
        Some((last, tag)) => (&name[..slash + last.len()], Some(tag)),
        None => (name, None),
    };
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    let good = |text: &str, more: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(b as char))
    };
    let part = |part: &str| good(part, "._-") && part.starts_with(|c: char| c.is_ascii_alphanumeric());
    if path.bytes().any(|byte| byte.is_ascii_uppercase()) && path.to_ascii_lowercase().split('/').all(part) {
        return Err(because(&format!(": repository name ({path}) must be lowercase")));
    }
    if !path.split('/').all(part) || !host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[') {
        return Err(invalid());
    }
    match (digest, tag) {
        (Some(digest), _) => match digest.strip_prefix("sha256:") {
            Some(hex) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(format!("{host}/{path}@{digest}"))
            }
            _ => Err(invalid()),
        },
        (None, tag) => {
            let tag = tag.unwrap_or("latest");
            let word = tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if tag.is_empty() || tag.len() > 128 || !word {
                return Err(invalid());
            }
            Ok(format!("{host}/{path}:{tag}"))
        }
    }
}

/// The full form of an image reference without its tag or digest: `docker.io/library/nginx`.
pub fn repository(reference: &str) -> Result<String> {
    let mut name = normalize(reference)?;
    let slash = name.rfind('/').unwrap_or_default();
    let end = name.find('@').or_else(|| Some(slash + name[slash..].find(':')?));
    name.truncate(end.unwrap_or(name.len()));
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_get_their_full_form() {
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("team/app:v1", "docker.io/team/app:v1"),
            ("localhost/skiff/hello:v1", "localhost/skiff/hello:v1"),
            ("127.0.0.1:5000/web", "127.0.0.1:5000/web:latest"),
            ("quay.io/a/b/c:x", "quay.io/a/b/c:x"),
        ];
        for (given, full) in cases {
            assert_eq!(normalize(given).expect("valid"), full);
            let bare = repository(given).expect("valid");
            assert_eq!(Some(bare.as_str()), full.rsplit_once(':').map(|(name, _)| name));
            assert_eq!(repository(&format!("{bare}@sha256:{:064}", 0)).expect("valid"), bare);
        }
        for bad in ["", "UPPER", "a//b", "a:b c", "a@sha256:12", "../x"] {
            assert!(normalize(bad).is_err(), "{bad}");
        }
        let error = normalize("UPPER").expect_err("invalid").to_string();
        let end = "invalid reference format: repository name (library/UPPER) must be lowercase";
        assert_eq!(error, format!("couldn't parse image name \"UPPER\": {end}"));
    }
}
