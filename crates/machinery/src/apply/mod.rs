//! Server-side apply and managed fields (KEP-555): who owns which field, merging by schema, conflicts.
//!
//! The algorithms are those of `sigs.k8s.io/structured-merge-diff` and `apimachinery/pkg/util/managedfields`: sets of field
//! paths per manager; an update takes what it changes; an apply takes what it names, conflicts with what others own and
//! would change, and removes what it named before and nobody else owns.

mod before;
mod compare;
mod element;
mod last_applied;
mod managers;
mod merge;
mod misfit;
mod remove;
mod set;
mod shape;
mod steps;
mod text;
mod to_set;
mod track;
mod write;

use std::sync::Arc;

use jiff::Timestamp;

pub use last_applied::note_last_applied;
pub use managers::{Manager, Operation};
pub use set::FieldSet;
pub use track::Versions;

use self::before::Reset;
use self::compare::Changes;
use self::managers::{Managers, conflict_error};
use self::track::Alike;
use crate::error::ApiError;
use crate::json::{Map, Value};
use crate::object::ObjectExt;
use crate::schema::{MapSemantics, Schema, TypeRef, check};

/// Most managers of updates that are kept apart; older ones are joined.
const UPDATE_MANAGERS_MAX: usize = 10;

/// What pruning leaves of an object.
struct Pruned {
    object: Value,
    /// The same with null where nothing is left, when something was removed: who owns such a field itself goes on to own it.
    emptied: Option<Value>,
}

/// The field management of one resource (or subresource) in one version.
#[derive(Debug, Clone)]
pub struct FieldManagement {
    schema: Schema,
    api_version: String,
    subresource: String,
    reset: FieldSet,
    alike: Arc<Alike>,
}

impl FieldManagement {
    /// For objects of a type in a version (`apps/v1`); `subresource` is empty for the object itself.
    pub fn new(ty: TypeRef, api_version: &str, subresource: &str) -> Self {
        Self {
            schema: Schema::Struct(ty, MapSemantics::Granular),
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
            reset: FieldSet::default(),
            alike: Arc::default(),
        }
    }

    /// Fields which writes through here cannot change, so nobody owns them through here: `[["status"]]`.
    #[must_use]
    pub fn resetting(mut self, paths: &[&[&str]]) -> Self {
        for path in paths {
            self.reset.insert_fields(path);
        }
        self
    }

    /// What an object that nobody was tracked of has, as its first manager's.
    fn track_all(&self, object: &Value, managers: &mut Managers, name: &str, now: Timestamp) {
        if let Some(text) = write::object(&self.schema, object, Reset::new(&self.reset)) {
            let me = Manager::new(name, Operation::Update, &self.api_version, &self.subresource);
            managers.set(me, FieldSet::from_text(&text), now);
        }
    }

    /// What its objects are.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// An object with what a configuration says, whoever owns it; nobody becomes an owner.
    pub fn merged(&self, object: &Value, config: &Value) -> Result<Value, ApiError> {
        merge::merge(&self.schema, object, config).map_err(|wrong| ApiError::BadRequest(wrong.to_string()))
    }

    /// Applies a configuration: gives the merged object with its managed fields, in canonical form,
    /// before defaulting. `live` is the object
    /// before, if there is one. With `force`, fields are taken from other managers instead of reporting conflicts. Managers who
    /// name their fields in another version are asked in that one, where `versions` has it.
    pub fn apply(
        &self,
        live: Option<&Value>,
        config: &Value,
        manager: &str,
        force: bool,
        now: Timestamp,
        versions: Option<&dyn Versions>,
    ) -> Result<Value, ApiError> {
        self.check_config(config)?;
        let is_new = live.is_none();
        let live = live.cloned().unwrap_or_else(Value::object);
        let mut managers = Managers::of(&live);
        let live = without_managers(live);
        if managers.is_empty() && !live.uid().is_empty() {
            self.track_all(&live, &mut managers, "before-first-apply", now);
        }
        let me = Manager::new(manager, Operation::Apply, &self.api_version, &self.subresource);
        let before = managers.clone();
        let last = managers.set_of(&me).cloned().unwrap_or_default();
        let merged = merge::merge(&self.schema, &live, config).map_err(|e| self.untyped(config, &e))?;
        let set = to_set::to_set(&self.schema, config).without_below(&self.reset);
        managers.set(me.clone(), set.clone(), now);
        let Pruned { object: pruned, emptied } = self.prune(merged, &last, &set, &managers);
        let compared = emptied.as_ref().unwrap_or(&pruned);
        let is_same = self.take_over(&live, compared, &mut managers, &me, force, versions)?;
        managers.set(me.clone(), set.difference(&FieldSet::never_managed()), now);
        // DIVERGES: in canonical form, so that `1000m` over `1` is no change; upstream reports a conflict. Another order alone is
        // none either.
        let mut new = if is_same && !is_new { live.clone() } else { pruned };
        if let Some(ty) = self.schema.as_type() {
            check(&mut new, ty).map_err(|e| self.untyped(config, &e.0))?;
        }
        if new == live && managers.same_sets(&before) {
            managers.keep_times(&before);
        }
        managers.write(&mut new);
        Ok(new)
    }

    /// Takes what the apply changes from the other managers, or says whose it is. Gives whether it changes nothing.
    fn take_over(
        &self,
        live: &Value,
        new: &Value,
        managers: &mut Managers,
        me: &Manager,
        force: bool,
        versions: Option<&dyn Versions>,
    ) -> Result<bool, ApiError> {
        let mut known = vec![(self.api_version.clone(), Some(self.compare(live, new)))];
        for version in managers.versions() {
            if known.iter().all(|(known, _)| *known != version) {
                let compared = versions.and_then(|versions| {
                    let (live, _) = versions.convert(live, &version)?;
                    let (new, fields) = versions.convert(new, &version)?;
                    Some(fields.compare(&live, &new))
                });
                known.push((version, compared));
            }
        }
        let changes = |version: &str| known.iter().find(|(known, _)| known == version)?.1.as_ref();
        let conflicts = if force { Vec::new() } else { managers.conflicts(me, changes) };
        if !conflicts.is_empty() {
            let own = self.applied_by_client(live, me);
            let others = conflicts.into_iter().map(|(manager, set)| (manager, set.difference(&own)));
            let conflicts: Vec<(String, FieldSet)> = others.filter(|(_, set)| !set.is_empty()).collect();
            if !conflicts.is_empty() {
                return Err(conflict_error(&conflicts));
            }
        }
        managers.take_away(me, changes);
        Ok(changes(&self.api_version).is_some_and(Changes::is_empty))
    }

    /// Removes what this manager applied last time and not now (`set`), unless another manager owns it.
    fn prune(&self, merged: Value, last: &FieldSet, set: &FieldSet, managers: &Managers) -> Pruned {
        if last.is_empty() {
            return Pruned { object: merged, emptied: None };
        }
        let named = |set: &FieldSet| shape::with_named_fields(set, &self.schema);
        let last = named(last);
        let pruned = remove::empty(&self.schema, &merged, &last);
        let in_merged = named(&to_set::to_set(&self.schema, &merged));
        // What others own, and what lies beside it, comes back.
        let owned = named(&managers.union());
        let in_pruned = named(&to_set::to_set(&self.schema, &pruned));
        let pruned = remove::empty(&self.schema, &merged, &in_merged.difference(&in_pruned.union(&owned)));
        // What nobody applied was not this manager's to remove.
        let in_pruned = named(&to_set::to_set(&self.schema, &pruned));
        let removed = in_merged.difference(&in_pruned).intersection(&last);
        if removed.is_empty() {
            return Pruned { object: merged, emptied: None };
        }
        // DIVERGES: what was applied empty now and had something in it before is empty. Upstream has null there until it is
        // applied once more.
        let object = remove::remove(&self.schema, &merged, &removed, set);
        Pruned { object, emptied: Some(remove::empty(&self.schema, &merged, &removed)) }
    }

    /// Whether a configuration can be applied: its version is this one, and the schema knows all its fields.
    pub fn check_config(&self, config: &Value) -> Result<(), ApiError> {
        if config.api_version() != self.api_version {
            return Err(ApiError::BadRequest(format!(
                "Incorrect version specified in apply patch. Specified patch version: {}, expected: {}",
                config.api_version(),
                self.api_version
            )));
        }
        if config.at(&["metadata", "managedFields"]).is_some_and(|m| !m.is_null()) {
            return Err(ApiError::BadRequest("metadata.managedFields must be nil".to_owned()));
        }
        let Some(ty) = self.schema.as_type() else { return Ok(()) };
        let mut fitted = config.clone();
        let issues = check(&mut fitted, ty).map_err(|e| self.untyped(config, &e.0))?;
        let mut wrong: Vec<String> = issues
            .iter()
            .filter_map(|issue| match issue {
                crate::schema::FieldIssue::Unknown(path) => Some(format!(".{path}: field not declared in schema")),
                crate::schema::FieldIssue::Duplicate(_) => None,
            })
            .collect();
        if ty.custom {
            wrong.extend(misfit::misfits(&self.schema, config));
        }
        match wrong.as_slice() {
            [] => Ok(()),
            [one] => Err(self.untyped(config, one)),
            many => {
                let lines: Vec<String> = many.iter().map(|m| format!("\n  {m}")).collect();
                Err(self.untyped(config, &format!("errors:{}", lines.concat())))
            }
        }
    }

    /// Upstream lets this error through as it is, so it becomes a 500 without a reason.
    fn untyped(&self, config: &Value, detail: &str) -> ApiError {
        let (namespace, name) = (config.namespace(), config.name());
        let (version, kind) = (config.api_version(), config.kind());
        // As Go prints group, version and kind: of the core group, too, there is a slash.
        let slash = if version.contains('/') { "" } else { "/" };
        let message = format!(
            "failed to create typed patch object ({namespace}/{name}; {slash}{version}, Kind={kind}): {detail}"
        );
        ApiError::other(500, "", message)
    }
}

fn without_managers(mut object: Value) -> Value {
    object.remove_at(&["metadata", "managedFields"]);
    object
}

/// A list that is there but empty, or holds one empty entry, asks to forget the managers.
fn is_reset(given: Option<&Value>) -> bool {
    match given.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
