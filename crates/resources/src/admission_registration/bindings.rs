//! ValidatingAdmissionPolicyBindings and MutatingAdmissionPolicyBindings.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::{API_VERSION, rules};
use crate::cells;
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::read::{Read, present_mut};
use crate::row::{Column, Resource, Strategy};

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const DENY_AND_WARN: &str = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                             API response and headers serves no purpose)";
const EXCLUSIVE: &str = "name and selector are mutually exclusive";

/// The row of bindings of policies that judge.
pub fn validating() -> Resource {
    row(API_VERSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false)
}

/// The row of a version of bindings of policies that change.
pub fn mutating(api_version: &str) -> Resource {
    row(api_version, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", true)
}

fn row(api_version: &str, kind: &str, plural: &str, mutating: bool) -> Resource {
    Resource::new(api_version, kind, plural)
        .cluster_scoped()
        .categories(&["api-extensions"])
        .generation()
        .columns(vec![
            Column::text("PolicyName", "The policy that is bound.", |object, _| {
                object.str_at(&["spec", "policyName"]).unwrap_or_default().into()
            }),
            Column::text("ParamRef", "The parameters it is given.", parameters),
            Column::age(),
        ])
        .strategy(Binding { mutating })
}

fn parameters(object: &Value, _now: Timestamp) -> Value {
    let Some(reference) = object.at(&["spec", "paramRef"]) else { return cells::UNSET.into() };
    let (name, namespace) = (reference.text("name"), reference.text("namespace"));
    match (name.is_empty(), namespace.is_empty(), reference.present("selector")) {
        (false, true, _) => format!("*/{name}").into(),
        (false, false, _) => format!("{namespace}/{name}").into(),
        (true, _, Some(selector)) => selector_in_go(selector).into(),
        (true, _, None) => cells::UNSET.into(),
    }
}

/// A selector as Go prints the struct, which is what upstream's table has.
fn selector_in_go(selector: &Value) -> String {
    let mut labels: Vec<(&str, &str)> =
        selector.entries("matchLabels").iter().map(|(key, value)| (key, value.as_str().unwrap_or_default())).collect();
    labels.sort_unstable();
    let labels: String = labels.iter().map(|(key, value)| format!("{key}: {value},")).collect();
    let expression = |requirement: &Value| {
        let values = requirement.texts("values").collect::<Vec<_>>().join(" ");
        let (key, operator) = (requirement.text("key"), requirement.text("operator"));
        format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
    };
    let expressions: String = selector.items("matchExpressions").iter().map(expression).collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

struct Binding {
    mutating: bool,
}

impl Strategy for Binding {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = present_mut(object, "spec") {
            rules::default_match(spec, "matchResources");
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let empty = Value::object();
        let (spec, at) = (object.get("spec").unwrap_or(&empty), Place::root("spec"));
        let policy = spec.text("policyName");
        if policy.is_empty() {
            errors.required(&at.field("policyName"), "");
        } else {
            errors.invalid_each(&at.field("policyName"), policy, names::dns1123_subdomain(policy));
        }
        if let Some(reference) = spec.present("paramRef") {
            validate_reference(reference, &at.field("paramRef"), &mut errors);
        }
        if let Some(resources) = spec.present("matchResources") {
            let at = at.field("matchResources");
            rules::validate_match(resources, &at, &mut errors);
            if self.mutating {
                rules::validate_mutating(resources, &at, &mut errors);
            }
        }
        if !self.mutating {
            validate_actions(spec, &at.field("validationActions"), &mut errors);
        }
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

fn validate_reference(reference: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (name, selector) = (reference.text("name"), reference.present("selector"));
    if !name.is_empty() {
        errors.invalid_each(&at.field("name"), name, names::path_segment_name(name));
        if selector.is_some() {
            errors.forbidden(&at.field("name"), EXCLUSIVE);
        }
    }
    if let Some(selector) = selector {
        validate_label_selector(selector, &at.field("selector"), errors);
        if !name.is_empty() {
            errors.forbidden(&at.field("selector"), EXCLUSIVE);
        }
    } else if name.is_empty() {
        errors.required(at, "one of name or selector must be specified");
    }
    let (action, at) = (reference.text("parameterNotFoundAction"), at.field("parameterNotFoundAction"));
    if action.is_empty() {
        errors.required(&at, "");
    } else if !["Deny", "Allow"].contains(&action) {
        errors.unsupported(&at, action, &["Deny", "Allow"]);
    }
}

fn validate_actions(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let actions: Vec<&str> = spec.texts("validationActions").collect();
    for (index, action) in actions.iter().enumerate() {
        if !ACTIONS.contains(action) {
            errors.unsupported(&list.index(index), *action, &ACTIONS);
        }
        if actions[..index].contains(action) {
            errors.duplicate(&list.index(index), *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        errors.invalid(list, Json(spec.get("validationActions").unwrap_or(&Value::Null)), DENY_AND_WARN);
    }
    if actions.is_empty() {
        errors.required(list, "at least one validation action is required");
    }
}
