//! Which custom resources there are: they come and go with their definitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use client::{Action, Client, Options, Reply, Request, WatchEvent};
use futures_util::StreamExt;
use machinery::json::Value;
use machinery::object::ObjectExt;
use machinery::{ApiError, GroupVersionResource};
use tokio::sync::watch;

use crate::context::ApiResource;

/// Waits before definitions are listed anew.
const RELIST_WAIT: Duration = Duration::from_secs(1);

type Known = BTreeMap<String, Arc<ApiResource>>;

/// The custom resources that are served, always current.
pub struct CustomResources {
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    /// By the name of their definition.
    known: Mutex<Known>,
    /// Whether all were listed once; wakes with each change.
    listed: watch::Sender<bool>,
}

impl Drop for CustomResources {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl CustomResources {
    /// Starts to follow the definitions.
    pub fn start(client: Client) -> Self {
        let shared = Arc::new(Shared { known: Mutex::default(), listed: watch::Sender::new(false) });
        let task = tokio::spawn(follow(client, shared.clone()));
        Self { shared, task }
    }

    /// Those of this moment.
    pub fn all(&self) -> Vec<Arc<ApiResource>> {
        self.shared.known().values().cloned().collect()
    }

    /// Resolves once all are known for the first time.
    pub async fn synced(&self) {
        let _ = self.shared.listed.subscribe().wait_for(|listed| *listed).await;
    }

    /// Wakes with each change from now on.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.shared.listed.subscribe()
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, definition: &Value) {
        let name = definition.name();
        let now = read(definition);
        let mut known = self.known();
        if known.get(name).map(|resource| &**resource) == now.as_ref() {
            return;
        }
        match now {
            Some(resource) => known.insert(name.to_owned(), Arc::new(resource)),
            None => known.remove(name),
        };
        drop(known);
        self.listed.send_modify(|_| {});
    }

    fn remove(&self, name: &str) {
        if self.known().remove(name).is_some() {
            self.listed.send_modify(|_| {});
        }
    }
}

async fn follow(client: Client, shared: Arc<Shared>) {
    loop {
        if let Err(error) = list_and_watch(&client, &shared).await {
            tracing::debug!(%error, "the watch of definitions ended, listing anew");
        }
        tokio::time::sleep(RELIST_WAIT).await;
    }
}

async fn list_and_watch(client: &Client, shared: &Shared) -> Result<(), ApiError> {
    let Reply::List(list) = client.call(request(Options::default())).await? else { return Ok(()) };
    let names: Vec<String> = list.items.iter().map(|entry| entry.tree().name().to_owned()).collect();
    let gone: Vec<String> = shared.known().keys().filter(|name| !names.contains(name)).cloned().collect();
    gone.iter().for_each(|name| shared.remove(name));
    list.items.iter().for_each(|entry| shared.apply(entry.tree()));
    shared.listed.send_replace(true);
    let from = Options { resource_version: list.resource_version.to_string(), ..Options::default() };
    let mut events = client.watch(request(from)).await?;
    while let Some(event) = events.next().await {
        match event {
            WatchEvent::Added(entry) | WatchEvent::Modified(entry) => shared.apply(entry.tree()),
            WatchEvent::Deleted(entry) => shared.remove(entry.tree().name()),
            WatchEvent::Bookmark { .. } => {}
            WatchEvent::Error(error) => return Err(error),
        }
    }
    Ok(())
}

fn request(options: Options) -> Request {
    Request {
        action: Action::List,
        resource: GroupVersionResource::new("apiextensions.k8s.io", "v1", "customresourcedefinitions"),
        namespace: None,
        name: None,
        subresource: None,
        options,
    }
}

/// The resource that a definition makes, in the first version that is served; none before it is established.
fn read(definition: &Value) -> Option<ApiResource> {
    let conditions = definition.at(&["status", "conditions"]).and_then(Value::as_array)?;
    let is = |c: &&Value| c.str_at(&["type"]) == Some("Established") && c.str_at(&["status"]) == Some("True");
    conditions.iter().find(is)?;
    let versions = definition.at(&["spec", "versions"]).and_then(Value::as_array)?;
    let served = versions.iter().find(|version| version.get("served").and_then(Value::as_bool) == Some(true))?;
    let group = definition.str_at(&["spec", "group"])?;
    let plural = definition.str_at(&["status", "acceptedNames", "plural"])?;
    Some(ApiResource {
        resource: GroupVersionResource::new(group, served.str_at(&["name"])?, plural),
        kind: definition.str_at(&["status", "acceptedNames", "kind"])?.into(),
        namespaced: definition.str_at(&["spec", "scope"]) == Some("Namespaced"),
        delete_collection: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_counts_once_it_is_established_and_as_long_as_a_version_is_served() {
        let definition = |established: &str, served: bool| {
            let text = format!(
                r#"{{"metadata":{{"name":"foos.example.com"}},"spec":{{"group":"example.com","scope":"Namespaced",
                "versions":[{{"name":"v1beta1","served":false}},{{"name":"v1","served":{served}}}]}},
                "status":{{"acceptedNames":{{"plural":"foos","kind":"Foo"}},
                "conditions":[{{"type":"Established","status":"{established}"}}]}}}}"#
            );
            Value::parse(text.as_bytes()).unwrap()
        };
        let found = read(&definition("True", true)).unwrap();
        assert_eq!(found.resource, GroupVersionResource::new("example.com", "v1", "foos"));
        assert!(found.namespaced && &*found.kind == "Foo");
        assert_eq!(read(&definition("False", true)), None);
        assert_eq!(read(&definition("True", false)), None);
        let shared = Shared { known: Mutex::default(), listed: watch::Sender::new(false) };
        let changes = shared.listed.subscribe();
        shared.apply(&definition("True", true));
        assert!(changes.has_changed().unwrap() && shared.known().len() == 1);
        shared.apply(&definition("True", false));
        assert!(shared.known().is_empty());
    }
}
