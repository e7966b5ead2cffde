//! What all controllers share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use client::events::Recorder;
use client::{Api, Client, Informer, Resource, User, claims};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController,
    ResourceQuota, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::{StorageClass, VolumeAttributesClass};
use machinery::GroupVersionResource;

use crate::custom_resources::CustomResources;

/// A resource that the API serves, as far as the garbage collector and the namespace controller care.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApiResource {
    /// Its names.
    pub resource: GroupVersionResource,
    /// Its kind.
    pub kind: Arc<str>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether all of a namespace can be deleted at once.
    pub delete_collection: bool,
}

/// What controllers are told at start.
#[derive(Clone)]
pub struct Options {
    /// Certificate of the authority that pods trust the API server by, PEM.
    pub root_ca: String,
    /// Addresses of all pods, and how long the prefix of one node is.
    pub cluster_cidr: (IpAddr, u8),
    /// Prefix length of one node's part.
    pub node_cidr_prefix: u8,
    /// The built-in resources that can be listed, watched and deleted.
    pub resources: Vec<Arc<ApiResource>>,
}

/// Copies of everything that controllers read.
pub struct Informers {
    /// Pods, indexed by `owner` (UID of the controlling owner, or [`orphans_of`]), `node` and `claim` (`namespace/name`).
    pub pods: Informer<Pod>,
    /// Replica sets, indexed by `owner`.
    pub replica_sets: Informer<ReplicaSet>,
    /// Replication controllers.
    pub replication_controllers: Informer<ReplicationController>,
    /// Deployments.
    pub deployments: Informer<Deployment>,
    /// Stateful sets.
    pub stateful_sets: Informer<StatefulSet>,
    /// Jobs, indexed by `owner`.
    pub jobs: Informer<Job>,
    /// Cron jobs.
    pub cron_jobs: Informer<CronJob>,
    /// Resource quotas.
    pub resource_quotas: Informer<ResourceQuota>,
    /// Disruption budgets.
    pub disruption_budgets: Informer<PodDisruptionBudget>,
    /// Services.
    pub services: Informer<Service>,
    /// Endpoints.
    pub endpoints: Informer<Endpoints>,
    /// Endpoint slices, indexed by `service` (`namespace/name`).
    pub endpoint_slices: Informer<EndpointSlice>,
    /// Nodes.
    pub nodes: Informer<Node>,
    /// Node leases.
    pub leases: Informer<Lease>,
    /// Namespaces.
    pub namespaces: Informer<Namespace>,
    /// Service accounts.
    pub service_accounts: Informer<ServiceAccount>,
    /// Config maps.
    pub config_maps: Informer<ConfigMap>,
    /// Persistent volumes, indexed by `class` and by `claim` (`namespace/name`).
    pub persistent_volumes: Informer<PersistentVolume>,
    /// Claims of persistent volumes, indexed by `unbound` (their class, of those that are not bound) and by `volume`.
    pub persistent_volume_claims: Informer<PersistentVolumeClaim>,
    /// Classes of storage.
    pub storage_classes: Informer<StorageClass>,
    /// Classes of volume attributes.
    pub volume_attributes_classes: Informer<VolumeAttributesClass>,
    /// Ranges of services' addresses.
    pub service_cidrs: Informer<ServiceCIDR>,
    /// Addresses in use.
    pub ip_addresses: Informer<IPAddress>,
}

/// What all controllers share.
pub struct Context {
    /// The API as `system:kube-controller-manager`.
    pub client: Client,
    /// Copies of what they read.
    pub informers: Informers,
    /// Which custom resources there are.
    pub custom_resources: CustomResources,
    /// Tells what is gone.
    pub removals: Removals,
    /// What they were told.
    pub options: Options,
}

type RemovalHandler = Box<dyn Fn(&ApiResource, &str) + Send + Sync>;

/// Tells of objects of any kind that are gone: one watch of every resource is enough for all who want to know.
#[derive(Default)]
pub struct Removals {
    handlers: Mutex<Vec<RemovalHandler>>,
}

impl Removals {
    /// Calls `handler` with the resource and the namespace of whatever is gone from now on.
    pub fn on_removal(&self, handler: impl Fn(&ApiResource, &str) + Send + Sync + 'static) {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(handler));
    }

    /// Tells of one.
    pub fn tell(&self, resource: &ApiResource, namespace: &str) {
        let handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        handlers.iter().for_each(|handler| handler(resource, namespace));
    }
}

impl Context {
    /// Starts the informers.
    pub fn new(client: Client, options: Options) -> Self {
        let informers = Informers {
            pods: start(&client),
            replica_sets: start(&client),
            replication_controllers: start(&client),
            deployments: start(&client),
            stateful_sets: start(&client),
            jobs: start(&client),
            cron_jobs: start(&client),
            resource_quotas: start(&client),
            disruption_budgets: start(&client),
            services: start(&client),
            endpoints: start(&client),
            endpoint_slices: start(&client),
            nodes: start(&client),
            leases: start(&client),
            namespaces: start(&client),
            service_accounts: start(&client),
            config_maps: start(&client),
            persistent_volumes: start(&client),
            persistent_volume_claims: start(&client),
            storage_classes: start(&client),
            volume_attributes_classes: start(&client),
            service_cidrs: start(&client),
            ip_addresses: start(&client),
        };
        informers.pods.index_by("owner", |pod| owner(&pod.metadata));
        informers
            .pods
            .index_by("node", |pod| pod.spec.as_ref().and_then(|s| s.node_name.clone()).into_iter().collect());
        informers.pods.index_by("claim", |pod| {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            crate::protection::claims_of(pod).map(|name| format!("{namespace}/{name}")).collect()
        });
        informers.persistent_volumes.index_by("class", |volume| vec![claims::class_of_volume(volume).to_owned()]);
        informers.persistent_volumes.index_by("claim", |volume| {
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            let reference = claims::claim_of(volume);
            reference.map(|r| format!("{}/{}", text(&r.namespace), text(&r.name))).into_iter().collect()
        });
        informers.persistent_volume_claims.index_by("unbound", |claim| match claims::is_fully_bound(claim) {
            true => Vec::new(),
            false => vec![claims::class_of_claim(claim).to_owned()],
        });
        informers.persistent_volume_claims.index_by("volume", |claim| vec![claims::volume_name(claim).to_owned()]);
        informers.replica_sets.index_by("owner", |rs| owner(&rs.metadata));
        informers.jobs.index_by("owner", |job| owner(&job.metadata));
        informers.endpoint_slices.index_by("service", |slice| {
            let labels = slice.metadata.labels.as_ref();
            let service = labels.and_then(|l| l.get(crate::service_endpoints::SERVICE_NAME_LABEL));
            let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
            service.map(|s| format!("{namespace}/{s}")).into_iter().collect()
        });
        let custom_resources = CustomResources::start(client.clone());
        Self { client, informers, custom_resources, removals: Removals::default(), options }
    }

    /// All resources that can be listed, watched and deleted now.
    pub fn resources(&self) -> Vec<Arc<ApiResource>> {
        self.options.resources.iter().cloned().chain(self.custom_resources.all()).collect()
    }

    /// The API as one controller's own service account in `kube-system`, as upstream's controllers act.
    pub fn client_of(&self, controller: &str) -> Client {
        let mut user = User::component(
            &format!("system:serviceaccount:kube-system:{controller}"),
            &["system:serviceaccounts", "system:serviceaccounts:kube-system"],
        );
        user.uid = String::new();
        self.client.with_user(user)
    }

    /// A recorder of events for a controller.
    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(&self.client, component, "")
    }
}

fn start<K: Resource>(client: &Client) -> Informer<K> {
    Informer::start(Api::all(client), client::Options::default())
}

/// The controlling owner's UID; objects that nobody controls are filed by namespace, for those that adopt.
fn owner(meta: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Vec<String> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    vec![crate::owners::controller_of(meta).map_or_else(|| orphans_of(namespace), |o| o.uid.clone())]
}

/// Where the index `owner` files the objects of a namespace that nobody controls.
pub fn orphans_of(namespace: &str) -> String {
    format!("orphan/{namespace}")
}
