//! Who owns what after an update. Works on field sets as they are written: most entries stay as they are, and of the others
//! only what changed is looked at.

use std::cmp::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use super::before::Reset;
use super::compare::{Changes, compare};
use super::managers::{Manager, Managers, Operation, read_manager, written};
use super::set::FieldSet;
use super::text::{Rest, contains, subtract};
use super::{FieldManagement, UPDATE_MANAGERS_MAX, write};
use crate::json::Value;
use crate::object::ObjectExt;
use crate::time;

const MANAGED_FIELDS: [&str; 2] = ["metadata", "managedFields"];

/// Other versions of the objects of a resource.
pub trait Versions {
    /// An object in another version (`autoscaling/v1`), with that version's field management. Nothing when there is no such
    /// version.
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, &FieldManagement)>;
}

/// Field sets that were written lately: those of many objects are alike, and are kept once.
#[derive(Debug, Default)]
pub(super) struct Alike(Mutex<Vec<Arc<str>>>);

/// How many field sets are remembered.
const ALIKE_MAX: usize = 8;

impl Alike {
    fn share(&self, text: &str) -> Arc<str> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|known| &**known == text) {
            known[..=at].rotate_right(1);
            return known[0].clone();
        }
        let text: Arc<str> = text.into();
        known.truncate(ALIKE_MAX - 1);
        known.insert(0, text.clone());
        text
    }
}

/// The entries that a request says, or that were there before.
struct Entries {
    list: Vec<Value>,
    /// Whether they are the ones from before.
    are_old: bool,
}

impl FieldManagement {
    /// After a create, update or patch: writes `metadata.managedFields` of the new object. `live` is the object before, if
    /// there was one; `now` is written beside what changed.
    pub fn update(
        &self,
        live: Option<&Value>,
        new: &mut Value,
        manager: &str,
        now: Timestamp,
        versions: Option<&dyn Versions>,
    ) {
        let given = new.remove_at(&MANAGED_FIELDS);
        let Some(entries) = self.entries(live, given) else { return };
        let me = Manager::new(manager, Operation::Update, &self.api_version, &self.subresource);
        let time = time::format(now);
        let list = match live {
            None if entries.list.is_empty() => {
                let Some(text) = write::object(&self.schema, new, Reset::new(&self.reset)) else { return };
                vec![written(&me, self.alike.share(&text), Some(&time))]
            }
            live => match self.tracked(live, new, &entries, &me, &time, versions) {
                Some(list) => list,
                None => entries.list,
            },
        };
        if !list.is_empty() {
            new.set_at(&MANAGED_FIELDS, Value::Array(list));
        }
    }

    /// The entries to start with. Nothing when nobody is to be tracked.
    fn entries(&self, live: Option<&Value>, given: Option<Value>) -> Option<Entries> {
        let is_object = self.subresource.is_empty();
        let is_reset = is_object && super::is_reset(given.as_ref());
        let old =
            live.and_then(|live| live.at(&MANAGED_FIELDS)).and_then(Value::as_array).filter(|list| are_valid(list));
        let given = match given {
            Some(Value::Array(list)) if !list.is_empty() && !is_reset => Some(list),
            _ => None,
        };
        let entries = match (given, old) {
            // Clients that want no managed fields say so with an empty list.
            _ if is_reset => Entries { list: Vec::new(), are_old: true },
            (Some(given), Some(old)) if given == *old => Entries { list: given, are_old: true },
            (Some(given), _) if is_object && are_valid(&given) => {
                Entries { list: given.iter().map(normalized).collect(), are_old: false }
            }
            (_, old) => Entries { list: old.cloned().unwrap_or_default(), are_old: true },
        };
        // An object that is tracked by nobody stays so until it is applied to.
        let is_made = live.is_none_or(|live| live.uid().is_empty());
        (is_made || !entries.list.is_empty()).then_some(entries)
    }

    /// The entries after a change; nothing when they are as before.
    fn tracked(
        &self,
        live: Option<&Value>,
        new: &Value,
        entries: &Entries,
        me: &Manager,
        time: &str,
        versions: Option<&dyn Versions>,
    ) -> Option<Vec<Value>> {
        let empty = Value::object();
        let live = live.unwrap_or(&empty);
        let changes = self.compare(live, new);
        if changes.is_empty() && entries.are_old {
            return None;
        }
        let mut list = Vec::with_capacity(entries.list.len() + 1);
        let mut taken = !changes.changed.is_empty();
        for entry in &entries.list {
            let Some(manager) = read_manager(entry) else { continue };
            let left = if manager.is(me) && taken {
                taken = false;
                Some(written(me, with(entry, &changes), Some(time)))
            } else if manager.api_version == self.api_version {
                without(entry, &changes)
            } else {
                let both = |v: &dyn Versions| {
                    let (live, _) = v.convert(live, &manager.api_version)?;
                    let (new, fields) = v.convert(new, &manager.api_version)?;
                    without(entry, &fields.compare(&live, &new))
                };
                versions.and_then(both)
            };
            list.extend(left);
        }
        if taken {
            list.push(written(me, self.alike.share(&changes.changed.to_text()), Some(time)));
        }
        Some(capped(list))
    }

    pub(super) fn compare(&self, old: &Value, new: &Value) -> Changes {
        compare(&self.schema, old, new, Reset::new(&self.reset))
    }
}

/// A list with an entry that does not read counts as none, as upstream has it.
fn are_valid(list: &[Value]) -> bool {
    list.iter().all(|entry| read_manager(entry).is_some())
}

/// An entry with its steps in our spelling and order.
fn normalized(entry: &Value) -> Value {
    let mut entry = entry.clone();
    let text = entry.get("fieldsV1").map(FieldSet::from_fields_v1).unwrap_or_default().to_text();
    entry.set_at(&["fieldsV1"], Value::Raw(text.into()));
    entry
}

fn fields(entry: &Value) -> Arc<str> {
    match entry.get("fieldsV1") {
        Some(Value::Raw(text)) => text.clone(),
        Some(other) => FieldSet::from_fields_v1(other).to_text().into(),
        None => "{}".into(),
    }
}

/// An entry without what changed.
fn without(entry: &Value, changes: &Changes) -> Option<Value> {
    match subtract(&fields(entry), [Some(&changes.changed), Some(&changes.removed)]) {
        Rest::Same => Some(entry.clone()),
        Rest::Less(text) => {
            let mut entry = entry.clone();
            entry.set_at(&["fieldsV1"], Value::Raw(text.into()));
            Some(entry)
        }
        Rest::Nothing => None,
    }
}

/// The fields of the manager whose change this is.
fn with(entry: &Value, changes: &Changes) -> Arc<str> {
    let known = fields(entry);
    let left = match subtract(&known, [Some(&changes.removed), None]) {
        Rest::Same => known,
        Rest::Less(text) => text.into(),
        Rest::Nothing => "{}".into(),
    };
    // What is changed again and again is owned already.
    if contains(&left, &changes.changed) {
        return left;
    }
    FieldSet::from_text(&left).union(&changes.changed).to_text().into()
}

/// Entries in their order, and no more of updates than are kept apart.
fn capped(mut list: Vec<Value>) -> Vec<Value> {
    let updates = list.iter().filter(|entry| entry.str_at(&["operation"]) == Some("Update")).count();
    if updates > UPDATE_MANAGERS_MAX {
        let mut managers = Managers::read(Some(&Value::Array(list)));
        managers.cap(UPDATE_MANAGERS_MAX);
        return managers.into_list();
    }
    list.sort_by(order);
    list
}

/// Upstream's order: appliers first, then by time, then by name.
fn order(a: &Value, b: &Value) -> Ordering {
    ["operation", "time", "manager", "apiVersion", "subresource"]
        .iter()
        .map(|name| a.str_at(&[name]).cmp(&b.str_at(&[name])))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}
