//! A definition's life: its status says what of it is accepted; once it is deleted, its objects go first.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use client::{Action, Backend, DeleteOptions, Options, Request, User};
use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, GroupVersionResource, Value, time};
use tokio::time::Instant;

use super::{GROUP, PLURAL, has_condition};
use crate::cache::Cache;
use crate::cache::feed::WriteError;
use crate::kind::Kind;
use crate::pipeline::Pipeline;

/// The finalizer by which a definition waits for its objects to go.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";
/// How soon what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long objects may linger before the definition says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts to look after definitions; ends with the pipeline.
pub(crate) fn start(pipeline: &Arc<Pipeline>) {
    if let Some(kind) = definitions(pipeline) {
        tokio::spawn(run(Arc::downgrade(pipeline), kind.cache.clone()));
    }
}

fn definitions(pipeline: &Pipeline) -> Option<&Arc<Kind>> {
    pipeline.kinds.get(GROUP, "v1", PLURAL)
}

async fn run(pipeline: Weak<Pipeline>, cache: Arc<Cache>) {
    let mut changed = cache.subscribe();
    let leaving = Arc::new(Mutex::new(BTreeSet::new()));
    loop {
        changed.borrow_and_update();
        let done = match pipeline.upgrade() {
            Some(pipeline) => look(&pipeline, &cache, &leaving).await,
            None => return,
        };
        let wait = async {
            match done {
                true => std::future::pending().await,
                false => tokio::time::sleep(RETRY).await,
            }
        };
        tokio::select! {
            change = changed.changed() => if change.is_err() { return },
            () = wait => {}
        }
    }
}

/// Looks at every definition; false when something has to be tried again.
async fn look(pipeline: &Arc<Pipeline>, cache: &Cache, leaving: &Arc<Mutex<BTreeSet<String>>>) -> bool {
    let mut done = true;
    for (key, _) in cache.stretch(&cache.prefix, None, 0).items {
        // As it is now: what was accepted of one decides about the next.
        let Some(entry) = cache.get(&key) else { continue };
        if let Err(error) = keep_right(pipeline, cache, &entry).await {
            tracing::debug!(definition = entry.tree().name(), %error, "the status of a definition could not be written");
            done = false;
        }
        let name = entry.tree().name().to_owned();
        let waits = entry.tree().is_deleting() && entry.tree().finalizers().contains(&FINALIZER);
        if !waits {
            continue;
        }
        // One that comes and goes again under its name while the last one leaves is seen at the next look.
        done = false;
        if lock(leaving).insert(name.clone()) {
            tokio::spawn(take_leave(Arc::downgrade(pipeline), name, leaving.clone()));
        }
    }
    done
}

/// Writes the status that a definition should have.
async fn keep_right(pipeline: &Pipeline, cache: &Cache, entry: &Entry) -> Result<(), ApiError> {
    let others = cache.stretch(&cache.prefix, None, 0).items;
    let others: Vec<&Value> = others.iter().map(|(_, other)| &**other.tree()).collect();
    let status = resources::custom::status(entry.tree(), &others, seams::clock::now_seconds());
    if entry.tree().get("status") == Some(&status) {
        return Ok(());
    }
    let mut object = Value::clone(entry.tree());
    object.set_at(&["status"], status);
    write(pipeline, object, Some("status")).await
}

/// Writes a definition over the revision that it was read at. That somebody else was quicker is no error: the change wakes us.
async fn write(pipeline: &Pipeline, object: Value, subresource: Option<&str>) -> Result<(), ApiError> {
    let request = Request {
        resource: GroupVersionResource::new(GROUP, "v1", PLURAL),
        namespace: None,
        name: Some(object.name().to_owned()),
        subresource: subresource.map(str::to_owned),
        options: Options::default(),
        action: Action::Update(object),
    };
    match pipeline.call(&user(), request).await {
        Err(error) if !error.is_conflict() && !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

fn user() -> User {
    User::component("system:apiserver", &["system:masters"])
}

/// Removes a definition's objects and lets it go.
async fn take_leave(pipeline: Weak<Pipeline>, name: String, leaving: Arc<Mutex<BTreeSet<String>>>) {
    let started = Instant::now();
    loop {
        let Some(alive) = pipeline.upgrade() else { return };
        match step(&alive, &name, started).await {
            Ok(true) => break,
            Ok(false) => {}
            Err(error) => tracing::warn!(definition = name, %error, "the objects of a definition could not be deleted"),
        }
        let cache = objects(&alive, &name);
        drop(alive);
        let mut changed = cache.as_ref().map(|cache| cache.subscribe());
        let change = async {
            match &mut changed {
                Some(changed) => drop(changed.changed().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = change => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }
    lock(&leaving).remove(&name);
}

/// The cache of a definition's objects.
fn objects(pipeline: &Pipeline, name: &str) -> Option<Arc<Cache>> {
    let (plural, group) = name.split_once('.')?;
    Some(pipeline.kinds.caches.open(&format!("{group}/{plural}")))
}

/// One attempt; whether there is nothing more to do.
async fn step(pipeline: &Pipeline, name: &str, started: Instant) -> Result<bool, ApiError> {
    let Some(entry) = definitions(pipeline).and_then(|kind| kind.find("", name)) else { return Ok(true) };
    let definition = entry.tree();
    if !definition.is_deleting() || !definition.finalizers().contains(&FINALIZER) {
        return Ok(true);
    }
    if !has_condition(definition, "Established") {
        return finish(pipeline, definition, "NeverEstablished", "resource was never established").await;
    }
    tell(pipeline, definition, "True", "InstanceDeletionInProgress", "CustomResource deletion is in progress").await?;
    let Some(cache) = objects(pipeline, name) else { return Ok(true) };
    if let Err(error) = delete_all(pipeline, name, &cache).await {
        let message = format!("could not issue all deletes: {error}");
        tell_anew(pipeline, name, "InstanceDeletionFailed", &message).await?;
        return Err(error);
    }
    if cache.volume().0 > 0 {
        if started.elapsed() > PATIENCE {
            let message = "could not confirm zero CustomResources remaining: timed out waiting for the condition";
            tell_anew(pipeline, name, "InstanceDeletionCheck", message).await?;
        }
        return Ok(false);
    }
    let Some(entry) = definitions(pipeline).and_then(|kind| kind.find("", name)) else { return Ok(true) };
    finish(pipeline, entry.tree(), "InstanceDeletionCompleted", "removed all instances").await
}

async fn tell_anew(pipeline: &Pipeline, name: &str, reason: &str, message: &str) -> Result<(), ApiError> {
    match definitions(pipeline).and_then(|kind| kind.find("", name)) {
        Some(entry) => tell(pipeline, entry.tree(), "True", reason, message).await,
        None => Ok(()),
    }
}

/// Says how far the deletion is.
async fn tell(
    pipeline: &Pipeline,
    definition: &Value,
    status: &str,
    reason: &str,
    message: &str,
) -> Result<(), ApiError> {
    let mut object = definition.clone();
    set_terminating(&mut object, status, reason, message);
    if object == *definition {
        return Ok(());
    }
    write(pipeline, object, Some("status")).await
}

/// Says that all objects are gone, and lets the definition go.
async fn finish(pipeline: &Pipeline, definition: &Value, reason: &str, message: &str) -> Result<bool, ApiError> {
    tell(pipeline, definition, "False", reason, message).await?;
    let found = definitions(pipeline).and_then(|kind| kind.find("", definition.name()));
    let Some(entry) = found else { return Ok(true) };
    let mut object = Value::clone(entry.tree());
    let finalizers = object.at(&["metadata", "finalizers"]).and_then(Value::as_array);
    let rest: Vec<Value> =
        finalizers.into_iter().flatten().filter(|f| f.as_str() != Some(FINALIZER)).cloned().collect();
    object.set_at(&["metadata", "finalizers"], rest);
    write(pipeline, object, None).await?;
    let left = definitions(pipeline).and_then(|kind| kind.find("", definition.name()));
    Ok(left.is_none_or(|left| left.tree().uid() != definition.uid()))
}

/// Deletes all objects of a definition, so far as nobody else holds them.
async fn delete_all(pipeline: &Pipeline, name: &str, cache: &Cache) -> Result<(), ApiError> {
    let items = cache.stretch(&cache.prefix, None, 0).items;
    let custom = pipeline.kinds.custom();
    let Some(kind) = custom.get(name).and_then(|defined| defined.kinds.first()) else {
        return delete_unserved(pipeline, &items).await;
    };
    let namespaces: BTreeSet<&str> = items.iter().map(|(_, entry)| entry.tree().namespace()).collect();
    for namespace in namespaces {
        let request = Request {
            action: Action::DeleteCollection(DeleteOptions::default()),
            resource: GroupVersionResource::new(&*kind.row.group, &*kind.row.version, &*kind.row.plural),
            namespace: Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty()),
            name: None,
            subresource: None,
            options: Options::default(),
        };
        pipeline.call(&user(), request).await?;
    }
    Ok(())
}

/// Without a version that is served nobody can take a finalizer away, and no request can ask for a deletion.
async fn delete_unserved(pipeline: &Pipeline, items: &[(Arc<str>, Arc<Entry>)]) -> Result<(), ApiError> {
    for (key, entry) in items.iter().filter(|(_, entry)| entry.tree().finalizers().is_empty()) {
        match pipeline.feed.remove(key.clone(), entry.revision).await {
            Ok(_) | Err(WriteError::Raced) => {}
            Err(WriteError::Api(error)) => return Err(error),
        }
    }
    Ok(())
}

/// Marks a definition as being deleted: its objects go before it does.
pub(crate) fn mark(definition: &mut Value) {
    let finalizers = definition.ensure_at(&["metadata", "finalizers"]);
    if finalizers.as_array().is_none() {
        *finalizers = Value::Array(Vec::new());
    }
    if let Some(list) = finalizers.as_array_mut().filter(|l| !l.iter().any(|f| f.as_str() == Some(FINALIZER))) {
        list.push(FINALIZER.into());
    }
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_terminating(definition, "True", "InstanceDeletionPending", message);
}

fn set_terminating(definition: &mut Value, status: &str, reason: &str, message: &str) {
    let conditions = definition.ensure_at(&["status", "conditions"]);
    if conditions.as_array().is_none() {
        *conditions = Value::Array(Vec::new());
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    let is = |condition: &Value| condition.str_at(&["type"]) == Some("Terminating");
    let at = conditions.iter().position(is).unwrap_or_else(|| {
        conditions.push(Value::object());
        conditions.len() - 1
    });
    let condition = &mut conditions[at];
    if condition.str_at(&["status"]) != Some(status) {
        condition.set_at(&["lastTransitionTime"], time::format(seams::clock::now_seconds()));
    }
    for (field, text) in [("type", "Terminating"), ("status", status), ("reason", reason), ("message", message)] {
        condition.set_at(&[field], text);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
