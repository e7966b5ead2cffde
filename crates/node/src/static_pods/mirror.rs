//! Mirror pods: what the API shows of static ones. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{MIRROR, annotation, full_name};

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Show this static pod.
    Create(Arc<Pod>),
    /// Remove a mirror at once.
    Delete {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its own UID.
        uid: Option<String>,
    },
}

/// What brings the mirrors in step with the static pods. The mirror of a pod that is still ending stays as long as it does.
pub fn plan(wanted: &BTreeMap<String, Arc<Pod>>, living: &BTreeSet<&str>, mirrors: &[Arc<Pod>]) -> Vec<Action> {
    let mut actions = Vec::new();
    for mirror in mirrors {
        let of = annotation(mirror, MIRROR).unwrap_or_default();
        if !living.contains(of) || mirror.metadata.deletion_timestamp.is_some() {
            let (namespace, name) = full_name(mirror);
            let uid = mirror.metadata.uid.clone();
            actions.push(Action::Delete { namespace: namespace.to_owned(), name: name.to_owned(), uid });
        }
    }
    let taken: BTreeSet<_> = mirrors.iter().map(|m| full_name(m)).collect();
    let missing = wanted.iter().filter(|(uid, pod)| living.contains(uid.as_str()) && !taken.contains(&full_name(pod)));
    actions.extend(missing.map(|(_, pod)| Action::Create(pod.clone())));
    actions
}

/// The mirror of a static pod, which belongs to its node.
pub fn of(pod: &Pod, node: &Node) -> Pod {
    let own = &pod.metadata;
    let mut annotations = own.annotations.clone().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), own.uid.clone().unwrap_or_default());
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let metadata = ObjectMeta {
        name: own.name.clone(),
        namespace: own.namespace.clone(),
        labels: own.labels.clone(),
        annotations: Some(annotations),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: pod.spec.clone(), status: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, uid: &str, mirrors: Option<&str>, deleted: bool) -> Arc<Pod> {
        let mut metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("n".to_owned()),
            uid: Some(uid.to_owned()),
            annotations: mirrors.map(|of| [(MIRROR.to_owned(), of.to_owned())].into()),
            ..ObjectMeta::default()
        };
        if deleted {
            let at = "2026-01-01T00:00:00Z".parse().unwrap();
            metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at));
        }
        Arc::new(Pod { metadata, ..Pod::default() })
    }

    #[test]
    fn mirrors_follow_the_static_pods() {
        let statics = BTreeMap::from([("h1".to_owned(), pod("a", "h1", None, false))]);
        let delete = |name: &str, uid: &str| Action::Delete {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            uid: Some(uid.to_owned()),
        };
        let living: BTreeSet<&str> = BTreeSet::from(["h1"]);
        let create = Action::Create(statics["h1"].clone());
        for (mirrors, actions) in [
            (vec![], vec![create]),
            (vec![pod("a", "m", Some("h1"), false)], vec![]),
            // Somebody removes it: it goes at once, and comes back when it is gone.
            (vec![pod("a", "m", Some("h1"), true)], vec![delete("a", "m")]),
            (vec![pod("a", "m", Some("h0"), false)], vec![delete("a", "m")]),
            (vec![pod("a", "m", Some("h1"), false), pod("b", "o", Some("h2"), false)], vec![delete("b", "o")]),
        ] {
            assert_eq!(plan(&statics, &living, &mirrors), actions);
        }
        // Its file is gone, but it still ends: the mirror stays.
        assert_eq!(plan(&BTreeMap::new(), &living, &[pod("a", "m", Some("h1"), false)]), []);
    }
}
