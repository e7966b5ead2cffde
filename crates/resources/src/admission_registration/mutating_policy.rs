//! MutatingAdmissionPolicies.

use machinery::field::FieldError;
use machinery::json::Value;

use super::programs::Programs;
use super::validating_policy::{default_spec, param_kind, validate_failure_policy};
use super::{REINVOCATION_POLICIES, expressions, rules};
use crate::cells;
use crate::place::{Place, Report};
use crate::read::Read;
use crate::row::{Column, Resource, Strategy};

/// Kinds of patches, with the field that holds each.
const PATCH_FIELDS: [(&str, &str); 2] = [("ApplyConfiguration", "applyConfiguration"), ("JSONPatch", "jsonPatch")];
const PATCH_TYPES: [&str; 2] = ["ApplyConfiguration", "JSONPatch"];

/// The row of a version.
pub fn row(api_version: &str) -> Resource {
    Resource::new(api_version, "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
        .cluster_scoped()
        .categories(&["api-extensions"])
        .generation()
        .columns(vec![
            Column::integer("Mutations", "Changes that are made.", |object, _| {
                object.get("spec").map_or(0, |spec| cells::count(spec, "mutations")).into()
            }),
            Column::text("ParamKind", "The kind of its parameters.", param_kind),
            Column::age(),
        ])
        .strategy(MutatingAdmissionPolicy)
}

struct MutatingAdmissionPolicy;

impl Strategy for MutatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        default_spec(object);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        validate_failure_policy(spec, &at, &mut errors);
        rules::validate_param_kind(spec, &at, &mut errors);
        rules::validate_constraints(spec, true, &at, &mut errors);
        expressions::validate_conditions(spec, &at.field("matchConditions"), &mut errors);
        expressions::validate_variables(spec, &at.field("variables"), &mut errors);
        let list = at.field("mutations");
        if spec.items("mutations").is_empty() {
            errors.required(&list, "mutations must contain at least one item");
        }
        for (index, mutation) in spec.items("mutations").iter().enumerate() {
            validate_mutation(mutation, &list.index(index), &mut errors);
        }
        Programs::new(spec).check(&at, &mut errors);
        let (policy, at) = (spec.text("reinvocationPolicy"), at.field("reinvocationPolicy"));
        if policy.is_empty() {
            errors.required(&at, "");
        } else if !REINVOCATION_POLICIES.contains(&policy) {
            errors.unsupported(&at, policy, &REINVOCATION_POLICIES);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_mutation(mutation: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let kind = mutation.text("patchType");
    if kind.is_empty() {
        errors.required(&at.field("patchType"), "");
        return;
    }
    if !PATCH_TYPES.contains(&kind) {
        errors.unsupported(&at.field("patchType"), kind, &PATCH_TYPES);
        return;
    }
    let own = |pair: &&(&str, &str)| pair.0 == kind;
    for (_, field) in PATCH_FIELDS.iter().filter(own) {
        let at = at.field(field);
        match mutation.present(field) {
            None => errors.required(&at, &format!("must be specified when patchType is {kind}")),
            Some(patch) if patch.text("expression").trim().is_empty() => errors.required(&at.field("expression"), ""),
            Some(_) => {}
        }
    }
    for (_, field) in PATCH_FIELDS.iter().filter(|pair| !own(pair)).filter(|(_, field)| mutation.has(field)) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.invalid(&at.field(field), format!("{{{field}}}"), &detail);
    }
}
