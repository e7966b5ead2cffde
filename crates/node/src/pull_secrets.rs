//! Registry credentials out of Secrets of the types dockerconfigjson and dockercfg.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use machinery::Value;
use runtime::Credentials;

/// The registry of an image reference.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

/// The credentials that a secret holds for an image, the longest match first.
pub fn credentials(secret: &Secret, image: &str) -> Vec<Credentials> {
    let data = secret.data.as_ref();
    let read = |key: &str| data.and_then(|d| d.get(key)).and_then(|b| Value::parse(&b.0).ok());
    let tree = match (read(".dockerconfigjson"), read(".dockercfg")) {
        (Some(tree), _) => tree.get("auths").cloned(),
        (None, old) => old,
    };
    let Some(entries) = tree.as_ref().and_then(Value::as_object) else { return Vec::new() };
    let mut found: Vec<(usize, Credentials)> = entries
        .iter()
        .filter(|(place, _)| matches(place, image))
        .filter_map(|(place, entry)| Some((place.len(), entry_credentials(entry)?)))
        .collect();
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    found.into_iter().map(|(_, c)| c).collect()
}

/// Whether a key of `auths` (`registry.io`, `https://index.docker.io/v1/`, `*.registry.io/team`) fits an image.
fn matches(place: &str, image: &str) -> bool {
    let place = place.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let place = place.strip_suffix("/v1").or_else(|| place.strip_suffix("/v2")).unwrap_or(place);
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let registry = registry(image);
    let parts: (Vec<&str>, Vec<&str>) = (host.split('.').collect(), registry.split('.').collect());
    let same_host = parts.0.len() == parts.1.len() && parts.0.iter().zip(&parts.1).all(|(a, b)| *a == "*" || a == b);
    let rest = image.strip_prefix(registry).unwrap_or(image).trim_start_matches('/');
    same_host && rest.starts_with(path)
}

fn entry_credentials(entry: &Value) -> Option<Credentials> {
    let text = |key: &str| entry.str_at(&[key]).unwrap_or_default().to_owned();
    let mut found =
        Credentials { username: text("username"), password: text("password"), identity_token: text("identitytoken") };
    if let Some((user, password)) = STANDARD
        .decode(text("auth"))
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|both| both.split_once(':').map(|(u, p)| (u.to_owned(), p.to_owned())))
    {
        (found.username, found.password) = (user, password.trim_end_matches('\0').to_owned());
    }
    (!found.username.is_empty() || !found.identity_token.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_match_images_as_upstream_matches_them() {
        for (place, image, fits) in [
            ("https://index.docker.io/v1/", "nginx:1", true),
            ("registry.io", "registry.io/team/app", true),
            ("registry.io/team", "registry.io/other/app", false),
            ("*.registry.io", "eu.registry.io/app", true),
            ("localhost:5000", "localhost:5000/app", true),
            ("registry.io", "nginx", false),
        ] {
            assert_eq!(matches(place, image), fits, "{place} {image}");
        }
    }
}
