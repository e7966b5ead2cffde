//! Jobs.

use jiff::Timestamp;
use machinery::field::FieldError;
use machinery::json::Value;
use machinery::selector::LabelSelector;
use machinery::{duration, names, time};

use super::{job_rules, job_status};
use crate::apps::template;
use crate::cells;
use crate::checks::{has_condition, validate_immutable};
use crate::metadata::validate_label_selector;
use crate::place::{Json, Place, Report};
use crate::pod_spec::{defaults, warnings as pod_warnings};
use crate::read::{Read, items_mut, present_mut, same_at, set_default};
use crate::row::{Column, Resource, SelectableField, Strategy, Subresource, Target};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const LEGACY_UID_LABEL: &str = "controller-uid";
const LEGACY_NAME_LABEL: &str = "job-name";
/// What `backoffLimit` is when each index has a limit of its own.
const NO_LIMIT: i64 = i32::MAX as i64;

/// The row.
pub fn row() -> Resource {
    Resource::new("batch/v1", "Job", "jobs")
        .categories(&["all"])
        .subresources(&[Subresource::Status])
        .columns(vec![
            Column::text("Status", "How far the job is.", |object, _| status_word(object).into()),
            Column::text("Completions", "Pods that succeeded, of those wanted.", |object, _| {
                completions(object).into()
            }),
            Column::text("Duration", "Time that the job took, or has taken so far.", |object, now| {
                took(object, now).into()
            }),
            Column::age(),
            Column::text("Containers", "Names of the template's containers.", cells::template_containers).wide(),
            Column::text("Images", "Images of the template's containers.", cells::template_images).wide(),
            Column::text("Selector", "Labels of its pods.", cells::spec_selector).wide(),
        ])
        .selectable(vec![SelectableField::new("status.successful", |object| {
            cells::number(object, &["status", "succeeded"]).to_string()
        })])
        .generation()
        .strategy(Job)
}

fn status_word(object: &Value) -> &'static str {
    let empty = Value::Null;
    let status = object.get("status").unwrap_or(&empty);
    if has_condition(status, "Complete") {
        return "Complete";
    }
    if has_condition(status, "Failed") {
        return "Failed";
    }
    if object.at(&["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null()) {
        return "Terminating";
    }
    let words = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    words.into_iter().find(|word| has_condition(status, word)).unwrap_or("Running")
}

fn completions(object: &Value) -> String {
    let done = cells::number(object, &["status", "succeeded"]);
    match (object.i64_at(&["spec", "completions"]), cells::number(object, &["spec", "parallelism"])) {
        (Some(wanted), _) => format!("{done}/{wanted}"),
        (None, parallelism @ 2..) => format!("{done}/1 of {parallelism}"),
        (None, _) => format!("{done}/1"),
    }
}

fn took(object: &Value, now: Timestamp) -> String {
    let moment = |field: &str| time::parse(object.str_at(&["status", field]).unwrap_or_default()).ok();
    let Some(start) = moment("startTime") else { return String::new() };
    duration::human(moment("completionTime").unwrap_or(now).as_second() - start.as_second())
}

struct Job;

impl Strategy for Job {
    fn default(&self, object: &mut Value) {
        set_default(object, "spec", Value::object());
        let Some(spec) = present_mut(object, "spec") else { return };
        if !spec.has("completions") && !spec.has("parallelism") {
            set_default(spec, "completions", 1);
        }
        set_default(spec, "parallelism", 1);
        let limit = if spec.has("backoffLimitPerIndex") { NO_LIMIT } else { 6 };
        set_default(spec, "backoffLimit", limit);
        set_default(spec, "completionMode", "NonIndexed");
        set_default(spec, "suspend", false);
        set_default(spec, "manualSelector", false);
        let replacement = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
        set_default(spec, "podReplacementPolicy", replacement);
        if let Some(policy) = present_mut(spec, "podFailurePolicy") {
            for rule in items_mut(policy, "rules") {
                for pattern in items_mut(rule, "onPodConditions").iter_mut().filter(|p| p.text("status").is_empty()) {
                    pattern.set_at(&["status"], "True");
                }
            }
        }
        set_default(spec, "template", Value::object());
        if let Some(template) = present_mut(spec, "template") {
            defaults::template(template);
        }
        let labels = spec.at(&["template", "metadata", "labels"]).cloned();
        if let Some(labels) = labels.filter(|labels| !labels.is_null())
            && object.at(&["metadata", "labels"]).and_then(Value::as_object).is_none_or(|own| own.is_empty())
        {
            object.set_at(&["metadata", "labels"], labels);
        }
    }

    fn prepare_for_create(&self, object: &mut Value) {
        if object.at(&["spec", "manualSelector"]).and_then(Value::as_bool).unwrap_or(false) {
            return;
        }
        let template_labels = ["spec", "template", "metadata", "labels"];
        // Jobs without labels have those of their template, also the generated ones.
        let shared = same_labels(object.at(&["metadata", "labels"]), object.at(&template_labels));
        generate_selector(object);
        if shared && let Some(labels) = object.at(&template_labels).cloned() {
            object.set_at(&["metadata", "labels"], labels);
        }
    }

    fn wants_new_generation(&self, object: &Value, old: &Value) -> bool {
        !same_at(object, old, &["spec"])
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        validate(object, true)
    }

    fn validate_update(&self, object: &Value, old: &Value, target: Target) -> Vec<FieldError> {
        if target == Target::Subresource("status") {
            return job_status::validate(object, old);
        }
        let empty = Value::object();
        let labels = old.at(&["spec", "template", "metadata", "labels"]).unwrap_or(&empty);
        let mut errors = validate(object, labels.has(NAME_LABEL) && labels.has(UID_LABEL));
        validate_spec_update(object, old, &mut errors);
        errors
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let empty = Value::object();
        let mut warnings = name_warnings(object);
        warnings.extend(spec_warnings(object.get("spec").unwrap_or(&empty), "spec"));
        warnings
    }
}

fn same_labels(one: Option<&Value>, other: Option<&Value>) -> bool {
    let labels = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    labels(one) == labels(other)
}

/// Labels by which the pods of just this job are selected.
fn generate_selector(object: &mut Value) {
    let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
    let (name, uid) = (text(&["metadata", "name"]), text(&["metadata", "uid"]));
    let labels = [(LEGACY_NAME_LABEL, &name), (NAME_LABEL, &name), (LEGACY_UID_LABEL, &uid), (UID_LABEL, &uid)];
    for (label, value) in labels {
        object.default_at(&["spec", "template", "metadata", "labels", label], value.as_str());
    }
    object.default_at(&["spec", "selector", "matchLabels", UID_LABEL], uid.as_str());
}

/// A job whose names for pods are no host names still runs.
pub(super) fn name_warnings(object: &Value) -> Vec<String> {
    let is_new = object.i64_at(&["metadata", "generation"]).unwrap_or(0) <= 1;
    let wrong = names::dns1123_label(object.str_at(&["metadata", "name"]).unwrap_or_default());
    if wrong.is_empty() || !is_new {
        return Vec::new();
    }
    let text = "this is used in Pod names and hostnames, which can result in surprising behavior; \
                a DNS label is recommended";
    vec![format!("metadata.name: {text}: [{}]", wrong.join(" "))]
}

/// Warnings about a spec that stands at `at`.
pub(super) fn spec_warnings(spec: &Value, at: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let number = |field: &str| spec.int(field).unwrap_or(0);
    if spec.text("completionMode") == "Indexed"
        && number("completions") > job_rules::MANY_COMPLETIONS
        && number("parallelism") > job_rules::PARALLELISM_OF_MANY_MAX
    {
        let text = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
                    Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
        warnings.push(format!("{at}: {text}"));
    }
    if let Some(pod) = spec.at(&["template", "spec"]) {
        warnings.extend(pod_warnings::of(pod, &format!("{at}.template.spec")));
    }
    warnings
}

fn validate(object: &Value, wants_new_labels: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = Value::object();
    let spec = object.get("spec").unwrap_or(&empty);
    let at = Place::root("spec");
    validate_generated(object, spec, wants_new_labels, &mut errors);
    job_rules::validate(spec, &at, &mut errors);
    match spec.present("selector") {
        None => errors.required(&at.field("selector"), ""),
        Some(selector) => validate_label_selector(selector, &at.field("selector"), &mut errors),
    }
    let metadata = spec.at(&["template", "metadata"]).unwrap_or(&empty);
    let selected =
        LabelSelector::from_object(spec.present("selector")).map_or(true, |s| s.matches(metadata.entries("labels")));
    if !selected {
        template::not_selected(metadata, &at.field("template"), &mut errors);
    }
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    if spec.text("completionMode") == "Indexed"
        && let Some(completions @ 1..) = spec.int("completions")
    {
        let longest = format!("{name}-{}", completions - 1);
        if !names::dns1123_label(&longest).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {longest}");
            errors.invalid(&Place::root("metadata").field("name"), name, &detail);
        }
    }
    errors
}

/// What is generated must not have been set to something else.
fn validate_generated(object: &Value, spec: &Value, wants_new_labels: bool, errors: &mut Vec<FieldError>) {
    if spec.flag("manualSelector") || !spec.has("selector") {
        return;
    }
    let text = |field: &str| object.str_at(&["metadata", field]).unwrap_or_default();
    let (name, uid) = (text("name"), text("uid"));
    if uid.is_empty() {
        errors.required(&Place::root("metadata").field("uid"), "");
    }
    let mut expected = vec![(LEGACY_UID_LABEL, uid), (LEGACY_NAME_LABEL, name)];
    if wants_new_labels {
        expected.extend([(UID_LABEL, uid), (NAME_LABEL, name)]);
    }
    let empty = Value::object();
    let labels = spec.at(&["template", "metadata", "labels"]).unwrap_or(&empty);
    let at = Place::root("spec.template.metadata.labels");
    for (label, value) in &expected {
        match labels.present(label) {
            None => errors.required(&at.key(label), &format!("must be '{value}'")),
            Some(found) if found.as_str() != Some(value) => {
                errors.invalid(&at.key(label), Json(labels), &format!("must be '{value}'"));
            }
            Some(_) => {}
        }
    }
    let mut wanted = Value::object();
    for (label, value) in expected {
        wanted.set_at(&[label], value);
    }
    let matches = LabelSelector::from_object(spec.present("selector"))
        .map_or(true, |s| wanted.as_object().is_some_and(|labels| s.matches(labels)));
    if !matches {
        let selector = spec.get("selector").unwrap_or(&Value::Null);
        errors.invalid(&Place::root("spec").field("selector"), Json(selector), "`selector` not auto-generated");
    }
}

fn validate_spec_update(object: &Value, old_object: &Value, errors: &mut Vec<FieldError>) {
    let empty = Value::object();
    let (new, old) = (object.get("spec").unwrap_or(&empty), old_object.get("spec").unwrap_or(&empty));
    let at = Place::root("spec");
    let completions = new.int("completions");
    if new.text("completionMode") != "Indexed" {
        validate_immutable(new, old, "completions", &at, errors);
    } else if let Some(completions) = completions.filter(|c| Some(*c) != old.int("completions"))
        && Some(completions) != new.int("parallelism")
    {
        let detail = "can only be modified in tandem with spec.parallelism";
        errors.invalid(&at.field("completions"), completions, detail);
    }
    validate_immutable(new, old, "selector", &at, errors);
    let before = allowed_template(new, old, old_object);
    validate_immutable(new, before.as_ref().unwrap_or(old), "template", &at, errors);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        validate_immutable(new, old, field, &at, errors);
    }
}

/// The old spec with all that may change in the template while the job is suspended: where its pods go, what they need.
fn allowed_template(new: &Value, old: &Value, old_object: &Value) -> Option<Value> {
    let empty = Value::object();
    let status = old_object.get("status").unwrap_or(&empty);
    let at_rest =
        !status.has("startTime") || (has_condition(status, "Suspended") && status.int("active").unwrap_or(0) == 0);
    if !old.flag("suspend") || !at_rest {
        return None;
    }
    let mut spec = old.clone();
    for path in [
        ["template", "spec", "nodeSelector"],
        ["template", "spec", "tolerations"],
        ["template", "spec", "schedulingGates"],
        ["template", "metadata", "annotations"],
        ["template", "metadata", "labels"],
    ] {
        take_over(&mut spec, new, &path);
    }
    let affinity = ["template", "spec", "affinity"];
    take_over(&mut spec, new, &[affinity[0], affinity[1], affinity[2], "nodeAffinity"]);
    let none_left = spec.at(&affinity).and_then(Value::as_object).is_some_and(|a| a.is_empty());
    if none_left && new.at(&affinity).is_none() {
        spec.remove_at(&affinity);
    }
    for list in ["initContainers", "containers"] {
        take_over_resources(&mut spec, new, list);
    }
    Some(spec)
}

fn take_over(spec: &mut Value, new: &Value, path: &[&str]) {
    match new.at(path) {
        Some(value) => spec.set_at(path, value.clone()),
        None => {
            spec.remove_at(path);
        }
    }
}

fn take_over_resources(spec: &mut Value, new: &Value, list: &str) {
    let Some(pod) = spec.at_mut(&["template", "spec"]) else { return };
    let wanted = new.at(&["template", "spec"]).map_or(&[] as &[Value], |pod| pod.items(list));
    for (container, new) in items_mut(pod, list).iter_mut().zip(wanted) {
        take_over(container, new, &["resources"]);
    }
}
