//! What is served, told to clients: `/api`, `/apis` and below, plain and aggregated, and `/version`.

mod aggregated;
mod documents;
pub mod subresources;
pub mod version;

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machinery::gvk::version_order;
use resources::Resource;

pub use aggregated::{Aggregated, aggregated};
pub use documents::{api_resources, api_versions, group, groups};

/// The groups of some rows, in the order in which they first stand there, each with its versions, the preferred first.
fn versions(rows: &[Arc<Resource>]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for row in rows {
        match groups.iter_mut().find(|(group, _)| *group == row.group) {
            Some((_, versions)) if versions.contains(&row.version.as_str()) => {}
            Some((_, versions)) => versions.push(&row.version),
            None => groups.push((&row.group, vec![&row.version])),
        }
    }
    for (_, versions) in &mut groups {
        versions.sort_by(|a, b| version_order(a, b));
    }
    groups
}

/// Upstream's `StorageVersionHash`: changes when objects are stored in another form.
fn storage_version_hash(row: &Resource) -> String {
    let digest =
        ring::digest::digest(&ring::digest::SHA256, format!("{}/{}/{}", row.group, row.version, row.kind).as_bytes());
    STANDARD.encode(&digest.as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::Value;

    #[test]
    fn pods_look_as_upstream_shows_them() {
        let rows = resources::table();
        let list = api_resources(&rows, "", "v1").expect("core is served");
        let find = |name: &str| {
            let all = list.get("resources").and_then(Value::as_array).unwrap();
            all.iter().find(|r| r.str_at(&["name"]) == Some(name)).unwrap_or_else(|| panic!("{name} is listed")).clone()
        };
        let pods = find("pods");
        assert_eq!(pods.str_at(&["storageVersionHash"]), Some("xPOwRZ+Yhw8="));
        assert_eq!(pods.get("shortNames"), Some(&Value::from(vec!["po"])));
        assert_eq!(pods.get("categories"), Some(&Value::from(vec!["all"])));
        let eviction = find("pods/eviction");
        assert_eq!((eviction.str_at(&["group"]), eviction.str_at(&["kind"])), (Some("policy"), Some("Eviction")));
        assert!(api_resources(&rows, "apps", "v9").is_none());
    }

    #[test]
    fn aggregated_lists_nest_subresources() {
        let rows = resources::table();
        let list = aggregated(&rows, Aggregated::V2, false);
        let apps = list.get("items").and_then(Value::as_array).unwrap();
        let apps = apps.iter().find(|g| g.str_at(&["metadata", "name"]) == Some("apps")).unwrap();
        let version = &apps.get("versions").and_then(Value::as_array).unwrap()[0];
        let deployments = version.get("resources").and_then(Value::as_array).unwrap();
        let deployments = deployments.iter().find(|r| r.str_at(&["resource"]) == Some("deployments")).unwrap();
        assert_eq!(deployments.str_at(&["scope"]), Some("Namespaced"));
        let below = deployments.get("subresources").and_then(Value::as_array).unwrap();
        let scale = below.iter().find(|s| s.str_at(&["subresource"]) == Some("scale")).unwrap();
        assert_eq!(scale.str_at(&["responseKind", "group"]), Some("autoscaling"));
    }
}
