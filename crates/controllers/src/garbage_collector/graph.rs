//! Who owns whom, over all resources. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use machinery::json::Value;

use crate::context::ApiResource;

/// A UID.
pub type Uid = String;

/// A reference to an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: Uid,
    /// Whether the owner's foreground deletion waits for this dependent.
    pub blocks: bool,
}

/// What the collector knows of an object.
#[derive(Debug, Clone)]
pub struct Item {
    pub resource: Arc<ApiResource>,
    pub namespace: String,
    pub name: String,
    pub uid: Uid,
    pub owners: Vec<Owner>,
    /// On its way out.
    pub deleting: bool,
    /// Its deletion waits for its dependents' (finalizer `foregroundDeletion`).
    pub foreground: bool,
    /// Its deletion lets its dependents live on (finalizer `orphan`).
    pub orphaning: bool,
}

/// The finalizers that are the collector's.
pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

impl Item {
    /// Reads an object's metadata.
    pub fn read(resource: &Arc<ApiResource>, object: &Value) -> Option<Self> {
        let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
        let finalizers = object.at(&["metadata", "finalizers"]).and_then(Value::as_array);
        let has = |name: &str| finalizers.into_iter().flatten().any(|f| f.as_str() == Some(name));
        let deleting = object.at(&["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null());
        let references = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array);
        let owner = |reference: &Value| Owner {
            api_version: reference.str_at(&["apiVersion"]).unwrap_or_default().to_owned(),
            kind: reference.str_at(&["kind"]).unwrap_or_default().to_owned(),
            name: reference.str_at(&["name"]).unwrap_or_default().to_owned(),
            uid: reference.str_at(&["uid"]).unwrap_or_default().to_owned(),
            blocks: reference.get("blockOwnerDeletion").and_then(Value::as_bool).unwrap_or(false),
        };
        Some(Self {
            resource: resource.clone(),
            namespace: text(&["metadata", "namespace"]),
            name: text(&["metadata", "name"]),
            uid: object.str_at(&["metadata", "uid"])?.to_owned(),
            owners: references.into_iter().flatten().map(owner).collect(),
            deleting,
            foreground: deleting && has(FOREGROUND),
            orphaning: deleting && has(ORPHAN),
        })
    }
}

/// All objects, and the dependents of each owner, known or not.
#[derive(Default)]
pub struct Graph {
    items: HashMap<Uid, Item>,
    dependents: HashMap<Uid, HashSet<Uid>>,
}

impl Graph {
    /// One object.
    pub fn get(&self, uid: &str) -> Option<&Item> {
        self.items.get(uid)
    }

    /// The objects that name an owner.
    pub fn dependents(&self, uid: &str) -> Vec<Item> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.items.get(uid)).cloned().collect()
    }

    /// An object is new or changed; returns what has to be looked at.
    pub fn apply(&mut self, item: Item) -> Vec<Uid> {
        let mut look = Vec::new();
        let uid = item.uid.clone();
        let old = self.items.get(&uid);
        let old_owners: Vec<Owner> = old.map(|o| o.owners.clone()).unwrap_or_default();
        let began = |now: bool, before: fn(&Item) -> bool| now && !old.is_some_and(before);
        if began(item.foreground, |o| o.foreground) {
            look.push(uid.clone());
            look.extend(self.dependents.get(&uid).into_iter().flatten().cloned());
        }
        if began(item.orphaning, |o| o.orphaning) {
            look.push(uid.clone());
        }
        if old_owners != item.owners {
            for gone in old_owners.iter().filter(|o| !item.owners.iter().any(|n| n.uid == o.uid)) {
                self.unlink(&gone.uid, &uid);
                look.push(gone.uid.clone());
            }
            for owner in &item.owners {
                self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
                let before = old_owners.iter().find(|o| o.uid == owner.uid);
                if before.is_some_and(|o| o.blocks != owner.blocks) {
                    look.push(owner.uid.clone());
                }
            }
            // An owner that is not known, or waits for its dependents, decides about this object now.
            if item.owners.iter().any(|o| self.items.get(&o.uid).is_none_or(|known| known.foreground)) {
                look.push(uid.clone());
            }
        }
        self.items.insert(uid, item);
        look
    }

    /// An object is gone; returns what has to be looked at.
    pub fn remove(&mut self, uid: &str) -> Vec<Uid> {
        let Some(item) = self.items.remove(uid) else { return Vec::new() };
        let mut look: Vec<Uid> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in &item.owners {
            self.unlink(&owner.uid, uid);
            if self.items.get(&owner.uid).is_some_and(|o| o.foreground) {
                look.push(owner.uid.clone());
            }
        }
        look
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(all) = self.dependents.get_mut(owner) {
            all.remove(dependent);
            if all.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// The UIDs of a resource's objects, to find those that vanished while nobody watched.
    pub fn of_resource(&self, resource: &ApiResource) -> Vec<Uid> {
        let own = self.items.values().filter(|item| *item.resource == *resource);
        own.map(|item| item.uid.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use machinery::GroupVersionResource;

    use super::*;

    fn item(uid: &str, owners: &[&str], finalizer: Option<&str>) -> Item {
        let resource = GroupVersionResource::new("", "v1", "pods");
        let resource =
            Arc::new(ApiResource { resource, kind: "Pod".into(), namespaced: true, delete_collection: true });
        let mut object = Value::object();
        object.set_at(&["metadata", "uid"], uid);
        let reference = |owner: &&str| {
            let mut reference = Value::object();
            reference.set_at(&["uid"], *owner);
            reference
        };
        object.set_at(&["metadata", "ownerReferences"], owners.iter().map(reference).collect::<Vec<_>>());
        if let Some(finalizer) = finalizer {
            object.set_at(&["metadata", "finalizers"], vec![finalizer]);
            object.set_at(&["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z");
        }
        Item::read(&resource, &object).unwrap()
    }

    #[test]
    fn what_may_have_to_go_is_looked_at() {
        let mut graph = Graph::default();
        assert!(graph.apply(item("owner", &[], None)).is_empty());
        assert!(graph.apply(item("child", &["owner"], None)).is_empty(), "its owner is there");
        assert_eq!(graph.apply(item("lost", &["nobody"], None)), ["lost"]);
        assert_eq!(graph.apply(item("owner", &[], Some(FOREGROUND))), ["owner", "child"]);
        assert_eq!(graph.remove("child"), ["owner"], "its owner waits for it");
        assert!(graph.dependents("owner").is_empty());
        graph.apply(item("late", &["owner"], None));
        assert_eq!(graph.remove("owner"), ["late"]);
    }

    #[test]
    fn orphaning_begins_once() {
        let mut graph = Graph::default();
        assert_eq!(graph.apply(item("owner", &[], Some(ORPHAN))), ["owner"]);
        assert!(graph.apply(item("owner", &[], Some(ORPHAN))).is_empty());
    }
}
