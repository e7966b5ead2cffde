//! Events, in both groups: core/v1 is the stored form.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::cells;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at, selectable};
use crate::row::{Column, Resource, SelectableField, Strategy, Target};

/// Characters that names and reasons of the newer form may have.
const WORD_LENGTH_MAX: usize = 128;
/// Bytes that a note may have.
const NOTE_LENGTH_MAX: usize = 1024;

/// The row of core/v1.
pub fn row() -> Resource {
    Resource::new("v1", "Event", "events")
        .short_names(&["ev"])
        .columns(columns())
        .selectable(core_fields())
        .strategy(CoreEvent)
}

/// The row of events.k8s.io/v1.
pub fn events_row() -> Resource {
    Resource::new("events.k8s.io/v1", "Event", "events")
        .short_names(&["ev"])
        .columns(columns())
        .selectable(newer_fields())
        .strategy(NewEvent)
}

fn core_fields() -> Vec<SelectableField> {
    vec![
        SelectableField::new("involvedObject.kind", |object| about(object, "kind")),
        SelectableField::new("involvedObject.namespace", |object| about(object, "namespace")),
        SelectableField::new("involvedObject.name", |object| about(object, "name")),
        SelectableField::new("involvedObject.uid", |object| about(object, "uid")),
        SelectableField::new("involvedObject.apiVersion", |object| about(object, "apiVersion")),
        SelectableField::new("involvedObject.resourceVersion", |object| about(object, "resourceVersion")),
        SelectableField::new("involvedObject.fieldPath", |object| about(object, "fieldPath")),
        SelectableField::new("reason", |object| selectable(object, &["reason"])),
        SelectableField::new("reportingComponent", reporting),
        SelectableField::new("source", |object| {
            let component = source(object).text("component");
            let text = if component.is_empty() {
                either(object, "reportingComponent", "reportingController")
            } else {
                component
            };
            text.to_owned()
        }),
        SelectableField::new("type", |object| selectable(object, &["type"])),
    ]
}

/// The same values by the newer form's names; it has no source.
fn newer_fields() -> Vec<SelectableField> {
    vec![
        SelectableField::new("regarding.kind", |object| about(object, "kind")),
        SelectableField::new("regarding.namespace", |object| about(object, "namespace")),
        SelectableField::new("regarding.name", |object| about(object, "name")),
        SelectableField::new("regarding.uid", |object| about(object, "uid")),
        SelectableField::new("regarding.apiVersion", |object| about(object, "apiVersion")),
        SelectableField::new("regarding.resourceVersion", |object| about(object, "resourceVersion")),
        SelectableField::new("regarding.fieldPath", |object| about(object, "fieldPath")),
        SelectableField::new("reason", |object| selectable(object, &["reason"])),
        SelectableField::new("reportingController", reporting),
        SelectableField::new("type", |object| selectable(object, &["type"])),
    ]
}

/// A field of the object that an event is about.
fn about(object: &Value, field: &str) -> String {
    let found = ["involvedObject", "regarding"].iter().map(|o| selectable(object, &[o, field]));
    found.into_iter().find(|s| !s.is_empty()).unwrap_or_default()
}

fn reporting(object: &Value) -> String {
    either(object, "reportingComponent", "reportingController").to_owned()
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("Last Seen", "Time since it happened last.", |object, now| last_seen(object, now).into()),
        Column::text("Type", "Normal or Warning.", |object, _| object.text("type").into()),
        Column::text("Reason", "Why it happened, in one word.", |object, _| object.text("reason").into()),
        Column::text("Object", "What it is about.", |object, _| object_cell(object).into()),
        Column::text("Subobject", "The part that it is about.", |object, _| involved(object).text("fieldPath").into())
            .wide(),
        Column::text("Source", "Who reports it.", |object, _| source_cell(object).into()).wide(),
        Column::text("Message", "What happened.", |object, _| either(object, "message", "note").trim().into()),
        Column::text("First Seen", "Time since it happened first.", |object, now| first_seen(object, now).into())
            .wide(),
        Column::text("Count", "How often it happened.", |object, _| count(object).into()).wide(),
        Column { format: "name".into(), ..Column::text("Name", "Name of the event.", cells::name) }.wide(),
    ]
}

/// A text by its name in core/v1 or in events.k8s.io/v1.
fn either<'a>(object: &'a Value, core: &str, newer: &str) -> &'a str {
    Some(object.text(core)).filter(|s| !s.is_empty()).unwrap_or_else(|| object.text(newer))
}

fn involved(object: &Value) -> &Value {
    object.present("involvedObject").or_else(|| object.present("regarding")).unwrap_or(&Value::Null)
}

fn source(object: &Value) -> &Value {
    object.present("source").or_else(|| object.present("deprecatedSource")).unwrap_or(&Value::Null)
}

fn first_seen(object: &Value, now: Timestamp) -> String {
    let first = either(object, "firstTimestamp", "deprecatedFirstTimestamp");
    cells::since(if first.is_empty() { object.text("eventTime") } else { first }, now)
}

fn last_seen(object: &Value, now: Timestamp) -> String {
    let series = object.str_at(&["series", "lastObservedTime"]).unwrap_or_default();
    let last = if series.is_empty() { either(object, "lastTimestamp", "deprecatedLastTimestamp") } else { series };
    if last.is_empty() { first_seen(object, now) } else { cells::since(last, now) }
}

fn count(object: &Value) -> i64 {
    let count =
        object.i64_at(&["series", "count"]).or_else(|| object.int("count")).or_else(|| object.int("deprecatedCount"));
    count.filter(|c| *c != 0).unwrap_or(1)
}

fn object_cell(object: &Value) -> String {
    let (kind, name) = (involved(object).text("kind").to_lowercase(), involved(object).text("name"));
    if name.is_empty() { kind } else { format!("{kind}/{name}") }
}

fn source_cell(object: &Value) -> String {
    let (component, host) = (source(object).text("component"), source(object).text("host"));
    let (who, place) = match component.is_empty() {
        true => (either(object, "reportingComponent", "reportingController"), object.text("reportingInstance")),
        false => (component, host),
    };
    if place.is_empty() { who.to_owned() } else { format!("{who}, {place}") }
}

struct CoreEvent;

impl Strategy for CoreEvent {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_any(object, &mut errors);
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

struct NewEvent;

/// What may not change through events.k8s.io.
const IMMUTABLE: [&str; 13] = [
    "regarding",
    "reason",
    "note",
    "deprecatedSource",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedCount",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingController",
    "reportingInstance",
];

/// Names in core/v1 and in events.k8s.io/v1 of what both have.
const RENAMED: [(&str, &str); 7] = [
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(value) = object.remove_at(&[from]) {
        object.set_at(&[to], value);
    }
}

impl Strategy for NewEvent {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_any(object, &mut errors);
        validate_series(object, &mut errors);
        if object.text("eventTime").is_empty() {
            errors.required(&Place::root("eventTime"), "");
        }
        let kind = object.text("type");
        if !matches!(kind, "Normal" | "Warning") {
            errors.invalid(&Place::root("type"), "", &format!("has invalid value: {kind}"));
        }
        validate_old_fields(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, old: &Value, _target: Target) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_any(object, &mut errors);
        if !same_at(object, old, &["series"]) {
            validate_series(object, &mut errors);
        }
        for field in IMMUTABLE {
            if !same_at(object, old, &[field]) {
                let value = Json(object.get(field).unwrap_or(&Value::Null));
                errors.invalid(&Place::root(core_name(field)), value, "field is immutable");
            }
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn to_storage(&self, object: &mut Value) {
        object.set_at(&["apiVersion"], "v1");
        for (core, newer) in RENAMED {
            rename(object, newer, core);
        }
    }

    fn from_storage(&self, object: &mut Value) {
        object.set_at(&["apiVersion"], "events.k8s.io/v1");
        for (core, newer) in RENAMED {
            rename(object, core, newer);
        }
        for field in ["reportingController", "reportingInstance"] {
            if object.text(field).is_empty() {
                object.remove_at(&[field]);
            }
        }
    }
}

/// Upstream names fields of its internal form (core/v1's) in errors.
fn core_name(field: &str) -> &str {
    if field == "reportingController" {
        return field;
    }
    RENAMED.iter().find(|(_, newer)| *newer == field).map_or(field, |(core, _)| core)
}

/// What holds for events of both forms; those with an eventTime are of the newer kind, whichever form they came in.
fn validate_any(object: &Value, errors: &mut Vec<FieldError>) {
    let namespace = involved(object).text("namespace");
    let own = object.str_at(&["metadata", "namespace"]).unwrap_or_default();
    let newer = !object.text("eventTime").is_empty();
    let fits = match (newer, namespace.is_empty()) {
        (false, true) => matches!(own, "" | "default"),
        (false, false) => namespace == own,
        (true, true) => matches!(own, "default" | "kube-system"),
        (true, false) => true,
    };
    if !fits {
        errors.invalid(&Place::root("involvedObject.namespace"), namespace, "does not match event.namespace");
    }
    if newer {
        validate_words(object, errors);
    }
}

/// What only events of the old kind have.
fn validate_old_fields(object: &Value, errors: &mut Vec<FieldError>) {
    let source = source(object);
    let set = [
        ("firstTimestamp", !object.text("deprecatedFirstTimestamp").is_empty()),
        ("lastTimestamp", !object.text("deprecatedLastTimestamp").is_empty()),
        ("count", object.int("deprecatedCount").unwrap_or(0) != 0),
        ("source", !source.text("component").is_empty() || !source.text("host").is_empty()),
    ];
    for (field, _) in set.iter().filter(|(_, set)| *set) {
        errors.invalid(&Place::root(field), "", "needs to be unset");
    }
}

fn validate_series(object: &Value, errors: &mut Vec<FieldError>) {
    let Some(series) = object.present("series") else { return };
    if series.int("count").unwrap_or(0) < 2 {
        errors.invalid(&Place::root("series.count"), "", "should be at least 2");
    }
    if series.text("lastObservedTime").is_empty() {
        errors.required(&Place::root("series.lastObservedTime"), "");
    }
}

fn validate_words(object: &Value, errors: &mut Vec<FieldError>) {
    let controller = either(object, "reportingComponent", "reportingController");
    let at = Place::root("reportingController");
    if controller.is_empty() {
        errors.required(&at, "");
    }
    errors.invalid_each(&at, controller, names::qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let (text, at) = (object.text(field), Place::root(field));
        if text.is_empty() {
            errors.required(&at, "");
        }
        if text.len() > WORD_LENGTH_MAX {
            errors.invalid(&at, "", &format!("can have at most {WORD_LENGTH_MAX} characters"));
        }
    }
    if either(object, "message", "note").len() > NOTE_LENGTH_MAX {
        errors.invalid(&Place::root("message"), "", &format!("can have at most {NOTE_LENGTH_MAX} characters"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_forms_convert_without_loss() {
        let text = br#"{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"a","namespace":"default"},
            "action":"Binding","deprecatedCount":3,"deprecatedFirstTimestamp":"2026-01-01T00:00:00Z",
            "deprecatedLastTimestamp":"2026-01-01T00:01:00Z","deprecatedSource":{"component":"x","host":"y"},
            "eventTime":"2026-01-01T00:00:00.000000Z","note":"it did","reason":"Did","regarding":{"kind":"Pod","name":"p"},
            "related":{"kind":"Node"},"reportingController":"k/x","reportingInstance":"x-1",
            "series":{"count":2,"lastObservedTime":"2026-01-01T00:01:00.000000Z"},"type":"Normal"}"#;
        let newer = Value::parse(text).unwrap();
        let mut tree = newer.clone();
        NewEvent.to_storage(&mut tree);
        assert_eq!(tree.text("message"), "it did");
        assert_eq!(tree.text("reportingComponent"), "k/x");
        assert_eq!(tree.text("apiVersion"), "v1");
        assert_eq!(tree.get("note"), None);
        NewEvent.from_storage(&mut tree);
        assert_eq!(tree, newer);
    }

    #[test]
    fn cells_prefer_the_series() {
        let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
        let event = Value::parse(
            br#"{"metadata":{"name":"a"},"eventTime":"2026-01-01T00:00:00.000000Z","involvedObject":{"kind":"Pod","name":"p"},
            "series":{"count":4,"lastObservedTime":"2026-01-01T00:09:00.000000Z"},"message":" hello\n","reportingComponent":"k"}"#,
        )
        .unwrap();
        let row = row();
        let cells: Vec<String> = row
            .columns
            .iter()
            .map(|c| match c.cell.of(&event, now) {
                Value::String(s) => s.to_string(),
                Value::Integer(i) => i.to_string(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(cells, ["60s", "", "", "pod/p", "", "k", "hello", "10m", "4", "a"]);
    }
}
