//! Registry credentials out of Secrets of the types dockerconfigjson and dockercfg.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use machinery::Value;
use runtime::Credentials;

use super::records::{PullSecret, sha256};

/// The credentials that a secret holds for an image, the longest match first, and how records name them.
pub fn credentials(secret: &Secret, image: &str) -> Vec<(Credentials, PullSecret)> {
    let Ok(repository) = runtime::image_repository(image) else { return Vec::new() };
    let data = secret.data.as_ref();
    let read = |key: &str| data.and_then(|d| d.get(key)).and_then(|b| Value::parse(&b.0).ok());
    let tree = match (read(".dockerconfigjson"), read(".dockercfg")) {
        (Some(tree), _) => tree.get("auths").cloned(),
        (None, old) => old,
    };
    let Some(entries) = tree.as_ref().and_then(Value::as_object) else { return Vec::new() };
    let mut found: Vec<(usize, Credentials)> = entries
        .iter()
        .filter(|(place, _)| matches(place, &repository))
        .filter_map(|(place, entry)| Some((place.len(), entry_credentials(entry)?)))
        .collect();
    found.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    let named = |(_, credentials): (usize, Credentials)| {
        let name = record(secret, &credentials);
        (credentials, name)
    };
    found.into_iter().map(named).collect()
}

/// A secret as records name it.
fn record(secret: &Secret, credentials: &Credentials) -> PullSecret {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let of = &secret.metadata;
    let credential_hash = serde_json::to_vec(credentials).map_or_else(|_| String::new(), |bytes| sha256(&bytes));
    PullSecret { namespace: text(&of.namespace), name: text(&of.name), uid: text(&of.uid), credential_hash }
}

/// Whether a key of `auths` (`registry.io`, `https://index.docker.io/v1/`, `*.registry.io/team`) fits a repository
/// (`docker.io/library/nginx`).
fn matches(place: &str, repository: &str) -> bool {
    let place = place.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let place = place.strip_suffix("/v1").or_else(|| place.strip_suffix("/v2")).unwrap_or(place);
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let host = if host == "index.docker.io" { "docker.io" } else { host };
    let (registry, rest) = repository.split_once('/').unwrap_or((repository, ""));
    let parts: (Vec<&str>, Vec<&str>) = (host.split('.').collect(), registry.split('.').collect());
    let same_host = parts.0.len() == parts.1.len() && parts.0.iter().zip(&parts.1).all(|(a, b)| *a == "*" || a == b);
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
            ("https://index.docker.io/v1/", "docker.io/library/nginx", true),
            ("registry.io", "registry.io/team/app", true),
            ("registry.io/team", "registry.io/other/app", false),
            ("*.registry.io", "eu.registry.io/app", true),
            ("localhost:5000", "localhost:5000/app", true),
            ("registry.io", "docker.io/library/nginx", false),
        ] {
            assert_eq!(matches(place, image), fits, "{place} {image}");
        }
    }
}
