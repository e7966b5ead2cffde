//! Validation of the spec of Jobs, which templates of CronJobs share.

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::names;

use super::indexes;
use crate::apps::template::validate_not_negative;
use crate::checks::{go_list, repeats, validate_domain_prefixed_path, validate_one_of};
use crate::place::{Json, Place, Report};
use crate::pod_spec;
use crate::read::Read;

const PARALLELISM_OF_INDEXED_MAX: i64 = 100_000;
const FAILED_INDEXES_MAX: i64 = 100_000;
/// Above so many completions, what has to be remembered of each index is bounded more tightly.
pub(super) const MANY_COMPLETIONS: i64 = 100_000;
pub(super) const PARALLELISM_OF_MANY_MAX: i64 = 10_000;
const FAILED_INDEXES_OF_MANY_MAX: i64 = 10_000;
const MANAGED_BY_LENGTH_MAX: usize = 63;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const PATTERNS_MAX: usize = 20;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];

/// All of a spec but its selector.
pub(super) fn validate(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let counts = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"];
    for field in counts.iter().chain(&["backoffLimitPerIndex", "maxFailedIndexes"]) {
        validate_not_negative(spec, field, at, errors);
    }
    if spec.has("maxFailedIndexes") && !spec.has("backoffLimitPerIndex") {
        errors.required(&at.field("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = spec.present("managedBy").and_then(Value::as_str) {
        let at = at.field("managedBy");
        validate_domain_prefixed_path(manager, &at, errors);
        if manager.len() > MANAGED_BY_LENGTH_MAX {
            errors.too_long(&at, MANAGED_BY_LENGTH_MAX);
        }
    }
    validate_mode(spec, at, errors);
    if let Some(policy) = spec.present("podFailurePolicy") {
        validate_failure_policy(spec, policy, &at.field("podFailurePolicy.rules"), errors);
    }
    if let Some(policy) = spec.present("successPolicy") {
        indexes::validate_success_policy(spec, policy, &at.field("successPolicy"), errors);
    }
    validate_replacement(spec, &at.field("podReplacementPolicy"), errors);
    let empty = Value::object();
    pod_spec::validate_template(spec.present("template").unwrap_or(&empty), &at.field("template"), errors);
    validate_restarts(spec, &at.field("template.spec.restartPolicy"), errors);
}

fn validate_mode(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let mode = spec.present("completionMode").and_then(Value::as_str);
    if let Some(mode) = mode {
        validate_one_of(mode, &["NonIndexed", "Indexed"], &at.field("completionMode"), errors);
    }
    match mode {
        Some("Indexed") => validate_indexed(spec, at, errors),
        None | Some("NonIndexed") => {
            for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(number) = spec.int(field) {
                    errors.invalid(&at.field(field), number, "requires indexed completion mode");
                }
            }
        }
        Some(_) => {}
    }
}

fn validate_indexed(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (completions, parallelism) = (spec.int("completions"), spec.int("parallelism"));
    let failed = spec.int("maxFailedIndexes");
    if completions.is_none() {
        errors.required(&at.field("completions"), "when completion mode is Indexed");
    }
    if let Some(number) = parallelism.filter(|n| *n > PARALLELISM_OF_INDEXED_MAX) {
        let detail =
            format!("must be less than or equal to {PARALLELISM_OF_INDEXED_MAX} when completion mode is Indexed");
        errors.invalid(&at.field("parallelism"), number, &detail);
    }
    if let Some(failed) = failed {
        let at = at.field("maxFailedIndexes");
        if completions.is_some_and(|completions| failed > completions) {
            errors.invalid(&at, failed, "must be less than or equal to completions");
        }
        if failed > FAILED_INDEXES_MAX {
            errors.invalid(&at, failed, &format!("must be less than or equal to {FAILED_INDEXES_MAX}"));
        }
    }
    if completions.is_some_and(|n| n > MANY_COMPLETIONS) && spec.has("backoffLimitPerIndex") {
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {MANY_COMPLETIONS}");
            errors.required(&at.field("maxFailedIndexes"), &detail);
        }
        for (field, max) in [("parallelism", PARALLELISM_OF_MANY_MAX), ("maxFailedIndexes", FAILED_INDEXES_OF_MANY_MAX)]
        {
            if let Some(number) = spec.int(field).filter(|n| *n > max) {
                let detail = format!(
                    "must be less than or equal to {max} when completions are above {MANY_COMPLETIONS} and used with \
                     backoff limit per index"
                );
                errors.invalid(&at.field(field), number, &detail);
            }
        }
    }
}

fn validate_replacement(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let Some(policy) = spec.present("podReplacementPolicy").and_then(Value::as_str) else { return };
    let known: &[&str] = if spec.has("podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    validate_one_of(policy, known, at, errors);
}

fn validate_restarts(spec: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    match spec.str_at(&["template", "spec", "restartPolicy"]).unwrap_or_default() {
        "" | "Always" => errors.required(at, r#"valid values: "OnFailure", "Never""#),
        "Never" => {}
        policy @ "OnFailure" if spec.has("podFailurePolicy") => {
            errors.invalid(at, policy, r#"only "Never" is supported when podFailurePolicy is specified"#);
        }
        policy => validate_one_of(policy, &["OnFailure", "Never"], at, errors),
    }
}

fn validate_failure_policy(spec: &Value, policy: &Value, list: &Place<'_>, errors: &mut Vec<FieldError>) {
    let rules = policy.items("rules");
    if rules.len() > RULES_MAX {
        errors.too_many(list, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(spec, rule, &list.index(index), errors);
    }
}

fn validate_rule(spec: &Value, rule: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let (action, field) = (rule.text("action"), at.field("action"));
    match action {
        "" => errors.required(&field, &format!("valid values: {}", go_list(&ACTIONS))),
        "FailIndex" if !spec.has("backoffLimitPerIndex") => {
            errors.invalid(&field, action, "requires the backoffLimitPerIndex to be set");
        }
        _ => validate_one_of(action, &ACTIONS, &field, errors),
    }
    let (codes, patterns) = (rule.present("onExitCodes"), rule.items("onPodConditions"));
    if let Some(codes) = codes {
        validate_exit_codes(spec, codes, &at.field("onExitCodes"), errors);
    }
    validate_patterns(patterns, &at.field("onPodConditions"), errors);
    match (codes.is_some(), !patterns.is_empty()) {
        (true, true) => {
            errors.invalid_together(at, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        (false, false) => {
            errors.invalid_together(at, "specifying one of OnExitCodes and OnPodConditions is required");
        }
        _ => {}
    }
}

fn validate_exit_codes(spec: &Value, codes: &Value, at: &Place<'_>, errors: &mut Vec<FieldError>) {
    let operator = codes.text("operator");
    if operator.is_empty() {
        errors.required(&at.field("operator"), &format!("valid values: {}", go_list(&OPERATORS)));
    } else {
        validate_one_of(operator, &OPERATORS, &at.field("operator"), errors);
    }
    if let Some(name) = codes.present("containerName").and_then(Value::as_str) {
        let pod = spec.at(&["template", "spec"]).unwrap_or(&Value::Null);
        let mut containers = pod.items("containers").iter().chain(pod.items("initContainers"));
        if !containers.any(|container| container.text("name") == name) {
            let detail = "must be one of the container or initContainer names in the pod template";
            errors.invalid(&at.field("containerName"), name, detail);
        }
    }
    let (list, field) = (codes.get("values").unwrap_or(&Value::Null), at.field("values"));
    let values: Vec<i64> = codes.items("values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        errors.invalid(&field, Json(list), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        errors.too_many(&field, values.len(), EXIT_CODES_MAX);
    }
    let repeated = repeats(&values);
    for (index, code) in values.iter().enumerate() {
        if operator == "In" && *code == 0 {
            errors.invalid(&field.index(index), *code, "must not be 0 for the In operator");
        }
        if repeated[index] {
            errors.duplicate(&field.index(index), *code);
        }
    }
    if !values.is_sorted() {
        errors.invalid(&field, Json(list), "must be ordered");
    }
}

fn validate_patterns(patterns: &[Value], list: &Place<'_>, errors: &mut Vec<FieldError>) {
    if patterns.len() > PATTERNS_MAX {
        errors.too_many(list, patterns.len(), PATTERNS_MAX);
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let at = list.index(index);
        let (kind, status) = (pattern.text("type"), pattern.text("status"));
        errors.invalid_each(&at.field("type"), kind, names::qualified_name(kind));
        if status.is_empty() {
            errors.required(&at.field("status"), &format!("valid values: {}", go_list(&STATUSES)));
        } else {
            validate_one_of(status, &STATUSES, &at.field("status"), errors);
        }
    }
}
