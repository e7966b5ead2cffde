//! Objects go when all their owners are gone: at once, before their owner, or not at all, as its deletion asked.
//!
//! Upstream's rules ("Owners and Dependents"): one watch per resource feeds a [`graph`]; whatever may have to go is looked at
//! again, with owners that the graph does not know asked for at the API.

mod graph;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use client::events::{EventType, Recorder};
use client::reconcile::{self, Next};
use client::{Action, Client, DeleteOptions, Options, PatchKind, Queue, Reply, Request, Shutdown, WatchEvent, stopped};
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::ObjectReference;
use machinery::ApiError;
use machinery::json::Value;
use tokio::sync::mpsc::Sender;
use tokio::task::{AbortHandle, JoinSet};

use crate::context::{ApiResource, Context};
use graph::{FOREGROUND, Graph, Item, ORPHAN, Owner, Uid};

const WORKERS: usize = 8;
/// Waits before a resource is listed anew.
const RELIST_WAIT: Duration = Duration::from_secs(1);
/// Owners whose end is remembered (upstream's cache of absent owners has as many).
const GONE_OWNERS_MAX: usize = 500;

struct Collector {
    context: Arc<Context>,
    client: Client,
    recorder: Recorder,
    graph: Mutex<Graph>,
    gone: Mutex<Gone>,
    queue: Queue<Uid>,
}

/// Runs until shutdown.
pub async fn run(context: Arc<Context>, shutdown: Shutdown) {
    context.custom_resources.synced().await;
    let collector = Arc::new(Collector {
        context: context.clone(),
        client: context.client_of("generic-garbage-collector"),
        recorder: context.recorder("garbage-collector-controller"),
        graph: Mutex::default(),
        gone: Mutex::default(),
        queue: Queue::new(),
    });
    let mut watches = JoinSet::new();
    let mut custom = collector.context.custom_resources.subscribe();
    let mut followed: HashMap<Arc<ApiResource>, AbortHandle> = HashMap::new();
    let (listed, mut wait) = tokio::sync::mpsc::channel(1);
    for resource in collector.resources() {
        let follow = watches.spawn(collector.clone().follow(resource.clone(), Some(listed.clone())));
        followed.insert(resource, follow);
    }
    drop(listed);
    // Owners may be in lists that did not come yet: nothing is judged before all are there.
    tokio::select! {
        // Whoever has listed lets go of its sender.
        _ = wait.recv() => {}
        () = stopped(shutdown.clone()) => return,
    }
    let follower = collector.clone();
    let follow_custom = async move {
        while custom.changed().await.is_ok() {
            follower.follow_all(&mut watches, &mut followed);
        }
    };
    let queue = collector.queue.clone();
    let look = reconcile::run("garbage-collector-controller", WORKERS, queue, shutdown, move |uid| {
        let collector = collector.clone();
        async move { collector.look_at(&uid).await.map(|()| Next::Wait) }
    });
    tokio::select! {
        () = look => {}
        () = follow_custom => {}
    }
}

impl Collector {
    fn graph(&self) -> MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What is followed: events own nothing, are owned by nothing, and are many.
    fn resources(&self) -> impl Iterator<Item = Arc<ApiResource>> {
        self.context.resources().into_iter().filter(|r| r.resource.resource.as_ref() != "events")
    }

    /// Follows the resources that there are now, and no others.
    fn follow_all(self: &Arc<Self>, watches: &mut JoinSet<()>, followed: &mut HashMap<Arc<ApiResource>, AbortHandle>) {
        let now: HashSet<Arc<ApiResource>> = self.resources().collect();
        followed.retain(|resource, follow| {
            let stays = now.contains(resource);
            if !stays {
                follow.abort();
                let left = self.graph().of_resource(resource);
                left.iter().for_each(|uid| self.removed(uid));
            }
            stays
        });
        for resource in now {
            if let Entry::Vacant(vacant) = followed.entry(resource) {
                let follow = watches.spawn(self.clone().follow(vacant.key().clone(), None));
                vacant.insert(follow);
            }
        }
    }

    /// Keeps the graph's part of one resource current. Lets go of `first` once it is complete for the first time.
    async fn follow(self: Arc<Self>, resource: Arc<ApiResource>, mut first: Option<Sender<()>>) {
        loop {
            let ended = self.list_and_watch(&resource, &mut first).await;
            if let Err(error) = ended {
                tracing::debug!(resource = %resource.resource.resource, %error, "watch ended, listing anew");
            }
            tokio::time::sleep(RELIST_WAIT).await;
        }
    }

    async fn list_and_watch(
        &self,
        resource: &Arc<ApiResource>,
        first: &mut Option<Sender<()>>,
    ) -> Result<(), ApiError> {
        let reply = self.client.call(request(resource, "", None, Action::List)).await?;
        let Reply::List(list) = reply else { return Ok(()) };
        let mut vanished: HashSet<Uid> = self.graph().of_resource(resource).into_iter().collect();
        for entry in &list.items {
            if let Some(item) = Item::read(resource, entry.tree()) {
                vanished.remove(&item.uid);
                self.changed(item);
            }
        }
        vanished.iter().for_each(|uid| self.removed(uid));
        first.take();
        let mut watch = request(resource, "", None, Action::List);
        watch.options.resource_version = list.resource_version.to_string();
        let mut events = self.client.watch(watch).await?;
        while let Some(event) = events.next().await {
            match event {
                WatchEvent::Added(entry) | WatchEvent::Modified(entry) => {
                    Item::read(resource, entry.tree()).into_iter().for_each(|item| self.changed(item));
                }
                WatchEvent::Deleted(entry) => {
                    entry.tree().str_at(&["metadata", "uid"]).into_iter().for_each(|uid| self.removed(uid));
                }
                WatchEvent::Bookmark { .. } => {}
                WatchEvent::Error(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        self.gone.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn changed(&self, item: Item) {
        let look = self.graph().apply(item);
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn removed(&self, uid: &str) {
        let gone = self.graph().get(uid).cloned();
        if !self.graph().dependents(uid).is_empty() {
            self.gone().add(uid);
        }
        let look = self.graph().remove(uid);
        if let Some(gone) = gone {
            self.context.removals.tell(&gone.resource, &gone.namespace);
        }
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }

    async fn look_at(&self, uid: &str) -> Result<(), ApiError> {
        let Some(item) = self.graph().get(uid).cloned() else { return Ok(()) };
        if item.orphaning {
            return self.orphan_dependents(&item).await;
        }
        if item.foreground {
            return self.finish_foreground(&item).await;
        }
        if item.deleting || item.owners.is_empty() {
            return Ok(());
        }
        let fate = self.judge(&item).await?;
        if !fate.solid.is_empty() {
            let gone: Vec<&Owner> = fate.absent.iter().chain(&fate.waiting).collect();
            return if gone.is_empty() { Ok(()) } else { self.let_go(&item, &gone).await };
        }
        let dependents = self.graph().dependents(uid);
        if !fate.waiting.is_empty() && !dependents.is_empty() {
            if dependents.iter().any(|d| d.foreground) {
                // Two that wait for each other would wait for ever.
                self.unblock(&item).await?;
            }
            return self.delete(&item, Some("Foreground")).await;
        }
        self.delete(&item, None).await
    }

    /// Sorts an object's owners by whether they hold it.
    async fn judge(&self, item: &Item) -> Result<Fate, ApiError> {
        let mut fate = Fate::default();
        for owner in &item.owners {
            let known = self.graph().get(&owner.uid).cloned();
            let state = match known {
                Some(known) if known.namespace.is_empty() || known.namespace == item.namespace => {
                    if known.foreground && owner.blocks { State::Waiting } else { State::Solid }
                }
                Some(known) => {
                    self.say_foreign(item, owner, &known);
                    if item.namespace.is_empty() { State::Solid } else { State::Absent }
                }
                None => self.ask(item, owner).await?,
            };
            match state {
                State::Solid => fate.solid.push(owner.clone()),
                State::Waiting => fate.waiting.push(owner.clone()),
                State::Absent => fate.absent.push(owner.clone()),
            }
        }
        Ok(fate)
    }

    /// Asks the API for an owner that the graph does not know.
    async fn ask(&self, item: &Item, owner: &Owner) -> Result<State, ApiError> {
        if self.gone().uids.contains(&owner.uid) {
            return Ok(State::Absent);
        }
        let Some(resource) = self.resource_of(owner) else {
            // A kind that is not served (any more) proves nothing.
            return Ok(State::Solid);
        };
        if resource.namespaced && item.namespace.is_empty() {
            // Nothing outside namespaces can belong to something inside one.
            return Ok(State::Solid);
        }
        let namespace = if resource.namespaced { item.namespace.as_str() } else { "" };
        match self.client.call(request(&resource, namespace, Some(&owner.name), Action::Get)).await {
            Ok(Reply::Object(entry)) => {
                let tree = entry.tree();
                if tree.str_at(&["metadata", "uid"]) != Some(owner.uid.as_str()) {
                    return Ok(State::Absent);
                }
                let live = Item::read(&resource, tree);
                Ok(if live.is_some_and(|l| l.foreground) && owner.blocks { State::Waiting } else { State::Solid })
            }
            Ok(_) => Ok(State::Solid),
            Err(error) if error.is_not_found() => Ok(State::Absent),
            Err(error) => Err(error),
        }
    }

    fn resource_of(&self, owner: &Owner) -> Option<Arc<ApiResource>> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let is = |r: &&Arc<ApiResource>| *r.kind == *owner.kind && r.resource.group.as_ref() == group;
        let same_version = |r: &&Arc<ApiResource>| is(r) && r.resource.version.as_ref() == version;
        let resources: Vec<Arc<ApiResource>> = self.resources().collect();
        resources.iter().find(same_version).or_else(|| resources.iter().find(is)).cloned()
    }

    fn say_foreign(&self, item: &Item, owner: &Owner, known: &Item) {
        let about = reference(item);
        let message = format!(
            "ownerRef [{}/{}, namespace: {}, name: {}, uid: {}] does not exist in namespace \"{}\"",
            owner.api_version, owner.kind, known.namespace, owner.name, owner.uid, item.namespace
        );
        self.recorder.event(&about, EventType::Warning, "OwnerRefInvalidNamespace", message);
    }

    /// Takes references to owners out of an object that has others.
    async fn let_go(&self, item: &Item, owners: &[&Owner]) -> Result<(), ApiError> {
        let references = owners.iter().map(|owner| {
            let mut reference = Value::object();
            reference.set_at(&["$patch"], "delete");
            reference.set_at(&["uid"], owner.uid.as_str());
            reference
        });
        let edit = |references: &mut Vec<Value>| {
            references.retain(|r| !owners.iter().any(|owner| r.str_at(&["uid"]) == Some(&owner.uid)));
        };
        self.patch_references(item, references.collect(), edit).await
    }

    /// Says of all owners of an object that they need not wait for it.
    async fn unblock(&self, item: &Item) -> Result<(), ApiError> {
        let references = item.owners.iter().map(|owner| {
            let mut reference = Value::object();
            reference.set_at(&["uid"], owner.uid.as_str());
            reference.set_at(&["blockOwnerDeletion"], false);
            reference
        });
        let edit = |references: &mut Vec<Value>| {
            references.iter_mut().for_each(|reference| reference.set_at(&["blockOwnerDeletion"], false));
        };
        self.patch_references(item, references.collect(), edit).await
    }

    /// Changes references to owners. Custom resources know no strategic merge: of them the whole list is written.
    async fn patch_references(
        &self,
        item: &Item,
        strategic: Vec<Value>,
        edit: impl FnOnce(&mut Vec<Value>),
    ) -> Result<(), ApiError> {
        let mut patch = Value::object();
        patch.set_at(&["metadata", "uid"], item.uid.as_str());
        patch.set_at(&["metadata", "ownerReferences"], strategic);
        match self.patch(item, PatchKind::StrategicMerge, patch).await {
            Err(error) if error.code() == 415 => {}
            done => return done,
        }
        let Some(entry) = self.get(item).await? else { return Ok(()) };
        let tree = entry.tree();
        let mut references =
            tree.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).cloned().unwrap_or_default();
        edit(&mut references);
        self.patch(item, PatchKind::Merge, over(item, tree, "ownerReferences", references)).await
    }

    /// An object as it is now; none when it is gone.
    async fn get(&self, item: &Item) -> Result<Option<Arc<machinery::Entry>>, ApiError> {
        match self.client.call(request(&item.resource, &item.namespace, Some(&item.name), Action::Get)).await {
            Ok(Reply::Object(entry)) => Ok(Some(entry)),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(None),
        }
    }

    async fn orphan_dependents(&self, owner: &Item) -> Result<(), ApiError> {
        let dependents = self.graph().dependents(&owner.uid);
        for dependent in dependents {
            let own: Vec<&Owner> = dependent.owners.iter().filter(|o| o.uid == owner.uid).collect();
            self.let_go(&dependent, &own).await?;
        }
        self.remove_finalizer(owner, ORPHAN).await
    }

    /// An owner that waits for its dependents goes when none is left that blocks it.
    async fn finish_foreground(&self, owner: &Item) -> Result<(), ApiError> {
        let dependents = self.graph().dependents(&owner.uid);
        let blocks = |d: &&Item| d.owners.iter().any(|o| o.uid == owner.uid && o.blocks);
        let blocking: Vec<&Item> = dependents.iter().filter(blocks).collect();
        if blocking.is_empty() {
            return self.remove_finalizer(owner, FOREGROUND).await;
        }
        blocking.into_iter().filter(|d| !d.deleting).for_each(|d| self.queue.add(d.uid.clone()));
        Ok(())
    }

    async fn remove_finalizer(&self, item: &Item, finalizer: &str) -> Result<(), ApiError> {
        let Some(entry) = self.get(item).await? else { return Ok(()) };
        let tree = entry.tree();
        let all = tree.at(&["metadata", "finalizers"]).and_then(Value::as_array);
        let rest = all.into_iter().flatten().filter(|f| f.as_str() != Some(finalizer)).cloned();
        self.patch(item, PatchKind::Merge, over(item, tree, "finalizers", rest.collect())).await
    }

    async fn patch(&self, item: &Item, kind: PatchKind, patch: Value) -> Result<(), ApiError> {
        let action = Action::Patch(kind, patch);
        let patched = self.client.call(request(&item.resource, &item.namespace, Some(&item.name), action)).await;
        match patched {
            // Gone, or another object with its name by now.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) if error.is_conflict() && self.graph().get(&item.uid).is_none() => Ok(()),
            other => other.map(drop),
        }
    }

    async fn delete(&self, item: &Item, policy: Option<&str>) -> Result<(), ApiError> {
        let options = DeleteOptions {
            uid: Some(item.uid.clone()),
            propagation_policy: Some(policy.unwrap_or("Background").to_owned()),
            ..DeleteOptions::default()
        };
        let action = Action::Delete(options);
        let deleted = self.client.call(request(&item.resource, &item.namespace, Some(&item.name), action)).await;
        match deleted {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            other => other.map(drop),
        }
    }
}

/// A patch of a list in an object's metadata, over the revision that it was read at.
fn over(item: &Item, tree: &Value, field: &str, list: Vec<Value>) -> Value {
    let mut patch = Value::object();
    patch.set_at(&["metadata", "uid"], item.uid.as_str());
    patch.set_at(&["metadata", "resourceVersion"], tree.str_at(&["metadata", "resourceVersion"]).unwrap_or(""));
    patch.set_at(&["metadata", field], list);
    patch
}

/// Owners that went lately. Who asks for one whose kind is no longer served would not learn it.
#[derive(Default)]
struct Gone {
    uids: HashSet<Uid>,
    order: VecDeque<Uid>,
}

impl Gone {
    fn add(&mut self, uid: &str) {
        if self.uids.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > GONE_OWNERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.uids.remove(&oldest);
        }
    }
}

enum State {
    Solid,
    Waiting,
    Absent,
}

/// An object's owners, sorted.
#[derive(Default)]
struct Fate {
    /// There, and holding it.
    solid: Vec<Owner>,
    /// Waiting for it to go.
    waiting: Vec<Owner>,
    /// Not there.
    absent: Vec<Owner>,
}

fn reference(item: &Item) -> ObjectReference {
    let gv = &item.resource.resource;
    let group = gv.group.as_ref();
    ObjectReference {
        api_version: Some(if group.is_empty() { gv.version.to_string() } else { format!("{group}/{}", gv.version) }),
        kind: Some(item.resource.kind.to_string()),
        namespace: Some(item.namespace.clone()).filter(|n| !n.is_empty()),
        name: Some(item.name.clone()),
        uid: Some(item.uid.clone()),
        ..ObjectReference::default()
    }
}

fn request(resource: &ApiResource, namespace: &str, name: Option<&str>, action: Action) -> Request {
    Request {
        action,
        resource: resource.resource.clone(),
        namespace: Some(namespace.to_owned()).filter(|n| !n.is_empty()),
        name: name.map(str::to_owned),
        subresource: None,
        options: Options::default(),
    }
}
