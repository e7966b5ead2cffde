//! Aggregated discovery (KEP-3352): all groups, versions and resources in one document.

use std::sync::Arc;

use machinery::{GroupVersionKind, Map, Value};
use resources::Resource;

use super::documents::verbs;
use super::{subresources, versions};

/// Which version of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregated {
    /// `apidiscovery.k8s.io/v2`
    V2,
    /// `apidiscovery.k8s.io/v2beta1`, which older clients ask for.
    V2Beta1,
}

impl Aggregated {
    /// `v2`
    pub fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// The media type of the document.
    pub fn media_type(self) -> String {
        format!("application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList", self.version())
    }
}

/// The document of the core group (`/api`), or of all others (`/apis`).
pub fn aggregated(rows: &[Arc<Resource>], form: Aggregated, core: bool) -> Value {
    let groups = versions(rows).into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = groups
        .map(|(name, versions)| {
            let mut group = Value::object();
            group.set_at(&["metadata", "creationTimestamp"], Value::Null);
            if !name.is_empty() {
                group.set_at(&["metadata", "name"], name);
            }
            group.set_at(&["versions"], versions.iter().map(|v| version(rows, name, v)).collect::<Vec<_>>());
            group
        })
        .collect();
    let mut tree = Value::object();
    tree.set_at(&["kind"], "APIGroupDiscoveryList");
    tree.set_at(&["apiVersion"], format!("apidiscovery.k8s.io/{}", form.version()));
    tree.set_at(&["metadata"], Value::object());
    tree.set_at(&["items"], items);
    tree
}

fn version(rows: &[Arc<Resource>], group: &str, version: &str) -> Map {
    let mut here: Vec<&Arc<Resource>> = rows.iter().filter(|r| r.group == group && r.version == version).collect();
    here.sort_by_key(|r| r.plural.as_str());
    let mut tree = Map::new();
    tree.insert("version", version);
    tree.insert("freshness", "Current");
    tree.insert("resources", here.into_iter().map(|r| resource(r)).collect::<Vec<_>>());
    tree
}

fn resource(row: &Resource) -> Map {
    let mut tree = Map::new();
    tree.insert("resource", &row.plural);
    tree.insert("responseKind", kind(&row.gvk()));
    tree.insert("scope", if row.namespaced { "Namespaced" } else { "Cluster" });
    tree.insert("singularResource", &row.singular);
    tree.insert("verbs", verbs(row));
    if !row.short_names.is_empty() {
        tree.insert("shortNames", row.short_names.clone());
    }
    if !row.categories.is_empty() {
        tree.insert("categories", row.categories.clone());
    }
    let below = subresources::of(row);
    if !below.is_empty() {
        let below = below.iter().map(|sub| {
            let mut tree = Map::new();
            tree.insert("subresource", sub.name);
            tree.insert("responseKind", kind(&sub.kind));
            tree.insert("verbs", sub.verbs.to_vec());
            tree
        });
        tree.insert("subresources", below.collect::<Vec<_>>());
    }
    tree
}

fn kind(kind: &GroupVersionKind) -> Map {
    [("group", &*kind.group), ("version", &*kind.version), ("kind", &*kind.kind)].into_iter().collect()
}
