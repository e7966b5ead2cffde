//! The managers of an object: `metadata.managedFields`.

use std::sync::Arc;

use jiff::Timestamp;

use super::compare::Changes;
use super::set::FieldSet;
use crate::error::ApiError;
use crate::json::{Map, Str, Value};
use crate::time;

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By anything else.
    Update,
}

/// One who writes. Appliers are one in all versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// Its name.
    pub name: String,
    /// How it writes.
    pub operation: Operation,
    /// The version in which its fields are named.
    pub api_version: String,
    /// The subresource through which it writes; empty for the object itself.
    pub subresource: String,
}

impl Manager {
    pub(super) fn new(name: &str, operation: Operation, api_version: &str, subresource: &str) -> Self {
        let name = if name.is_empty() { "unknown" } else { name };
        Self {
            name: name.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        let same_version = self.operation == Operation::Apply || self.api_version == other.api_version;
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && same_version
    }

    /// How conflicts name it.
    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: Manager,
    time: Option<String>,
    set: FieldSet,
}

/// All managers of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managers {
    entries: Vec<Entry>,
}

impl Managers {
    /// Those of an object.
    pub(super) fn of(object: &Value) -> Self {
        Self::read(object.at(&["metadata", "managedFields"]))
    }

    /// Reads `managedFields`. A list that does not read counts as none, as upstream has it.
    pub(super) fn read(list: Option<&Value>) -> Self {
        let list = list.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let entries: Option<Vec<Entry>> = list.iter().map(read_entry).collect();
        Self { entries: entries.unwrap_or_default() }
    }

    /// Writes `managedFields`.
    pub(super) fn write(self, object: &mut Value) {
        match self.into_list() {
            list if list.is_empty() => _ = object.remove_at(&["metadata", "managedFields"]),
            list => object.set_at(&["metadata", "managedFields"], list),
        }
    }

    /// The entries of `managedFields`, in their order.
    pub(super) fn into_list(mut self) -> Vec<Value> {
        self.entries.retain(|e| !e.set.is_empty());
        let order = |e: &Entry| {
            let m = &e.manager;
            (m.operation, e.time.clone(), m.name.clone(), m.api_version.clone(), m.subresource.clone())
        };
        self.entries.sort_by_key(order);
        self.entries.iter().map(write_entry).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn set_of(&self, manager: &Manager) -> Option<&FieldSet> {
        self.entries.iter().find(|e| e.manager.is(manager)).map(|e| &e.set)
    }

    /// All that anyone manages.
    pub(super) fn union(&self) -> FieldSet {
        self.entries.iter().fold(FieldSet::default(), |all, e| all.union(&e.set))
    }

    /// Sets what a manager manages.
    pub(super) fn set(&mut self, manager: Manager, set: FieldSet, now: Timestamp) {
        self.entries.retain(|e| !e.manager.is(&manager));
        self.entries.push(Entry { manager, time: Some(time::format(now)), set });
    }

    /// The versions in which fields are named.
    pub(super) fn versions(&self) -> Vec<String> {
        self.entries.iter().map(|e| e.manager.api_version.clone()).collect()
    }

    /// Takes what changes from all managers but one. Who names fields in a version that there is no more goes.
    pub(super) fn take_away<'c>(&mut self, but: &Manager, changes: impl Fn(&str) -> Option<&'c Changes>) {
        self.entries.retain_mut(|entry| {
            if entry.manager.is(but) {
                return true;
            }
            let Some(changes) = changes(&entry.manager.api_version) else { return false };
            entry.set = entry.set.difference(&changes.changed).difference(&changes.removed);
            !entry.set.is_empty()
        });
    }

    /// What others manage of what changes, by manager.
    pub(super) fn conflicts<'c>(
        &self,
        me: &Manager,
        changes: impl Fn(&str) -> Option<&'c Changes>,
    ) -> Vec<(String, FieldSet)> {
        let mut conflicts: Vec<(String, FieldSet)> = self
            .entries
            .iter()
            .filter(|e| !e.manager.is(me))
            .filter_map(|e| Some((e.manager.shown(), e.set.intersection(&changes(&e.manager.api_version)?.changed))))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        conflicts.sort_by(|a, b| a.0.cmp(&b.0));
        conflicts
    }

    /// Joins the oldest update entries of a version until there are no more than `max`.
    pub(super) fn cap(&mut self, max: usize) {
        let updates = self.entries.iter().filter(|e| e.manager.operation == Operation::Update);
        let mut oldest: Vec<(Option<String>, Manager)> = updates.map(|e| (e.time.clone(), e.manager.clone())).collect();
        let mut excess = oldest.len().saturating_sub(max);
        oldest.sort_by(|(a_time, a), (b_time, b)| {
            let key = |m: &Manager| (m.name.clone(), m.api_version.clone(), m.subresource.clone());
            a_time.cmp(b_time).then_with(|| key(a).cmp(&key(b)))
        });
        let mut firsts: Vec<Manager> = Vec::new();
        for (time, manager) in oldest {
            if excess == 0 {
                break;
            }
            let Some(first) = firsts.iter().find(|first| first.api_version == manager.api_version).cloned() else {
                firsts.push(manager);
                continue;
            };
            let joined = Manager::new("ancient-changes", Operation::Update, &manager.api_version, "");
            if self.set_of(&joined).is_none()
                && let Some(entry) = self.entries.iter_mut().find(|e| e.manager.is(&first))
            {
                entry.manager = joined.clone();
            }
            let set = self.set_of(&manager).cloned().unwrap_or_default();
            if !manager.is(&joined) {
                self.entries.retain(|e| !e.manager.is(&manager));
            }
            if let Some(entry) = self.entries.iter_mut().find(|e| e.manager.is(&joined)) {
                entry.set = entry.set.union(&set);
                entry.time = time;
            }
            excess -= 1;
        }
    }

    /// Whether the same managers manage the same.
    pub(super) fn same_sets(&self, other: &Self) -> bool {
        let all = |a: &Self, b: &Self| {
            let mine = a.entries.iter().filter(|e| !e.set.is_empty());
            mine.clone().all(|e| b.set_of(&e.manager) == Some(&e.set))
        };
        all(self, other) && all(other, self)
    }

    /// Takes over the times of the same managers.
    pub(super) fn keep_times(&mut self, other: &Self) {
        for entry in &mut self.entries {
            if let Some(known) = other.entries.iter().find(|e| e.manager.is(&entry.manager)) {
                entry.time.clone_from(&known.time);
                entry.manager.api_version.clone_from(&known.manager.api_version);
            }
        }
    }
}

/// The manager of an entry of `managedFields`, if it is one.
pub(super) fn read_manager(value: &Value) -> Option<Manager> {
    let text = |key: &str| value.str_at(&[key]).unwrap_or_default();
    if text("fieldsType") != "FieldsV1" || text("apiVersion").is_empty() {
        return None;
    }
    let operation = match text("operation") {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    Some(Manager {
        name: text("manager").to_owned(),
        operation,
        api_version: text("apiVersion").to_owned(),
        subresource: text("subresource").to_owned(),
    })
}

fn read_entry(value: &Value) -> Option<Entry> {
    let manager = read_manager(value)?;
    let set = value.get("fieldsV1").map(FieldSet::from_fields_v1).unwrap_or_default();
    Some(Entry { manager, time: value.str_at(&["time"]).map(str::to_owned), set })
}

fn write_entry(entry: &Entry) -> Value {
    written(&entry.manager, entry.set.to_text().into(), entry.time.as_deref())
}

/// An entry of `managedFields`.
pub(super) fn written(manager: &Manager, fields: Arc<str>, time: Option<&str>) -> Value {
    let operation = if manager.operation == Operation::Apply { "Apply" } else { "Update" };
    let mut entries: Vec<(Str, Value)> = Vec::with_capacity(7);
    entries.push((Str::const_new("apiVersion"), manager.api_version.as_str().into()));
    entries.push((Str::const_new("fieldsType"), Value::String(Str::const_new("FieldsV1"))));
    entries.push((Str::const_new("fieldsV1"), Value::Raw(fields)));
    entries.push((Str::const_new("manager"), manager.name.as_str().into()));
    entries.push((Str::const_new("operation"), Value::String(Str::const_new(operation))));
    if !manager.subresource.is_empty() {
        entries.push((Str::const_new("subresource"), manager.subresource.as_str().into()));
    }
    if let Some(time) = time {
        entries.push((Str::const_new("time"), time.into()));
    }
    Value::Object(Map::from_unsorted(entries).0)
}

/// 409 with a cause per field.
pub(super) fn conflict_error(conflicts: &[(String, FieldSet)]) -> ApiError {
    let each: Vec<(&String, String)> =
        conflicts.iter().flat_map(|(m, set)| set.paths().into_iter().map(move |p| (m, p))).collect();
    let message = match each.as_slice() {
        [(manager, path)] => format!("Apply failed with 1 conflict: conflict with {manager}: {path}"),
        many => {
            let mut lines = Vec::new();
            for (manager, set) in conflicts {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(set.paths().into_iter().map(|p| format!("- {p}")));
            }
            format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n"))
        }
    };
    let causes = each.into_iter().map(|(manager, path)| (path, format!("conflict with {manager}"))).collect();
    ApiError::ApplyConflict { message, causes }
}
