//! Validation of the status of Jobs. Controllers besides the built-in one may write it, so what clients rely on is held up:
//! each rule looks at what it is about only when that changes.

use std::collections::HashSet;

use machinery::field::FieldError;
use machinery::json::Value;
use machinery::time;

use super::indexes;
use crate::apps::template::validate_not_negative;
use crate::checks::has_condition;
use crate::place::{Json, Place, Report};
use crate::read::{Read, same_at};

const AT: Place<'static> = Place::root("status");
const EMPTY: Value = Value::Null;

/// A new status and the one before.
struct Change<'a> {
    job: &'a Value,
    new: &'a Value,
    old: &'a Value,
    completions: Option<i64>,
}

/// All that is wrong with a new status.
pub(super) fn validate(job: &Value, old_job: &Value) -> Vec<FieldError> {
    let change = Change {
        job,
        new: job.get("status").unwrap_or(&EMPTY),
        old: old_job.get("status").unwrap_or(&EMPTY),
        completions: job.i64_at(&["spec", "completions"]),
    };
    let mut errors = Vec::new();
    for field in ["active", "succeeded", "failed", "ready", "terminating"] {
        validate_not_negative(change.new, field, &AT, &mut errors);
    }
    validate_uncounted(change.new, &mut errors);
    validate_ends(&change, &mut errors);
    validate_finished(&change, &mut errors);
    validate_indexes(&change, &mut errors);
    validate_counts(&change, &mut errors);
    validate_success(&change, &mut errors);
    validate_course(&change, &mut errors);
    errors
}

impl Change<'_> {
    fn has(&self, kind: &str) -> bool {
        has_condition(self.new, kind)
    }
    fn had(&self, kind: &str) -> bool {
        has_condition(self.old, kind)
    }
    fn turned(&self, kind: &str) -> bool {
        self.has(kind) != self.had(kind)
    }
    fn is_finished(&self) -> bool {
        self.has("Complete") || self.has("Failed")
    }
    fn turned_finished(&self) -> bool {
        self.is_finished() != (self.had("Complete") || self.had("Failed"))
    }
    fn changed(&self, field: &str) -> bool {
        !same_at(self.new, self.old, &[field])
    }
    fn changed_number(&self, field: &str) -> bool {
        self.new.int(field).unwrap_or(0) != self.old.int(field).unwrap_or(0)
    }
    fn shown(&self, field: &str) -> Json<'_> {
        Json(self.new.get(field).unwrap_or(&EMPTY))
    }
}

fn validate_uncounted(status: &Value, errors: &mut Vec<FieldError>) {
    let Some(uncounted) = status.present("uncountedTerminatedPods") else { return };
    let at = AT.field("uncountedTerminatedPods");
    let mut seen: HashSet<&str> = HashSet::new();
    for field in ["succeeded", "failed"] {
        for (index, uid) in uncounted.texts(field).enumerate() {
            let list = at.field(field);
            if uid.is_empty() {
                errors.invalid(&list.index(index), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(&list.index(index), uid);
            }
        }
    }
}

/// Conditions that say how the job ended, and when it did.
fn validate_ends(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (conditions, completion) = (AT.field("conditions"), AT.field("completionTime"));
    let complete = change.has("Complete");
    let mut together = |checked: bool, wrong: bool, detail: &str| {
        if checked && wrong {
            errors.invalid_together(&conditions, detail);
        }
    };
    let (turned, failed) = (change.turned("Complete"), change.turned("Failed"));
    let target = change.turned("FailureTarget");
    together(turned || failed, complete && change.has("Failed"), "cannot set Complete=True and Failed=true conditions");
    together(
        turned || target,
        complete && change.has("FailureTarget"),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
    together(
        failed || target,
        change.has("Failed") && !change.has("FailureTarget"),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    together(
        turned || change.turned("SuccessCriteriaMet"),
        complete && !change.has("SuccessCriteriaMet"),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
    let has_time = change.new.has("completionTime");
    if turned || change.changed("completionTime") {
        if has_time && !complete {
            let detail = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(&completion, change.shown("completionTime"), detail);
        }
        if !has_time && complete {
            errors.required(&completion, "completionTime is required for Complete jobs");
        }
    }
    let moment = |field: &str| time::parse(change.new.text(field)).ok();
    if (change.changed("startTime") || change.changed("completionTime"))
        && let (Some(start), Some(end)) = (moment("startTime"), moment("completionTime"))
        && end < start
    {
        let detail = "completionTime cannot be set before startTime";
        errors.invalid(&completion, change.shown("completionTime"), detail);
    }
}

/// A finished job has no pods left to count.
fn validate_finished(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    if !change.is_finished() {
        return;
    }
    let turned = change.turned_finished();
    let number = |field: &str| change.new.int(field).unwrap_or(0);
    if (turned || change.changed_number("active")) && number("active") > 0 {
        errors.invalid(&AT.field("active"), number("active"), "active>0 is invalid for finished job");
    }
    if (turned || change.changed("startTime")) && !change.new.has("startTime") {
        errors.required(&AT.field("startTime"), "startTime is required for finished job");
    }
    let field = "uncountedTerminatedPods";
    let uncounted = change.new.get(field).unwrap_or(&EMPTY);
    let left = !uncounted.items("succeeded").is_empty() || !uncounted.items("failed").is_empty();
    if (turned || change.changed(field)) && left {
        let detail = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(&AT.field(field), change.shown(field), detail);
    }
    if (turned || change.changed_number("terminating")) && number("terminating") > 0 {
        let detail = "terminating>0 is invalid for finished job";
        errors.invalid(&AT.field("terminating"), number("terminating"), detail);
    }
}

fn validate_indexes(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (completed, failed) = (change.new.text("completedIndexes"), change.new.text("failedIndexes"));
    let per_index = change.job.at(&["spec", "backoffLimitPerIndex"]).is_some_and(|v| !v.is_null());
    let fails = change.new.has("failedIndexes");
    let (completed_changed, failed_changed) = (change.changed("completedIndexes"), change.changed("failedIndexes"));
    if let Some(completions) = change.completions {
        if completed_changed && let Err(error) = indexes::count(completed, completions) {
            let detail = format!("error parsing completedIndexes: {error}");
            errors.invalid(&AT.field("completedIndexes"), completed, &detail);
        }
        if failed_changed
            && per_index
            && let Err(error) = indexes::count(failed, completions)
        {
            errors.invalid(&AT.field("failedIndexes"), failed, &format!("error parsing failedIndexes: {error}"));
        }
    }
    let indexed = change.job.str_at(&["spec", "completionMode"]) == Some("Indexed");
    if completed_changed && !completed.is_empty() && !indexed {
        let detail = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(&AT.field("completedIndexes"), completed, detail);
    }
    if failed_changed && fails && !per_index {
        let detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(&AT.field("failedIndexes"), failed, detail);
    }
    if (completed_changed || failed_changed)
        && fails
        && let Some(index) = change.completions.and_then(|n| indexes::overlap(completed, failed, n))
    {
        let detail = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(&AT.field("failedIndexes"), failed, &detail);
    }
}

fn validate_counts(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let (ready, active) = (change.new.int("ready"), change.new.int("active").unwrap_or(0));
    let changed = change.changed_number("ready") || change.changed_number("active");
    if let Some(ready) = ready.filter(|ready| changed && *ready > active) {
        errors.invalid(&AT.field("ready"), ready, "cannot set more ready pods than active");
    }
}

fn validate_success(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let at = AT.field("conditions");
    let (met, complete) = (change.has("SuccessCriteriaMet"), change.has("Complete"));
    if met && change.has("Failed") {
        errors.invalid_together(&at, "cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && change.has("FailureTarget") {
        errors.invalid_together(&at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    let policy = change.job.at(&["spec", "successPolicy"]).is_some_and(|v| !v.is_null());
    if policy && complete && !met {
        let detail = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        errors.invalid_together(&at, detail);
    }
}

/// What does not go back.
fn validate_course(change: &Change<'_>, errors: &mut Vec<FieldError>) {
    let at = AT.field("conditions");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if change.had(kind) && !change.has(kind) {
            errors.invalid_together(&at, &format!("cannot disable the terminal {kind}=True condition"));
        }
    }
    let number = |status: &Value, field: &str| status.int(field).unwrap_or(0);
    let spec = change.job.get("spec").unwrap_or(&EMPTY);
    // Indexed jobs with as many pods as completions can be made smaller.
    let elastic = spec.text("completionMode") == "Indexed" && same_numbers(spec, "completions", "parallelism");
    for (field, checked) in [("failed", true), ("succeeded", !elastic)] {
        if checked && number(change.new, field) < number(change.old, field) {
            let detail = format!("cannot decrease the {field} counter");
            errors.invalid(&AT.field(field), number(change.new, field), &detail);
        }
    }
    let field = "completionTime";
    if change.new.has(field) && change.old.has(field) && change.changed(field) {
        errors.invalid(&AT.field(field), change.shown(field), "completionTime cannot be mutated");
    }
    // A job that goes on after it was suspended starts anew.
    let resumes = change.had("Suspended");
    if change.changed("startTime") && change.old.has("startTime") && !spec.flag("suspend") && !resumes {
        let detail = "field is immutable for unsuspended job once set";
        errors.invalid(&AT.field("startTime"), change.shown("startTime"), detail);
    }
    if change.had("SuccessCriteriaMet") && !change.has("SuccessCriteriaMet") {
        errors.invalid_together(&at, "cannot disable the SuccessCriteriaMet=True condition");
    }
    if change.had("Complete") && !change.had("SuccessCriteriaMet") && change.has("SuccessCriteriaMet") {
        let detail = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.invalid_together(&at, detail);
    }
}

fn same_numbers(spec: &Value, one: &str, other: &str) -> bool {
    spec.int(one) == spec.int(other)
}
