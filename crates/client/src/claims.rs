//! Claims and the volumes that they are bound to: which fit together. The controller that binds, the scheduler and the nodes
//! ask the same questions, and must get the same answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume, PersistentVolumeClaim,
    Pod, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::quantity::Quantity;

use crate::labels::{self, Labels};

/// On a claim whose binding is complete.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On claims and volumes that were bound by the controller, not by their makers.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a claim whose volume is to be made for this node.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The class of claims and volumes of old.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// The provisioner of classes whose volumes are made by hand.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// An object's annotation.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The class that a claim asks for; empty for none.
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let field = || claim.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS_ANNOTATION).or_else(field).unwrap_or_default()
}

/// The class that a volume belongs to; empty for none.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let field = || volume.spec.as_ref().and_then(|s| s.storage_class_name.as_deref());
    annotation(&volume.metadata, CLASS_ANNOTATION).or_else(field).unwrap_or_default()
}

/// The name of the volume that a claim is bound to, or asks for; empty for none.
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|s| s.volume_name.as_deref()).unwrap_or_default()
}

/// The claim that a volume is bound to, or kept for.
pub fn claim_of(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref().and_then(|s| s.claim_ref.as_ref())
}

/// Whether a claim is bound, and both sides say so.
pub fn is_fully_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// Whether a volume is bound to this claim, or kept for it.
pub fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = claim_of(volume) else { return false };
    let same = reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace;
    let uid = reference.uid.as_deref().unwrap_or_default();
    same && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
}

/// The volume as it is when it is bound to the claim; `None` when it is so already.
pub fn bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<PersistentVolume> {
    let by_others = is_bound_to(volume, claim);
    let complete = claim_of(volume).is_some_and(|r| r.uid == claim.metadata.uid) && by_others;
    if complete {
        return None;
    }
    let mut volume = volume.clone();
    volume.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        name: claim.metadata.name.clone(),
        namespace: claim.metadata.namespace.clone(),
        uid: claim.metadata.uid.clone(),
        resource_version: claim.metadata.resource_version.clone(),
        ..ObjectReference::default()
    });
    if !by_others {
        let annotations = volume.metadata.annotations.get_or_insert_default();
        annotations.insert(BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    Some(volume)
}

/// How much a claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let requests = claim.spec.as_ref().and_then(|s| s.resources.as_ref()).and_then(|r| r.requests.as_ref());
    amount(requests.and_then(|r| r.get("storage")).map(|q| q.0.as_str()))
}

/// How much a volume holds.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    let capacity = volume.spec.as_ref().and_then(|s| s.capacity.as_ref());
    amount(capacity.and_then(|c| c.get("storage")).map(|q| q.0.as_str()))
}

/// Nothing when the text is no quantity: validation refused it long before.
fn amount(text: Option<&str>) -> Quantity {
    text.and_then(|text| Quantity::parse(text).ok()).unwrap_or(Quantity::ZERO)
}

/// Whether one is a file system and the other a raw device.
pub fn modes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let asked = claim.spec.as_ref().and_then(|s| s.volume_mode.as_deref()).unwrap_or("Filesystem");
    asked != mode_of(volume)
}

/// Whether they name different classes of attributes (KEP-3751).
fn attributes_differ(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let asked = claim.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
    let own = volume.spec.as_ref().and_then(|s| s.volume_attributes_class_name.as_deref());
    asked.unwrap_or_default() != own.unwrap_or_default()
}

/// `Filesystem` or `Block`.
pub fn mode_of(volume: &PersistentVolume) -> &str {
    volume.spec.as_ref().and_then(|s| s.volume_mode.as_deref()).unwrap_or("Filesystem")
}

fn access_modes(volume: &PersistentVolume) -> BTreeSet<&str> {
    let modes = volume.spec.as_ref().and_then(|s| s.access_modes.as_ref());
    modes.into_iter().flatten().map(String::as_str).collect()
}

fn has_access_modes(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let own = access_modes(volume);
    let asked = claim.spec.as_ref().and_then(|s| s.access_modes.as_ref());
    asked.into_iter().flatten().all(|mode| own.contains(mode.as_str()))
}

/// Why a volume that a claim names cannot be its volume.
pub fn misfit(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    if volume.metadata.deletion_timestamp.is_some() {
        let name = volume.metadata.name.as_deref().unwrap_or_default();
        return Some(format!("the volume is marked for deletion {name:?}"));
    }
    let why = if capacity(volume).value() < requested(claim).value() {
        "requested PV is too small"
    } else if class_of_volume(volume) != class_of_claim(claim) {
        "storageClassName does not match"
    } else if attributes_differ(claim, volume) {
        "volumeAttributesClassName does not match"
    } else if modes_differ(claim, volume) {
        "incompatible volumeMode"
    } else if !has_access_modes(claim, volume) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// Where volumes are looked for.
pub enum Search<'a> {
    /// For a claim that is bound at once.
    AtOnce,
    /// For a claim whose class waits for the first pod: only volumes that are kept for it.
    KeptOnly,
    /// For a pod on a node.
    OnNode {
        /// The node's name.
        name: &'a str,
        /// Its labels.
        labels: Option<&'a Labels>,
        /// Names of volumes that others get.
        taken: &'a BTreeSet<String>,
    },
}

/// The volume for a claim: one that is kept for it, else the smallest that fits, of those with the fewest access modes.
pub fn find(
    claim: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    search: &Search<'_>,
) -> Option<Arc<PersistentVolume>> {
    // Upstream's controller goes through the sets of access modes, the smallest first; its scheduler does not.
    let by_modes = !matches!(search, Search::OnNode { .. });
    let mut groups: BTreeMap<(usize, BTreeSet<&str>), Vec<&Arc<PersistentVolume>>> = BTreeMap::new();
    for volume in volumes.iter().filter(|volume| could_hold(claim, volume, search)) {
        let modes = access_modes(volume);
        let key = if by_modes { (modes.len(), modes) } else { (0, BTreeSet::new()) };
        groups.entry(key).or_default().push(volume);
    }
    groups.into_values().find_map(|group| best_of(claim, &group, search)).cloned()
}

/// What both the volumes kept for the claim and all others must be.
fn could_hold(claim: &PersistentVolumeClaim, volume: &PersistentVolume, search: &Search<'_>) -> bool {
    let left_out = match search {
        Search::OnNode { taken, .. } => volume.metadata.name.as_ref().is_some_and(|name| taken.contains(name)),
        Search::AtOnce | Search::KeptOnly => !has_access_modes(claim, volume),
    };
    let of_another = claim_of(volume).is_some() && !is_bound_to(volume, claim);
    !(left_out || of_another || modes_differ(claim, volume) || attributes_differ(claim, volume))
        && capacity(volume) >= requested(claim)
        && volume.metadata.deletion_timestamp.is_none()
}

fn best_of<'a>(
    claim: &PersistentVolumeClaim,
    group: &[&'a Arc<PersistentVolume>],
    search: &Search<'_>,
) -> Option<&'a Arc<PersistentVolume>> {
    let here = |volume: &PersistentVolume| match search {
        Search::OnNode { name, labels, .. } => fits_node(volume, name, *labels),
        Search::AtOnce | Search::KeptOnly => true,
    };
    if let Some(kept) = group.iter().find(|volume| is_bound_to(volume, claim)) {
        return here(kept).then_some(*kept);
    }
    if matches!(search, Search::KeptOnly) {
        return None;
    }
    let selector = claim.spec.as_ref().and_then(|s| s.selector.as_ref());
    let suits = |volume: &&&Arc<PersistentVolume>| {
        volume.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Available")
            && selector.is_none_or(|s| labels::matches(s, volume.metadata.labels.as_ref()))
            && class_of_volume(volume) == class_of_claim(claim)
            && has_access_modes(claim, volume)
            && here(volume)
    };
    group.iter().filter(suits).min_by(|a, b| capacity(a).cmp(&capacity(b))).copied()
}

/// Whether a volume can be used on a node.
pub fn fits_node(volume: &PersistentVolume, node: &str, labels: Option<&Labels>) -> bool {
    let affinity = volume.spec.as_ref().and_then(|s| s.node_affinity.as_ref());
    let required: Option<&NodeSelector> = affinity.and_then(|a| a.required.as_ref());
    required.is_none_or(|r| r.node_selector_terms.iter().any(|term| meets_term(term, node, labels)))
}

/// A term without any demand matches nothing.
fn meets_term(term: &NodeSelectorTerm, node: &str, labels: Option<&Labels>) -> bool {
    let (on_labels, on_fields) = (term.match_expressions.as_deref(), term.match_fields.as_deref());
    let (on_labels, on_fields) = (on_labels.unwrap_or_default(), on_fields.unwrap_or_default());
    let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node);
    let some = !on_labels.is_empty() || !on_fields.is_empty();
    some && on_labels.iter().all(|r| meets(r, label(&r.key))) && on_fields.iter().all(|r| meets(r, field(&r.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|v| values.iter().any(|wanted| wanted == v));
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = value.and_then(number).zip(values.first().and_then(|v| number(v)));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared.is_some_and(|(own, wanted)| own > wanted),
        "Lt" => compared.is_some_and(|(own, wanted)| own < wanted),
        _ => false,
    }
}

/// The name of the claim behind a pod's volume; that of an ephemeral volume is named after both.
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    match &volume.persistent_volume_claim {
        Some(claim) => Some(claim.claim_name.clone()),
        None => volume.ephemeral.as_ref().map(|_| {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            format!("{pod}-{}", volume.name)
        }),
    }
}

/// The claim of an ephemeral volume belongs to its pod; the error says that this one does not.
pub fn check_owner(pod: &Pod, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let controller = claim.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    if controller.is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref()) {
        return Ok(());
    }
    let full = |meta: &ObjectMeta| {
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    };
    let (claim, pod) = (full(&claim.metadata), full(&pod.metadata));
    Err(format!("PVC {claim} was not created for pod {pod} (pod is not owner)"))
}

#[cfg(test)]
mod tests {
    use machinery::json::{Value, from_value};

    use super::*;

    fn volume(name: &str, storage: &str, more: &str) -> Arc<PersistentVolume> {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"disk":"{name}"}}}},"status":{{"phase":"Available"}},
            "spec":{{"capacity":{{"storage":"{storage}"}},"accessModes":["ReadWriteOnce"]{more}}}}}"#
        );
        Arc::new(from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap())
    }

    fn claim(storage: &str, more: &str) -> PersistentVolumeClaim {
        let json = format!(
            r#"{{"metadata":{{"name":"c","namespace":"n","uid":"u"}},"spec":{{"accessModes":["ReadWriteOnce"],
            "resources":{{"requests":{{"storage":"{storage}"}}}}{more}}}}}"#
        );
        from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap()
    }

    fn kept(name: &str) -> String {
        format!(r#","claimRef":{{"name":"{name}","namespace":"n"}}"#)
    }

    #[test]
    fn a_claim_gets_the_smallest_volume_that_fits() {
        let many = r#","accessModes":["ReadWriteOnce","ReadWriteMany"]"#;
        let all = [
            volume("large", "5Gi", ""),
            volume("medium", "2Gi", ""),
            volume("small", "500Mi", ""),
            volume("many", "1Gi", many),
            volume("class", "1Gi", r#","storageClassName":"fast""#),
            volume("raw", "1Gi", r#","volumeMode":"Block""#),
            volume("other", "1Gi", &kept("another")),
        ];
        let cases = [
            ("1Gi", "", Some("medium")),
            ("3Gi", "", Some("large")),
            ("9Gi", "", None),
            ("1Gi", r#","accessModes":["ReadWriteMany"]"#, Some("many")),
            ("1Gi", r#","storageClassName":"fast""#, Some("class")),
            ("1Gi", r#","storageClassName":"slow""#, None),
            ("1Gi", r#","volumeMode":"Block""#, Some("raw")),
            ("1Gi", r#","selector":{"matchLabels":{"disk":"large"}}"#, Some("large")),
        ];
        for (storage, more, wanted) in cases {
            let found = find(&claim(storage, more), &all, &Search::AtOnce);
            let found = found.as_ref().and_then(|v| v.metadata.name.as_deref());
            assert_eq!(found, wanted, "{storage} {more}");
            assert!(find(&claim(storage, more), &all, &Search::KeptOnly).is_none());
        }
        let with_kept = [volume("medium", "2Gi", ""), volume("kept", "9Gi", &kept("c"))];
        for search in [Search::AtOnce, Search::KeptOnly] {
            let found = find(&claim("1Gi", ""), &with_kept, &search).unwrap();
            assert_eq!(found.metadata.name.as_deref(), Some("kept"));
        }
    }

    #[test]
    fn nodes_are_asked_for_by_their_labels() {
        let affinity = |term: &str| format!(r#","nodeAffinity":{{"required":{{"nodeSelectorTerms":[{term}]}}}}"#);
        let host = r#"{"matchExpressions":[{"key":"host","operator":"In","values":["a"]}]}"#;
        let name = r#"{"matchFields":[{"key":"metadata.name","operator":"In","values":["node-b"]}]}"#;
        let (on_a, on_b) = (volume("a", "1Gi", &affinity(host)), volume("b", "1Gi", &affinity(name)));
        let labels = |host: &str| Labels::from([("host".to_owned(), host.to_owned())]);
        let (of_a, of_b) = (labels("a"), labels("b"));
        assert!(fits_node(&on_a, "x", Some(&of_a)) && !fits_node(&on_a, "x", Some(&of_b)));
        assert!(fits_node(&on_b, "node-b", None) && !fits_node(&on_b, "x", Some(&of_a)));
        assert!(!fits_node(&volume("c", "1Gi", &affinity("{}")), "x", Some(&of_a)));
        let all = [on_a, on_b];
        let nothing = BTreeSet::new();
        let on = |name, labels| find(&claim("1Gi", ""), &all, &Search::OnNode { name, labels, taken: &nothing });
        assert_eq!(on("x", Some(&of_a)).unwrap().metadata.name.as_deref(), Some("a"));
        assert_eq!(on("node-b", Some(&of_b)).unwrap().metadata.name.as_deref(), Some("b"));
        assert!(on("x", Some(&of_b)).is_none());
        let taken = BTreeSet::from(["a".to_owned()]);
        let search = Search::OnNode { name: "x", labels: Some(&of_a), taken: &taken };
        assert!(find(&claim("1Gi", ""), &all, &search).is_none());
    }

    #[test]
    fn misfits_are_told_in_upstreams_words() {
        let cases = [
            ("2Gi", "", "requested PV is too small"),
            ("1Gi", r#","storageClassName":"x""#, "storageClassName does not match"),
            ("1Gi", r#","volumeMode":"Block""#, "incompatible volumeMode"),
            ("1Gi", r#","accessModes":["ReadOnlyMany"]"#, "incompatible accessMode"),
            ("1Gi", "", ""),
        ];
        for (storage, more, wanted) in cases {
            assert_eq!(misfit(&volume("v", "1Gi", ""), &claim(storage, more)).unwrap_or_default(), wanted);
        }
    }

    #[test]
    fn binding_names_the_claim_and_who_chose() {
        let claim = claim("1Gi", "");
        let bound = bound_to(&volume("v", "1Gi", ""), &claim).unwrap();
        assert!(is_bound_to(&bound, &claim) && annotation(&bound.metadata, BOUND_BY_CONTROLLER).is_some());
        assert_eq!(bound_to(&bound, &claim), None);
        let by_hand = bound_to(&volume("v", "1Gi", &kept("c")), &claim).unwrap();
        assert!(annotation(&by_hand.metadata, BOUND_BY_CONTROLLER).is_none());
        assert_eq!(claim_of(&by_hand).unwrap().uid.as_deref(), Some("u"));
    }
}
