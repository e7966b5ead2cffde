//! The ConfigMaps and Secrets that pods' volumes are made of: each watched by its name as long as a pod here uses it, so
//! that a change is seen at once. Pods that use the same one share its watch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{Api, Client, Informer, Options, Resource};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use machinery::ApiError;

use crate::lock;

/// How long the first answer of a watch may take before the object is asked for itself.
const SYNC_MAX: Duration = Duration::from_secs(2);

type Users = Arc<Mutex<BTreeSet<String>>>;
type Told = Arc<dyn Fn(&BTreeSet<String>) + Send + Sync>;

struct Source<K> {
    informer: Informer<K>,
    users: Users,
    /// Somebody was given the object: from now on changes are told.
    given: Arc<AtomicBool>,
}

/// The watched objects of one kind, by namespace and name.
struct Watched<K>(Mutex<BTreeMap<(String, String), Source<K>>>);

/// All watched objects.
pub struct Sources {
    client: Client,
    config_maps: Watched<ConfigMap>,
    secrets: Watched<Secret>,
    changed: Told,
}

impl Sources {
    /// Watches nothing yet. `changed` is called with the UIDs of the pods that use an object that changed.
    pub fn new(client: &Client, changed: impl Fn(&BTreeSet<String>) + Send + Sync + 'static) -> Self {
        let (config_maps, secrets) = (Watched(Mutex::default()), Watched(Mutex::default()));
        Self { client: client.clone(), config_maps, secrets, changed: Arc::new(changed) }
    }

    /// A ConfigMap, for the pod `uid`; `None` when it does not exist.
    pub async fn config_map(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<Arc<ConfigMap>>, ApiError> {
        self.config_maps.get(self, namespace, name, uid).await
    }

    /// A Secret, for the pod `uid`; `None` when it does not exist.
    pub async fn secret(&self, namespace: &str, name: &str, uid: &str) -> Result<Option<Arc<Secret>>, ApiError> {
        self.secrets.get(self, namespace, name, uid).await
    }

    /// The pod is gone: what only it used is no longer watched.
    pub fn release(&self, uid: &str) {
        self.config_maps.release(uid);
        self.secrets.release(uid);
    }
}

impl<K: Resource> Watched<K> {
    fn informer(&self, sources: &Sources, namespace: &str, name: &str, uid: &str) -> (Informer<K>, Arc<AtomicBool>) {
        let mut all = lock(&self.0);
        let source = all.entry((namespace.to_owned(), name.to_owned())).or_insert_with(|| {
            let only = Options { field_selector: format!("metadata.name={name}"), ..Options::default() };
            let informer = Informer::start(Api::namespaced(&sources.client, namespace), only);
            let users: Users = Arc::default();
            let given = Arc::new(AtomicBool::new(false));
            let (told, of, is_given) = (sources.changed.clone(), users.clone(), given.clone());
            informer.on_change(move |_| {
                if is_given.load(Ordering::Acquire) {
                    told(&lock(&of));
                }
            });
            Source { informer, users, given }
        });
        lock(&source.users).insert(uid.to_owned());
        (source.informer.clone(), source.given.clone())
    }

    async fn get(&self, sources: &Sources, namespace: &str, name: &str, uid: &str) -> Result<Option<Arc<K>>, ApiError> {
        let (informer, given) = self.informer(sources, namespace, name, uid);
        if tokio::time::timeout(SYNC_MAX, informer.synced()).await.is_err() {
            // Whoever may not watch it is told why.
            return Api::<K>::namespaced(&sources.client, namespace).get_opt(name).await;
        }
        given.store(true, Ordering::Release);
        Ok(informer.get(namespace, name))
    }

    fn release(&self, uid: &str) {
        lock(&self.0).retain(|_, source| {
            let mut users = lock(&source.users);
            users.remove(uid);
            !users.is_empty()
        });
    }
}
