//! A typed handle on one resource, with kube's method names.

use std::marker::PhantomData;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use machinery::json::{Value, from_value, to_value};
use machinery::{ApiError, Entry, GroupVersionResource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::{Action, Backend, DeleteOptions, List, Options, PatchKind, Reply, Request, User, Watch};

/// A kind that the API serves: any k8s-openapi type with metadata.
pub trait Resource:
    k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + std::fmt::Debug
    + Send
    + Sync
    + 'static
{
}

impl<K> Resource for K where
    K: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug
        + Send
        + Sync
        + 'static
{
}

/// The API as one user sees it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    backend: Arc<dyn Backend>,
    user: Arc<User>,
}

impl Client {
    /// A client that acts as `user`.
    pub fn new(backend: Arc<dyn Backend>, user: User) -> Self {
        Self { backend, user: Arc::new(user) }
    }

    /// Who it acts as.
    pub fn user(&self) -> &User {
        &self.user
    }

    /// The same API as another user.
    #[must_use]
    pub fn with_user(&self, user: User) -> Self {
        Self { backend: self.backend.clone(), user: Arc::new(user) }
    }

    /// Sends one untyped request.
    pub async fn call(&self, request: Request) -> Result<Reply, ApiError> {
        self.backend.call(&self.user, request).await
    }

    /// Starts one untyped watch.
    pub async fn watch(&self, request: Request) -> Result<Watch, ApiError> {
        self.backend.watch(&self.user, request).await
    }
}

/// A typed handle on the objects of one kind, in one namespace or in all.
pub struct Api<K> {
    client: Client,
    namespace: Option<String>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Api<K> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), namespace: self.namespace.clone(), kind: PhantomData }
    }
}

impl<K: Resource> Api<K> {
    /// Objects of cluster scope, or of all namespaces (lists and watches only).
    pub fn all(client: &Client) -> Self {
        Self { client: client.clone(), namespace: None, kind: PhantomData }
    }

    /// Objects of one namespace. An empty name means cluster scope.
    pub fn namespaced(client: &Client, namespace: &str) -> Self {
        let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        Self { client: client.clone(), namespace, kind: PhantomData }
    }

    /// The resource that `K` stands for.
    pub fn resource() -> GroupVersionResource {
        GroupVersionResource::new(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT)
    }

    fn request(&self, action: Action, name: Option<&str>, subresource: Option<&str>, options: Options) -> Request {
        Request {
            action,
            resource: Self::resource(),
            namespace: self.namespace.clone(),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
            options,
        }
    }

    async fn object(&self, request: Request) -> Result<Arc<K>, ApiError> {
        match self.client.call(request).await? {
            Reply::Object(entry) => entry.typed(),
            Reply::Value(value) => from_value(&value).map(Arc::new).map_err(|e| ApiError::Internal(e.to_string())),
            Reply::List(_) => Err(ApiError::Internal("a list came where one object was asked for".to_owned())),
        }
    }

    /// Reads one object.
    pub async fn get(&self, name: &str) -> Result<Arc<K>, ApiError> {
        self.object(self.request(Action::Get, Some(name), None, Options::default())).await
    }

    /// Reads one object; `None` when it does not exist.
    pub async fn get_opt(&self, name: &str) -> Result<Option<Arc<K>>, ApiError> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads many, untyped entries included.
    pub async fn list_entries(&self, options: Options) -> Result<List, ApiError> {
        match self.client.call(self.request(Action::List, None, None, options)).await? {
            Reply::List(list) => Ok(list),
            _ => Err(ApiError::Internal("no list came where one was asked for".to_owned())),
        }
    }

    /// Reads many.
    pub async fn list(&self, options: Options) -> Result<Vec<Arc<K>>, ApiError> {
        self.list_entries(options).await?.items.iter().map(|e: &Arc<Entry>| e.typed()).collect()
    }

    /// Watches many, from `options.resource_version`.
    pub async fn watch(&self, options: Options) -> Result<Watch, ApiError> {
        self.client.watch(self.request(Action::List, None, None, options)).await
    }

    /// Makes one.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, ApiError> {
        let name = object.metadata().name.clone();
        self.object(self.request(Action::Create(tree(object)?), name.as_deref(), None, Options::default())).await
    }

    /// Replaces one; fails with a conflict when `metadata.resourceVersion` is set and stale.
    pub async fn replace(&self, name: &str, object: &K) -> Result<Arc<K>, ApiError> {
        self.object(self.request(Action::Update(tree(object)?), Some(name), None, Options::default())).await
    }

    /// Replaces the status of one.
    pub async fn replace_status(&self, name: &str, object: &K) -> Result<Arc<K>, ApiError> {
        self.object(self.request(Action::Update(tree(object)?), Some(name), Some("status"), Options::default())).await
    }

    /// Changes one.
    pub async fn patch(&self, name: &str, kind: PatchKind, patch: Value) -> Result<Arc<K>, ApiError> {
        self.object(self.request(Action::Patch(kind, patch), Some(name), None, Options::default())).await
    }

    /// Changes the status of one.
    pub async fn patch_status(&self, name: &str, kind: PatchKind, patch: Value) -> Result<Arc<K>, ApiError> {
        self.object(self.request(Action::Patch(kind, patch), Some(name), Some("status"), Options::default())).await
    }

    /// Deletes one. Whether it is gone or on its way out, the answer is fine.
    pub async fn delete(&self, name: &str, options: DeleteOptions) -> Result<(), ApiError> {
        self.client.call(self.request(Action::Delete(options), Some(name), None, Options::default())).await.map(|_| ())
    }

    /// Creates a subresource of one (`binding`, `eviction`, `token`), and returns the answer as a tree.
    pub async fn create_subresource(&self, name: &str, subresource: &str, body: Value) -> Result<Value, ApiError> {
        let request = self.request(Action::Create(body), Some(name), Some(subresource), Options::default());
        match self.client.call(request).await? {
            Reply::Object(entry) => Ok(entry.tree().as_ref().clone()),
            Reply::Value(value) => Ok(value),
            Reply::List(_) => Err(ApiError::Internal("a list came where one object was asked for".to_owned())),
        }
    }
}

fn tree<K: Resource>(object: &K) -> Result<Value, ApiError> {
    to_value(object).map_err(|e| ApiError::BadRequest(format!("the object does not encode: {e}")))
}
