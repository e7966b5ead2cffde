//! Metadata that the server owns, status isolation, and validation common to all objects.

use std::collections::BTreeSet;
use std::sync::Arc;

use machinery::object::ObjectExt;
use machinery::{ApiError, Entry, Value, time};
use resources::{Subresource, Target};

use super::Call;

/// Letters that are added to `generateName`.
pub(crate) const SUFFIX_LETTERS: usize = 5;
/// Longest base of a generated name (upstream's `MaxGeneratedNameLength`).
pub(crate) const GENERATED_BASE_MAX: usize = 63 - SUFFIX_LETTERS;

/// Takes away what a new object cannot have.
pub(crate) fn wipe(object: &mut Value) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        object.remove_at(&["metadata", field]);
    }
}

/// A new object's metadata, and what the row sets.
pub(crate) fn create(call: &Call<'_>, object: &mut Value) -> Result<(), ApiError> {
    let strategy = &*call.kind.row.strategy;
    wipe(object);
    let has_status = object.get("status").is_some_and(|status| status.as_object().is_some());
    if call.kind.row.has(&Subresource::Status) && !(has_status && strategy.keeps_status_at_create()) {
        object.set_at(&["status"], Value::object());
    }
    object.set_at(&["metadata", "uid"], seams::random::uuid());
    object.set_at(&["metadata", "creationTimestamp"], time::format(seams::clock::now()));
    generate_name(object);
    strategy.prepare_for_create(object);
    for finalizer in strategy.initial_finalizers() {
        let list = object.ensure_at(&["metadata", "finalizers"]);
        if list.as_array().is_none() {
            *list = Value::Array(Vec::new());
        }
        if let Some(list) = list.as_array_mut().filter(|l| !l.iter().any(|f| f.as_str() == Some(finalizer))) {
            list.push((*finalizer).into());
        }
    }
    call.kind.row.complete(object);
    Ok(())
}

/// Gives an object without a name one that starts with `generateName`.
fn generate_name(object: &mut Value) {
    if !object.name().is_empty() {
        return;
    }
    let base = object.str_at(&["metadata", "generateName"]).unwrap_or_default();
    if base.is_empty() {
        return;
    }
    let end = base.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= GENERATED_BASE_MAX).last();
    let name = format!("{}{}", &base[..end.unwrap_or(0)], seams::random::name_suffix(SUFFIX_LETTERS));
    object.set_at(&["metadata", "name"], name);
}

/// A new object has no revision yet (upstream's storage refuses one, with this code).
pub(crate) fn refuse_revision(object: &Value) -> Result<(), ApiError> {
    if matches!(object.resource_version(), "" | "0") {
        return Ok(());
    }
    Err(ApiError::other(500, "", "resourceVersion should not be set on objects to be created"))
}

/// A changed object's metadata, and the parts which this target may not change.
pub(crate) fn update(call: &Call<'_>, target: Target, object: &mut Value, old: &Value) -> Result<(), ApiError> {
    let row = &call.kind.row;
    match target {
        Target::Object if row.has(&Subresource::Status) => keep(object, old, "status"),
        Target::Subresource("status") => {
            let status = object.remove_at(&["status"]);
            let mut metadata = object.remove_at(&["metadata"]).unwrap_or_else(Value::object);
            for field in row.strategy.status_keeps_metadata() {
                keep(&mut metadata, old.get("metadata").unwrap_or(&Value::Null), field);
            }
            *object = old.clone();
            object.set_at(&["metadata"], metadata);
            match status {
                Some(status) => object.set_at(&["status"], status),
                None => {
                    object.remove_at(&["status"]);
                }
            }
        }
        _ => {}
    }
    keep_metadata(object, old);
    row.strategy.prepare_for_update(object, old, target);
    Ok(())
}

fn keep(object: &mut Value, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) => object.set_at(&[field], value.clone()),
        None => {
            object.remove_at(&[field]);
        }
    }
}

/// The server's own fields of metadata stay: some whatever the update says, some when it leaves them out (upstream's
/// `rest.BeforeUpdate`). What differs then is refused by validation.
fn keep_metadata(object: &mut Value, old: &Value) {
    object.remove_at(&["metadata", "selfLink"]);
    object.remove_at(&["metadata", "generation"]);
    for field in ["creationTimestamp", "deletionTimestamp", "generation"] {
        if let Some(value) = old.at(&["metadata", field]) {
            object.set_at(&["metadata", field], value.clone());
        }
    }
    for field in ["uid", "deletionGracePeriodSeconds"] {
        if let Some(value) = old.at(&["metadata", field]) {
            object.default_at(&["metadata", field], value.clone());
        }
    }
}

/// Takes out owners that are named twice, and warns of them. `when` is put into the warning.
pub(crate) fn dedup_owners(object: &mut Value, when: &str, warnings: &mut Vec<String>) {
    let owners = object.at(&["metadata", "ownerReferences"]).and_then(Value::as_array).map(Vec::as_slice);
    let Some(owners) = owners.filter(|owners| owners.len() > 1) else { return };
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let (mut seen, mut twice) = (BTreeSet::new(), Vec::new());
    for owner in owners {
        let uid = owner.str_at(&["uid"]).unwrap_or_default();
        if !seen.insert(uid) && kept.contains(owner) {
            twice.push(uid);
        } else {
            kept.push(owner.clone());
        }
    }
    if twice.is_empty() {
        return;
    }
    warnings.push(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    ));
    object.set_at(&["metadata", "ownerReferences"], kept);
}

/// Counts what users want. A status says nothing of that, though annotations, which count for some, may come with it.
pub(crate) fn generation(call: &Call<'_>, target: Target, object: &mut Value, old: Option<&Value>) {
    let row = &call.kind.row;
    if !row.has_generation {
        return;
    }
    match old {
        None => object.set_at(&["metadata", "generation"], 1),
        Some(old) => {
            let grows = target != Target::Subresource("status") && row.strategy.wants_new_generation(object, old);
            let generation = old.generation() + i64::from(grows);
            object.set_at(&["metadata", "generation"], generation);
        }
    }
}

/// Writes who owns which field.
pub(crate) fn managed_fields(call: &Call<'_>, target: Target, object: &mut Value, old: Option<&Value>) {
    let subresource = match target {
        Target::Object => "",
        Target::Subresource(name) => name,
    };
    let Some(fields) = call.kind.fields(subresource) else { return };
    let versions = call.kind.versions(&call.pipeline.kinds);
    fields.update(old, object, call.manager(), seams::clock::now_seconds(), Some(&versions));
}

/// All that is wrong with an object.
pub(crate) fn validate(call: &Call<'_>, target: Target, object: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let row = &call.kind.row;
    let strategy = &*row.strategy;
    let mut errors = match old {
        None => resources::validate_metadata(object, row.namespaced, strategy.name_rule()),
        Some(old) => resources::validate_metadata_update(object, old),
    };
    errors.extend(match old {
        None => strategy.validate(object),
        Some(old) => strategy.validate_update(object, old, target),
    });
    if errors.is_empty() {
        return Ok(());
    }
    let name = if object.name().is_empty() {
        object.str_at(&["metadata", "generateName"]).unwrap_or_default()
    } else {
        object.name()
    };
    Err(ApiError::invalid(&row.group, &row.kind, name, errors))
}

/// Whether an update changes nothing: then nothing is written. That somebody set what was set already is nothing, if all that
/// would change is the time at which they did.
pub(crate) fn is_same(object: &mut Value, old: &Arc<Entry>) -> bool {
    object.set_at(&["metadata", "resourceVersion"], old.revision.to_string());
    if *object == **old.tree() {
        return true;
    }
    let (new, old_list) = (object.at(&MANAGED_FIELDS), old.tree().at(&MANAGED_FIELDS));
    let (Some(Value::Array(new)), Some(Value::Array(old_list))) = (new, old_list) else { return false };
    let differ_in_time = new.len() == old_list.len() && new.iter().zip(old_list).all(|(a, b)| same_but_time(a, b));
    if !differ_in_time || new == old_list {
        return false;
    }
    let new = new.clone();
    object.set_at(&MANAGED_FIELDS, old_list.clone());
    if *object == **old.tree() {
        return true;
    }
    object.set_at(&MANAGED_FIELDS, new);
    false
}

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

fn same_but_time(a: &Value, b: &Value) -> bool {
    let without_time = |entry: &Value| {
        let entries = entry.as_object().into_iter().flat_map(machinery::Map::iter);
        entries
            .filter(|(key, _)| *key != "time")
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .collect::<Vec<_>>()
    };
    without_time(a) == without_time(b)
}
