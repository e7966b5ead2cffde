//! The pipeline on a store in memory, through [`Pipeline::serve`].

mod admission;
mod concurrency;
mod custom;
mod deletion;
mod fields;
mod policies;
mod rows;
mod services;
mod speed;
mod sqlite;
mod watches;
mod writes;

use std::net::Ipv4Addr;
use std::sync::Arc;

use client::{DeleteOptions, List, Options, PatchKind, Reply, User};
use machinery::object::ObjectExt;
use machinery::{ApiError, Value};
use store::Store;
use store::memory::MemoryStore;

use crate::pipeline::{
    Attributes, Authorizer, Body, Decision, Incoming, Pipeline, PipelineConfig, Served, ServiceCidr,
};

/// Allows all but what the user `nobody` asks, what `editor` would make, and what nodes ask in the name of signers.
struct AllButNobody;

impl Authorizer for AllButNobody {
    fn authorize(&self, user: &User, attributes: &Attributes) -> Decision {
        let as_signer = attributes.resource == "signers" && user.name.starts_with("system:node:");
        let makes = attributes.verb == "create" && user.name == "editor";
        if user.name == "nobody" || makes || as_signer { Decision::Deny(String::new()) } else { Decision::Allow }
    }
}

pub(crate) struct Cluster {
    pub pipeline: Arc<Pipeline>,
    pub store: Arc<dyn Store>,
}

pub(crate) fn config(store: Arc<dyn Store>) -> PipelineConfig {
    PipelineConfig {
        store,
        rows: resources::table(),
        authorizer: Arc::new(AllButNobody),
        token_issuer: None,
        audit: None,
        encryption_key: Some([9; 32]),
        service_cidr: ServiceCidr { network: Ipv4Addr::new(10, 43, 0, 0), prefix_length: 16 },
        node_port_range: 30000..=32767,
        advertise_address: Ipv4Addr::new(192, 0, 2, 1),
        advertise_port: 6443,
    }
}

/// A cluster with the default account of its default namespace.
pub(crate) async fn cluster() -> Cluster {
    let store = Arc::new(MemoryStore::default());
    let cluster = over(store).await;
    let account = r#"{"metadata":{"name":"default"}}"#;
    cluster.ask(&Ask::new("create", "v1", "serviceaccounts").body(account)).await.unwrap();
    cluster
}

pub(crate) async fn over(store: Arc<dyn Store>) -> Cluster {
    let pipeline = Pipeline::new(config(store.clone())).await.unwrap();
    Cluster { pipeline, store }
}

/// A request, told shortly.
#[derive(Clone, Default)]
pub(crate) struct Ask(pub Incoming);

impl Ask {
    /// In the namespace `default`.
    pub(crate) fn new(verb: &str, api_version: &str, plural: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let attributes = Attributes {
            verb: verb.into(),
            group: group.into(),
            version: version.into(),
            resource: plural.into(),
            namespace: "default".into(),
            ..Attributes::default()
        };
        let user = User::component("admin", &["system:masters"]);
        Self(Incoming { user, attributes, ..Incoming::default() })
    }

    pub(crate) fn row(verb: &str, row: &resources::Resource) -> Self {
        let ask = Self::new(verb, &row.group_version().to_string(), &row.plural);
        if row.namespaced { ask } else { ask.namespace("") }
    }

    pub(crate) fn namespace(mut self, namespace: &str) -> Self {
        self.0.attributes.namespace = namespace.into();
        self
    }

    pub(crate) fn name(mut self, name: &str) -> Self {
        self.0.attributes.name = name.into();
        self
    }

    pub(crate) fn sub(mut self, subresource: &str) -> Self {
        self.0.attributes.subresource = subresource.into();
        self
    }

    pub(crate) fn user(mut self, name: &str, groups: &[&str]) -> Self {
        self.0.user = User::component(name, groups);
        self
    }

    pub(crate) fn body(mut self, json: &str) -> Self {
        let bytes = bytes::Bytes::copy_from_slice(json.as_bytes());
        self.0.body = Body::Bytes { content_type: "application/json".into(), bytes };
        self
    }

    pub(crate) fn tree(mut self, tree: Value) -> Self {
        self.0.body = Body::Tree(tree);
        self
    }

    pub(crate) fn patch(mut self, kind: PatchKind, json: &str) -> Self {
        self.0.patch = Some(kind);
        self.body(json)
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut Options)) -> Self {
        change(&mut self.0.options);
        self
    }

    pub(crate) fn delete(mut self, change: impl FnOnce(&mut DeleteOptions)) -> Self {
        change(&mut self.0.delete);
        self
    }
}

impl Cluster {
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Served, ApiError> {
        self.pipeline.serve(ask.0.clone()).await
    }

    /// The object that a request answers with.
    pub(crate) async fn tree(&self, ask: Ask) -> Result<Value, ApiError> {
        match self.ask(&ask).await?.reply {
            Reply::Object(entry) => Ok(Value::clone(entry.tree())),
            Reply::Value(value) => Ok(value),
            Reply::List(_) => panic!("a list came"),
        }
    }

    pub(crate) async fn list(&self, ask: Ask) -> Result<List, ApiError> {
        match self.ask(&ask).await?.reply {
            Reply::List(list) => Ok(list),
            other => panic!("no list came: {other:?}"),
        }
    }

    pub(crate) async fn watch(&self, ask: Ask) -> Result<client::Watch, ApiError> {
        self.pipeline.watch(ask.0).await
    }
}

pub(crate) fn names(list: &List) -> Vec<String> {
    list.items.iter().map(|entry| entry.tree().name().to_owned()).collect()
}

pub(crate) fn config_map(name: &str) -> Ask {
    Ask::new("create", "v1", "configmaps").body(&format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"v"}}}}"#))
}

pub(crate) fn pod(name: &str) -> Ask {
    let body = format!(r#"{{"metadata":{{"name":"{name}"}},"spec":{{"containers":[{{"name":"c","image":"i:1"}}]}}}}"#);
    Ask::new("create", "v1", "pods").body(&body)
}
