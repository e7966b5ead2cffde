//! Claims and volumes as the scheduler sees them, those included that it gave away and the API does not know of yet; and which
//! volumes a pod gets on a node.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use client::claims::{self, Search};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;

use crate::framework::Reasons;

/// Upstream's words for what keeps a pod from a node.
const OTHER_NODE: &str = "node(s) had volume node affinity conflict";
const NONE_FITS: &str = "node(s) didn't find available persistent volumes to bind";
const NO_VOLUME: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// What is known.
#[derive(Default)]
pub struct Volumes {
    claims: HashMap<String, Arc<PersistentVolumeClaim>>,
    volumes: HashMap<String, Arc<PersistentVolume>>,
    /// Names of the volumes of each class.
    by_class: HashMap<String, BTreeSet<String>>,
    classes: HashMap<String, Arc<StorageClass>>,
    /// The volume that a claim was given, and whether the API knows was not seen yet.
    assumed: BTreeMap<String, String>,
    /// The node for which a claim's volume is to be made, likewise.
    selected: HashMap<String, String>,
}

/// A pod's claims, by what there is to do about them.
#[derive(Default)]
pub struct Asked {
    bound: Vec<Arc<PersistentVolumeClaim>>,
    /// Bound when the pod has a node; the smallest first.
    delayed: Vec<Arc<PersistentVolumeClaim>>,
}

/// What a pod's claims get on its node.
#[derive(Debug, Default)]
pub struct Assignment {
    /// Volumes that are there.
    pub bindings: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims whose volumes somebody makes.
    pub provisions: Vec<Arc<PersistentVolumeClaim>>,
}

impl Assignment {
    /// Nothing is to be done.
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }

    /// All its claims.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<PersistentVolumeClaim>> {
        self.bindings.iter().map(|(_, claim)| claim).chain(&self.provisions)
    }
}

/// `namespace/name`
pub fn key(claim: &PersistentVolumeClaim) -> String {
    let meta = &claim.metadata;
    format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
}

fn name_of(volume: &PersistentVolume) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

impl Volumes {
    /// A claim is new or changed.
    pub fn set_claim(&mut self, claim: Arc<PersistentVolumeClaim>) {
        self.claims.insert(key(&claim), claim);
    }

    /// A claim is gone.
    pub fn remove_claim(&mut self, claim: &PersistentVolumeClaim) {
        self.claims.remove(&key(claim));
    }

    /// A claim.
    pub fn claim(&self, key: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    /// A volume is new or changed.
    pub fn set_volume(&mut self, volume: Arc<PersistentVolume>) {
        self.remove_volume(name_of(&volume));
        let class = claims::class_of_volume(&volume).to_owned();
        self.by_class.entry(class).or_default().insert(name_of(&volume).to_owned());
        self.volumes.insert(name_of(&volume).to_owned(), volume);
    }

    /// A volume is gone.
    pub fn remove_volume(&mut self, name: &str) {
        let Some(old) = self.volumes.remove(name) else { return };
        let class = claims::class_of_volume(&old);
        if let Some(names) = self.by_class.get_mut(class) {
            names.remove(name);
            if names.is_empty() {
                self.by_class.remove(class);
            }
        }
    }

    /// A volume.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    /// A class is new or changed.
    pub fn set_class(&mut self, class: Arc<StorageClass>) {
        self.classes.insert(class.metadata.name.clone().unwrap_or_default(), class);
    }

    /// A class is gone.
    pub fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    /// What a pod asks for; the error says why no node can take it.
    pub fn asked(&self, pod: &Pod) -> Result<Asked, String> {
        let mut asked = Asked::default();
        let mut all_bound = true;
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            let Some(name) = claims::claim_name(pod, volume) else { continue };
            let claim = self.usable(pod, &name, volume.ephemeral.is_some())?;
            if claims::is_fully_bound(claim) {
                asked.bound.push(claim.clone());
            } else if self.waits_for_pod(claim) && claims::volume_name(claim).is_empty() {
                asked.delayed.push(claim.clone());
            } else {
                all_bound = false;
            }
        }
        if !all_bound {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        asked.delayed.sort_by_key(|claim| claims::requested(claim));
        Ok(asked)
    }

    fn usable(&self, pod: &Pod, name: &str, ephemeral: bool) -> Result<&Arc<PersistentVolumeClaim>, String> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(claim) = self.claims.get(&format!("{namespace}/{name}")) else {
            return Err(match ephemeral {
                true => format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"),
                false => format!("persistentvolumeclaim {name:?} not found"),
            });
        };
        if claim.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Lost") {
            let volume = claims::volume_name(claim);
            return Err(format!("persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim {name:?} is being deleted"));
        }
        if ephemeral {
            claims::check_owner(pod, claim)?;
        }
        Ok(claim)
    }

    fn class_of(&self, claim: &PersistentVolumeClaim) -> Option<&StorageClass> {
        self.classes.get(claims::class_of_claim(claim)).map(Arc::as_ref)
    }

    fn waits_for_pod(&self, claim: &PersistentVolumeClaim) -> bool {
        let mode = self.class_of(claim).and_then(|class| class.volume_binding_mode.as_deref());
        mode == Some("WaitForFirstConsumer")
    }

    /// What the claims get on a node, or why it cannot take them.
    pub fn assign(&self, asked: &Asked, node: &Node) -> Result<Assignment, Reasons> {
        let mut reasons = Reasons::new();
        let (name, labels) = (node.metadata.name.as_deref().unwrap_or_default(), node.metadata.labels.as_ref());
        for claim in &asked.bound {
            match self.volumes.get(claims::volume_name(claim)) {
                Some(volume) if claims::fits_node(volume, name, labels) => continue,
                Some(_) => reasons.push(OTHER_NODE.to_owned()),
                None => reasons.push(NO_VOLUME.to_owned()),
            }
            break;
        }
        match self.assign_delayed(&asked.delayed, node) {
            Some(assignment) if reasons.is_empty() => return Ok(assignment),
            Some(_) => {}
            None => reasons.push(NONE_FITS.to_owned()),
        }
        Err(reasons)
    }

    fn assign_delayed(&self, delayed: &[Arc<PersistentVolumeClaim>], node: &Node) -> Option<Assignment> {
        let mut assignment = Assignment::default();
        let (name, labels) = (node.metadata.name.as_deref().unwrap_or_default(), node.metadata.labels.as_ref());
        let mut chosen = BTreeSet::new();
        for claim in delayed {
            let key = key(claim);
            let annotated = claims::annotation(&claim.metadata, claims::SELECTED_NODE);
            if let Some(selected) = self.selected.get(&key).map(String::as_str).or(annotated) {
                if selected != name {
                    return None;
                }
                assignment.provisions.push(claim.clone());
                continue;
            }
            let mut taken: BTreeSet<String> = chosen.clone();
            taken.extend(self.assumed.iter().filter(|(_, of)| **of != key).map(|(volume, _)| volume.clone()));
            let search = Search::OnNode { name, labels, taken: &taken };
            match claims::find(claim, &self.candidates(claim, &key), &search) {
                Some(volume) => {
                    chosen.insert(name_of(&volume).to_owned());
                    assignment.bindings.push((volume, claim.clone()));
                }
                None if self.can_be_made(claim, node) => assignment.provisions.push(claim.clone()),
                None => return None,
            }
        }
        Some(assignment)
    }

    /// The volumes of the claim's class; only the one that it was given when another pod brought it one already.
    fn candidates(&self, claim: &PersistentVolumeClaim, key: &str) -> Vec<Arc<PersistentVolume>> {
        if let Some((volume, _)) = self.assumed.iter().find(|(_, of)| *of == key) {
            return self.volumes.get(volume).cloned().into_iter().collect();
        }
        let names = self.by_class.get(claims::class_of_claim(claim));
        names.into_iter().flatten().filter_map(|name| self.volumes.get(name).cloned()).collect()
    }

    /// Whether somebody makes volumes of the claim's class for the node. DIVERGES: how much room a driver has left
    /// (CSIStorageCapacity) is not asked; no node here has drivers.
    fn can_be_made(&self, claim: &PersistentVolumeClaim, node: &Node) -> bool {
        let Some(class) = self.class_of(claim) else { return false };
        let terms = class.allowed_topologies.as_deref().unwrap_or_default();
        let label = |key: &str| node.metadata.labels.as_ref().and_then(|l| l.get(key));
        let fits = terms.is_empty()
            || terms.iter().any(|term| {
                let mut expressions = term.match_label_expressions.iter().flatten();
                expressions.all(|e| label(&e.key).is_some_and(|value| e.values.contains(value)))
            });
        !class.provisioner.is_empty() && class.provisioner != claims::NO_PROVISIONER && fits
    }

    /// Gives a pod's claims what was assigned, before the API knows.
    pub fn assume(&mut self, assignment: &Assignment, node: &str) {
        for (volume, claim) in &assignment.bindings {
            self.assumed.insert(name_of(volume).to_owned(), key(claim));
        }
        for claim in &assignment.provisions {
            self.selected.insert(key(claim), node.to_owned());
        }
    }

    /// The API knows, or the binding failed: what the API says holds again.
    pub fn settle(&mut self, assignment: &Assignment) {
        assignment.bindings.iter().for_each(|(volume, _)| drop(self.assumed.remove(name_of(volume))));
        assignment.provisions.iter().for_each(|claim| drop(self.selected.remove(&key(claim))));
    }

    /// The volumes of a pod's bound claims.
    pub fn bound_volumes<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        self.claims_of(pod).filter_map(|claim| self.volumes.get(claims::volume_name(claim)))
    }

    /// A pod's claims, as far as they are known.
    pub fn claims_of<'a>(&'a self, pod: &'a Pod) -> impl Iterator<Item = &'a Arc<PersistentVolumeClaim>> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let names = volumes.filter_map(|volume| claims::claim_name(pod, volume));
        names.filter_map(move |name| self.claims.get(&format!("{namespace}/{name}")))
    }
}
