//! The cluster as the scheduler sees it: nodes with what their pods take, pods assumed there included.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use client::labels::Labels;
use k8s_openapi::api::core::v1::{ContainerPort, Node, Pod, PodAffinityTerm, WeightedPodAffinityTerm};

use crate::resources::{self, Resources};
use crate::selectors::Term;
use crate::volumes::Volumes;

/// A pod with what is computed from it once.
#[derive(Debug)]
pub struct PodInfo {
    /// The pod.
    pub pod: Arc<Pod>,
    /// Its UID.
    pub uid: String,
    /// `spec.priority`
    pub priority: i32,
    /// What it asks for.
    pub requests: Resources,
    /// What it counts for when nodes are compared.
    pub weights: Resources,
    /// Ports that it takes on its node.
    pub host_ports: Vec<HostPort>,
    /// Whether it has volumes behind claims.
    pub has_claims: bool,
    /// Which pods must, must not, should and should not be near (with weights).
    pub affinity: Affinity,
}

/// Terms of a pod about other pods.
#[derive(Debug, Default)]
pub struct Affinity {
    pub required: Vec<Term>,
    pub required_anti: Vec<Term>,
    pub preferred: Vec<(i64, Term)>,
    pub preferred_anti: Vec<(i64, Term)>,
}

/// A port on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    address: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    fn new(port: &ContainerPort) -> Option<Self> {
        let number = port.host_port.filter(|p| *p > 0)?;
        let address = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
        Some(Self { address, protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()), port: number })
    }

    /// Whether both cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let everywhere = self.address == "0.0.0.0" || other.address == "0.0.0.0";
        self.port == other.port && self.protocol == other.protocol && (everywhere || self.address == other.address)
    }
}

impl PodInfo {
    /// Computes it.
    pub fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.as_ref();
        let sidecars = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten());
        let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let containers = spec.into_iter().flat_map(|s| &s.containers).chain(sidecars);
        let host_ports = containers.flat_map(|c| c.ports.iter().flatten()).filter_map(HostPort::new).collect();
        let mut volumes = spec.into_iter().flat_map(|s| s.volumes.iter().flatten());
        Self {
            has_claims: volumes.any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some()),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            priority: spec.and_then(|s| s.priority).unwrap_or(0),
            requests: resources::requests(&pod),
            weights: resources::weights(&pod),
            host_ports,
            affinity: Affinity::of(&pod),
            pod,
        }
    }
}

impl Affinity {
    fn of(pod: &Pod) -> Self {
        let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref());
        let (near, far) =
            (affinity.and_then(|a| a.pod_affinity.as_ref()), affinity.and_then(|a| a.pod_anti_affinity.as_ref()));
        let terms =
            |list: Option<&Vec<PodAffinityTerm>>| list.into_iter().flatten().map(|term| Term::new(term, pod)).collect();
        let weighted = |list: Option<&Vec<WeightedPodAffinityTerm>>| {
            let all = list.into_iter().flatten();
            all.map(|w| (i64::from(w.weight), Term::new(&w.pod_affinity_term, pod))).collect()
        };
        Self {
            required: terms(near.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            required_anti: terms(far.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref())),
            preferred: weighted(near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())),
            preferred_anti: weighted(far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref())),
        }
    }

    /// Whether it has terms that concern pods which come later.
    pub fn is_felt_by_others(&self) -> bool {
        !(self.required.is_empty()
            && self.required_anti.is_empty()
            && self.preferred.is_empty()
            && self.preferred_anti.is_empty())
    }
}

/// A node with what its pods take.
pub struct NodeInfo {
    /// The node.
    pub node: Arc<Node>,
    /// What pods may have of it.
    pub allocatable: Resources,
    /// What its pods ask for.
    pub requested: Resources,
    /// What its pods count for.
    pub weights: Resources,
    /// Its pods by UID.
    pub pods: HashMap<String, Arc<PodInfo>>,
    /// Image names on it, with their sizes in bytes.
    pub images: HashMap<String, i64>,
}

impl NodeInfo {
    fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            node: node.clone(),
            allocatable: Resources::default(),
            requested: Resources::default(),
            weights: Resources::default(),
            pods: HashMap::new(),
            images: HashMap::new(),
        };
        info.set(node);
        info
    }

    fn set(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        self.allocatable = status.and_then(|s| s.allocatable.as_ref()).map(Resources::read).unwrap_or_default();
        let images = status.into_iter().flat_map(|s| s.images.iter().flatten());
        let named = |i: &k8s_openapi::api::core::v1::ContainerImage| {
            let size = i.size_bytes.unwrap_or(0);
            i.names.clone().unwrap_or_default().into_iter().map(move |name| (name, size))
        };
        self.images = images.flat_map(named).collect();
        self.node = node;
    }

    fn add(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests, 1);
        self.weights.add(&pod.weights, 1);
        self.pods.insert(pod.uid.clone(), pod);
    }

    fn remove(&mut self, uid: &str) {
        if let Some(pod) = self.pods.remove(uid) {
            self.requested.add(&pod.requests, -1);
            self.weights.add(&pod.weights, -1);
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.node.metadata.name.as_deref().unwrap_or_default()
    }

    /// One of its labels.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}

/// All that the plugins see.
#[derive(Default)]
pub struct Cluster {
    nodes: BTreeMap<String, NodeInfo>,
    /// On which node each pod is, assumed ones included.
    places: HashMap<String, String>,
    /// Pods given to a node whose binding was not seen yet.
    assumed: HashSet<String>,
    /// Pods of nodes that are not known (yet).
    homeless: HashMap<String, (String, Arc<PodInfo>)>,
    /// Labels of namespaces.
    pub namespaces: BTreeMap<String, Labels>,
    /// Claims and volumes.
    pub volumes: Volumes,
    /// Pods whose terms concern others, with their node.
    felt: HashMap<String, String>,
}

impl Cluster {
    /// The nodes, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values()
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The pods whose terms concern others, with their nodes.
    pub fn felt(&self) -> impl Iterator<Item = (&NodeInfo, &PodInfo)> {
        self.felt.iter().filter_map(|(uid, node)| {
            let node = self.nodes.get(node)?;
            Some((node, node.pods.get(uid)?.as_ref()))
        })
    }

    pub fn set_namespace(&mut self, name: String, labels: Labels) {
        self.namespaces.insert(name, labels);
    }

    pub fn remove_namespace(&mut self, name: &str) {
        self.namespaces.remove(name);
    }

    /// A node is new or changed.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(info) = self.nodes.get_mut(&name) {
            return info.set(node);
        }
        self.nodes.insert(name.clone(), NodeInfo::new(node));
        let waiting: Vec<String> =
            self.homeless.iter().filter(|(_, (n, _))| *n == name).map(|(uid, _)| uid.clone()).collect();
        for uid in waiting {
            if let Some((_, pod)) = self.homeless.remove(&uid) {
                self.place(pod, &name);
            }
        }
    }

    /// A node is gone. Its pods are kept in mind until they go too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(info) = self.nodes.remove(name) else { return };
        for (uid, pod) in info.pods {
            self.places.remove(&uid);
            self.felt.remove(&uid);
            self.homeless.insert(uid, (name.to_owned(), pod));
        }
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        let Some(info) = self.nodes.get_mut(node) else {
            self.homeless.insert(pod.uid.clone(), (node.to_owned(), pod));
            return;
        };
        self.places.insert(pod.uid.clone(), node.to_owned());
        if pod.affinity.is_felt_by_others() {
            self.felt.insert(pod.uid.clone(), node.to_owned());
        }
        info.add(pod);
    }

    /// A pod is on a node; whether that is news.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>, node: &str) -> bool {
        let was_assumed = self.assumed.remove(&pod.uid);
        let known = self.take_out(&pod.uid);
        self.place(pod, node);
        !known && !was_assumed
    }

    /// A pod is given to a node before the API knows.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.assumed.insert(pod.uid.clone());
        self.place(pod, node);
    }

    /// Whether a pod is given to a node and its binding was not seen yet.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains(uid)
    }

    /// A pod is gone, or its binding failed; whether it was on a node.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.assumed.remove(uid);
        self.take_out(uid)
    }

    fn take_out(&mut self, uid: &str) -> bool {
        self.felt.remove(uid);
        let homeless = self.homeless.remove(uid).is_some();
        let Some(node) = self.places.remove(uid) else { return homeless };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove(uid);
        }
        true
    }
}
