//! An API server of a few lines: objects in memory, revisions, watches.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use client::{Action, Backend, List, Reply, Request, User, Watch, WatchEvent};
use futures_util::future::BoxFuture;
use futures_util::stream;
use machinery::{ApiError, Entry, Value};
use tokio::sync::mpsc;

type Key = (String, String, String);

#[derive(Default)]
struct State {
    revision: u64,
    objects: BTreeMap<Key, Arc<Entry>>,
    watchers: Vec<(String, mpsc::UnboundedSender<WatchEvent>)>,
    /// Every status that was written, with the object's name.
    statuses: Vec<(String, Value)>,
}

#[derive(Default)]
pub struct FakeApi(Mutex<State>);

fn key(request: &Request, name: &str) -> Key {
    let resource = request.resource.resource.to_string();
    (resource, request.namespace.clone().unwrap_or_default(), name.to_owned())
}

/// The token `good` is alice's, who may read metrics.
fn review(tree: &mut Value) {
    if tree.str_at(&["spec", "token"]) == Some("good") {
        tree.set_at(&["status", "authenticated"], true);
        tree.set_at(&["status", "user", "username"], "alice");
    }
    let part = tree.str_at(&["spec", "resourceAttributes", "subresource"]);
    let allowed = tree.str_at(&["spec", "user"]) == Some("alice") && part == Some("metrics");
    tree.set_at(&["status", "allowed"], allowed);
}

impl State {
    fn put(&mut self, key: Key, mut tree: Value) -> Arc<Entry> {
        self.revision += 1;
        tree.set_at(&["metadata", "resourceVersion"], self.revision.to_string());
        let entry = Arc::new(Entry::from_tree(self.revision, Arc::new(tree)));
        let old = self.objects.insert(key.clone(), entry.clone());
        let event = |e: Arc<Entry>| if old.is_some() { WatchEvent::Modified(e) } else { WatchEvent::Added(e) };
        self.tell(&key.0, &event(entry.clone()));
        entry
    }

    fn tell(&mut self, resource: &str, event: &WatchEvent) {
        self.watchers.retain(|(r, out)| r != resource || out.send(event.clone()).is_ok());
    }

    fn update(&mut self, key: Key, tree: Value, status: bool) -> Result<Arc<Entry>, ApiError> {
        let old = self.objects.get(&key).cloned().ok_or(ApiError::UnknownPath)?;
        let stale = tree.str_at(&["metadata", "resourceVersion"]).is_some_and(|r| r != old.revision.to_string());
        if stale {
            let resource = machinery::GroupResource { group: "".into(), resource: key.0.as_str().into() };
            return Err(ApiError::conflict(&resource, &key.2, ApiError::MODIFIED));
        }
        if !status {
            return Ok(self.put(key, tree));
        }
        let mut new = old.tree().as_ref().clone();
        let status = tree.get("status").cloned().unwrap_or_default();
        self.statuses.push((key.2.clone(), status.clone()));
        new.set_at(&["status"], status);
        Ok(self.put(key, new))
    }
}

impl FakeApi {
    /// One object's tree.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let state = self.0.lock().unwrap();
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        state.objects.get(&key).map(|e| e.tree().as_ref().clone())
    }

    /// Every status that an object had.
    pub fn statuses(&self, name: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        state.statuses.iter().filter(|(of, _)| of == name).map(|(_, status)| status.clone()).collect()
    }

    /// All objects of a resource.
    pub fn list(&self, resource: &str) -> Vec<Value> {
        let state = self.0.lock().unwrap();
        let own = state.objects.iter().filter(|(k, _)| k.0 == resource);
        own.map(|(_, e)| e.tree().as_ref().clone()).collect()
    }

    /// Makes or replaces one.
    pub fn put(&self, resource: &str, namespace: &str, name: &str, tree: Value) {
        self.0.lock().unwrap().put((resource.to_owned(), namespace.to_owned(), name.to_owned()), tree);
    }

    /// The `reason: message` of all events.
    pub fn events(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let events = state.objects.iter().filter(|(k, _)| k.0 == "events");
        let text = |e: &Arc<Entry>, f: &str| e.tree().str_at(&[f]).unwrap_or_default().to_owned();
        events.map(|(_, e)| format!("{}: {}", text(e, "reason"), text(e, "message"))).collect()
    }
}

impl Backend for FakeApi {
    fn call<'a>(&'a self, _: &'a User, request: Request) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(async move {
            let mut state = self.0.lock().unwrap();
            let name = request.name.clone().unwrap_or_default();
            let key = key(&request, &name);
            match request.action {
                Action::Get => {
                    let resource = request.resource.group_resource();
                    let found = state.objects.get(&key).cloned().map(Reply::Object);
                    found.ok_or_else(|| ApiError::not_found(&resource, &name))
                }
                Action::List => {
                    let items = state.objects.iter().filter(|(k, _)| k.0 == key.0).map(|(_, e)| e.clone());
                    let items = items.collect();
                    Ok(Reply::List(List { items, resource_version: state.revision, ..List::default() }))
                }
                Action::Create(mut tree) if key.0.ends_with("reviews") => {
                    review(&mut tree);
                    Ok(Reply::Value(tree))
                }
                Action::Create(mut tree) => {
                    let name = tree.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
                    tree.default_at(&["metadata", "uid"], seams::random::uuid());
                    Ok(Reply::Object(state.put((key.0, key.1, name), tree)))
                }
                Action::Update(tree) => state.update(key, tree, request.subresource.is_some()).map(Reply::Object),
                Action::Delete(_) => {
                    if let Some(entry) = state.objects.remove(&key) {
                        state.revision += 1;
                        state.tell(&key.0, &WatchEvent::Deleted(entry));
                    }
                    Ok(Reply::Value(Value::object()))
                }
                _ => Err(ApiError::BadRequest("not in this fake".to_owned())),
            }
        })
    }

    fn watch<'a>(&'a self, _: &'a User, request: Request) -> BoxFuture<'a, Result<Watch, ApiError>> {
        Box::pin(async move {
            let (out, events) = mpsc::unbounded_channel();
            let mut state = self.0.lock().unwrap();
            let from: u64 = request.options.resource_version.parse().unwrap_or(0);
            let resource = request.resource.resource.to_string();
            for (_, entry) in state.objects.iter().filter(|(k, e)| k.0 == resource && e.revision > from) {
                let _ = out.send(WatchEvent::Modified(entry.clone()));
            }
            state.watchers.push((resource, out));
            let next = |mut events: mpsc::UnboundedReceiver<WatchEvent>| async move {
                events.recv().await.map(|event| (event, events))
            };
            Ok(Box::pin(stream::unfold(events, next)) as Watch)
        })
    }
}
