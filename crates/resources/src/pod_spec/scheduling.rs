//! Validation of what steers scheduling: affinity, tolerations, topology spread, gates.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use crate::metadata::{validate_label_selector, validate_labels};
use crate::place::{Place, Report};
use crate::read::Read;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// All of it.
pub(super) fn validate(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    validate_labels(spec, "nodeSelector", &at.field("nodeSelector"), errors);
    if let Some(affinity) = spec.present("affinity") {
        validate_affinity(affinity, &at.field("affinity"), errors);
    }
    validate_gates(spec, at, errors);
    let list = at.field("topologySpreadConstraints");
    for index in 0..spec.items("topologySpreadConstraints").len() {
        validate_spread(spec.items("topologySpreadConstraints"), index, &list, errors);
    }
    validate_tolerations(spec, &at.field("tolerations"), errors);
}

fn validate_gates(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("readinessGates");
    for (index, gate) in spec.items("readinessGates").iter().enumerate() {
        let kind = gate.text("conditionType");
        errors.invalid_each(&list.index(index).field("conditionType"), kind, names::qualified_name(kind));
    }
    let list = at.field("schedulingGates");
    let gates = spec.items("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        errors.invalid_each(&list.index(index), name, names::qualified_name(name));
        if gates[..index].iter().any(|g| g.text("name") == name) {
            errors.duplicate(&list.index(index), name);
        }
    }
}

fn validate_affinity(affinity: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    if let Some(node) = affinity.present("nodeAffinity") {
        let at = at.field("nodeAffinity");
        if let Some(selector) = node.present(REQUIRED) {
            validate_node_selector(selector, &at.field(REQUIRED), errors);
        }
        let list = at.field(PREFERRED);
        for (index, term) in node.items(PREFERRED).iter().enumerate() {
            let at = list.index(index);
            validate_weight(term, &at, errors);
            if let Some(preference) = term.present("preference") {
                validate_node_term(preference, false, &at.field("preference"), errors);
            }
        }
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(pods) = affinity.present(kind) else { continue };
        let at = at.field(kind);
        let list = at.field(REQUIRED);
        for (index, term) in pods.items(REQUIRED).iter().enumerate() {
            validate_pod_term(term, &list.index(index), errors);
        }
        let list = at.field(PREFERRED);
        for (index, weighted) in pods.items(PREFERRED).iter().enumerate() {
            let at = list.index(index);
            validate_weight(weighted, &at, errors);
            validate_pod_term(
                weighted.get("podAffinityTerm").unwrap_or(&Value::Null),
                &at.field("podAffinityTerm"),
                errors,
            );
        }
    }
}

fn validate_weight(term: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let weight = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&at.field("weight"), weight, "must be in the range 1-100");
    }
}

/// A `NodeSelector`.
pub(crate) fn validate_node_selector(selector: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("nodeSelectorTerms");
    let terms = selector.items("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&list, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        validate_node_term(term, true, &list.index(index), errors);
    }
}

fn validate_node_term(term: &Value, strict: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let list = at.field("matchExpressions");
    for (index, requirement) in term.items("matchExpressions").iter().enumerate() {
        validate_node_requirement(requirement, strict, &list.index(index), errors);
    }
    let list = at.field("matchFields");
    for (index, requirement) in term.items("matchFields").iter().enumerate() {
        validate_node_field(requirement, &list.index(index), errors);
    }
}

fn validate_node_requirement(requirement: &Value, strict: bool, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let values = requirement.items("values");
    let place = at.field("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(&place, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors.forbidden(&place, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(&place, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&at.field("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.text("key");
    errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
    // Upstream lets preferred terms hold any value, as clusters rely on it.
    if strict {
        for (index, value) in requirement.texts("values").enumerate() {
            errors.invalid_each(&place.index(index), value, names::label_value(value));
        }
    }
}

fn validate_node_field(requirement: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match requirement.text("operator") {
        "In" | "NotIn" if requirement.items("values").len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&at.field("values"), detail);
        }
        "In" | "NotIn" => {}
        other => errors.invalid(&at.field("operator"), other, "not a valid selector operator"),
    }
    let key = requirement.text("key");
    if key != "metadata.name" {
        errors.invalid(&at.field("key"), key, "not a valid field selector key");
        return;
    }
    for (index, value) in requirement.texts("values").enumerate() {
        errors.invalid_each(&at.field("values").index(index), value, names::dns1123_subdomain(value));
    }
}

fn validate_pod_term(term: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["labelSelector", "namespaceSelector"] {
        if let Some(selector) = term.present(field) {
            validate_label_selector(selector, &at.field(field), errors);
        }
    }
    for namespace in term.texts("namespaces") {
        errors.invalid_each(&at.field("namespace"), namespace, names::dns1123_label(namespace));
    }
    validate_key_lists(term, at, errors);
    let key = term.text("topologyKey");
    if key.is_empty() {
        errors.required(&at.field("topologyKey"), "can not be empty");
    }
    errors.invalid_each(&at.field("topologyKey"), key, names::qualified_name(key));
}

/// `matchLabelKeys` and `mismatchLabelKeys` (KEP-3633).
fn validate_key_lists(term: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let list = at.field(field);
        if !term.items(field).is_empty() && !term.has("labelSelector") {
            errors.forbidden(&list, "must not be specified when labelSelector is not set");
        }
        for (index, key) in term.texts(field).enumerate() {
            errors.invalid_each(&list.index(index), key, names::qualified_name(key));
        }
    }
    let list = at.field("matchLabelKeys");
    for (index, key) in term.texts("matchLabelKeys").enumerate() {
        if term.texts("mismatchLabelKeys").any(|other| other == key) {
            errors.invalid(&list.index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
}

/// Tolerations of a pod.
pub(crate) fn validate_tolerations(spec: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    for (index, toleration) in spec.items("tolerations").iter().enumerate() {
        let at = list.index(index);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        let place = at.field("operator");
        if !key.is_empty() {
            errors.invalid_each(&at.field("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&place, operator, detail);
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            errors.invalid(&at.field("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "" | "Equal" => {
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    errors.invalid(&place, value, &wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(&place, value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            _ => errors.unsupported(&place, operator, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.unsupported(&at.field("effect"), effect, &EFFECTS);
        }
    }
}

fn validate_spread(all: &[Value], index: usize, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let at = list.index(index);
    let constraint = &all[index];
    let (key, action) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
    if let Some(skew @ ..=0) = constraint.int("maxSkew").or(Some(0)) {
        errors.invalid(&at.field("maxSkew"), skew, "must be greater than zero");
    }
    if key.is_empty() {
        errors.required(&at.field("topologyKey"), "can not be empty");
    }
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        errors.unsupported(&at.field("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
    }
    if all[index + 1..].iter().any(|c| c.text("topologyKey") == key && c.text("whenUnsatisfiable") == action) {
        errors.duplicate(&at.field("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
    }
    if let Some(domains) = constraint.int("minDomains") {
        let place = at.field("minDomains");
        if domains <= 0 {
            errors.invalid(&place, domains, "must be greater than zero");
        }
        if action != "DoNotSchedule" {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            errors.invalid(&place, domains, &detail);
        }
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        if let Some(policy) = constraint.present(field).and_then(Value::as_str)
            && !matches!(policy, "Honor" | "Ignore")
        {
            errors.unsupported(&at.field(field), policy, &["Honor", "Ignore"]);
        }
    }
    validate_key_lists(constraint, &at, errors);
    if let Some(selector) = constraint.present("labelSelector") {
        validate_label_selector(selector, &at.field("labelSelector"), errors);
    }
}
