//! ValidatingAdmissionPolicies.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::programs::Programs;
use super::{API_VERSION, FAILURE_POLICIES, expressions, rules};
use crate::cells;
use crate::conditions;
use crate::place::{Json, Place, Report};
use crate::read::{Read, present_mut, set_default};
use crate::row::{Column, Resource, STATUS_KEEPS_ALL, Strategy, Subresource, Target};

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_BYTES_MAX: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
const NOTHING: &str = "validations or auditAnnotations must contain at least one item";

/// The row.
pub fn row() -> Resource {
    Resource::new(API_VERSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .cluster_scoped()
        .categories(&["api-extensions"])
        .generation()
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::integer("Validations", "Rules that are checked.", |object, _| {
                object.get("spec").map_or(0, |spec| cells::count(spec, "validations")).into()
            }),
            Column::text("ParamKind", "The kind of its parameters.", param_kind),
            Column::age(),
        ])
        .strategy(ValidatingAdmissionPolicy)
}

/// `API_VERSION/KIND`
pub(super) fn param_kind(object: &Value, _now: Timestamp) -> Value {
    match object.at(&["spec", "paramKind"]).filter(|of| !of.is_null()) {
        Some(of) => format!("{}/{}", of.text("apiVersion"), of.text("kind")).into(),
        None => cells::UNSET.into(),
    }
}

struct ValidatingAdmissionPolicy;

impl Strategy for ValidatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        default_spec(object);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_failure_policy(spec, &at, &mut errors);
        rules::validate_param_kind(spec, &at, &mut errors);
        rules::validate_constraints(spec, false, &at, &mut errors);
        expressions::validate_conditions(spec, &at.field("matchConditions"), &mut errors);
        expressions::validate_variables(spec, &at.field("variables"), &mut errors);
        if spec.items("validations").is_empty() && spec.items("auditAnnotations").is_empty() {
            errors.required(&at.field("validations"), NOTHING);
            errors.required(&at.field("auditAnnotations"), NOTHING);
            return errors;
        }
        let list = at.field("validations");
        for (index, validation) in spec.items("validations").iter().enumerate() {
            validate_validation(validation, &list.index(index), &mut errors);
        }
        let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
        validate_annotations(spec, name, &at.field("auditAnnotations"), &mut errors);
        Programs::new(spec).check(&at, &mut errors);
        errors
    }

    fn validate_update(&self, object: &Value, _old: &Value, target: Target) -> Vec<FieldError> {
        match target {
            Target::Subresource("status") => validate_status(object),
            _ => self.validate(object),
        }
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }

    fn status_keeps_metadata(&self) -> &'static [&'static str] {
        STATUS_KEEPS_ALL
    }
}

/// What policies have when they say nothing.
pub(super) fn default_spec(object: &mut Value) {
    let Some(spec) = present_mut(object, "spec") else { return };
    set_default(spec, "failurePolicy", "Fail");
    rules::default_match(spec, "matchConstraints");
}

pub(super) fn validate_failure_policy(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (policy, at) = (spec.text("failurePolicy"), at.field("failurePolicy"));
    if !spec.has("failurePolicy") {
        errors.required(&at, "");
    } else if !FAILURE_POLICIES.contains(&policy) {
        errors.unsupported(&at, policy, &FAILURE_POLICIES);
    }
}

fn validate_validation(validation: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if validation.text("expression").trim().is_empty() {
        errors.required(&at.field("expression"), "expression is not specified");
    }
    for field in ["messageExpression", "message"] {
        let text = validation.text(field);
        if !text.is_empty() && text.trim().is_empty() {
            errors.invalid(&at.field(field), text, "must be non-empty if specified");
        } else if field == "message" && text.trim().contains(['\n', '\r']) {
            errors.invalid(&at.field(field), text, "must not contain line breaks");
        }
    }
    if validation.has("reason") && !REASONS.contains(&validation.text("reason")) {
        errors.unsupported(&at.field("reason"), validation.text("reason"), &REASONS);
    }
}

fn validate_annotations(spec: &Value, policy: &str, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let annotations = spec.items("auditAnnotations");
    if annotations.len() > ANNOTATIONS_MAX {
        let value = Json(spec.get("auditAnnotations").unwrap_or(&Value::Null));
        errors.invalid(list, value, &format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations"));
    }
    for (index, annotation) in annotations.iter().enumerate() {
        let (at, key) = (list.index(index), annotation.text("key"));
        if policy.is_empty() {
            errors.invalid(&at.field("key"), key, "requires metadata.name be non-empty");
        } else {
            let whole = format!("{policy}/{key}");
            errors.invalid_each(&at.field("key"), &whole, names::qualified_name(&whole));
        }
        let (expression, place) = (annotation.text("valueExpression").trim(), at.field("valueExpression"));
        if expression.is_empty() {
            errors.required(&place, "valueExpression is not specified");
        } else if expression.len() > ANNOTATION_BYTES_MAX {
            errors.required(&place, &format!("must not exceed {ANNOTATION_BYTES_MAX} bytes in length"));
        }
        if annotations[..index].iter().any(|known| known.text("key") == key) {
            errors.duplicate(&at.field("key"), key);
        }
    }
}

/// DIVERGES: upstream also reads `fieldRef` as a JSON path.
fn validate_status(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let (status, at) = (object.get("status").unwrap_or(&empty), Place::root("status"));
    let list = at.field("typeChecking.expressionWarnings");
    let warnings = status.get("typeChecking").map_or(&[][..], |checking| checking.items("expressionWarnings"));
    for (index, warning) in warnings.iter().enumerate() {
        for field in ["warning", "fieldRef"].into_iter().filter(|field| warning.text(field).trim().is_empty()) {
            errors.required(&list.index(index).field(field), "");
        }
    }
    conditions::validate(status.items("conditions"), &at.field("conditions"), &mut errors);
    errors
}
