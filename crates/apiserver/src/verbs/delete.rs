//! Delete: at once, after a grace period, or once all finalizers are gone (upstream's `rest.BeforeDelete` and the generic
//! registry's `Delete`).

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Backend, DeleteOptions, Options, Reply, Request, User};
use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, GroupResource, GroupVersionResource, Value, time};
use resources::Target;

use super::Call;
use super::change;
use crate::admission::{Operation, Review};
use crate::allocators;
use crate::cache::feed::WriteError;
use crate::custom;
use crate::request::Served;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const ATTEMPTS_MAX: usize = 5;

/// Resources whose deletion answers with the object (upstream's `ReturnDeletedObject`).
const ANSWER_OBJECT: [&str; 5] = ["pods", "services", "serviceaccounts", "persistentvolumeclaims", "resourcequotas"];

/// What is left of a deleted object.
pub(crate) enum Outcome {
    /// Nothing; this was its last state.
    Gone(Arc<Entry>),
    /// It is on its way out.
    Leaving(Arc<Entry>),
}

/// Deletes an object.
pub(crate) async fn delete(call: &mut Call<'_>, options: &DeleteOptions) -> Result<Served, ApiError> {
    let mut warnings = Vec::new();
    let outcome = remove_warning(call, call.name(), options, &mut warnings).await;
    call.warnings.extend(warnings);
    let outcome = outcome?;
    // As upstream answers those who say it in the old way.
    let waits = matches!(outcome, Outcome::Leaving(_)) && options.orphan_dependents == Some(false);
    let code = if waits { 202 } else { 200 };
    let reply = match outcome {
        Outcome::Gone(entry) if !ANSWER_OBJECT.contains(&call.kind.row.plural.as_str()) => {
            Reply::Value(success(call, entry.tree()))
        }
        Outcome::Gone(entry) | Outcome::Leaving(entry) => Reply::Object(entry),
    };
    Ok(Served { reply, code, warnings: std::mem::take(&mut call.warnings) })
}

fn success(call: &Call<'_>, object: &Value) -> Value {
    let mut status = Value::object();
    status.set_at(&["kind"], "Status");
    status.set_at(&["apiVersion"], "v1");
    status.set_at(&["metadata"], Value::object());
    status.set_at(&["status"], "Success");
    status.set_at(&["details", "name"], object.name());
    if !call.kind.row.group.is_empty() {
        status.set_at(&["details", "group"], call.kind.row.group.as_str());
    }
    status.set_at(&["details", "kind"], call.kind.row.plural.as_str());
    status.set_at(&["details", "uid"], object.uid());
    status
}

/// Deletes an object by its name, anew when it changes meanwhile.
pub(crate) async fn remove(call: &Call<'_>, name: &str, options: &DeleteOptions) -> Result<Outcome, ApiError> {
    remove_warning(call, name, options, &mut Vec::new()).await
}

/// The same, and gives what there is to warn of.
pub(crate) async fn remove_warning(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
    warnings: &mut Vec<String>,
) -> Result<Outcome, ApiError> {
    let kind = call.kind;
    for _ in 0..ATTEMPTS_MAX {
        call.pipeline.feed.current().await?;
        let found = kind.find(call.namespace(), name);
        let current = found.ok_or_else(|| ApiError::not_found(&kind.resource, name))?;
        let current = kind.present(&current);
        check_preconditions(call, name, options, current.tree())?;
        let mut nothing = Value::Null;
        let mut review = Review::new(call, Operation::Delete, Target::Object, &mut nothing, Some(current.tree()));
        review.name = name;
        call.pipeline.admission.admit(&mut review).await?;
        warnings.clear();
        call.pipeline.admission.validate(&review, warnings)?;
        match once(call, name, options, &current).await {
            Err(WriteError::Raced) => {}
            Err(WriteError::Api(error)) => return Err(error),
            Ok(outcome) => return Ok(outcome),
        }
    }
    Err(change::modified(call, name))
}

/// Whether an object is the one that is meant.
pub(crate) fn check_preconditions(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
    current: &Value,
) -> Result<(), ApiError> {
    // Upstream names the kind here, not the resource.
    let row = &call.kind.row;
    let kind = GroupResource { group: row.group.as_str().into(), resource: row.kind.as_str().into() };
    let found = current.uid();
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != found) {
        let detail = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({found}). \
             The object might have been deleted and then recreated"
        );
        return Err(ApiError::conflict(&kind, name, detail));
    }
    let found = current.resource_version();
    if let Some(version) = options.resource_version.as_deref().filter(|version| *version != found) {
        let detail = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({found}). \
             The object might have been modified"
        );
        return Err(ApiError::conflict(&kind, name, detail));
    }
    Ok(())
}

/// One attempt on the object as it stands.
async fn once(
    call: &Call<'_>,
    name: &str,
    options: &DeleteOptions,
    current: &Arc<Entry>,
) -> Result<Outcome, WriteError> {
    if call.kind.row.plural == "namespaces" && call.kind.row.group.is_empty() {
        let waits = current.tree().at(&["spec", "finalizers"]).and_then(Value::as_array).is_some_and(|l| !l.is_empty());
        if current.tree().is_deleting() && waits {
            return Ok(Outcome::Leaving(current.clone()));
        }
        if !current.tree().is_deleting() {
            return terminate_namespace(call, options, current).await;
        }
    }
    let is_definition = call.kind.row.plural == custom::PLURAL && call.kind.row.group == custom::GROUP;
    if is_definition && !current.tree().is_deleting() {
        let mut object = Value::clone(current.tree());
        mark(&mut object, 0);
        custom::keeper::mark(&mut object);
        return change::store(call, object, Some(current)).await.map(Outcome::Leaving);
    }
    let mut object = Value::clone(current.tree());
    let grace = grace(call, options, &mut object);
    if grace == Grace::Pending {
        return Ok(Outcome::Leaving(current.clone()));
    }
    set_collector_finalizers(call, &mut object, options);
    let waits = !object.finalizers().is_empty();
    if waits && !object.is_deleting() {
        mark(&mut object, 0);
    }
    let keeps = waits || matches!(grace, Grace::Wait(seconds) if seconds > 0);
    if keeps {
        object.set_at(&["metadata", "resourceVersion"], current.revision.to_string());
        if object == **current.tree() {
            return Ok(Outcome::Leaving(current.clone()));
        }
        return change::store(call, object, Some(current)).await.map(Outcome::Leaving);
    }
    let key = call.kind.key(call.namespace(), name);
    let dry_run = call.options.dry_run;
    let revision = if dry_run { current.revision } else { call.pipeline.feed.remove(key, current.revision).await? };
    object.set_at(&["metadata", "resourceVersion"], revision.to_string());
    gone(call, &object).await;
    Ok(Outcome::Gone(Arc::new(Entry::from_tree(revision, Arc::new(object)))))
}

/// What goes with an object: a service's addresses and endpoints, whether a controller made these or not.
pub(crate) async fn gone(call: &Call<'_>, object: &Value) {
    let is_service = call.kind.row.group.is_empty() && call.kind.row.plural == "services";
    if !is_service || call.options.dry_run {
        return;
    }
    allocators::release(call, object, None).await;
    let Ok(kind) = call.pipeline.kinds.core("endpoints") else { return };
    if kind.find(object.namespace(), object.name()).is_none() {
        return;
    }
    let request = Request {
        action: Action::Delete(DeleteOptions::default()),
        resource: GroupVersionResource::new("", "v1", "endpoints"),
        namespace: Some(object.namespace().to_owned()),
        name: Some(object.name().to_owned()),
        subresource: None,
        options: Options::default(),
    };
    let user = User::component("system:apiserver", &["system:masters"]);
    match call.pipeline.call(&user, request).await {
        Err(error) if !error.is_not_found() => {
            tracing::warn!(service = object.name(), %error, "the endpoints of a deleted service stay");
        }
        _ => {}
    }
}

/// What the grace period says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grace {
    /// There is none.
    None,
    /// So many seconds.
    Wait(i64),
    /// The object waits already, and not longer than asked for now.
    Pending,
}

/// Sets the deletion's time and grace period of resources that have one; only a shorter one replaces one that runs.
fn grace(call: &Call<'_>, options: &DeleteOptions, object: &mut Value) -> Grace {
    let row = &call.kind.row;
    if !row.graceful_deletion {
        return Grace::None;
    }
    // Negative periods are treated as one second.
    let asked = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    if object.is_deleting() {
        let running = object.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or(0);
        return match asked {
            _ if running == 0 => Grace::None,
            Some(seconds) if seconds < running => {
                shorten(object, running, seconds);
                Grace::Wait(seconds)
            }
            _ => Grace::Pending,
        };
    }
    let seconds = row.strategy.grace_period_seconds(object, asked);
    mark(object, seconds);
    Grace::Wait(seconds)
}

fn shorten(object: &mut Value, running: i64, seconds: i64) {
    let at = object.str_at(&["metadata", "deletionTimestamp"]).and_then(|text| time::parse(text).ok());
    let at = at.unwrap_or_else(seams::clock::now);
    let earlier = Duration::from_secs(u64::try_from(running - seconds).unwrap_or(0));
    object.set_at(&["metadata", "deletionTimestamp"], time::format(at - earlier));
    object.set_at(&["metadata", "deletionGracePeriodSeconds"], seconds);
}

/// Marks an object as being deleted; what watches its generation sees that something is wanted.
fn mark(object: &mut Value, seconds: i64) {
    let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    object.set_at(&["metadata", "deletionTimestamp"], time::format(seams::clock::now() + wait));
    object.set_at(&["metadata", "deletionGracePeriodSeconds"], seconds);
    if object.generation() > 0 {
        object.set_at(&["metadata", "generation"], object.generation() + 1);
    }
}

fn has_collector_finalizer(object: &Value) -> bool {
    let finalizers = object.at(&["metadata", "finalizers"]).and_then(Value::as_array);
    finalizers.is_some_and(|list| list.iter().any(|f| matches!(f.as_str(), Some(ORPHAN | FOREGROUND))))
}

/// The finalizers by which the garbage collector knows what to do with dependents.
fn set_collector_finalizers(call: &Call<'_>, object: &mut Value, options: &DeleteOptions) {
    let wanted = match options.policy() {
        Some("Orphan") => Some(ORPHAN),
        Some("Foreground") => Some(FOREGROUND),
        Some(_) => None,
        None if call.kind.row.strategy.orphans_dependents() && !has_collector_finalizer(object) => Some(ORPHAN),
        // Without a policy, what is there stays.
        None => return,
    };
    let mut list: Vec<Value> =
        object.at(&["metadata", "finalizers"]).and_then(Value::as_array).cloned().unwrap_or_default();
    let before = list.clone();
    list.retain(|f| !matches!(f.as_str(), Some(ORPHAN | FOREGROUND)));
    list.extend(wanted.map(Value::from));
    let unchanged = list.len() == before.len() && list.iter().all(|f| before.contains(f));
    if unchanged {
        return;
    }
    if list.is_empty() {
        object.remove_at(&["metadata", "finalizers"]);
    } else {
        object.set_at(&["metadata", "finalizers"], list);
    }
}

/// A namespace is first marked as terminating; it goes once its contents are gone and `finalize` says so.
async fn terminate_namespace(
    call: &Call<'_>,
    options: &DeleteOptions,
    current: &Arc<Entry>,
) -> Result<Outcome, WriteError> {
    let mut object = Value::clone(current.tree());
    mark(&mut object, 0);
    object.remove_at(&["metadata", "deletionGracePeriodSeconds"]);
    object.set_at(&["status", "phase"], "Terminating");
    set_collector_finalizers(call, &mut object, options);
    change::store(call, object, Some(current)).await.map(Outcome::Leaving)
}
