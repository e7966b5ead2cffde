//! The status of a definition: whether its names are free, its schemas structural and its API approved.

use std::collections::HashSet;

use jiff::Timestamp;
use machinery::json::Value;
use machinery::object::ObjectExt;
use machinery::time;

use super::approval::approval;
use crate::checks::has_condition;
use crate::read::Read;

/// A condition without its time.
pub(super) struct Condition {
    pub kind: &'static str,
    pub status: &'static str,
    pub reason: &'static str,
    pub message: String,
}

/// The status that a definition should have. `others` are definitions beside it, of any group (itself among them does no
/// harm); `now` is the time of conditions that change.
pub fn status(crd: &Value, others: &[&Value], now: Timestamp) -> Value {
    let spec = crd.get("spec").unwrap_or(&Value::Null);
    let mut status = crd.get("status").filter(|status| !status.is_null()).cloned().unwrap_or_else(Value::object);
    let used = Used::by(others.iter().copied().filter(|other| other.name() != crd.name()), spec.text("group"));
    let (names, accepted) = accept(spec.get("names").unwrap_or(&Value::Null), &status, &used);
    let is_accepted = accepted.status == "True";
    status.set_at(&["acceptedNames"], names);
    set(&mut status, accepted, now);
    establish(&mut status, is_accepted, now);
    if let Some(condition) = approval(crd) {
        set(&mut status, condition, now);
    }
    match super::structural_violations(crd) {
        message if message.is_empty() => remove(&mut status, "NonStructuralSchema"),
        message => {
            let condition = Condition { kind: "NonStructuralSchema", status: "True", reason: "Violations", message };
            set(&mut status, condition, now);
        }
    }
    if crd.is_deleting() && !status.items("conditions").iter().any(|c| c.text("type") == "Terminating") {
        let message =
            "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon".to_owned();
        let condition = Condition { kind: "Terminating", status: "True", reason: "InstanceDeletionPending", message };
        set(&mut status, condition, now);
    }
    add_stored_version(&mut status, super::storage_version(crd));
    status
}

/// Notes that objects may be stored in a version from now on.
pub(crate) fn add_stored_version(status: &mut Value, version: &str) {
    if version.is_empty() || status.texts("storedVersions").any(|stored| stored == version) {
        return;
    }
    let list = status.ensure_at(&["storedVersions"]);
    match list.as_array_mut() {
        Some(list) => list.push(version.into()),
        None => *list = vec![version].into(),
    }
}

/// The names that other definitions of a group hold.
#[derive(Default)]
struct Used<'a> {
    resources: HashSet<&'a str>,
    kinds: HashSet<&'a str>,
}

impl<'a> Used<'a> {
    fn by(others: impl Iterator<Item = &'a Value>, group: &str) -> Self {
        let mut used = Self::default();
        for other in others.filter(|other| other.str_at(&["spec", "group"]) == Some(group)) {
            let Some(names) = other.at(&["status", "acceptedNames"]) else { continue };
            used.resources.extend([names.text("plural"), names.text("singular")]);
            used.resources.extend(names.texts("shortNames"));
            used.kinds.extend([names.text("kind"), names.text("listKind")]);
        }
        used
    }
}

/// Reason and message.
type Conflict = (&'static str, String);

/// The names that a definition gets, and whether these are all that it asks for. A name that it has stays its own until the
/// new one is free. Of several conflicts the last is told, as upstream does.
fn accept(wanted: &Value, status: &Value, used: &Used<'_>) -> (Value, Condition) {
    let held = status.get("acceptedNames").unwrap_or(&Value::Null);
    let mut names = Value::object();
    let mut conflict: Option<Conflict> = None;
    let mut take = |field: &'static str, reason, used: &HashSet<&str>, conflict: &mut Option<Conflict>| {
        let (wanted, held) = (wanted.text(field), held.text(field));
        let is_taken = wanted != held && used.contains(wanted);
        if is_taken {
            *conflict = Some((reason, in_use(wanted)));
        }
        let name = if is_taken { held } else { wanted };
        if !name.is_empty() {
            names.set_at(&[field], name);
        }
    };
    take("plural", "PluralConflict", &used.resources, &mut conflict);
    take("singular", "SingularConflict", &used.resources, &mut conflict);
    let short_names = accept_short_names(wanted, held, used);
    if let Err(message) = &short_names {
        conflict = Some(("ShortNamesConflict", message.clone()));
    }
    take("kind", "KindConflict", &used.kinds, &mut conflict);
    take("listKind", "ListKindConflict", &used.kinds, &mut conflict);
    let short_names = if short_names.is_ok() { wanted } else { held };
    for (list, owner) in [("shortNames", short_names), ("categories", wanted)] {
        if !owner.items(list).is_empty() {
            names.set_at(&[list], Value::Array(owner.items(list).to_vec()));
        }
    }
    let condition = match conflict {
        Some((reason, message)) => Condition { kind: "NamesAccepted", status: "False", reason, message },
        None => {
            let message = "no conflicts found".to_owned();
            Condition { kind: "NamesAccepted", status: "True", reason: "NoConflicts", message }
        }
    };
    (names, condition)
}

fn accept_short_names(wanted: &Value, held: &Value, used: &Used<'_>) -> Result<(), String> {
    let taken = |name: &&str| !held.texts("shortNames").any(|own| own == *name) && used.resources.contains(name);
    let mut conflicts: Vec<String> = wanted.texts("shortNames").filter(taken).map(in_use).collect();
    conflicts.dedup();
    match conflicts.len() {
        0 => Ok(()),
        1 => Err(conflicts.remove(0)),
        _ => Err(format!("[{}]", conflicts.join(", "))),
    }
}

fn in_use(name: &str) -> String {
    format!("{name:?} is already in use")
}

/// A definition whose names were accepted once is established and stays so.
fn establish(status: &mut Value, is_accepted: bool, now: Timestamp) {
    if has_condition(status, "Established") {
        return;
    }
    let (value, reason, message) = if is_accepted {
        ("True", "InitialNamesAccepted", "the initial names have been accepted")
    } else {
        ("False", "NotAccepted", "not all names are accepted")
    };
    set(status, Condition { kind: "Established", status: value, reason, message: message.to_owned() }, now);
}

/// Puts a condition among the others. Its time changes with its truth.
fn set(status: &mut Value, condition: Condition, now: Timestamp) {
    let mut made = Value::object();
    made.set_at(&["type"], condition.kind);
    made.set_at(&["status"], condition.status);
    made.set_at(&["reason"], condition.reason);
    made.set_at(&["message"], condition.message);
    let list = status.ensure_at(&["conditions"]);
    if list.as_array().is_none() {
        *list = Value::Array(Vec::new());
    }
    let Some(list) = list.as_array_mut() else { return };
    let known = list.iter_mut().find(|known| known.text("type") == condition.kind);
    let since = known.as_ref().filter(|known| known.text("status") == condition.status);
    let since = since.map(|known| known.text("lastTransitionTime").to_owned()).filter(|time| !time.is_empty());
    made.set_at(&["lastTransitionTime"], since.unwrap_or_else(|| time::format(now)));
    if let Some(generation) = known.as_ref().and_then(|known| known.int("observedGeneration")) {
        made.set_at(&["observedGeneration"], generation);
    }
    match known {
        Some(known) => *known = made,
        None => list.push(made),
    }
}

fn remove(status: &mut Value, kind: &str) {
    if let Some(list) = status.get_mut("conditions").and_then(Value::as_array_mut) {
        list.retain(|condition| condition.text("type") != kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crd(plural: &str, kind: &str, more: &str) -> Value {
        let text = format!(
            r#"{{"metadata":{{"name":"{plural}.example.com"}},"spec":{{"group":"example.com","scope":"Namespaced",
            "names":{{"plural":"{plural}","singular":"foo","kind":"{kind}","listKind":"{kind}List","shortNames":["f","g"]{more}}},
            "versions":[{{"name":"v1","served":true,"storage":true}}]}}}}"#
        );
        Value::parse(text.as_bytes()).expect("the test's own text")
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().expect("a moment")
    }

    fn conditions(status: &Value) -> Vec<String> {
        let one =
            |c: &Value| format!("{}={} {}: {}", c.text("type"), c.text("status"), c.text("reason"), c.text("message"));
        status.items("conditions").iter().map(one).collect()
    }

    #[test]
    fn free_names_are_accepted_and_the_definition_established() {
        let mut first = crd("foos", "Foo", r#","categories":["all"]"#);
        let made = status(&first, &[], now());
        let wanted = [
            "NamesAccepted=True NoConflicts: no conflicts found",
            "Established=True InitialNamesAccepted: the initial names have been accepted",
        ];
        assert_eq!(conditions(&made), wanted);
        assert_eq!(made.get("acceptedNames"), first.at(&["spec", "names"]));
        assert_eq!(made.get("storedVersions"), Some(&vec!["v1"].into()));
        first.set_at(&["status"], made.clone());
        assert_eq!(status(&first, &[&first], "2027-01-01T00:00:00Z".parse().expect("later")), made);
    }

    #[test]
    fn names_that_others_have_are_refused() {
        let mut first = crd("foos", "Foo", "");
        first.set_at(&["status"], status(&first, &[], now()));
        let made = status(&crd("bars", "Bar", ""), &[&first], now());
        let wanted = [
            "NamesAccepted=False ShortNamesConflict: [\"f\" is already in use, \"g\" is already in use]",
            "Established=False NotAccepted: not all names are accepted",
        ];
        assert_eq!(conditions(&made), wanted);
        assert_eq!(
            made.get("acceptedNames").map(ToString::to_string).unwrap_or_default(),
            r#"{"kind":"Bar","listKind":"BarList","plural":"bars"}"#
        );
        let made = status(&crd("bars", "Foo", ""), &[&first], now());
        assert_eq!(conditions(&made)[0], "NamesAccepted=False ListKindConflict: \"FooList\" is already in use");
    }
}
