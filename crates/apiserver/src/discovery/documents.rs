//! Plain discovery: one small document per group and version.

use std::sync::Arc;

use machinery::{Map, Value};
use resources::Resource;

use super::{storage_version_hash, subresources, versions};

/// `/api`: the versions of the core group. `address` is where the API is reached, `host:port`.
pub fn api_versions(rows: &[Arc<Resource>], address: &str) -> Value {
    let core = versions(rows).into_iter().find(|(group, _)| group.is_empty()).map(|(_, v)| v).unwrap_or_default();
    let by_client: Map = [("clientCIDR", "0.0.0.0/0"), ("serverAddress", address)].into_iter().collect();
    let mut tree = Value::object();
    tree.set_at(&["kind"], "APIVersions");
    tree.set_at(&["versions"], core);
    tree.set_at(&["serverAddressByClientCIDRs"], vec![by_client]);
    tree
}

/// `/apis`: all groups but the core one.
pub fn groups(rows: &[Arc<Resource>]) -> Value {
    let groups = versions(rows).into_iter().filter(|(group, _)| !group.is_empty());
    let groups: Vec<Map> = groups.map(|(group, versions)| group_tree(group, &versions)).collect();
    let mut tree = Value::object();
    tree.set_at(&["kind"], "APIGroupList");
    tree.set_at(&["apiVersion"], "v1");
    tree.set_at(&["groups"], groups);
    tree
}

/// `/apis/GROUP`; `None` when there is no such group.
pub fn group(rows: &[Arc<Resource>], group: &str) -> Option<Value> {
    let (group, versions) = versions(rows).into_iter().find(|(g, _)| *g == group && !g.is_empty())?;
    let mut tree = group_tree(group, &versions);
    tree.insert("kind", "APIGroup");
    tree.insert("apiVersion", "v1");
    Some(tree.into())
}

fn group_tree(group: &str, versions: &[&str]) -> Map {
    let version = |v: &&str| -> Map {
        [("groupVersion", format!("{group}/{v}")), ("version", (*v).to_owned())].into_iter().collect()
    };
    let all: Vec<Map> = versions.iter().map(version).collect();
    let mut tree = Map::new();
    tree.insert("name", group);
    tree.insert("preferredVersion", all.first().cloned().unwrap_or_default());
    tree.insert("versions", all);
    tree
}

/// `/api/v1` and `/apis/GROUP/VERSION`; `None` when it is not served.
pub fn api_resources(rows: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let mut here: Vec<&Arc<Resource>> = rows.iter().filter(|r| r.group == group && r.version == version).collect();
    if here.is_empty() {
        return None;
    }
    here.sort_by_key(|r| r.plural.as_str());
    let list: Vec<Map> = here.iter().flat_map(|row| std::iter::once(resource(row)).chain(below(row))).collect();
    let mut tree = Value::object();
    tree.set_at(&["kind"], "APIResourceList");
    if !group.is_empty() {
        tree.set_at(&["apiVersion"], "v1");
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    tree.set_at(&["groupVersion"], group_version);
    tree.set_at(&["resources"], list);
    Some(tree)
}

fn resource(row: &Resource) -> Map {
    let mut tree = Map::new();
    tree.insert("name", &row.plural);
    tree.insert("singularName", &row.singular);
    tree.insert("namespaced", row.namespaced);
    tree.insert("kind", &row.kind);
    tree.insert("verbs", verbs(row));
    if !row.short_names.is_empty() {
        tree.insert("shortNames", row.short_names.clone());
    }
    if !row.categories.is_empty() {
        tree.insert("categories", row.categories.clone());
    }
    if row.stored {
        tree.insert("storageVersionHash", storage_version_hash(row));
    }
    tree
}

fn below(row: &Resource) -> impl Iterator<Item = Map> + '_ {
    subresources::of(row).into_iter().map(|sub| {
        let mut tree = Map::new();
        tree.insert("name", format!("{}/{}", row.plural, sub.name));
        tree.insert("singularName", "");
        tree.insert("namespaced", row.namespaced);
        tree.insert("kind", &*sub.kind.kind);
        tree.insert("verbs", sub.verbs.to_vec());
        if (&*sub.kind.group, &*sub.kind.version) != (row.group.as_str(), row.version.as_str()) {
            tree.insert("group", &*sub.kind.group);
            tree.insert("version", &*sub.kind.version);
        }
        tree
    })
}

/// The verbs of a row, sorted as upstream lists them.
pub(super) fn verbs(row: &Resource) -> Vec<&'static str> {
    let mut verbs: Vec<&'static str> = row.verbs.iter().map(|v| v.as_str()).collect();
    verbs.sort_unstable();
    verbs
}
