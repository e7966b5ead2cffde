//! FlowSchemas: which requests belong to which priority level.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{API_VERSION, objects, rules, validate_status};
use crate::cells;
use crate::difference::normalized;
use crate::place::{Json, Place, Report};
use crate::read::{Read, present_mut, set_default};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

const PRECEDENCE: i64 = 1000;
const PRECEDENCE_MAX: i64 = 10_000;
const METHODS: [&str; 2] = ["ByNamespace", "ByUser"];

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "FlowSchema", "flowschemas")
        .cluster_scoped()
        .generation()
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("PriorityLevel", "The priority level of its requests.", |object, _| {
                object.str_at(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default().into()
            }),
            Column::text("MatchingPrecedence", "The lowest is asked first.", |object, _| {
                cells::number(object, &["spec", "matchingPrecedence"]).into()
            }),
            Column::text("DistinguisherMethod", "What makes a flow.", |object, _| {
                object.str_at(&["spec", "distinguisherMethod", "type"]).unwrap_or(cells::NONE).into()
            }),
            Column::age(),
            Column::text("MissingPL", "Whether its priority level is missing.", missing),
        ])
        .strategy(FlowSchema)
}

fn missing(object: &Value, _now: Timestamp) -> Value {
    let conditions = object.get("status").map_or(&[][..], |status| status.items("conditions"));
    conditions.iter().find(|c| c.text("type") == "Dangling").map_or("?", |c| c.text("status")).into()
}

struct FlowSchema;

impl Strategy for FlowSchema {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        if let Some(spec) = present_mut(object, "spec")
            && spec.int("matchingPrecedence").unwrap_or(0) == 0
        {
            spec.set_at(&["matchingPrecedence"], PRECEDENCE);
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_precedence(spec, name, &at.field("matchingPrecedence"), &mut errors);
        if let Some(method) = spec.present("distinguisherMethod")
            && !METHODS.contains(&method.text("type"))
        {
            errors.unsupported(&at.field("distinguisherMethod.type"), Json(method), &METHODS);
        }
        let level = spec.get("priorityLevelConfiguration").unwrap_or(&empty).text("name");
        let place = at.field("priorityLevelConfiguration.name");
        if level.is_empty() {
            errors.required(&place, "must reference a priority level");
        } else {
            errors.invalid_each(&place, level, names::dns1123_subdomain(level));
        }
        let list = at.field("rules");
        for (index, rule) in spec.items("rules").iter().enumerate() {
            rules::validate(rule, &list.index(index), &mut errors);
        }
        let fixed = objects::mandatory_spec("FlowSchema", name);
        if fixed.is_some_and(|fixed| normalized(spec) != normalized(&fixed)) {
            errors.invalid(&at, Json(spec), &format!("spec of '{name}' must equal the fixed value"));
        }
        validate_status(object, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            let mut errors = Vec::new();
            validate_status(object, &mut errors);
            return errors;
        }
        self.validate(object)
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

fn validate_precedence(spec: &Value, name: &str, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let precedence = spec.int("matchingPrecedence").unwrap_or(0);
    if precedence <= 0 {
        errors.invalid(at, precedence, "must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        errors.invalid(at, precedence, &format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && name != "exempt" {
        errors.invalid(at, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
}
