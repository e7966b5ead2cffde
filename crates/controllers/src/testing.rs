//! A cluster for tests: the real request pipeline over a store in memory, the real roles, and the controllers that a test names.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use apiserver::authorization::RoleTable;
use apiserver::pipeline::{Pipeline, PipelineConfig, ServiceCidr};
use client::{Api, Client, PatchKind, Resource, User};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use machinery::GroupVersionResource;
use machinery::json::{Value, from_value};
use store::memory::MemoryStore;

use crate::context::{ApiResource, Context, Options};

/// How long a test waits for what the controllers should do.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster without nodes. Everything ends with it.
pub struct Cluster {
    /// The API as an administrator.
    pub client: Client,
    stop: tokio::sync::watch::Sender<bool>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Cluster {
    /// Starts the controllers of these names (see [`crate::CONTROLLERS`]).
    pub async fn start(names: &[&str]) -> Self {
        let pipeline = Pipeline::new(config()).await.unwrap();
        let client = Client::new(pipeline, User::component("admin", &["system:masters"]));
        let manager = client.with_user(User::component("system:kube-controller-manager", &[]));
        let options = Options {
            root_ca: "certificate".to_owned(),
            cluster_cidr: (IpAddr::V4(Ipv4Addr::new(10, 42, 0, 0)), 16),
            node_cidr_prefix: 24,
            resources: resources_looked_after(),
        };
        let first = Self { client, stop: tokio::sync::watch::channel(false).0 };
        first.create::<ServiceAccount>("default", r#"{"metadata":{"name":"default"}}"#).await;
        let context = Arc::new(Context::new(manager, options));
        let (stop, stopped) = tokio::sync::watch::channel(false);
        for name in names {
            let controller = crate::CONTROLLERS.iter().find(|c| c.name == *name).expect("there is such a controller");
            tokio::spawn((controller.run)(context.clone(), stopped.clone()));
        }
        Self { client: first.client.clone(), stop }
    }

    /// The objects of a namespace; an empty name is cluster scope.
    pub fn api<K: Resource>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(&self.client, namespace)
    }

    /// Makes an object of JSON.
    pub async fn create<K: Resource>(&self, namespace: &str, json: &str) -> Arc<K> {
        let object: K = from_value(&Value::parse(json.as_bytes()).unwrap()).unwrap();
        self.api::<K>(namespace).create(&object).await.unwrap()
    }

    /// Changes an object by a merge patch.
    pub async fn merge<K: Resource>(&self, namespace: &str, name: &str, json: &str) -> Arc<K> {
        let patch = Value::parse(json.as_bytes()).unwrap();
        self.api::<K>(namespace).patch(name, PatchKind::Merge, patch).await.unwrap()
    }

    /// Makes a pod with the label `app` that names its port 8080 `web`, with an address if there is one.
    pub async fn pod(&self, namespace: &str, name: &str, app: &str, address: Option<&str>) -> Arc<Pod> {
        let json = format!(
            r#"{{"metadata":{{"name":"{name}","labels":{{"app":"{app}"}}}},"spec":{{"nodeName":"node-1","containers":[
            {{"name":"c","image":"i","ports":[{{"name":"web","containerPort":8080}}]}}]}}}}"#
        );
        let pod = self.create::<Pod>(namespace, &json).await;
        if let Some(address) = address {
            self.set_pod(namespace, name, address, true).await;
        }
        pod
    }

    /// Says what a node would say of a running pod.
    pub async fn set_pod(&self, namespace: &str, name: &str, address: &str, ready: bool) {
        let ready = if ready { "True" } else { "False" };
        let patch = format!(
            r#"{{"status":{{"phase":"Running","podIP":"{address}","podIPs":[{{"ip":"{address}"}}],
            "conditions":[{{"type":"Ready","status":"{ready}"}}]}}}}"#
        );
        let patch = Value::parse(patch.as_bytes()).unwrap();
        self.api::<Pod>(namespace).patch_status(name, PatchKind::Merge, patch).await.unwrap();
    }
}

/// Waits until `found` gives something; panics with `what` when it does not come.
pub async fn until<T, F: Future<Output = Option<T>>>(what: &str, found: impl Fn() -> F) -> T {
    let waiting = async {
        loop {
            if let Some(found) = found().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}: it did not come"))
}

fn config() -> PipelineConfig {
    PipelineConfig {
        store: Arc::new(MemoryStore::default()),
        rows: resources::table(),
        authorizer: Arc::new(RoleTable),
        token_issuer: None,
        audit: None,
        encryption_key: None,
        service_cidr: ServiceCidr { network: Ipv4Addr::new(10, 43, 0, 0), prefix_length: 16 },
        node_port_range: 30000..=32767,
        advertise_address: Ipv4Addr::new(192, 0, 2, 1),
        advertise_port: 6443,
    }
}

fn resources_looked_after() -> Vec<Arc<ApiResource>> {
    let mut seen = std::collections::BTreeSet::new();
    let needed = [resources::Verb::List, resources::Verb::Watch, resources::Verb::Delete];
    let rows = resources::table().into_iter().filter(|row| row.stored && needed.iter().all(|v| row.verbs.contains(v)));
    rows.filter(|row| seen.insert(row.storage.clone()))
        .map(|row| {
            Arc::new(ApiResource {
                resource: GroupVersionResource::new(row.group.as_str(), row.version.as_str(), row.plural.as_str()),
                kind: row.kind.as_str().into(),
                namespaced: row.namespaced,
                delete_collection: row.verbs.contains(&resources::Verb::DeleteCollection),
            })
        })
        .collect()
}
