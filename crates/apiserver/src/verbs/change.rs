//! What every write of an object goes through, in order: from a decoded tree to the store.

use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value};
use resources::Target;
use store::Expect;

use super::{Call, delete, prepare};
use crate::admission::{Operation, Review, resource_quota};
use crate::allocators::{self, Allocation};
use crate::cache::feed::WriteError;

/// One write.
pub(crate) struct Change<'a> {
    pub target: Target,
    /// What is stored now, in this version's form; none makes a new object.
    pub old: Option<&'a Arc<Entry>>,
    /// What is wanted.
    pub object: Value,
    /// Whose they are.
    pub fields: Fields,
}

/// What becomes of managed fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fields {
    /// What the write changes belongs to who writes.
    Tracked,
    /// They are right: server-side apply has set them, or the server itself writes.
    Kept,
}

/// Defaults, admits, prepares, validates and stores an object.
pub(crate) async fn change(call: &mut Call<'_>, change: Change<'_>) -> Result<Arc<Entry>, WriteError> {
    let Change { target, old, mut object, fields } = change;
    let (kind, pipeline) = (call.kind, call.pipeline);
    let strategy = &*kind.row.strategy;
    let old_tree = old.map(|entry| entry.tree().as_ref());
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };

    kind.row.default(&mut object);
    if old.is_none() {
        prepare::wipe(&mut object);
    }
    // What admission and the server itself set belongs to nobody.
    if fields == Fields::Tracked {
        prepare::managed_fields(call, target, &mut object, old_tree);
    }
    // What a binding does to its pod was admitted as the binding.
    let is_judged = target != Target::Subresource("binding");
    if is_judged {
        let mut review = Review::new(call, operation, target, &mut object, old_tree);
        pipeline.admission.admit(&mut review).await?;
    }
    prepare::dedup_owners(&mut object, " after mutating admission happens", &mut call.warnings);
    kind.row.default(&mut object);

    match old_tree {
        None => prepare::create(call, &mut object)?,
        Some(old) => prepare::update(call, target, &mut object, old)?,
    }
    prepare::generation(call, target, &mut object, old_tree);

    prepare::validate(call, target, &object, old_tree)?;
    if is_judged {
        let mut warnings = Vec::new();
        let review = Review::new(call, operation, target, &mut object, old_tree);
        let judged = pipeline.admission.validate(&review, &mut warnings);
        call.warnings.append(&mut warnings);
        judged?;
    }
    if target == Target::Object {
        call.warnings.extend(strategy.warnings(&object));
    }

    if let Some(old) = old
        && prepare::is_same(&mut object, old)
    {
        return Ok(old.clone());
    }
    if old.is_none() {
        prepare::refuse_revision(&object)?;
    }
    let allocation = pipeline.allocators.allocate(kind, target, &mut object, old_tree)?;
    if let Some(old) = old
        && ends_deletion(kind.row.plural.as_str(), &object)
    {
        return finish_deletion(call, object, old).await;
    }
    write(call, target, object, old, &allocation).await
}

/// Charges quotas, names addresses and stores; takes all of that back when it comes to nothing.
async fn write(
    call: &Call<'_>,
    target: Target,
    object: Value,
    old: Option<&Arc<Entry>>,
    allocation: &Allocation,
) -> Result<Arc<Entry>, WriteError> {
    let old_tree = old.map(|entry| entry.tree().as_ref());
    let receipt = resource_quota::charge(call, target, &object, old_tree).await?;
    let stored = match allocators::record(call, allocation).await {
        Ok(()) => store(call, object, old).await,
        Err(error) => Err(error.into()),
    };
    match (&stored, old_tree) {
        (Ok(new), Some(old)) => allocators::release(call, old, Some(new.tree())).await,
        (Ok(_), None) => {}
        (Err(_), _) => {
            allocators::forget(call, allocation).await;
            resource_quota::refund(call, receipt).await;
        }
    }
    stored
}

/// Whether an update took the last thing away that a deletion waits for.
fn ends_deletion(plural: &str, object: &Value) -> bool {
    let metadata = object.get("metadata").unwrap_or(&Value::Null);
    let empty = |list: Option<&Value>| list.and_then(Value::as_array).is_none_or(Vec::is_empty);
    object.is_deleting()
        && metadata.i64_at(&["deletionGracePeriodSeconds"]).unwrap_or(0) == 0
        && empty(metadata.get("finalizers"))
        && (plural != "namespaces" || empty(object.at(&["spec", "finalizers"])))
}

async fn finish_deletion(call: &Call<'_>, mut object: Value, old: &Arc<Entry>) -> Result<Arc<Entry>, WriteError> {
    let key = call.kind.key(object.namespace(), object.name());
    let revision =
        if call.options.dry_run { old.revision } else { call.pipeline.feed.remove(key, old.revision).await? };
    object.set_at(&["metadata", "resourceVersion"], revision.to_string());
    delete::gone(call, &object).await;
    Ok(Arc::new(Entry::from_tree(revision, Arc::new(object))))
}

/// Stores an object over what was there.
pub(crate) async fn store(
    call: &Call<'_>,
    mut object: Value,
    old: Option<&Arc<Entry>>,
) -> Result<Arc<Entry>, WriteError> {
    let kind = call.kind;
    // A name that is in use is seen here, after all checks, as upstream does: also by dry runs, and without writing.
    if old.is_none() && kind.find(object.namespace(), object.name()).is_some() {
        return Err(WriteError::Raced);
    }
    if call.options.dry_run {
        let revision = old.map_or(0, |entry| entry.revision);
        if revision > 0 {
            object.set_at(&["metadata", "resourceVersion"], revision.to_string());
        }
        return Ok(Arc::new(Entry::from_tree(revision, Arc::new(object))));
    }
    let key = kind.key(object.namespace(), object.name());
    object.remove_at(&["metadata", "resourceVersion"]);
    kind.to_storage(&mut object);
    let expect = old.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
    let entry = call.pipeline.feed.put(&kind.cache, key, expect, object).await?;
    Ok(kind.present(&entry))
}

/// Upstream's error for an object that changed between reading and writing.
pub(crate) fn modified(call: &Call<'_>, name: &str) -> ApiError {
    ApiError::conflict(&call.kind.resource, name, ApiError::MODIFIED)
}
